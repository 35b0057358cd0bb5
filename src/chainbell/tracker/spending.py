"""What a transaction of the Bitcoin family moves, once it is known who owns what. Pure.

A transaction names outputs that it spends and outputs that it makes, and no payer: who pays, what is change and what leaves
follows from who owns the outputs on both sides. The movements that come out go the same way as those of any other chain.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chainbell.domain.block import ChainTransaction, Movement
from chainbell.domain.chain import COIN
from chainbell.domain.transaction import SPEND, Transaction, TransactionType
from chainbell.domain.utxo import Making, Prevout, UtxoTransaction, outpoint
from chainbell.domain.watch import Purpose, Watch

MAX_SENDERS = 100
"""Senders that a record names; the ledger of inputs has them all."""


@dataclass(frozen=True, slots=True)
class Maturities:
    """Confirmations that what a block itself creates needs in any case, before it can be spent."""

    coinbase: int
    peg_out: int


@dataclass(frozen=True, slots=True)
class Ours:
    """What of some transactions concerns us, as the database knows it under the chain's lock."""

    watches: Mapping[bytes, Watch]
    """By scriptPubKey."""
    owned: Mapping[bytes, Prevout]
    """Outputs that our ledger knows, by outpoint: those of watched scripts, and what transactions told before spend."""
    told: Mapping[bytes, Sequence[Transaction]]
    """Records of these transactions, by txid."""
    displaced: Mapping[bytes, Sequence[Transaction]]
    """Records in no block that cannot be mined any more, by the txid of the one among these that took their inputs."""
    owing: Mapping[bytes, bytes] = field(default_factory=dict)
    """Who owes the fee of those of these transactions that had no block yet, by txid, as it was decided at first sight."""


@dataclass(frozen=True, slots=True)
class OwnOutput:
    """An output of a watched script, for the ledger."""

    outpoint: bytes
    script: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class SpentOutput:
    """What one input of a tracked transaction spends, for the ledger."""

    outpoint: bytes
    tx_hash: bytes
    prevout: Prevout | None
    """None: it cannot be had."""


@dataclass(frozen=True, slots=True)
class Interpreted:
    """A transaction that concerns us: its movements of value, and its entries in the ledger."""

    transaction: ChainTransaction
    movements: tuple[Movement, ...] = ()
    outputs: tuple[OwnOutput, ...] = ()
    inputs: tuple[SpentOutput, ...] = ()


def concerns(transaction: UtxoTransaction, watches: Mapping[bytes, Watch], owned: Mapping[bytes, Prevout]) -> bool:
    """Tell whether a transaction pays to, or spends from, a watched script."""
    if not watches.keys().isdisjoint(transaction.scripts):
        return True
    # Thousands in each block end here.
    if transaction.prevouts is None and transaction.revealed is None and owned.keys().isdisjoint(transaction.outpoints):
        return False
    return any(script in watches for found in _spendable(transaction, owned) for script in found)


def _spendable(transaction: UtxoTransaction, owned: Mapping[bytes, Prevout]) -> list[tuple[bytes, ...]]:
    """Return for each input the scripts that it may spend from: the one that is known, else those that it reveals.

    What our ledger has from blocks that were checked counts for more than what a node says of it.
    """
    nothing: tuple[None, ...] = (None,) * len(transaction.outpoints)
    revealed = transaction.revealed or ((),) * len(transaction.outpoints)
    found = []
    for spent, prevout, candidates in zip(transaction.outpoints, transaction.prevouts or nothing, revealed, strict=True):
        known = owned.get(spent) or prevout
        found.append(candidates if known is None else (known.script,))
    return found


def interpret(transaction: UtxoTransaction, ours: Ours, maturities: Maturities) -> Interpreted | None:
    """Return what a transaction moves as far as it concerns us; None where it does not at all."""
    told = ours.told.get(transaction.hash, ())
    if not told and not concerns(transaction, ours.watches, ours.owned):
        if transaction.hash not in ours.displaced:
            return None
        return Interpreted(ChainTransaction(transaction.hash, None, None, succeeded=True, fee=0, may_return=True))
    return _Reading(transaction, ours, told).interpreted(maturities)


