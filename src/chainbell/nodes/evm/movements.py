"""Which value a transaction moved: the coin at its top level, and listed tokens by their Transfer logs. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from eth_utils.address import to_checksum_address
from web3.types import Nonce
from web3.utils import get_create_address

from chainbell.domain.block import ChainTransaction, Movement
from chainbell.domain.chain import COIN
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.evm.hexdata import address, data, hash32, quantity

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""Topic of ``Transfer(address,address,uint256)``: keccak of that signature (ERC-20; ERC-721 shares it)."""
_TOPICS = 3
"""ERC-20 indexes sender and recipient; ERC-721 also its third argument, and so has four topics and no data."""
_DATA_TEXT = 2 + 64
_PADDING = bytes(12)
_OP_STACK_DEPOSIT = 0x7E
_ARBITRUM_DEPOSIT = 0x64


def movements_of(
    mined: ChainTransaction, kind: int, transaction: dict[str, Any], receipt: dict[str, Any], listed: Mapping[str, bytes]
) -> list[Movement]:
    """Give the movements of one transaction in execution order: the coin first, then tokens by log index.

    ``kind`` is its EIP-2718 type. ``listed`` has the contracts that count, by their lower-case hex. What a deposit from
    layer 1 mints comes before everything else. A failed transaction keeps that, and the movement of its value, which did
    not happen. Zero amounts, other contracts and other shapes of log are no movements.

    Raises:
        BadAnswerError: something of it is malformed, or a failed transaction has logs.

    """
    movements = list(_coin_movements(mined, kind, transaction, receipt))
    logs = receipt["logs"]
    if not logs:
        return movements
    if not mined.succeeded:
        message = "it failed, and yet has logs"
        raise BadAnswerError(message)
    return movements + _token_movements(mined, logs, listed)


def _coin_movements(
    mined: ChainTransaction, kind: int, transaction: dict[str, Any], receipt: dict[str, Any]
) -> Iterator[Movement]:
    value = 0 if transaction["value"] == "0x0" else quantity(transaction["value"])
    minted = _minted(kind, transaction, value)
    if minted:
        yield Movement(mined, COIN, minted, None, mined.sender, 0, 0, None)
    if value:
        recipient = _recipient(mined, transaction, receipt)
        place = 1 if minted and recipient == mined.sender else 0
        yield Movement(mined, COIN, value, mined.sender, recipient, place, 0, None)


def _minted(kind: int, transaction: dict[str, Any], value: int) -> int:
    """Give what the chain creates for the sender before it executes the transaction, and keeps there if that fails.

    The OP Stack's deposits have it as ``mint``, or have not (its specification, "deposits", execution). Arbitrum's ETH
    deposits mint their value to ``from``, and then move it to ``to`` (OffchainLabs' nitro, ``arbos/tx_processor.go``,
    ArbitrumDepositTx). Arbitrum's retryables are not read: what they mint (0x69) goes on to fees, refunds and an escrow,
    and comes back out of that (0x68), which no transaction and no log shows.
    """
    if kind == _ARBITRUM_DEPOSIT:
        return value
    mint = transaction.get("mint") if kind == _OP_STACK_DEPOSIT else None
    return 0 if mint is None else quantity(mint)


def _token_movements(mined: ChainTransaction, logs: list[dict[str, Any]], listed: Mapping[str, bytes]) -> list[Movement]:
    movements: list[Movement] = []
    logs = [log for log in logs if log["address"].lower() in listed]
    if not logs:
        return movements
    arrived: Counter[tuple[bytes, bytes]] = Counter()
    left: Counter[tuple[bytes, bytes]] = Counter()
    for log in logs:
        contract = listed[log["address"].lower()]
        if (transfer := _erc20_transfer(log)) is None:
            continue
        sender, recipient, amount = transfer
        place_in, place_out = arrived[contract, recipient], left[contract, sender]
        arrived[contract, recipient] += 1
        left[contract, sender] += 1
        index = quantity(log["logIndex"])
        movements.append(Movement(mined, contract, amount, sender, recipient, place_in, place_out, index))
    return movements


def _erc20_transfer(log: dict[str, Any]) -> tuple[bytes, bytes, int] | None:
    """Sender, recipient and amount, when the log is an ERC-20 Transfer of more than nothing."""
    topics = log["topics"]
    if len(topics) != _TOPICS or topics[0].lower() != TRANSFER or len(log["data"]) != _DATA_TEXT:
        return None
    sender, recipient = hash32(topics[1]), hash32(topics[2])
    if sender[:12] != _PADDING or recipient[:12] != _PADDING:
        return None
    amount = int.from_bytes(data(log["data"], 32), "big")
    return (sender[12:], recipient[12:], amount) if amount else None


def _recipient(mined: ChainTransaction, transaction: dict[str, Any], receipt: dict[str, Any]) -> bytes:
    """Who gets the coin: the called account, or the contract that the transaction creates."""
    called = transaction.get("to")
    if called is not None:
        return address(called)
    created = receipt.get("contractAddress")
    if created is None and not mined.succeeded and mined.sender is not None and mined.nonce is not None:
        return created_address(mined.sender, mined.nonce)
    return address(created)


def created_address(sender: bytes, nonce: int) -> bytes:
    """Address of the contract that a transaction creates (yellow paper, section 7), also where it failed to."""
    return bytes.fromhex(get_create_address(to_checksum_address(sender), Nonce(nonce))[2:])
