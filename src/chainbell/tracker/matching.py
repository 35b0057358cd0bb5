"""Which records a block makes or touches. Pure: everything that is looked up in the database is passed in."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chainbell.domain.block import ChainTransaction, Movement, ScannedBlock
from chainbell.domain.identity import movement_uid
from chainbell.domain.transaction import (
    BlockPoint,
    Chain,
    Execution,
    Origin,
    Subject,
    Transaction,
    TransactionType,
)
from chainbell.domain.watch import Watch
from chainbell.tracker.confirmation import ChainView
from chainbell.tracker.observations import Included
from chainbell.tracker.ports import AssetKey, Fee


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """What a chain's definition says of an asset."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a movement: a deposit into its recipient or a transfer out of its sender."""

    type: TransactionType
    address: bytes
    position: int
    counterparty: bytes | None
    """None: the chain itself created what arrived, or nobody in particular is known."""

    def uid(self, caip2: str, movement: Movement) -> str:
        """Return the id of the record of this side."""
        return movement_uid(self.type, caip2, movement.transaction.hash, movement.asset, self.address, self.position)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A watched side of a movement: the record it belongs to, whether that is there already or not."""

    uid: str
    side: Side
    movement: Movement
    watch: Watch


def sides(movement: Movement) -> Iterator[Side]:
    """Yield the sides of a movement: the payer, where there is one, is told too, also when both are the same address."""
    if movement.sender is not None and movement.outgoing_position is not None:
        yield Side(TransactionType.TRANSFER, movement.sender, movement.outgoing_position, movement.recipient)
    if movement.recipient is not None and movement.incoming_position is not None:
        yield Side(TransactionType.DEPOSIT, movement.recipient, movement.incoming_position, movement.sender)


def addresses(blocks: Sequence[ScannedBlock]) -> set[bytes]:
    """Return every address whose watch would matter to these blocks: both sides of movements, and who paid fees."""
    found = {payer for block in blocks for transaction in block.transactions if (payer := transaction.sender) is not None}
    for block in blocks:
        for movement in block.movements:
            found.update(side.address for side in sides(movement))
    return found


def hashes(blocks: Sequence[ScannedBlock]) -> set[bytes]:
    """Return the hash of every transaction in these blocks."""
    return {transaction.hash for block in blocks for transaction in block.transactions}


def origins(blocks: Sequence[ScannedBlock]) -> dict[Origin, ChainTransaction]:
    """Return who used which nonce in these blocks; what a block itself creates uses none."""
    return {
        origin: transaction
        for block in blocks
        for transaction in block.transactions
        if transaction.may_return and (origin := origin_of(transaction)) is not None
    }


def origin_of(transaction: ChainTransaction) -> Origin | None:
    """Return the sender and nonce of a transaction; None on UTXO chains."""
    if transaction.sender is None or transaction.nonce is None:
        return None
    return Origin(transaction.sender, transaction.nonce)


def displaces(blocks: Sequence[ScannedBlock], records: Collection[Transaction]) -> Mapping[bytes, Sequence[str]]:
    """Return, by transaction in these blocks, the records of other transactions whose nonce it used."""
    found: dict[bytes, list[str]] = defaultdict(list)
    used = origins(blocks)
    for record in sorted(records, key=lambda record: record.uid):
        taker = None if record.origin is None else used.get(record.origin)
        if taker is not None and taker.hash != record.subject.tx_hash:
            found[taker.hash].append(record.uid)
    return found


def sightings(block: ScannedBlock, caip2: str, watches: Mapping[bytes, Watch]) -> list[Sighting]:
    """Return what watched addresses sent or received in a block, in the block's order.

    A movement that did not happen is a failed transfer of its sender, and no deposit at all.
    """
    found = []
    for movement in block.movements:
        for side in sides(movement):
            watch = watches.get(side.address)
            if watch is None or (side.type is TransactionType.DEPOSIT and not movement.happened):
                continue
            found.append(Sighting(side.uid(caip2, movement), side, movement, watch))
    return found


def asset_key(sighting: Sighting, assets: Mapping[bytes, AssetFacts]) -> AssetKey:
    """Return the asset of the account that a sighting needs."""
    facts = assets[sighting.movement.asset]
    return AssetKey(sighting.watch.account_id, sighting.movement.asset, facts.symbol, facts.decimals)


def newborn(sighting: Sighting, chain: Chain, asset: AssetKey, asset_id: str, now: datetime) -> Transaction:
    """Return the record of something seen for the first time; account, customer and label stay those of this moment."""
    movement = sighting.movement
    return Transaction(
        uid=sighting.uid,
        subject=Subject(
            type=sighting.side.type,
            chain=chain,
            tx_hash=movement.transaction.hash,
            asset=movement.asset,
            symbol=asset.symbol,
            decimals=asset.decimals,
            address=sighting.side.address,
            position=sighting.side.position,
            account_id=sighting.watch.account_id,
            asset_id=asset_id,
            customer_id=sighting.watch.customer_id,
            label=sighting.watch.label,
        ),
        amount=movement.amount,
        counterparty=sighting.side.counterparty,
        origin=origin_of(movement.transaction),
        may_return=movement.transaction.may_return,
        senders=movement.senders,
        maturity=movement.transaction.maturity,
        created_at=now,
        updated_at=now,
    )


def fees(  # noqa: PLR0913 - what a block is matched against
    block: ScannedBlock,
    caip2: str,
    watches: Mapping[bytes, Watch],
    unpaid: Collection[bytes],
    told: Collection[Transaction],
    assets: Collection[bytes],
) -> dict[bytes, Fee]:
    """Return what watched senders paid in a block, by transaction hash, also where nothing else moved.

    ``unpaid`` are entries that no block has (any more): they are paid even when their sender is watched no more. ``told``
    are the records that are there already of these transactions; only movements of ``assets`` get new ones.
    """
    counted_in = _counted_in(block, caip2, watches, told, assets)
    point = BlockPoint(block.ref.height, block.ref.hash)
    found = {}
    for transaction in block.transactions:
        if transaction.sender is None:
            continue
        watch = watches.get(transaction.sender)
        if watch is not None or transaction.hash in unpaid:
            account_id = None if watch is None else watch.account_id
            found[transaction.hash] = Fee(
                transaction.hash,
                transaction.sender,
                account_id,
                transaction.fee,
                point,
                counted_in.get(transaction.hash),
            )
    return found


def _counted_in(
    block: ScannedBlock,
    caip2: str,
    watches: Mapping[bytes, Watch],
    told: Collection[Transaction],
    assets: Collection[bytes],
) -> dict[bytes, str]:
    """Return the one record that each fee is counted in: that of the payer's first movement which has a record at all.

    A transaction that came back without it keeps its fee in the record that was told before.
    """
    uids = {record.uid for record in told}
    hashes_told = {record.subject.tx_hash for record in told}
    found: dict[bytes, str] = {}
    for movement in block.movements:
        payer, tx_hash = movement.transaction.sender, movement.transaction.hash
        paying = payer is not None and movement.sender == payer and movement.outgoing_position is not None
        if paying and (payer in watches or tx_hash in hashes_told):
            uid = next(sides(movement)).uid(caip2, movement)
            if (payer in watches and movement.asset in assets) or uid in uids:
                found.setdefault(tx_hash, uid)
    payers = {transaction.hash: transaction.sender for transaction in block.transactions}
    for record in sorted(told, key=lambda record: record.uid):
        subject = record.subject
        if subject.type is TransactionType.TRANSFER and payers.get(subject.tx_hash) == subject.address:
            found.setdefault(subject.tx_hash, record.uid)
    return found


def inclusion(  # noqa: PLR0913 - what a block says of a record, and what stands around it
    record: Transaction,
    block: ScannedBlock,
    movement: Movement,
    fee: Fee | None,
    replaces: bytes | None,
    view: ChainView,
) -> Included:
    """Return the inclusion of a record by a block that makes its movement, or tried to."""
    is_transfer = record.subject.type is TransactionType.TRANSFER
    shown = _shown(record, fee)
    return Included(
        block=BlockPoint(block.ref.height, block.ref.hash),
        execution=Execution.SUCCEEDED if movement.happened else Execution.REVERTED,
        amount=movement.amount,
        counterparty=movement.recipient if is_transfer else movement.sender,
        log_index=movement.log_index,
        fee=None if shown is None else shown.amount,
        fee_of=None if shown is None else shown.counted_in,
        replaces=replaces,
        view=view,
        senders=movement.senders,
    )


def absence(  # noqa: PLR0913 - as `inclusion`
    record: Transaction,
    block: ScannedBlock,
    on_chain: ChainTransaction,
    fee: Fee | None,
    replaces: bytes | None,
    view: ChainView,
) -> Included:
    """Return the inclusion of a record whose transaction came back, but does not move its value any more."""
    shown = _shown(record, fee)
    return Included(
        block=BlockPoint(block.ref.height, block.ref.hash),
        execution=Execution.ABSENT if on_chain.succeeded else Execution.REVERTED,
        amount=record.amount,
        counterparty=record.counterparty,
        log_index=None,
        fee=None if shown is None else shown.amount,
        fee_of=None if shown is None else shown.counted_in,
        replaces=replaces,
        view=view,
    )


def _shown(record: Transaction, fee: Fee | None) -> Fee | None:
    """Return the fee as a record shows it: a transfer shows what its own sender paid."""
    if fee is None or record.subject.type is not TransactionType.TRANSFER or fee.payer != record.subject.address:
        return None
    return fee
