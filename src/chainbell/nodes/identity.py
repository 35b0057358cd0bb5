"""Which chain a node is of, and whether that is the one it is configured for. Pure."""

from dataclasses import dataclass

from chainbell.domain.chain import ChainDefinition


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a node says it is: EIP-155 chain id, and the hash of block 0."""

    chain_id: int
    genesis_hash: bytes

    def __str__(self) -> str:
        """Words for a message."""
        return f"chain id {self.chain_id} with genesis 0x{self.genesis_hash.hex()}"


def complaint(found: NodeIdentity, definition: ChainDefinition, stored_genesis: bytes | None) -> str | None:
    """Say why a node must not be read for this chain; None when it is the right one.

    ``stored_genesis`` is the genesis of the first start of this database; None when there was none.
    """
    if found.chain_id != definition.chain_id:
        return f"expected chain id {definition.chain_id} ({definition.name}), found {found}"
    if definition.genesis_hash is not None and found.genesis_hash != definition.genesis_hash:
        return f"expected genesis 0x{definition.genesis_hash.hex()} ({definition.name}), found {found}"
    if stored_genesis is not None and found.genesis_hash != stored_genesis:
        return f"this database was started on genesis 0x{stored_genesis.hex()}, found {found}"
    return None