class _Reading:
    """One transaction, with what is known of its inputs."""

    def __init__(self, transaction: UtxoTransaction, ours: Ours, told: Sequence[Transaction]) -> None:
        self._transaction = transaction
        self._watches = ours.watches
        self._told = told
        self._owing = ours.owing
        nothing: tuple[None, ...] = (None,) * len(transaction.outpoints)
        self._prevouts = [
            ours.owned.get(spent) or prevout
            for spent, prevout in zip(transaction.outpoints, transaction.prevouts or nothing, strict=True)
        ]
        self._told_owners = {record.subject.address: record.subject.account_id for record in self._told_transfers}
        self._spent = [
            next((script for script in found if self._owner(script)), None) for found in _spendable(transaction, ours.owned)
        ]
        spent_by_owner: dict[str, dict[bytes, None]] = defaultdict(dict)
        for script in self._spent:
            if script is not None and (owner := self._owner(script)):
                spent_by_owner[owner][script] = None
        self._payers = {owner: next(iter(scripts)) for owner, scripts in spent_by_owner.items()}
        # Thousands of inputs may meet thousands of outputs: all movements of one owner share one tuple.
        self._spent_beside: dict[bytes, tuple[bytes, ...]] = {}
        for scripts in spent_by_owner.values():
            self._spent_beside |= dict.fromkeys(scripts, tuple(scripts))

    @property
    def _told_transfers(self) -> list[Transaction]:
        return [record for record in self._told if record.subject.type is TransactionType.TRANSFER]

    def _owner(self, script: bytes) -> str | None:
        """Return the account that a script belongs to here: as this transaction told it, though the watch ended or moved."""
        told = self._told_owners.get(script)
        if told is None and (watch := self._watches.get(script)):
            return watch.account_id
        return told

    @property
    def _sole_payer(self) -> bytes | None:
        """Return the first script spent of the one account that owns all inputs; None where several own them."""
        if len(self._payers) != 1 or None in self._spent:
            return None
        return next(iter(self._payers.values()))

    def interpreted(self, maturities: Maturities) -> Interpreted:
        on_chain = self._on_chain(maturities)
        return Interpreted(
            on_chain,
            tuple(self._movements(on_chain)),
            tuple(
                OwnOutput(outpoint(self._transaction.hash, index), script, amount)
                for index, (script, amount) in enumerate(self._outputs())
                if script in self._watches
            ),
            tuple(
                SpentOutput(spent, self._transaction.hash, prevout)
                for spent, prevout in zip(self._transaction.outpoints, self._prevouts, strict=True)
            )
            if self._transaction.making is Making.ORDINARY
            else (),
        )

    def _outputs(self) -> list[tuple[bytes, int]]:
        return list(zip(self._transaction.scripts, self._transaction.amounts, strict=True))

    def _on_chain(self, maturities: Maturities) -> ChainTransaction:
        making = self._transaction.making
        maturity = {Making.COINBASE: maturities.coinbase, Making.PEG_OUT: maturities.peg_out}.get(making, 0)
        fee = self._fee()
        return ChainTransaction(
            hash=self._transaction.hash,
            sender=None if fee is None else self._fee_payer(),
            nonce=None,
            succeeded=True,
            fee=fee or 0,
            may_return=making is Making.ORDINARY,
            maturity=maturity,
        )

    def _fee(self) -> int | None:
        """Return what the inputs hold more than the outputs; None where not all inputs are known, or nobody pays."""
        if self._transaction.making is not Making.ORDINARY or None in self._prevouts:
            return None
        return sum(prevout.amount for prevout in self._prevouts if prevout) - sum(self._transaction.amounts)

    def _fee_payer(self) -> bytes | None:
        """Return who owes the fee: as told at first sight, else the one account that owns all inputs.

        A net amount that was told holds its account's share already, whoever owns the other inputs by now.
        """
        if self._transaction.hash in self._owing:
            return self._owing[self._transaction.hash]
        told = self._told_transfers
        single = min((record for record in told if record.subject.position != SPEND), key=_position, default=None)
        if single is not None:
            return single.subject.address
        return None if any(record.amount for record in told) else self._sole_payer

    def _movements(self, on_chain: ChainTransaction) -> list[Movement]:
        senders = self._senders()
        beside = self._spent_beside
        leaving = [
            Movement(on_chain, COIN, amount, address, recipient, None, position, None, senders, beside.get(address, ()))
            for address, position, recipient, amount in self._leaving()
        ]
        first = senders[0] if senders else None
        arriving = [
            Movement(on_chain, COIN, amount, first, script, index, None, None, senders)
            for index, script, amount in self._arriving()
        ]
        return leaving + arriving

    def _senders(self) -> tuple[bytes | None, ...]:
        if self._transaction.making is not Making.ORDINARY:
            return ()
        found = [
            spent if prevout is None else prevout.script for prevout, spent in zip(self._prevouts, self._spent, strict=True)
        ]
        return tuple(dict.fromkeys(found))[:MAX_SENDERS]

    def _is_change(self, script: bytes) -> bool:
        """Tell whether an output stays with who pays: an address of theirs for change, or one that this spends from."""
        if script in self._spent_beside:
            return True
        watch = self._watches.get(script)
        return watch is not None and watch.purpose is Purpose.CHANGE and watch.account_id in self._payers

    def _arriving(self) -> list[tuple[int, bytes, int]]:
        """Return index, script and amount of each deposit: those told before, and what is none of the payer's change."""
        told = {record.subject.position for record in self._told if record.subject.type is TransactionType.DEPOSIT}
        return [
            (index, script, amount)
            for index, (script, amount) in enumerate(self._outputs())
            if index in told or (amount > 0 and script in self._watches and not self._is_change(script))
        ]

    def _leaving(self) -> list[tuple[bytes, int, bytes | None, int]]:
        """Return sender, position, recipient and amount of each transfer.

        What left was decided by the addresses known at the account's first sight of the transaction; told again, it is
        the same. Where single outputs left, one account owned all that was spent, and no other has a share.
        """
        transfers = self._told_transfers
        found = [
            (record.subject.address, record.subject.position or 0, record.counterparty, record.amount)
            for record in transfers
        ]
        told = {record.subject.account_id for record in transfers}
        if any(record.subject.position != SPEND for record in transfers):
            return found
        for account_id, payer in self._payers.items():
            if account_id not in told:
                found += self._leaving_from(account_id, payer)
        return found

    def _leaving_from(self, account_id: str, payer: bytes) -> list[tuple[bytes, int, bytes | None, int]]:
        if self._sole_payer is None:
            return [(payer, SPEND, None, self._net(account_id))]
        found = [
            (payer, index, script, amount)
            for index, (script, amount) in enumerate(self._outputs())
            if amount > 0 and not self._is_change(script)
        ]
        return [*found] or [(payer, SPEND, None, 0)]

    def _net(self, account_id: str) -> int:
        """Return what an account put in more than it got back as change, where others put in too; never below 0."""
        spent = sum(prevout.amount for prevout in self._prevouts if prevout and self._owner(prevout.script) == account_id)
        back = sum(
            amount for script, amount in self._outputs() if self._owner(script) == account_id and self._is_change(script)
        )
        return max(0, spent - back)


def _position(record: Transaction) -> int:
    return record.subject.position or 0
