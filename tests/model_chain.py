"""A chain for the tests: transactions that come, go and return changed, in blocks that come, go and return."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.chain import COIN, BlockRef
from chainbell.domain.transaction import Origin, TransactionType
from chainbell.tracker.matching import origin_of
from tests.builders import NOW, TOKEN, address, block_hash, on_chain, tx_hash

LOWEST = 100
ADDRESSES = [address(number) for number in range(4)]
ASSETS = [TOKEN, address(90)]


@dataclass(frozen=True)
class Sent:
    """A transaction as it was signed: the same in every block."""

    number: int
    sender: bytes
    nonce: int
    recipient: bytes
    value: int
    may_return: bool

    @property
    def origin(self) -> Origin:
        return Origin(self.sender, self.nonce)


@dataclass(frozen=True)
class Execution:
    """What became of it in one block: whether it failed, and the tokens it moved (asset, from, to, amount)."""

    succeeded: bool
    tokens: Sequence[tuple[int, int, int, int]]


Key = tuple[TransactionType, bytes, bytes, bytes, int]
"""Type, transaction hash, asset, watched address, ordinal there."""


def sides_of(block: ScannedBlock) -> list[tuple[Key, Movement]]:
    """Number both sides of each movement from scratch, in execution order."""
    seen: Counter[tuple[TransactionType, bytes, bytes, bytes]] = Counter()
    found: list[tuple[Key, Movement]] = []
    for moved in block.movements:
        for type_, side in ((TransactionType.TRANSFER, moved.sender), (TransactionType.DEPOSIT, moved.recipient)):
            if side is None:
                continue
            place = (type_, moved.transaction.hash, moved.asset, side)
            found.append(((*place, seen[place]), moved))
            seen[place] += 1
    return found


class ModelChain:
    """Blocks above a root, and every transaction that was ever sent."""

    def __init__(self) -> None:
        self.root = BlockRef(LOWEST, block_hash(LOWEST), block_hash(LOWEST - 1))
        self.blocks: list[ScannedBlock] = []
        self.sent: list[Sent] = []
        self._branch = 0

    @property
    def tip(self) -> BlockRef:
        return self.blocks[-1].ref if self.blocks else self.root

    def find(self, hash_: bytes) -> tuple[ScannedBlock, ChainTransaction] | None:
        """Return where a transaction is on the chain."""
        for block in self.blocks:
            for transaction in block.transactions:
                if transaction.hash == hash_:
                    return block, transaction
        return None

    def rival(self, hash_: bytes, origin: Origin | None) -> tuple[ScannedBlock, ChainTransaction] | None:
        """Return where another transaction has used a nonce."""
        for block in self.blocks:
            for transaction in block.transactions:
                used = origin_of(transaction)
                if transaction.may_return and used == origin and transaction.hash != hash_:
                    return block, transaction
        return None

    def mine(self, wanted: Sequence[tuple[Sent, Execution]]) -> ScannedBlock:
        """Append a block with those of the wanted transactions that this branch can still include."""
        self._branch += 1
        transactions: list[ChainTransaction] = []
        movements: list[Movement] = []
        taken: set[Origin] = set()
        for sent, execution in wanted:
            if sent.origin in taken or self.find(tx_hash(sent.number)) or self._is_spent(sent):
                continue
            taken.add(sent.origin)
            mined = on_chain(
                sent.number,
                sender=sent.sender,
                nonce=sent.nonce,
                succeeded=execution.succeeded,
                may_return=sent.may_return,
            )
            transactions.append(mined)
            movements += _moved(sent, execution, mined)
        height = self.tip.height + 1
        ref = BlockRef(height, block_hash(height, self._branch), self.tip.hash)
        self.blocks.append(ScannedBlock(ref, NOW, tuple(transactions), tuple(movements)))
        return self.blocks[-1]

    def _is_spent(self, sent: Sent) -> bool:
        return sent.may_return and self.rival(tx_hash(sent.number), sent.origin) is not None

    def cut(self, depth: int) -> list[ScannedBlock]:
        """Take the newest blocks off, and return them, newest first."""
        kept = max(0, len(self.blocks) - depth)
        gone = self.blocks[kept:]
        del self.blocks[kept:]
        return gone[::-1]


def _moved(sent: Sent, execution: Execution, mined: ChainTransaction) -> list[Movement]:
    moved: list[Movement] = []
    if sent.value:
        moved.append(Movement(mined, COIN, sent.value, sent.sender, sent.recipient, 0, 0, None))
    if not execution.succeeded:
        return moved
    into: Counter[tuple[bytes, bytes]] = Counter()
    out: Counter[tuple[bytes, bytes]] = Counter()
    for index, (asset, giver, taker, amount) in enumerate(execution.tokens):
        contract, sender, recipient = ASSETS[asset], ADDRESSES[giver], ADDRESSES[taker]
        places = into[contract, recipient], out[contract, sender]
        moved.append(Movement(mined, contract, amount, sender, recipient, *places, index))
        into[contract, recipient] += 1
        out[contract, sender] += 1
    return moved


def again(sent: Sent, number: int, recipient: bytes, value: int) -> Sent:
    """Sign another transaction with the same nonce."""
    return replace(sent, number=number, recipient=recipient, value=value)
