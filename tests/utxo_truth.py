"""What a block of the Bitcoin family is by its node's JSON (`getblock` 2 or 3). Imports nothing from chainbell's parser."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from chainbell.domain.utxo import Making, UtxoTransaction
from tests.bitcoin import satoshis


def expected_transactions(block: Mapping[str, Any]) -> tuple[UtxoTransaction, ...]:
    """Return every transaction of a block as the node tells it."""
    return tuple(expected_transaction(each) for each in block["tx"])


def expected_transaction(told: Mapping[str, Any]) -> UtxoTransaction:
    return UtxoTransaction(
        hash=bytes.fromhex(told["txid"]),
        outpoints=tuple(_outpoint(each) for each in told["vin"] if "coinbase" not in each),
        scripts=tuple(bytes.fromhex(each["scriptPubKey"]["hex"]) for each in told["vout"]),
        amounts=tuple(satoshis(Decimal(each["value"])) for each in told["vout"]),
        making=_making(told),
    )


def _outpoint(spent: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(spent["txid"])[::-1] + int(spent["vout"]).to_bytes(4, "little")


def _making(told: Mapping[str, Any]) -> Making:
    if "coinbase" in told["vin"][0]:
        return Making.COINBASE
    if told["vout"][0]["scriptPubKey"]["type"] == "witness_mweb_hogaddr":
        return Making.PEG_OUT
    return Making.ORDINARY
