"""Blocks and transactions of the Bitcoin family, read from their bytes."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.chain import BlockRef
from chainbell.domain.utxo import Making, UtxoTransaction
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.merkle import merkle_root
from chainbell.nodes.utxo.scan import scan_block, scan_transaction
from tests.utxo_bytes import NOTHING, Block, In, Out, Tx, coinbase, merkle, payment, size
from tests.utxo_truth import expected_transactions

DATA = Path(__file__).parents[1] / "data"
MWEB = json.loads((DATA / "litecoin-regtest-mweb.json").read_text())
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a5132"
    "3a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c0101000000010000000000000000000000000000000000000000000000000000000000000000ffff"
    "ffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f"
    "6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a6"
    "7962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
HOGEX = Out(b"\x58\x20" + bytes(32), 100)
AUXPOW_VERSION = 0x620104
PARENT_HEADER = bytes(80)


def proof(parent_coinbase: Tx, *, branch: int = 3, chain_branch: int = 1) -> bytes:
    """Serialise a merge-mining proof: coinbase of the parent, hash of its block, two branches with an index, its header."""
    of_coinbase = size(branch) + bytes(32 * branch) + bytes(4)
    of_chain = size(chain_branch) + bytes(32 * chain_branch) + bytes(4)
    return parent_coinbase.raw + bytes(32) + of_coinbase + of_chain + PARENT_HEADER


def refused(raw: bytes, words: str, *, auxpow: bool = False, mweb: bool = False) -> None:
    with pytest.raises(BadAnswerError, match=rf"^block 7 is malformed: .*{words}"):
        scan_block(raw, 7, auxpow=auxpow, mweb=mweb)


# ---------------------------------------------------------------------------------------------------------- what is told


def test_reads_the_first_block_of_bitcoin() -> None:
    """The genesis block gives the hash, time, txid, key and amount that everybody knows."""
    block = scan_block(GENESIS, 0)
    assert block.ref.hash.hex() == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert (block.ref.height, block.ref.parent_hash) == (0, bytes(32))
    assert block.timestamp == datetime(2009, 1, 3, 18, 15, 5, tzinfo=UTC)
    (only,) = block.transactions
    assert only.hash.hex() == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert (only.outpoints, only.amounts, only.making) == ((), (50 * 10**8,), Making.COINBASE)
    assert only.scripts[0].hex().startswith("4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6")


def test_reads_what_was_written() -> None:
    """A block with and without witnesses gives its transactions in order, with nothing looked for yet."""
    plain, segwit = payment(1, Out(b"\x6a", 0), Out(b"\x00\x14" + bytes(20), 7)), payment(2, witness=(b"sig", b"key"))
    block = Block([coinbase(), plain, segwit])
    scanned = scan_block(block.raw, 900_000)
    assert scanned.ref == BlockRef(900_000, block.hash, block.parent)
    assert scanned.timestamp == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert scanned.transactions == (
        UtxoTransaction(block.transactions[0].txid, (), (b"\x51",), (50 * 10**8,), Making.COINBASE),
        UtxoTransaction(plain.txid, (plain.inputs[0].outpoint,), (b"\x6a", b"\x00\x14" + bytes(20)), (0, 7)),
        UtxoTransaction(segwit.txid, (segwit.inputs[0].outpoint,), (b"\x51",), (2,)),
    )
    assert all(each.prevouts is None and each.revealed is None for each in scanned.transactions)


def test_two_outputs_to_one_script_stay_two() -> None:
    """Equal outputs of one transaction are told each at its own index."""
    twice = payment(1, Out(b"\x51", 5), Out(b"\x51", 5))
    assert scan_block(Block([coinbase(), twice]).raw, 1).transactions[1].amounts == (5, 5)


scripts = st.one_of(st.binary(max_size=80), st.integers(0xFA, 0x102).map(bytes), st.just(bytes(0x10001)))
amounts = st.integers(0, 2**63 - 1)
outputs = st.lists(st.builds(Out, scripts, amounts), min_size=1, max_size=4)
inputs = st.builds(In, st.binary(min_size=36, max_size=36), scripts, st.lists(scripts, max_size=3).map(tuple))
transactions = st.builds(
    Tx,
    st.lists(inputs, min_size=1, max_size=4),
    outputs,
    version=st.binary(min_size=4, max_size=4),
    lock_time=st.binary(min_size=4, max_size=4),
)


@given(st.lists(transactions, max_size=9, unique_by=lambda tx: tx.txid), outputs)
def test_round_trip(payments: list[Tx], rewards: list[Out]) -> None:
    """Whatever a block holds, sizes beyond one byte included, is read as it was written."""
    spent = [one.outpoint for each in payments for one in each.inputs]
    if len({*spent, NOTHING}) <= len(spent):
        return
    block = Block([coinbase(*rewards), *payments])
    scanned = scan_block(block.raw, 5)
    assert scanned.ref.hash == block.hash
    assert scanned.transactions[1:] == tuple(as_domain(each) for each in payments)
    for each in payments:
        assert scan_transaction(each.raw, each.txid) == scan_transaction(each.raw) == as_domain(each)


def as_domain(tx: Tx) -> UtxoTransaction:
    return UtxoTransaction(
        tx.txid,
        tuple(one.outpoint for one in tx.inputs),
        tuple(one.script for one in tx.outputs),
        tuple(one.amount for one in tx.outputs),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 252, 253, 300])
def test_merkle_root_of_any_number(count: int) -> None:
    """The root is right for odd and even levels, and for a count that needs more than one byte."""
    block = Block([coinbase(), *map(payment, range(1, count))])
    assert len(scan_block(block.raw, 1).transactions) == count


# ------------------------------------------------------------------------------------------------------------ what is not


def test_transactions_repeated_at_the_end_are_refused() -> None:
    """Repeating the last ones leaves the merkle root as it was (CVE-2012-2459): such a block is refused, not believed."""
    honest = [coinbase(), payment(1), payment(2)]
    forged = [*honest, honest[-1]]
    assert merkle([one.digest for one in honest]) == merkle([one.digest for one in forged])
    # An input spent twice gives it away first; where nothing is spent twice, the tree does.
    refused(Block(forged).raw, "twice|CVE-2012-2459")
    refused(Block([coinbase(), *map(payment, range(1, 6)), *map(payment, range(4, 6))]).raw, "twice|CVE-2012-2459")


def test_equal_neighbours_anywhere_in_the_tree_are_refused() -> None:
    """The tree itself refuses repetition, at its leaves and above them, and a last one without neighbour is none."""
    leaves = [bytes([number]) * 32 for number in range(6)]
    assert merkle_root(leaves) == merkle(leaves)
    for repeated in ([*leaves[:3], leaves[2]], [*leaves, *leaves[4:]]):
        assert merkle(repeated) == merkle(list(dict.fromkeys(repeated)))
        with pytest.raises(BadAnswerError, match="CVE-2012-2459"):
            merkle_root(repeated)


def test_a_repeated_coinbase_is_refused() -> None:
    """The only transaction, repeated, gives the same root; but a coinbase is first and only first."""
    refused(Block([coinbase(), coinbase()]).raw, "only a coinbase can")


def test_a_wrong_merkle_root_is_refused() -> None:
    """Transactions other than the header's are not believed."""
    block = Block([coinbase(), payment(1)])
    refused(replace(block, root=bytes(32)).raw, "merkle root")
    other = Block([coinbase(), payment(2)], root=merkle([one.digest for one in block.transactions]))
    refused(other.raw, "merkle root")


