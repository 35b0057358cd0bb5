"""Did exactly the expected webhooks arrive? The judge of ``chainbell demo --once``. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chainbell.demo.expected import Expected
from chainbell.demo.facts import contradictions, wrong_facts
from chainbell.demo.script import V1_NAMES, V1_STATUSES, Deposit, Ring
from chainbell.demo.webhook import Webhook

V1_SUFFIX = "_v1"
"""What a legacy webhook's id has behind the event's id."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One event of one deposit at one endpoint, in the terms in which it is compared."""

    event: str | None
    status: str | None
    sequence: int | None
    confirmations: int | None

    def __str__(self) -> str:
        number = "" if self.sequence is None else f" #{self.sequence}"
        depth = "" if self.confirmations is None else f", {self.confirmations} confirmations"
        return f"{self.event}{number} ({self.status}{depth})"


def judge(expected: Expected, received: Sequence[Webhook]) -> list[str]:
    """Return what is wrong with everything that was received, in words for people; an empty list is an acquittal."""
    trusted = [webhook for webhook in received if webhook.problem is None]
    complaints = [f"{webhook.label}: bad signature: {webhook.problem}" for webhook in received if webhook.problem]
    complaints += _repeated(trusted)
    once = _first_of_each(trusted)
    complaints += _strangers(expected, once)
    for deposit in dict.fromkeys(ring.deposit for ring in expected.rings):
        own = [webhook for webhook in once if webhook.tx_hash == expected.tx_hashes.get(deposit)]
        for version in (2, 1):
            complaints += _story(deposit, version, expected, [webhook for webhook in own if webhook.version == version])
        complaints += _one_ref(deposit, own)
        complaints += wrong_facts(deposit, expected, own)
        if (standing := expected.standings.get(deposit)) is not None:
            complaints += contradictions(deposit, standing, own)
    complaints += _versions_disagree(once)
    return complaints


def _first_of_each(trusted: Sequence[Webhook]) -> list[Webhook]:
    firsts: dict[tuple[int, str], Webhook] = {}
    for webhook in trusted:
        firsts.setdefault((webhook.version, webhook.webhook_id), webhook)
    return list(firsts.values())


def _repeated(trusted: Sequence[Webhook]) -> Iterator[str]:
    counts = Counter((webhook.version, webhook.webhook_id) for webhook in trusted)
    labels = {(webhook.version, webhook.webhook_id): webhook.label for webhook in trusted}
    for key, count in counts.items():
        if count > 1:
            yield f"{labels[key]}: arrived {count} times, must arrive once"


def _strangers(expected: Expected, once: Sequence[Webhook]) -> Iterator[str]:
    known = set(expected.tx_hashes.values())
    for webhook in once:
        if webhook.tx_hash not in known:
            yield f"{webhook.label}: tells transaction {webhook.tx_hash}, which nobody made"


def _story(deposit: Deposit, version: int, expected: Expected, webhooks: Sequence[Webhook]) -> Iterator[str]:
    """Compare what one endpoint was told of one deposit with what it must be told, in order."""
    wanted = _wanted(deposit, version, expected.rings)
    told = [_Step(hook.event, hook.status, hook.sequence, hook.confirmations) for hook in webhooks]
    place = f"v{version}, {deposit.title} deposit"
    yield from (f"{place}: missing {step}" for step in (Counter(wanted) - Counter(told)).elements())
    surplus = Counter(told) - Counter(wanted)
    yield from (f"{place}: unexpected {step}" for step in surplus.elements())
    if not _is_in_order(told, wanted, surplus):
        yield f"{place}: out of order: {_row(told)}; expected {_row(wanted)}"
    if version > 1:
        sequences = sorted(webhook.sequence or 0 for webhook in webhooks)
        if sequences != list(range(1, len(sequences) + 1)):
            yield f"{place}: the sequence has a gap: {', '.join(map(str, sequences))}"


def _wanted(deposit: Deposit, version: int, rings: Sequence[Ring]) -> list[_Step]:
    own = [ring for ring in rings if ring.deposit == deposit]
    if version > 1:
        return [_Step(ring.v2, ring.status, number, ring.confirmations) for number, ring in enumerate(own, start=1)]
    return [_Step(ring.v1, ring.v1_status, None, None) for ring in own if ring.v1 is not None]


def _is_in_order(told: Sequence[_Step], wanted: Sequence[_Step], surplus: Mapping[_Step, int]) -> bool:
    """Tell whether what was told, apart from what is unexpected anyway, comes in the expected order."""
    coming = iter(wanted)
    return all(step in coming for step in told if step not in surplus)


def _row(steps: Sequence[_Step]) -> str:
    return ", ".join(map(str, steps))


def _one_ref(deposit: Deposit, webhooks: Sequence[Webhook]) -> Iterator[str]:
    if len({webhook.ref for webhook in webhooks}) > 1:
        yield f"{deposit.title} deposit: told under more than one ref: {', '.join(sorted({str(w.ref) for w in webhooks}))}"


def _versions_disagree(once: Sequence[Webhook]) -> Iterator[str]:
    """Each legacy webhook must tell an event that version 2 told too, of the same transaction, in the legacy words."""
    by_id = {webhook.webhook_id: webhook for webhook in once if webhook.version > 1}
    for webhook in once:
        if webhook.version > 1:
            continue
        twin = by_id.get(webhook.webhook_id.removesuffix(V1_SUFFIX))
        if twin is None or not webhook.webhook_id.endswith(V1_SUFFIX):
            yield f"{webhook.label}: tells an event that version 2 did not tell"
        elif (webhook.ref, webhook.status, webhook.event) != (twin.ref, _legacy_status(twin), _legacy_name(twin)):
            yield f"{webhook.label}: is not what version 2 told as {twin.label}"


def _legacy_name(webhook: Webhook) -> str | None:
    name = (webhook.event or "").removeprefix("transaction.deposit.")
    return V1_NAMES.get(name)


def _legacy_status(webhook: Webhook) -> str | None:
    return V1_STATUSES.get(webhook.status or "", webhook.status)
