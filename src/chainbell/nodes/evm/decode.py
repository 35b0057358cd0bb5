"""A block as JSON-RPC shows it, made into domain types. Pure, strict, and lean: bulk reads spend their time here.

Whatever is malformed raises ``BadAnswerError``, and nothing else does.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.chain import BlockCheck, BlockRef
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.evm.checks import check_block
from chainbell.nodes.evm.fees import fee_of, is_jovian
from chainbell.nodes.evm.hexdata import address, hash32, quantity, refusing
from chainbell.nodes.evm.movements import movements_of

SYSTEM_TYPES = frozenset({0x64, 0x65, 0x66, 0x68, 0x69, 0x6A, 0x7E, 0x7F})
"""EIP-2718 types of transactions that a block itself creates, and that nobody signed.

Arbitrum Nitro's deposit, unsigned, contract, retry, submit-retryable and internal ones (0x64-0x6a; OffchainLabs'
go-ethereum, ``core/types/transaction.go``), the OP Stack's deposits (0x7e; its specification, "deposits"), and
Polygon's state-sync (0x7f; bor, ``core/types``).
"""
_NOBODY = bytes(20)
_HEIGHTS = 2**63
"""More is kept nowhere."""
_NONCES = 2**64
"""EIP-2681."""
_FEES = 10**78
"""More digits than a uint256 has: no account could have paid it."""
_TIMES = 253402300800
"""The first second of the year 10000."""


def block_ref(block: object) -> BlockRef:
    """Read the reference out of a block, with or without its transactions.

    Raises:
        BadAnswerError: it is no block.

    """
    with refusing("a block's header"):
        return _ref(_object(block))


def block_time(block: object) -> datetime:
    """Read when a block was mined, by its own word.

    Raises:
        BadAnswerError: it is no block.

    """
    with refusing("a block's timestamp"):
        return _timestamp(_object(block))


def block_transactions(block: object) -> list[bytes]:
    """Read the hashes of a full block's transactions, in order.

    Raises:
        BadAnswerError: it is no full block.

    """
    with refusing("a block's transactions"):
        return [hash32(transaction["hash"]) for transaction in _objects(_object(block)["transactions"])]


def scan_block(block: object, receipts: object, listed: Mapping[str, bytes], checks: Collection[BlockCheck]) -> ScannedBlock:
    """Check a full block and its receipts against each other, and read what moved in it.

    ``listed`` has the token contracts that count, by their lower-case hex. ``checks`` are those that the chain's
    definition promises; the others of ``nodes.evm.checks`` always count.

    Raises:
        BadAnswerError: something is malformed or does not fit together; the message says what, and of which block.

    """
    with refusing("a block's header"):
        header = _object(block)
        ref = _ref(header)
    with refusing(f"block {ref.height} (0x{ref.hash.hex()})"):
        entries, answers = _objects(header["transactions"]), _objects(receipts)
        check_block(ref, header, answers, checks)
        timestamp = _timestamp(header)
        miner, jovian = header.get("miner"), is_jovian(header.get("extraData"))
        transactions: list[ChainTransaction] = []
        movements: list[Movement] = []
        for entry, receipt in zip(entries, answers, strict=True):
            kind = _kind(entry)
            mined = _transaction(entry, kind, receipt, miner, jovian=jovian)
            transactions.append(mined)
            movements += movements_of(mined, kind, entry, receipt, listed)
        return ScannedBlock(ref, timestamp, tuple(transactions), tuple(movements))


def _timestamp(header: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(_below(_TIMES, "timestamp", quantity(header["timestamp"])), UTC)


def _kind(entry: dict[str, Any]) -> int:
    """Read the EIP-2718 type; what has none is of the type that was there before."""
    kind = entry.get("type")
    return 0 if kind is None else quantity(kind)


def _transaction(
    entry: dict[str, Any], kind: int, receipt: dict[str, Any], miner: object, *, jovian: bool
) -> ChainTransaction:
    sender = address(entry["from"])
    created = kind in SYSTEM_TYPES or sender == _NOBODY or _is_parlia_system_transaction(entry, miner)
    # An OP Stack deposit's own nonce is 0 with some clients; its receipt has the one that it used up.
    nonce = receipt.get("depositNonce") or entry.get("nonce")
    return ChainTransaction(
        hash=hash32(entry["hash"]),
        sender=sender,
        nonce=0 if nonce is None and created else _below(_NONCES, "nonce", quantity(nonce)),
        succeeded=_succeeded(receipt),
        fee=_below(_FEES, "fee", fee_of(entry, kind, receipt, jovian=jovian)),
        may_return=not created,
    )


def _succeeded(receipt: dict[str, Any]) -> bool:
    """Whether the transaction did what it should: EIP-658."""
    status = receipt.get("status")
    if status is None:
        message = "a receipt has no status: blocks before Byzantium (EIP-658) cannot be read"
        raise BadAnswerError(message)
    code = quantity(status)
    if code > 1:
        message = f"a receipt's status is {code}, and must be 0 or 1"
        raise BadAnswerError(message)
    return code == 1


def _is_parlia_system_transaction(entry: dict[str, Any], miner: object) -> bool:
    """BNB Smart Chain: the validator's own free transactions (bsc, ``consensus/parlia``, IsSystemTransaction)."""
    return entry.get("gasPrice") == "0x0" and entry["from"] == miner


def _ref(block: dict[str, Any]) -> BlockRef:
    height = _below(_HEIGHTS, "height", quantity(block["number"]))
    return BlockRef(height, hash32(block["hash"]), hash32(block["parentHash"]))


def _below(limit: int, what: str, number: int) -> int:
    if number < limit:
        return number
    message = f"a {what} of {number:#x} cannot be"
    raise BadAnswerError(message)


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    message = f"expected an object, found {type(value).__name__}"
    raise BadAnswerError(message)


def _objects(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [_object(entry) for entry in value]
    message = f"expected a list, found {type(value).__name__}"
    raise BadAnswerError(message)
