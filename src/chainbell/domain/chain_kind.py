"""Which families of chains there are."""

from enum import StrEnum


class ChainKind(StrEnum):
    """The family of protocols that a chain speaks."""

    EVM = "evm"
    UTXO = "utxo"
    """Bitcoin and its relatives: what is paid are outputs of earlier transactions."""
