"""Does each webhook say what is so on the chain? Part of the judge of the demo. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from chainbell.demo.expected import Expected
from chainbell.demo.script import REQUIRED, V1_STATUSES, Deposit, Ring
from chainbell.demo.stage import Standing
from chainbell.demo.webhook import Webhook

_Fact: TypeAlias = tuple[str, object, object]
"""A member's name, what it is, and what it must be."""


def wrong_facts(deposit: Deposit, expected: Expected, webhooks: Sequence[Webhook]) -> Iterator[str]:
    """Say which members of a deposit's webhooks are not as the script and the chain made them."""
    rings = dict(enumerate((ring for ring in expected.rings if ring.deposit == deposit), start=1))
    for webhook in webhooks:
        facts: list[_Fact] = [
            ("amount", webhook.amount, deposit.wire_amount),
            ("assetType", webhook.asset_type, deposit.asset_type),
            ("address", webhook.address, expected.addresses.get(deposit.network)),
        ]
        if webhook.version > 1:
            facts += [("id", webhook.event_id, webhook.webhook_id), ("requiredConfirmation", webhook.required, REQUIRED)]
            ring = rings.get(webhook.sequence or 0)
            # What is out of place is told of elsewhere.
            facts += _facts_of(ring, expected, webhook) if ring is not None and ring.v2 == webhook.event else []
        yield from (f"{webhook.label}: {name} is {is_}, must be {must}" for name, is_, must in facts if is_ != must)


def contradictions(deposit: Deposit, standing: Standing, webhooks: Sequence[Webhook]) -> Iterator[str]:
    """Say where what was told last of a deposit, at each endpoint, is not what its node says of it now."""
    status = _status(standing)
    settled = max(standing.depth, standing.rival_depth) >= REQUIRED
    current = _last(webhooks, 2)
    facts: list[_Fact] = [
        ("status", current and current.status, status),
        ("confirmation", current and current.confirmations, min(standing.depth, REQUIRED)),
        ("blockHash", current and current.block_hash, standing.block_hash),
        ("replacedBy", current and current.replaced_by, standing.rival),
        ("final", current and current.final, settled),
    ]
    legacy = _last(webhooks, 1)
    facts_of_legacy: list[_Fact] = [("status", legacy and legacy.status, V1_STATUSES.get(status, status))]
    for version, told in ((2, facts), (1, facts_of_legacy)):
        for name, is_, must in told:
            if is_ != must:
                yield f"v{version}, {deposit.title} deposit: the last {name} told is {is_}, its node says {must}"


def _facts_of(ring: Ring, expected: Expected, webhook: Webhook) -> list[_Fact]:
    blocks = expected.inclusions.get(ring.deposit, ())
    block = blocks[ring.inclusion - 1] if 0 < ring.inclusion <= len(blocks) else None
    by = None if ring.replaced_by is None else expected.tx_hashes.get(ring.replaced_by)
    facts: list[_Fact] = [
        ("blockHash", webhook.block_hash, block),
        ("final", webhook.final, ring.final),
        ("replacedBy", webhook.replaced_by, by),
    ]
    if ring.replaces is not None:
        facts.append(("replaces", webhook.replaces, expected.tx_hashes.get(ring.replaces)))
    return facts


def _status(standing: Standing) -> str:
    if standing.block_hash is not None:
        return "SUCCESS" if standing.depth >= REQUIRED else "AWAITING_CONFIRMATION"
    return "PENDING" if standing.rival is None else "REPLACED"


def _last(webhooks: Sequence[Webhook], version: int) -> Webhook | None:
    """Return what was told last; in version 2 by its number, as order of arrival is judged elsewhere."""
    own = [webhook for webhook in webhooks if webhook.version == version]
    return max(own, key=lambda webhook: webhook.sequence or 0, default=None) if version > 1 else (own[-1] if own else None)
