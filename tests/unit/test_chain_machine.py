"""The tracker's pure parts as a stateful machine: blocks in, records and events out, compared with the chain itself.

`Book`, `Inclusion` and `matching` run as the tracker's commits run them; what a database would keep between two commits is
a dict here. The oracle reads the model's blocks from scratch and shares no code with the tracker.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chainbell.domain import transaction as domain
from chainbell.domain.block import ScannedBlock
from chainbell.domain.chain import COIN
from chainbell.domain.transaction import ScreeningStatus, Status, Transaction, TransactionEvent, TransactionType
from chainbell.domain.watch import Watch
from chainbell.tracker import matching
from chainbell.tracker.book import Book
from chainbell.tracker.confirmation import ChainView, Policy
from chainbell.tracker.inclusion import Inclusion, Known
from chainbell.tracker.observations import Deepened, Orphaned
from chainbell.tracker.ports import AssetKey, Fee
from tests.builders import CHAIN, NOW, watch
from tests.journal import Journal, allows, is_deep
from tests.model_chain import ADDRESSES, ASSETS, Execution, Key, ModelChain, Sent, again, sides_of

pytestmark = pytest.mark.timeout(3600)
"""The full form takes minutes."""

FACTS = {COIN: matching.AssetFacts("ETH", 18)} | {
    contract: matching.AssetFacts(f"T{number}", 6) for number, contract in enumerate(ASSETS)
}
WATCHES = {watched: watch(watched) for watched in ADDRESSES[:3]}
IDS = {
    AssetKey(WATCHES[ADDRESSES[0]].account_id, contract, facts.symbol, facts.decimals): facts.symbol
    for contract, facts in FACTS.items()
}
IN_NO_BLOCK = {Status.PENDING, Status.PROCESSING, Status.DROPPED, Status.REVERTED}

which = st.integers(0, 3)
tokens = st.lists(st.tuples(st.integers(0, 1), which, which, st.integers(1, 3)), max_size=3)
executions = st.builds(Execution, st.booleans() | st.just(value=True), tokens)
senders = st.tuples(which, which, st.integers(0, 2), st.booleans() | st.just(value=True))
wishes = st.tuples(st.sampled_from(["new", "again", "again", "rival"]), st.integers(0, 9), senders, executions)
Wish = tuple[str, int, tuple[int, int, int, bool], Execution]


def key_of(record: Transaction) -> Key:
    subject = record.subject
    return subject.type, subject.tx_hash, subject.asset, subject.address, subject.position or 0


class Commits(RuleBasedStateMachine):
    """A follower's commits: advances of one or more blocks, retractions, and looks at an unchanged chain."""

    policy: Policy

    def __init__(self) -> None:
        super().__init__()
        self.chain = ModelChain()
        self.cut: list[ScannedBlock] = []
        self.finalized: int | None = None
        self.watches: dict[bytes, Watch] = dict(WATCHES)
        self.records: dict[str, Transaction] = {}
        self.fees: dict[bytes, Fee] = {}
        self.owed: set[Key] = set()
        self.journal = Journal()

    @initialize(depth=st.sampled_from([None, 1, 2, 3, 4]), screening=st.sampled_from([False, False, True]))
    def begin(self, depth: int | None, *, screening: bool) -> None:
        self.policy = Policy(depth, screening)

    @property
    def view(self) -> ChainView:
        return ChainView(self.chain.tip.height, self.finalized)

    # Commits

    @rule(batch=st.lists(st.lists(wishes, max_size=3), min_size=1, max_size=3))
    def advance(self, batch: Sequence[Sequence[Wish]]) -> None:
        """Mine blocks and commit them at once."""
        self._advance([self.chain.mine([self._sent(wish) for wish in block]) for block in batch])

    @precondition(lambda self: self.cut and self.chain.tip.hash == self.cut[-1].ref.parent_hash)
    @rule()
    def return_to_the_old_branch(self) -> None:
        """Go back to the very blocks that were taken back last."""
        blocks = self.cut[::-1]
        self.chain.blocks += blocks
        self.cut = []
        self._advance(blocks)

    @precondition(lambda self: self.chain.blocks)
    @rule(depth=st.integers(1, 6))
    def retract(self, depth: int) -> None:
        """Take blocks back: each record that was in one is told so once, and no other."""
        self.cut = self.chain.cut(depth)
        gone = {block.ref.hash for block in self.cut}
        self.finalized = None if self.finalized is None else min(self.finalized, self.chain.tip.height)
        before = dict(self.records)
        book = Book(self.policy, NOW)
        book.load(before.values())
        for block in self.cut:
            for record in book.records():
                book.apply(record, Orphaned(block.ref.hash))
        self._keep(book)
        expected = {uid: name for uid, record in before.items() if (name := _retraction(record, gone))}
        assert {event.transaction.uid: event.name for event in book.events} == expected
        assert len(book.events) == len(expected)
        for tx, fee in self.fees.items():
            assert (self.chain.find(tx) is None) == (fee.block is None or fee.block.hash in gone)
            if fee.block is not None and fee.block.hash in gone:
                self.fees[tx] = replace(fee, block=None)

    @rule(lag=st.integers(0, 2))
    def look(self, lag: int) -> None:
        """Find the cursor on the node's best chain, and perhaps a newer finalized block."""
        self.finalized = max(self.finalized or 0, self.chain.tip.height - lag)
        self._finish(Book(self.policy, NOW))

    @precondition(lambda self: self.records and self.policy.screening)
    @rule(pick=st.integers(0, 20), status=st.sampled_from([*ScreeningStatus, ScreeningStatus.CLEAR]))
    def screen(self, pick: int, status: ScreeningStatus) -> None:
        """Let screening or an operator change the second field of a record."""
        uid = sorted(self.records)[pick % len(self.records)]
        self.records[uid] = replace(self.records[uid], screening=status)

    @rule(pick=which)
    def watch_or_not(self, pick: int) -> None:
        """Add or remove a watch: it concerns only what is seen for the first time from now on."""
        watched = ADDRESSES[pick]
        if watched in self.watches:
            del self.watches[watched]
        elif watched in WATCHES:
            self.watches[watched] = WATCHES[watched]

    def _sent(self, wish: Wish) -> tuple[Sent, Execution]:
        kind, pick, (sender, recipient, value, may_return), execution = wish
        number, sent = len(self.chain.sent), None
        if self.chain.sent and kind != "new":
            sent = self.chain.sent[pick % number]
        if sent is None:
            sent = Sent(number, ADDRESSES[sender], number, ADDRESSES[recipient], value, may_return)
        elif kind == "rival":
            sent = again(sent, number, ADDRESSES[recipient], value)
        if sent.number == number:
            self.chain.sent.append(sent)
        return sent, execution

    def _advance(self, blocks: list[ScannedBlock]) -> None:
        told = {key_of(record) for record in self.records.values()}
        for block in blocks:
            for key, moved in sides_of(block):
                arrives = key[0] is TransactionType.TRANSFER or moved.transaction.succeeded
                if key not in told and key[3] in self.watches and arrives:
                    self.owed.add(key)
        unpaid = {tx for tx, fee in self.fees.items() if fee.block is None}
        displaced = matching.displaces(blocks, self.records.values())
        known = Known(CHAIN, FACTS, dict(self.watches), list(self.records.values()), unpaid, IDS, displaced)
        first, second = Book(self.policy, NOW), Book(self.policy, NOW)
        fees = Inclusion(known, self.view, NOW).of(blocks, first)
        assert Inclusion(known, self.view, NOW).of(blocks, second) == fees
        assert (first.events, first.changed()) == (second.events, second.changed())
        self._finish(first)
        for fee in fees:
            assert fee.counted_in is None or fee.counted_in in self.records
            assert fee.account_id is not None or fee.tx_hash in unpaid
            self.fees[fee.tx_hash] = fee

    def _finish(self, book: Book) -> None:
        book.load(self.records.values())
        for record in book.records():
            book.apply(record, Deepened(self.view))
        for event in book.events:
            self._is_true(event)
        self._keep(book)

    def _keep(self, book: Book) -> None:
        self.journal.tell(book.events)
        self.records |= {record.uid: record for record in book.changed()}

    def _is_true(self, event: TransactionEvent) -> None:
        """Compare what an advance tells with the chain as it is."""
        record = event.transaction
        if event.name in {"success", "failed", "confirmation", "awaiting_confirmation"}:
            found = self.chain.find(record.subject.tx_hash)
            assert found is not None
            assert event.confirmations == self.chain.tip.height - found[0].ref.height + 1
            settled = is_deep(self.policy, self.view, found[0].ref.height)
            assert settled or event.name not in {"success", "failed"}
        if event.name == "replaced":
            assert record.conflict is not None
            assert is_deep(self.policy, self.view, record.conflict.block.height)
        if event.name == "success":
            assert allows(self.policy, record.screening)

    def teardown(self) -> None:
        """Scan the chain once more with nothing known: what is told now was told before, under the same ids."""
        if not self.chain.blocks or self.policy.screening:
            return
        book, again_told = Book(self.policy, NOW), Journal()
        Inclusion(Known(CHAIN, FACTS, WATCHES, [], set(), IDS, {}), self.view, NOW).of(self.chain.blocks, book)
        for record in book.records():
            book.apply(record, Deepened(self.view))
        shared = [event for event in book.events if event.transaction.uid in self.records]
        again_told.tell([event for event in shared if event.name != "confirmation"])
        assert again_told.ids <= self.journal.ids

    # What always holds

    @invariant()
    def nothing_is_missed_and_nothing_doubled(self) -> None:
        """Every movement that a watched address was owed has exactly one record."""
        assert sorted(map(repr, self.owed)) == sorted(repr(key_of(record)) for record in self.records.values())

    @invariant()
    def every_record_stands_where_the_chain_has_it(self) -> None:
        for record in self.records.values():
            self.journal.agrees(record)
            found = self.chain.find(record.subject.tx_hash)
            if found is None:
                self._is_in_no_block(record)
            else:
                self._is_in(record, found[0])

    def _is_in(self, record: Transaction, block: ScannedBlock) -> None:
        moved = dict(sides_of(block)).get(key_of(record))
        assert record.block == domain.BlockPoint(block.ref.height, block.ref.hash)
        assert record.conflict is None
        assert record.replaced_by is None
        if moved is not None:
            assert (record.amount, record.log_index) == (moved.amount, moved.log_index)
        happened = moved is not None and moved.transaction.succeeded
        assert (record.execution is domain.Execution.SUCCEEDED) == happened
        if not is_deep(self.policy, self.view, block.ref.height):
            assert record.status in {Status.AWAITING_CONFIRMATION, Status.SUCCESS, Status.FAILED}
        elif (happened and not allows(self.policy, record.screening)) or (happened and self.policy.screening):
            assert record.status in {Status.AWAITING_CONFIRMATION, Status.SUCCESS}
        else:
            assert record.status is (Status.SUCCESS if happened else Status.FAILED)

    def _is_in_no_block(self, record: Transaction) -> None:
        assert record.block is None
        assert (record.fee, record.fee_of, record.log_index, record.replaces) == (None, None, None, None)
        rival = self.chain.rival(record.subject.tx_hash, record.origin)
        if not record.may_return:
            assert record.final
            assert record.status in {Status.DROPPED, Status.REVERTED}
        elif rival is None:
            assert record.conflict is None
            assert record.status in IN_NO_BLOCK
        else:
            block, other = rival
            assert record.conflict is not None
            assert (record.conflict.tx_hash, record.conflict.block.hash) == (other.hash, block.ref.hash)
            if is_deep(self.policy, self.view, block.ref.height):
                assert (record.status, record.final, record.replaced_by) == (Status.REPLACED, True, other.hash)

    @invariant()
    def a_fee_is_counted_once(self) -> None:
        """Records show the fee that their own sender paid, all of a transaction in the one record that they name."""
        shown = {record.fee_of for record in self.records.values() if record.fee is not None}
        for record in self.records.values():
            if record.fee is not None:
                fee = self.fees[record.subject.tx_hash]
                assert (record.fee, record.fee_of, record.subject.address) == (fee.amount, fee.counted_in, fee.payer)
        counted = [fee.counted_in for fee in self.fees.values() if fee.counted_in and fee.block is not None]
        assert len(counted) == len(set(counted))
        assert shown == set(counted)


def _retraction(record: Transaction, gone: set[bytes]) -> str | None:
    """Say how a retraction must be told of a record."""
    pending = "pending" if record.subject.type is TransactionType.DEPOSIT else "processing"
    if record.block is not None and record.block.hash in gone:
        if record.status is Status.SUCCESS:
            return "reverted"
        return pending if record.may_return else "dropped"
    lifted = record.conflict is not None and record.conflict.block.hash in gone
    return pending if lifted and record.status is Status.REPLACED else None


Commits.TestCase.settings = settings(stateful_step_count=25)
TestCommits = Commits.TestCase
