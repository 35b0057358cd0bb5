"""What a restore took back: journals beside what is registered now. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chainbell.domain.watch import Purpose
from chainbell.storage.registrations import Action

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LostAddress:
    """An address that is watched no more."""

    chain: str
    address: bytes
    account_id: str
    customer_id: str | None
    label: str | None
    watched_from: int
    """From which height on it was watched before."""
    purpose: Purpose = Purpose.DEPOSIT


@dataclass(frozen=True, slots=True)
class WatchedAgain:
    """An address that had been removed, and is watched."""

    chain: str
    address: bytes
    account_id: str


@dataclass(frozen=True, slots=True)
class Retired:
    """An address that had been removed, and that nobody was given as far as the database knows: a window would watch it."""

    chain: str
    address: bytes


KeyName = tuple[str, str]
"""Chain and identity of an extended key."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """How everything stood in the end that the journals tell of."""

    addresses: Mapping[tuple[str, bytes], LostAddress | None]
    """None: removed."""
    keys: Mapping[KeyName, Line]
    """Extended keys as they were registered."""
    endpoints: Mapping[str, Line | None]
    """By id; None: removed."""
    api_keys: Mapping[str, Line]
    """By id: as they were made."""
    revoked: Collection[str]


@dataclass(frozen=True, slots=True)
class Registered:
    """What is registered now, of that which the journals tell of."""

    addresses: Mapping[tuple[str, bytes], str]
    """The account of each, by chain and address; what only the window of a key reaches is not among them."""
    endpoints: Mapping[str, Line]
    """By id, in the words of the journal, with ``disabledByHand``."""
    api_keys: Mapping[str, bool]
    """By id: whether it is revoked."""
    keys: Collection[KeyName] = frozenset()
    """Extended keys."""
    windows: Collection[tuple[str, bytes]] = frozenset()
    """Addresses that only the window of a key reaches."""
    retired: Collection[tuple[str, bytes]] = frozenset()
    """Addresses that no window reaches again."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What an operator must do again; and `retired`, of which the next generation makes sure by itself."""

    addresses: Sequence[LostAddress] = ()
    keys: Sequence[Line] = ()
    watched_again: Sequence[WatchedAgain] = ()
    retired: Sequence[Retired] = ()
    endpoints: Sequence[Line] = ()
    changed_endpoints: Sequence[Line] = ()
    """As they were: a later change of them is lost."""
    endpoints_again: Sequence[Line] = ()
    """Endpoints that had been removed."""
    api_keys: Sequence[Line] = ()
    valid_again: Sequence[str] = field(default_factory=tuple)
    """Ids of API keys that had been revoked."""

    @property
    def any(self) -> bool:
        """Tell whether there is anything to do again."""
        lost: list[Sequence[object]] = [
            self.addresses,
            self.keys,
            self.watched_again,
            self.endpoints,
            self.changed_endpoints,
        ]
        lost += [self.endpoints_again, self.api_keys, self.valid_again]
        return any(lost)


def remember(lines: Sequence[Line]) -> Remembered:
    """Read lines, oldest first, to where everything stood in the end."""
    addresses: dict[tuple[str, bytes], LostAddress | None] = {}
    keys: dict[KeyName, Line] = {}
    endpoints: dict[str, Line | None] = {}
    api_keys: dict[str, Line] = {}
    revoked: set[str] = set()
    for line in lines:
        match line["action"]:
            case Action.ADDRESSES_ADDED:
                for lost in _watched(line):
                    addresses[lost.chain, lost.address] = _since_first(addresses.get((lost.chain, lost.address)), lost)
            case Action.ADDRESSES_REMOVED:
                addresses |= {(line["chain"], _bytes(entry)): None for entry in line["addresses"]}
            case Action.KEY_ADDED:
                keys[line["chain"], line["identity"]] = line
            case Action.ENDPOINT_SAVED:
                endpoints[line["id"]] = line
            case Action.ENDPOINT_REMOVED:
                endpoints[line["id"]] = None
            case Action.API_KEY_ADDED:
                api_keys[line["id"]] = line
            case Action.API_KEY_REVOKED:
                revoked.add(line["id"])
    return Remembered(addresses, keys, endpoints, api_keys, revoked)


def losses(remembered: Remembered, registered: Registered) -> Losses:
    """Say what is not any more as the journals remember it."""
    saved = {id_: line for id_, line in remembered.endpoints.items() if line is not None}
    return Losses(
        addresses=[
            lost for key, lost in remembered.addresses.items() if lost is not None and key not in registered.addresses
        ],
        keys=[line for key, line in remembered.keys.items() if key not in registered.keys],
        watched_again=[
            WatchedAgain(*key, registered.addresses[key])
            for key, lost in remembered.addresses.items()
            if lost is None and key in registered.addresses
        ],
        retired=_retired(remembered, registered),
        endpoints=[line for id_, line in saved.items() if id_ not in registered.endpoints],
        changed_endpoints=[
            line for id_, line in saved.items() if id_ in registered.endpoints and _differs(line, registered.endpoints[id_])
        ],
        endpoints_again=[
            registered.endpoints[id_]
            for id_, line in remembered.endpoints.items()
            if line is None and id_ in registered.endpoints
        ],
        api_keys=[
            line
            for id_, line in remembered.api_keys.items()
            if id_ not in registered.api_keys and id_ not in remembered.revoked
        ],
        valid_again=[id_ for id_ in sorted(remembered.revoked) if registered.api_keys.get(id_) is False],
    )


def _retired(remembered: Remembered, registered: Registered) -> list[Retired]:
    """Say what was removed and may come back by a window: where a chain has no key, nothing does."""
    with_keys = {chain for chain, _ in (*remembered.keys, *registered.keys)}
    return [
        Retired(*key)
        for key, lost in remembered.addresses.items()
        if lost is None
        and key not in registered.addresses
        and (key in registered.windows or (key[0] in with_keys and key not in registered.retired))
    ]


def _watched(line: Line) -> list[LostAddress]:
    return [
        LostAddress(
            line["chain"],
            _bytes(entry),
            line["accountId"],
            entry.get("customerId"),
            entry.get("label"),
            line["watchedFrom"],
            Purpose(entry.get("purpose", Purpose.DEPOSIT)),
        )
        for entry in line["addresses"]
    ]


def _since_first(before: LostAddress | None, lost: LostAddress) -> LostAddress:
    """Return an address as it was registered last: twice without a removal between, as after an earlier restore."""
    return lost if before is None else replace(lost, watched_from=min(before.watched_from, lost.watched_from))


def _bytes(entry: Line) -> bytes:
    return bytes.fromhex(entry["address"].removeprefix("0x"))


def _differs(line: Line, now: Line) -> bool:
    """Compare what an operator decides; that an endpoint switched itself off by its answers is no loss."""
    if any(line[name] != now[name] for name in ("url", "events", "chains", "accounts")):
        return True
    return line["enabled"] != now["enabled"] and bool(now["enabled"] or now["disabledByHand"])
