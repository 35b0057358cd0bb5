"""The catalogue of events, compared with DESIGN section 4 as it was read a second time."""

from chainbell.domain.transaction import Status
from chainbell.events.catalogue import EXPLICIT_ONLY, V1_STATUS, V1_TYPES
from tests.told import TOLD

DEPOSIT = {
    "created": "incoming",
    "pending": "pending",
    "awaiting_confirmation": "awaiting_confirmation",
    "success": "success",
    "dropped": "failed",
    "replaced": "failed",
    "failed": "failed",
    "reverted": "failed",
    "aml_flagged": "pending_approval",
    "aml_released": None,
    "aml_rejected": "failed",
    "confirmation": None,
}
TRANSFER = {
    "created": "new",
    "pending_approval": "pending_approval",
    "approved": None,
    "approved_by_counterparty": None,
    "rejected": "failed",
    "rejected_by_counterparty": "failed",
    "cancelled": "failed",
    "queued": "queue",
    "processing": "processing",
    "awaiting_confirmation": "awaiting_confirmation",
    "success": "success",
    "failed": "failed",
    "dropped": "failed",
    "replaced": "failed",
    "reverted": "failed",
}
V2_ONLY = (
    *("transaction.compliance.aml_flag",),
    *(f"transaction.contract.{kind}.{end}" for kind in ("interaction", "deployment") for end in ("success", "failed")),
    *("transaction.contract.interaction.reverted", "transaction.contract.deployment.reverted"),
    *(f"accounts.{end}" for end in ("created", "updated", "archived", "frozen", "policy.updated")),
    *("assets.created",),
    *(f"address.{end}" for end in ("created", "updated", "flagged", "blocked")),
    *(f"customer.{end}" for end in ("created", "updated", "deleted", "attached_to_address")),
)


def legacy(name: str | None) -> str | None:
    return None if name is None else f"transaction.{name}"


def test_every_event_of_the_design_is_there_and_no_other() -> None:
    """Deposits, transfers, contracts and resources, each with the legacy event that stands for it."""
    assert (
        {f"transaction.deposit.{name}": legacy(v1) for name, v1 in DEPOSIT.items()}
        | {f"transaction.transfer.{name}": legacy(v1) for name, v1 in TRANSFER.items()}
        | dict.fromkeys(V2_ONLY)
    ) == V1_TYPES


def test_only_depths_must_be_named_exactly() -> None:
    """Everything else comes by wildcard too."""
    assert set(EXPLICIT_ONLY) == {"transaction.deposit.confirmation"}


def test_every_status_that_is_told_has_a_legacy_word() -> None:
    """Of the seven that version 1 knows."""
    assert set(V1_STATUS) == set(Status) - {Status.UNSEEN}
    known = {"PENDING", "AWAITING_CONFIRMATION", "SUCCESS", "FAILED", "PENDING_APPROVAL", "QUEUED", "PROCESSING"}
    assert set(V1_STATUS.values()) <= known


def test_what_the_tracker_tells_is_in_the_catalogue() -> None:
    """Golden events are named as the catalogue names them."""
    assert set(TOLD) <= set(V1_TYPES)
