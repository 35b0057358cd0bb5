"""Events of the Bitcoin family as golden files freeze them: what differs there from EVM chains."""

from dataclasses import replace

from chainbell.config.chains import load_chains
from chainbell.domain.chain import COIN
from chainbell.domain.transaction import (
    SPEND,
    BlockPoint,
    Chain,
    Conflict,
    Status,
    Transaction,
    TransactionEvent,
    TransactionType,
)
from tests.builders import NOW, deposit, subject

_BITCOIN = load_chains()["bitcoin"]
CHAIN = Chain(
    _BITCOIN.name, _BITCOIN.caip2, _BITCOIN.kind, _BITCOIN.wire_name, _BITCOIN.mode, 8, addresses=_BITCOIN.addresses
)
TX_HASH = bytes.fromhex("a1075db55d416d3ca199f55b6084e2115b9345e16c5cf302fc80e9d5fbf5d48d")
BLOCK = BlockPoint(57_043, bytes.fromhex("00000000152340ca42227603908689183edc47355204e7aca59383b0aaac1fd8"))
RIVAL = bytes.fromhex("f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16")
OURS = b"\x00\x14" + bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")
TAPROOT = b"\x51\x20" + bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
OLD = b"\x76\xa9\x14" + bytes.fromhex("62e907b15cbf27d5425399ebf6f0fb50ebb88f18") + b"\x88\xac"
PUBLIC_KEY = b"\x21\x02" + bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798") + b"\xac"
"""A script that has no address."""


def _record(type_: TransactionType, uid: str, position: int, **changes: object) -> Transaction:
    about = subject(
        type_, chain=CHAIN, tx_hash=TX_HASH, asset=COIN, symbol="BTC", decimals=8, address=OURS, position=position
    )
    return deposit(subject=about, uid=uid, origin=None, amount=1_000_001, **changes)


def _event(name: str, record: Transaction, previous: Status | None, confirmations: int = 0) -> TransactionEvent:
    return TransactionEvent(name, record, previous, (), confirmations, 6, NOW)


_ARRIVED = _record(
    TransactionType.DEPOSIT,
    "trx_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    1,
    counterparty=TAPROOT,
    senders=(TAPROOT, OLD, None),
    status=Status.PENDING,
    sequence=2,
)
_LEFT = _record(
    TransactionType.TRANSFER,
    "trx_bbbbbbbbbbbbbbbbbbbbbbbbbb",
    0,
    counterparty=OLD,
    senders=(OURS,),
    status=Status.SUCCESS,
    block=BLOCK,
    fee=1_410,
    fee_of="trx_bbbbbbbbbbbbbbbbbbbbbbbbbb",
    final=True,
    sequence=4,
)

TOLD = {
    "deposit.pending": _event("pending", _ARRIVED, None),
    "deposit.replaced": _event(
        "replaced", replace(_ARRIVED, status=Status.REPLACED, replaced_by=RIVAL, sequence=3), Status.PENDING
    ),
    "deposit.conflicted": _event("pending", replace(_ARRIVED, conflict=Conflict(RIVAL, BLOCK), sequence=3), Status.PENDING),
    "deposit.coinbase": _event(
        "success",
        replace(_ARRIVED, counterparty=None, senders=(), status=Status.SUCCESS, block=BLOCK, final=True, sequence=3),
        Status.AWAITING_CONFIRMATION,
        100,
    ),
    "deposit.from_public_key": _event("pending", replace(_ARRIVED, counterparty=PUBLIC_KEY, senders=(PUBLIC_KEY,)), None),
    "transfer.success": _event("success", _LEFT, Status.AWAITING_CONFIRMATION, 6),
    "transfer.spend": _event(
        "success",
        replace(_LEFT, subject=replace(_LEFT.subject, position=SPEND), amount=0, counterparty=None),
        Status.AWAITING_CONFIRMATION,
        6,
    ),
}