def test_a_changed_witness_leaves_everything_as_it_is() -> None:
    """Witnesses are not under the merkle root, and nothing of the scan comes from them."""
    one, other = payment(1, witness=(b"one",)), payment(1, witness=(b"another",))
    assert scan_block(Block([coinbase(), one]).raw, 1) == scan_block(Block([coinbase(), other]).raw, 1)


@pytest.mark.parametrize(
    ("transactions", "words"),
    [
        ([], "no transactions"),
        ([payment(1)], "no coinbase"),
        ([payment(1), coinbase()], "no coinbase"),
        ([Tx([In(NOTHING), In(bytes(36))], [Out(b"", 1)])], "no coinbase"),
        ([coinbase(), Tx([In(bytes(36)), In(NOTHING)], [Out(b"", 1)])], "only a coinbase can"),
        ([coinbase(), payment(1, Out(b"", 2)), payment(1)], "spends an output twice"),
        ([coinbase(), Tx([In(bytes(36)), In(bytes(36))], [Out(b"", 1)])], "spends an output twice"),
        ([coinbase(), Tx([In(bytes(36))], [])], "1 inputs and 0 outputs"),
        ([coinbase(), Tx([], [Out(b"", 1)])], ""),
        ([coinbase(), payment(1, Out(b"", 2**63))], "no chain has so much"),
        ([coinbase(), payment(1, Out(b"", 2**64 - 1))], "no chain has so much"),
    ],
)
def test_impossible_transactions_are_refused(transactions: list[Tx], words: str) -> None:
    """A block that no chain can have is refused in words, whatever its merkle root."""
    root = None if transactions else bytes(32)
    refused(Block(transactions, root=root).raw, words)


