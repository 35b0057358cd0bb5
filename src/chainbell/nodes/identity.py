"""Which chain a node is of, and whether that is the one it is configured for. Pure."""

from dataclasses import dataclass

from chainbell.domain.chain import ChainDefinition
from chainbell.domain.chain_kind import ChainKind


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a node says it is: the hash of block 0, and where it has one an EIP-155 chain id."""

    chain_id: int | None
    """None: a chain of the Bitcoin family. What its nodes call it is no help: every fork of Bitcoin is ``main``."""
    genesis_hash: bytes

    def __str__(self) -> str:
        """Words for a message."""
        if self.chain_id is None:
            return f"genesis {self.genesis_hash.hex()}"
        return f"chain id {self.chain_id} with genesis 0x{self.genesis_hash.hex()}"


def complaint(found: NodeIdentity, definition: ChainDefinition, stored_genesis: bytes | None) -> str | None:
    """Say why a node must not be read for this chain; None when it is the right one.

    ``stored_genesis`` is the genesis of the first start of this database; None when there was none.
    """
    written = "0x" if definition.kind is ChainKind.EVM else ""
    if found.chain_id is not None and found.chain_id != definition.chain_id:
        return f"expected chain id {definition.chain_id} ({definition.name}), found {found}"
    if definition.genesis_hash is not None and found.genesis_hash != definition.genesis_hash:
        return f"expected genesis {written}{definition.genesis_hash.hex()} ({definition.name}), found {found}"
    if stored_genesis is not None and found.genesis_hash != stored_genesis:
        return f"this database was started on genesis {written}{stored_genesis.hex()}, found {found}"
    return None
