"""Every event there is, by its v2 name, with the legacy name where one stands for it. Data."""

from chainbell.domain.transaction import Status

EXPLICIT_ONLY = frozenset({"transaction.deposit.confirmation"})
"""An endpoint gets these only when its filter names them exactly, never by a wildcard or an empty filter."""

_DEPOSIT_V1: dict[str, str | None] = {
    "created": "transaction.incoming",
    "pending": "transaction.pending",
    "awaiting_confirmation": "transaction.awaiting_confirmation",
    "success": "transaction.success",
    "dropped": "transaction.failed",
    "replaced": "transaction.failed",
    "failed": "transaction.failed",
    "reverted": "transaction.failed",
    "aml_flagged": "transaction.pending_approval",
    "aml_released": None,
    "aml_rejected": "transaction.failed",
    "confirmation": None,
}

_TRANSFER_V1: dict[str, str | None] = {
    "created": "transaction.new",
    "pending_approval": "transaction.pending_approval",
    "approved": None,
    "approved_by_counterparty": None,
    "rejected": "transaction.failed",
    "rejected_by_counterparty": "transaction.failed",
    "cancelled": "transaction.failed",
    "queued": "transaction.queue",
    "processing": "transaction.processing",
    "awaiting_confirmation": "transaction.awaiting_confirmation",
    "success": "transaction.success",
    "failed": "transaction.failed",
    "dropped": "transaction.failed",
    "replaced": "transaction.failed",
    "reverted": "transaction.failed",
}

_CONTRACT = (
    "interaction.success",
    "interaction.failed",
    "interaction.reverted",
    "deployment.success",
    "deployment.failed",
    "deployment.reverted",
)

_RESOURCES = (
    "accounts.created",
    "accounts.updated",
    "accounts.archived",
    "accounts.frozen",
    "accounts.policy.updated",
    "assets.created",
    "address.created",
    "address.updated",
    "address.flagged",
    "address.blocked",
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "customer.attached_to_address",
    "transaction.compliance.aml_flag",
)

V1_TYPES: dict[str, str | None] = (
    {f"transaction.deposit.{name}": legacy for name, legacy in _DEPOSIT_V1.items()}
    | {f"transaction.transfer.{name}": legacy for name, legacy in _TRANSFER_V1.items()}
    | {f"transaction.contract.{name}": None for name in _CONTRACT}
    | dict.fromkeys(_RESOURCES)
)
"""v2 type to the v1 event that tells it; None where v1 has none."""

V1_STATUS = {
    Status.PENDING: "PENDING",
    Status.PROCESSING: "PROCESSING",
    Status.AWAITING_CONFIRMATION: "AWAITING_CONFIRMATION",
    Status.SUCCESS: "SUCCESS",
    Status.FAILED: "FAILED",
    Status.DROPPED: "FAILED",
    Status.REPLACED: "FAILED",
    Status.REVERTED: "FAILED",
}