def test_bytes_after_the_end_are_refused() -> None:
    """What a block does not account for is not passed over; nor is an extension block where none can be."""
    refused(Block([coinbase()], tail=b"\0").raw, "1 bytes after its transactions")
    refused(Block([coinbase()], tail=b"\1mweb").raw, "5 bytes after its transactions", mweb=True)


@pytest.mark.parametrize("raw", [GENESIS, Block([coinbase(), payment(1, witness=(b"key",))]).raw])
def test_every_truncation_is_refused(raw: bytes) -> None:
    """A block cut off anywhere is refused."""
    for length in range(len(raw)):
        refused(raw[:length], "")


@pytest.mark.parametrize(
    "count",
    [
        b"\xff" * 9,
        b"\xff" + (2**63).to_bytes(8, "little"),
        b"\xfe\xff\xff\xff\xff",
        b"\xfe\x01\0\0\x02",
        b"\xfd\xfc\0",
        b"\xfd\1",
    ],
)
def test_impossible_counts_are_refused(count: bytes) -> None:
    """A count beyond all bytes, and one that could have been written shorter, is refused wherever it stands."""
    tx = payment(1, witness=(b"key",))
    whole = tx.raw
    spent = 6 + 1 + 36
    paid = spent + 1 + 4
    for at in (6, spent, paid, paid + 1 + 8, len(whole) - 4 - 5, len(whole) - 4 - 4):
        with pytest.raises(BadAnswerError):
            scan_transaction(whole[:at] + count + whole[at + 1 :])
    refused(Block([coinbase()]).header + count + coinbase().raw, "")


def test_unknown_and_superfluous_data_is_refused() -> None:
    """A flag that nobody defined, and witnesses that are all empty, are no transaction: as the nodes have it."""
    tx = payment(1)
    for flag, rest in ((2, b""), (1, b"\0"), (0, b""), (8, b"\0"), (9, b"\0\0")):
        with pytest.raises(BadAnswerError):
            scan_transaction(tx.version + bytes([0, flag]) + tx.body + rest + tx.lock_time)


def test_another_transaction_than_was_asked_for_is_refused() -> None:
    """Bytes of another transaction, and bytes after one, are refused with the txid that was asked for."""
    with pytest.raises(BadAnswerError, match=f"transaction {'00' * 32} is malformed: the txid of its bytes is"):
        scan_transaction(payment(1).raw, bytes(32))
    with pytest.raises(BadAnswerError, match="1 bytes after it"):
        scan_transaction(payment(1).raw + b"\0")
    with pytest.raises(BadAnswerError, match="end too early"):
        scan_transaction(b"")


def test_a_coinbase_alone() -> None:
    """A coinbase can be read by itself: what spends it asks for it."""
    reward = coinbase(Out(b"\x51", 3))
    assert scan_transaction(reward.raw) == UtxoTransaction(reward.txid, (), (b"\x51",), (3,), Making.COINBASE)


# --------------------------------------------------------------------------------------------------------------- Litecoin


def test_reads_a_block_with_an_extension_block() -> None:
    """A block of litecoind with peg-in, peg-out and extension data is what the node's own JSON says."""
    told = MWEB["block"]
    block = scan_block(bytes.fromhex(MWEB["raw"]), told["height"], mweb=True)
    assert block.ref.hash.hex() == told["hash"]
    assert block.ref.parent_hash.hex() == told["previousblockhash"]
    assert block.timestamp == datetime.fromtimestamp(told["time"], UTC)
    assert block.transactions == expected_transactions(told)
    assert block.transactions[-1].making is Making.PEG_OUT
    with pytest.raises(BadAnswerError):
        scan_block(bytes.fromhex(MWEB["raw"]), told["height"])


def test_reads_what_waits_for_the_extension_block() -> None:
    """A transaction of the extension block alone spends and pays nothing; a peg-in is read without what it carries."""
    (alone, raw_alone), (peg_in, raw_peg_in) = MWEB["waiting"].items()
    txid = bytes.fromhex(alone)
    assert scan_transaction(bytes.fromhex(raw_alone), txid, mweb=True) == UtxoTransaction(txid, (), (), ())
    with pytest.raises(BadAnswerError, match="without its txid"):
        scan_transaction(bytes.fromhex(raw_alone), mweb=True)
    (mined,) = [each for each in expected_transactions(MWEB["block"]) if each.hash.hex() == peg_in]
    assert scan_transaction(bytes.fromhex(raw_peg_in), mined.hash, mweb=True) == mined


