"""One event of each kind that the tracker tells of deposits and on-chain transfers, as golden files freeze it."""

from datetime import timedelta

from chainbell.domain.chain import COIN
from chainbell.domain.identity import movement_uid
from chainbell.domain.transaction import Execution, Origin, Transaction, TransactionEvent, TransactionType
from chainbell.tracker.confirmation import Policy
from chainbell.tracker.observations import Observation, Outbid, Sighted, Vanished
from tests.builders import (
    CHAIN,
    NOW,
    OFF,
    OURS,
    TAGGED,
    THEIRS,
    conflicted,
    deepened,
    deposit,
    failing,
    included,
    orphaned,
    subject,
    transfer,
    tx_hash,
    walk,
)

CUSTOMER = "00000000-0000-4000-8000-00000000000c"


def _uid(type_: TransactionType, asset: bytes) -> str:
    return movement_uid(type_, CHAIN.caip2, tx_hash(1), asset, OURS, 0)


def token_deposit(**changes: object) -> Transaction:
    """Return 12.5 USDT for a customer, at a till."""
    plain = deposit(subject=subject(customer_id=CUSTOMER, label="Kasse 7, Zürich"))
    return deposit(subject=plain.subject, uid=_uid(TransactionType.DEPOSIT, plain.subject.asset), **changes)


def coin_transfer(**changes: object) -> Transaction:
    """Return a transfer of one wei and a half ether, without a label."""
    coin = subject(TransactionType.TRANSFER, asset=COIN, symbol="ETH", decimals=18, label=None)
    return transfer(
        subject=coin,
        uid=_uid(TransactionType.TRANSFER, COIN),
        amount=500_000_000_000_000_001,
        counterparty=THEIRS,
        origin=Origin(OURS, 7),
        **changes,
    )


def _last(record: Transaction, *observations: Observation, policy: Policy = OFF) -> TransactionEvent:
    """Return the last event of a history, told one second after its record was created."""
    return walk(record, observations, policy, NOW + timedelta(seconds=1))[1][-1]


def _first(record: Transaction, seen: Observation) -> TransactionEvent:
    return walk(record, [seen])[1][0]


_PAID = included(
    amount=500_000_000_000_000_001,
    log_index=None,
    fee=21_000_000_000_000,
    fee_of=_uid(TransactionType.TRANSFER, COIN),
)
_FAILED = failing(amount=500_000_000_000_000_001, fee=21_000, fee_of=_uid(TransactionType.TRANSFER, COIN))
_AWAY = included(101, 1, execution=Execution.ABSENT, log_index=None)
_SEEN = Sighted(generation=0)

_EVENTS = [
    _first(token_deposit(), included()),
    _last(token_deposit(), included(), orphaned()),
    _last(token_deposit(), included(replaces=tx_hash(4))),
    _last(token_deposit(), included(), deepened(101)),
    _last(token_deposit(), included(), deepened(102)),
    _last(token_deposit(may_return=False), included(), orphaned()),
    _last(token_deposit(), _SEEN, conflicted(), deepened(102)),
    _last(token_deposit(), included(), orphaned(), _AWAY, deepened(103)),
    _last(token_deposit(), included(), deepened(102), orphaned()),
    _first(coin_transfer(), _PAID),
    _last(coin_transfer(), _PAID, orphaned()),
    _last(coin_transfer(), _FAILED),
    _last(coin_transfer(), _PAID, deepened(200, 100), policy=TAGGED),
    _last(coin_transfer(), _FAILED, deepened(102)),
    _last(coin_transfer(), _SEEN, Vanished(generation=0)),
    _last(coin_transfer(), _SEEN, Outbid(tx_hash(9))),
    _last(coin_transfer(), _PAID, deepened(102), orphaned()),
]
TOLD = {event.type: event for event in _EVENTS}
"""By v2 type."""
