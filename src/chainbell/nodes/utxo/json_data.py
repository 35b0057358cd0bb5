"""What the daemons of Bitcoin's family write in JSON, in our types. Pure; what does not fit raises ``BadAnswerError``."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from chainbell.domain.chain import BlockRef
from chainbell.domain.node import Tip
from chainbell.domain.utxo import Prevout, Unspent, outpoint
from chainbell.nodes.answers import shown
from chainbell.nodes.errors import BadAnswerError

_HASH_DIGITS: Final = 64
_DECIMALS: Final = 8
"""Every coin of the family has as many."""
_MOST: Final = 2**63
"""Amounts are signed 64-bit numbers on the wire."""
_TIMES: Final = 2**32
_INDICES: Final = 2**32
"""Both are unsigned 32-bit numbers on the wire."""
_HEIGHTS: Final = 2**31
"""Bitcoin Core and its kin count blocks in a signed 32-bit number."""


def members(value: object) -> dict[str, Any]:
    """Read an object."""
    if isinstance(value, dict):
        return value
    message = f"it is no object: {shown(value)}"
    raise BadAnswerError(message)


def entries(value: object) -> list[Any]:
    """Read an array."""
    if isinstance(value, list):
        return value
    message = f"it is no array: {shown(value)}"
    raise BadAnswerError(message)


def octets(value: object) -> bytes:
    """Read bytes written in hex."""
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    message = f"it is no hex: {shown(value)}"
    raise BadAnswerError(message)


def digest(value: object) -> bytes:
    """Read the hash of a block or of a transaction."""
    # fromhex skips blanks, which then are missing in the length.
    if isinstance(value, str) and len(value) == _HASH_DIGITS and len(read := octets(value)) * 2 == _HASH_DIGITS:
        return read
    message = f"it is no hash: {shown(value)}"
    raise BadAnswerError(message)


def digests(values: object) -> list[bytes]:
    """Read many hashes at once: a mempool has hundreds of thousands."""
    texts = entries(values)
    if not all(isinstance(text, str) and len(text) == _HASH_DIGITS for text in texts):
        message = "not all of them are hashes"
        raise BadAnswerError(message)
    joined = octets("".join(texts))
    if len(joined) * 2 != _HASH_DIGITS * len(texts):
        message = "not all of them are hashes"
        raise BadAnswerError(message)
    return [joined[start : start + 32] for start in range(0, len(joined), 32)]


def height(value: object) -> int:
    """Read the height of a block."""
    return _number(value, _HEIGHTS, "height of a block")


def index(value: object) -> int:
    """Read which output of its transaction an output is."""
    return _number(value, _INDICES, "index of an output")


def _number(value: object, beyond: int, what: str) -> int:
    if type(value) is int and 0 <= value < beyond:
        return value
    message = f"it is no {what}: {shown(value)}"
    raise BadAnswerError(message)


def amount(value: object) -> int:
    """Read an amount, which is written in coins, in base units: exactly."""
    if type(value) is int:
        value = Decimal(value)
    if isinstance(value, Decimal) and 0 <= value < _MOST:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent >= -_DECIMALS and (units := int(value.scaleb(_DECIMALS))) < _MOST:
            return units
    message = f"it is no amount: {shown(value)}"
    raise BadAnswerError(message)


def header_ref(header: object, block_hash: bytes) -> BlockRef:
    """Read the reference of a block that was asked for by its hash."""
    said = members(header)
    found = digest(said.get("hash"))
    if found != block_hash:
        message = f"asked for block {block_hash.hex()}, it gave {found.hex()}"
        raise BadAnswerError(message)
    at = height(said.get("height"))
    parent = digest(said.get("previousblockhash")) if at else bytes(32)
    return BlockRef(at, found, parent)


def header_tip(header: object) -> Tip:
    """Read when a block was mined, beside its height."""
    said = members(header)
    seconds = _number(said.get("time"), _TIMES, "time of a block")
    return Tip(height(said.get("height")), datetime.fromtimestamp(seconds, UTC))


def prevouts(transaction: object, outpoints: Sequence[bytes]) -> tuple[Prevout | None, ...]:
    """Read what a transaction (``getrawtransaction`` 2) spends, where it is told; it must be the one with these inputs."""
    inputs = [members(each) for each in entries(members(transaction).get("vin"))]
    spent = [outpoint(digest(each.get("txid")), index(each.get("vout"))) for each in inputs]
    if spent != list(outpoints):
        message = "a transaction has other inputs than it had in its block"
        raise BadAnswerError(message)
    return tuple(None if "prevout" not in each else output(each["prevout"]) for each in inputs)


def output(value: object) -> Prevout:
    """Read an output: its scriptPubKey and its amount."""
    said = members(value)
    return Prevout(octets(members(said.get("scriptPubKey")).get("hex")), amount(said.get("value")))


def unspent(value: object) -> Unspent:
    """Read one of the outputs that ``scantxoutset`` found."""
    said = members(value)
    return Unspent(
        outpoint=outpoint(digest(said.get("txid")), index(said.get("vout"))),
        script=octets(said.get("scriptPubKey")),
        amount=amount(said.get("amount")),
        height=height(said.get("height")),
    )


def sync_problem(info: object) -> str | None:
    """Say from ``getblockchaininfo`` why a node must not be read yet; None: it has caught up.

    A development chain whose newest block is old counts as initial download too: that is no reason.
    """
    said = members(info)
    blocks, headers = height(said.get("blocks")), height(said.get("headers"))
    if said.get("initialblockdownload") is not True:
        return None
    if headers > blocks:
        return f"it is syncing, at block {blocks} of {headers}; it is used once it has them all"
    if said.get("chain") == "main":
        return f"it is syncing, at block {blocks}, and knows of no newer one yet; see that it has peers"
    return None