def hogex(number: int = 9, *, flagged: bool = True) -> Tx:
    return replace(payment(number, HOGEX, Out(b"\x51", 1)), extension=b"\0" if flagged else b"")


def test_a_hogex_alone() -> None:
    """A HogEx can be read by itself, and is known by its flag."""
    assert scan_transaction(hogex().raw, mweb=True).making is Making.PEG_OUT


def test_a_hogex_is_known_where_the_node_leaves_extension_data_out() -> None:
    """With -rpcserialversion=1 neither flag nor extension block is there: the balance output tells."""
    bare = Block([coinbase(), payment(1), hogex(flagged=False)])
    assert [each.making for each in scan_block(bare.raw, 1, mweb=True).transactions] == [
        Making.COINBASE,
        Making.ORDINARY,
        Making.PEG_OUT,
    ]
    assert scan_block(bare.raw, 1).transactions[-1].making is Making.ORDINARY


@pytest.mark.parametrize(
    ("tail", "fits"),
    [(b"\0", True), (b"\1rest", True), (b"", False), (b"\1", False), (b"\0rest", False), (b"\2rest", False)],
)
def test_what_follows_a_hogex(tail: bytes, *, fits: bool) -> None:
    """After a HogEx comes the extension block or a 00, and nothing else."""
    raw = Block([coinbase(), hogex()], tail=tail).raw
    if fits:
        assert scan_block(raw, 7, mweb=True).transactions[-1].making is Making.PEG_OUT
    else:
        refused(raw, "", mweb=True)


def test_extension_data_in_the_wrong_place_is_refused() -> None:
    """Only the last of several transactions may be a HogEx, and no transaction of a block carries extension data."""
    refused(Block([coinbase(), hogex(), payment(1)], tail=b"\0").raw, "only a HogEx at the end", mweb=True)
    refused(Block([replace(coinbase(), extension=b"\0")], tail=b"\0").raw, "only a HogEx at the end", mweb=True)
    refused(Block([coinbase(), replace(payment(1), extension=b"\1data")]).raw, "only a HogEx at the end", mweb=True)
    refused(Block([coinbase(), replace(payment(1), extension=b"\2")]).raw, "neither no nor yes", mweb=True)


# --------------------------------------------------------------------------------------------------------------- Dogecoin


@pytest.mark.parametrize("parent", [coinbase(), Tx([In(NOTHING, b"\xfa\xbemm" + bytes(40))], [Out(b"\x51", 1)])])
@pytest.mark.parametrize(("branch", "chain_branch"), [(0, 0), (12, 5), (300, 1)])
def test_reads_a_merge_mined_block(parent: Tx, branch: int, chain_branch: int) -> None:
    """A merge-mined block has a proof after its header, which its hash does not cover; the rest is as ever."""
    plain = Block([coinbase(), payment(1)], version=AUXPOW_VERSION)
    mined = replace(plain, proof=proof(parent, branch=branch, chain_branch=chain_branch))
    scanned = scan_block(mined.raw, 371_337, auxpow=True)
    assert scanned.ref.hash == plain.hash
    assert [each.hash for each in scanned.transactions] == [each.txid for each in plain.transactions]


def test_only_a_merge_mined_chain_has_proofs() -> None:
    """Elsewhere miners roll that bit of the version; and without it a merge-mined chain's block has no proof."""
    rolled = Block([coinbase()], version=0x20000100)
    assert scan_block(rolled.raw, 1).ref.hash == rolled.hash
    refused(rolled.raw, "", auxpow=True)
    early = Block([coinbase()], version=1)
    assert scan_block(early.raw, 1, auxpow=True).ref.hash == early.hash


def test_a_broken_proof_is_refused() -> None:
    """A proof that is cut off, or whose branch claims to be endless, is refused."""
    whole = proof(coinbase())
    for broken in (
        b"",
        whole[:-1],
        whole[:100],
        coinbase().raw + bytes(32) + b"\xff" * 9,
        coinbase().raw + bytes(32) + b"\xfe\xff\xff\0\1",
    ):
        refused(Block([coinbase()], version=AUXPOW_VERSION, proof=broken).raw, "", auxpow=True)
