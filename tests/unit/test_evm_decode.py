"""A block's JSON made into domain types: a real block of anvil, the chains' own dialects, and anything malformed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.block import Movement, ScannedBlock
from chainbell.domain.chain import COIN, BlockCheck
from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.evm.decode import block_ref, block_transactions, scan_block

FILE = Path(__file__).parent.parent / "data/evm_block.json"
SAMPLE: dict[str, Any] = json.loads(FILE.read_text())
"""One block of anvil 1.7.1; the file says what is in it."""
ALL = frozenset(BlockCheck)
TOKEN = bytes.fromhex(SAMPLE["token"][2:])
LISTED = {SAMPLE["token"]: TOKEN}
RECIPIENT = bytes.fromhex(SAMPLE["recipient"][2:])
ACCOUNTS = [bytes.fromhex(account[2:]) for account in SAMPLE["accounts"]]


def sample() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return copy.deepcopy(SAMPLE["block"]), copy.deepcopy(SAMPLE["receipts"])


def scan(block: object, receipts: object, checks: frozenset[BlockCheck] = ALL) -> ScannedBlock:
    return scan_block(block, receipts, LISTED, checks)


def of_transaction(scanned: ScannedBlock, index: int) -> list[Movement]:
    return [m for m in scanned.movements if m.transaction is scanned.transactions[index]]


def lone(changes: dict[str, Any], receipt_changes: dict[str, Any], **header: object) -> ScannedBlock:
    """Scan a block with the first transaction of the sample alone in it, changed."""
    block, receipts = sample()
    block["transactions"] = [block["transactions"][0] | changes]
    block |= header
    return scan(block, [receipts[0] | receipt_changes], frozenset())


def test_reference_and_time() -> None:
    """A block's height, hash, parent and time are the header's."""
    block, receipts = sample()
    scanned = scan(block, receipts)
    assert scanned.ref == block_ref(block)
    assert scanned.ref.height == int(block["number"], 16)
    assert "0x" + scanned.ref.hash.hex() == block["hash"]
    assert "0x" + scanned.ref.parent_hash.hex() == block["parentHash"]
    assert int(scanned.timestamp.timestamp()) == int(block["timestamp"], 16)
    assert scanned.timestamp.tzinfo is not None


def test_all_transactions_are_told() -> None:
    """Every transaction of the block is there, in order, whether it matters or not, with what its sender paid."""
    block, receipts = sample()
    scanned = scan(block, receipts)
    assert [transaction.hash for transaction in scanned.transactions] == block_transactions(block)
    assert [t.succeeded for t in scanned.transactions] == [True, True, False, True, True, True, False, True]
    for transaction, entry, receipt in zip(scanned.transactions, block["transactions"], receipts, strict=True):
        assert transaction.fee == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        assert transaction.nonce == int(entry["nonce"], 16)
        assert "0x" + transaction.sender.hex() == entry["from"]
        assert transaction.may_return


def test_coin_transfer() -> None:
    """A coin transfer is one movement at position 0, without a log."""
    (movement,) = of_transaction(scan(*sample()), 0)
    assert (movement.asset, movement.amount, movement.sender, movement.recipient) == (COIN, 12345, ACCOUNTS[1], RECIPIENT)
    assert (movement.incoming_position, movement.outgoing_position, movement.log_index) == (0, 0, None)
    assert movement.happened


def test_burst_counts_up() -> None:
    """Several transfers of one token to one recipient are told apart by their position; zero amounts do not count."""
    movements = of_transaction(scan(*sample()), 1)
    assert [(m.asset, m.amount, m.recipient) for m in movements] == [(TOKEN, n, RECIPIENT) for n in (5, 7, 5)]
    assert [m.incoming_position for m in movements] == [0, 1, 2]
    assert [m.outgoing_position for m in movements] == [0, 1, 2]
    assert [m.log_index for m in movements] == [0, 2, 3]


def test_positions_are_per_address_and_asset() -> None:
    """A position counts among movements of the same asset at the same address only, on each side by itself."""
    block, receipts = sample()
    other = "0x" + bytes(12).hex() + "bb" * 20
    receipts[1]["logs"][2]["topics"][2] = other
    receipts[1]["logs"][3]["topics"][1] = other
    movements = of_transaction(scan(block, receipts, frozenset()), 1)
    assert [m.incoming_position for m in movements] == [0, 0, 1]
    assert [m.outgoing_position for m in movements] == [0, 1, 0]


def test_coin_and_token_in_one_transaction() -> None:
    """The coin comes before the tokens, and does not count among them."""
    block, receipts = sample()
    block["transactions"][1]["value"] = "0x9"
    movements = of_transaction(scan(block, receipts), 1)
    assert [(m.asset, m.incoming_position, m.outgoing_position) for m in movements] == [
        (COIN, 0, 0),
        *((TOKEN, n, n) for n in range(3)),
    ]


def test_failed_payment_is_kept_but_did_not_happen() -> None:
    """A failed transaction with a coin value keeps that movement, which did not happen."""
    scanned = scan(*sample())
    (movement,) = of_transaction(scanned, 2)
    assert (movement.amount, movement.sender, movement.happened) == (777, ACCOUNTS[2], False)
    assert scanned.transactions[2].fee > 0


def test_contract_creation_pays_the_contract() -> None:
    """The value of a contract creation goes to the created contract."""
    block, receipts = sample()
    (movement,) = of_transaction(scan(block, receipts), 3)
    assert "0x" + movement.recipient.hex() == receipts[3]["contractAddress"]
    assert (movement.amount, movement.happened) == (888, True)


def test_failed_creation_has_the_address_it_would_have_had() -> None:
    """Where a client names no contract for a failed creation, its address is computed, and is the one others name."""
    block, receipts = sample()
    named = of_transaction(scan(block, receipts), 6)
    receipts[6]["contractAddress"] = None
    assert of_transaction(scan(block, receipts), 6) == named
    assert not named[0].happened


def test_successful_creation_needs_its_contract() -> None:
    """A creation with value whose receipt names no contract is refused, not guessed."""
    with pytest.raises(BadAnswerError):
        lone({"to": None}, {"contractAddress": None})


@pytest.mark.parametrize("index", [4, 5])
def test_spoofed_and_unique_tokens_move_nothing(index: int) -> None:
    """Logs of contracts that are not listed are no movements, whatever they say: spoofed tokens, ERC-721."""
    assert of_transaction(scan(*sample()), index) == []


def test_erc721_log_of_a_listed_contract_is_no_amount() -> None:
    """A Transfer with four topics has a token's number, not an amount, also when its contract is listed."""
    block, receipts = sample()
    nft = SAMPLE["nft"]
    scanned = scan_block(block, receipts, LISTED | {nft: bytes.fromhex(nft[2:])}, ALL)
    assert of_transaction(scanned, 5) == []


@pytest.mark.parametrize(
    "change",
    [
        {"topics": []},
        {"topics": ["0x" + "11" * 32, *SAMPLE["receipts"][7]["logs"][0]["topics"][1:]]},
        {"data": "0x"},
        {"data": SAMPLE["receipts"][7]["logs"][0]["data"] + "00" * 32},
        {"topics": [SAMPLE["receipts"][7]["logs"][0]["topics"][0], "0x" + "ff" * 32, "0x" + "00" * 32]},
    ],
    ids=["anonymous", "another event", "no data", "two words", "no address"],
)
def test_other_logs_of_a_listed_token_move_nothing(change: dict[str, Any]) -> None:
    """Only Transfer(address,address,uint256) with two indexed addresses and one word of data is a movement."""
    block, receipts = sample()
    receipts[7]["logs"][0] |= change
    assert of_transaction(scan(block, receipts, frozenset()), 7) == []


def test_contract_is_matched_in_any_case() -> None:
    """A node that writes addresses in mixed case is understood."""
    block, receipts = sample()
    receipts[7]["logs"][0]["address"] = "0x" + SAMPLE["token"][2:].upper()
    assert len(of_transaction(scan(block, receipts), 7)) == 1


def test_failed_transaction_with_logs_is_refused() -> None:
    """A failed transaction that has logs is a contradiction; the block is refused rather than half of it believed."""
    block, receipts = sample()
    receipts[7]["status"] = "0x0"
    with pytest.raises(BadAnswerError, match="failed, and yet has logs"):
        scan(block, receipts)


def test_receipt_without_status_is_refused() -> None:
    """A receipt from before EIP-658 says not whether its transaction succeeded: refused, with the reason."""
    block, receipts = sample()
    receipts[0]["root"] = receipts[0].pop("status")
    with pytest.raises(BadAnswerError, match="EIP-658"):
        scan(block, receipts)


@pytest.mark.parametrize("kind", ["0x7e", "0x64", "0x65", "0x66", "0x68", "0x69", "0x6a", "0x7f"])
def test_system_types_do_not_return(kind: str) -> None:
    """What an L2's block itself creates does not come back when the block is orphaned; a missing nonce is none."""
    (transaction,) = lone({"type": kind, "nonce": None}, {}).transactions
    assert (transaction.may_return, transaction.nonce) == (False, 0)


@pytest.mark.parametrize("kind", ["0x0", "0x1", "0x2", "0x3", "0x4", "0x78", None])
def test_signed_types_return(kind: str | None) -> None:
    """What somebody signed may come back in another block."""
    receipt = {"blobGasUsed": "0x0", "blobGasPrice": "0x1"}
    assert lone({"type": kind}, receipt).transactions[0].may_return


def test_nobody_and_validators_do_not_return() -> None:
    """Polygon's old state-sync (from nobody) and BNB Smart Chain's system transactions do not come back either."""
    assert not lone({"from": "0x" + "00" * 20}, {}).transactions[0].may_return
    sender = SAMPLE["block"]["transactions"][0]["from"]
    assert not lone({"gasPrice": "0x0"}, {}, miner=sender).transactions[0].may_return
    assert lone({"gasPrice": "0x1"}, {}, miner=sender).transactions[0].may_return


def test_signed_transaction_needs_its_nonce() -> None:
    """A signed transaction without a nonce is refused."""
    with pytest.raises(BadAnswerError):
        lone({"nonce": None}, {})


GAS = {"gasUsed": "0x64", "effectiveGasPrice": "0xa"}
"""A fee of 1000 before extras."""
OPERATOR = {"operatorFeeScalar": "0x7a120", "operatorFeeConstant": "0x5"}
JOVIAN = "0x01" + "00" * 16
HOLOCENE = "0x00" + "00" * 8


@pytest.mark.parametrize(
    ("kind", "receipt", "extra", "fee"),
    [
        ("0x2", {}, "0x", 1000),
        ("0x2", {"blobGasUsed": "0x2", "blobGasPrice": "0x3"}, "0x", 1000),
        ("0x3", {"blobGasUsed": "0x2", "blobGasPrice": "0x3"}, "0x", 1006),
        ("0x2", {"l1Fee": "0x7"}, HOLOCENE, 1007),
        ("0x7e", {"l1Fee": None, "effectiveGasPrice": "0x0"}, HOLOCENE, 0),
        ("0x2", {"l1Fee": "0x7"} | OPERATOR, HOLOCENE, 1007 + 100 * 500_000 // 1_000_000 + 5),
        ("0x2", {"l1Fee": "0x7"} | OPERATOR, JOVIAN, 1007 + 100 * 500_000 * 100 + 5),
    ],
    ids=["plain", "DA footprint is no blob", "blobs", "OP data fee", "OP deposit", "Isthmus", "Jovian"],
)
def test_fees(kind: str, receipt: dict[str, Any], extra: str, fee: int) -> None:
    """A fee has everything that its sender paid: gas, blobs, an OP Stack chain's data and operator fees."""
    scanned = lone({"type": kind}, GAS | receipt, extraData=extra)
    assert scanned.transactions[0].fee == fee


def test_fee_without_effective_price() -> None:
    """A node from before EIP-1559 states no effective price; the transaction's own is it then."""
    block, receipts = sample()
    receipts[0].pop("effectiveGasPrice")
    fee = scan(block, receipts).transactions[0].fee
    assert fee == int(receipts[0]["gasUsed"], 16) * int(block["transactions"][0]["gasPrice"], 16)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.from_regex(r"0x[0-9a-f]{0,70}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def paths(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in inner for path in paths(child, (*here, key)))]


PAIR = [SAMPLE["block"], SAMPLE["receipts"]]
PATHS = paths(PAIR)


def changed(value: Any, path: tuple[Any, ...], new: object, *, remove: bool) -> Any:
    """Give a copy of `value` with what is at `path` replaced, or taken out."""
    if not path:
        return new
    result = copy.copy(value)
    if remove and len(path) == 1:
        del result[path[0]]
    else:
        result[path[0]] = changed(value[path[0]], path[1:], new, remove=remove)
    return result


@given(st.sampled_from(PATHS), JSON, st.sampled_from(["replace", "remove"]), st.sampled_from([frozenset[BlockCheck](), ALL]))
def test_any_answer_is_read_or_refused(path: tuple[Any, ...], new: object, how: str, checks: frozenset[BlockCheck]) -> None:
    """Whatever a node answers in whatever place, the block is read or refused with the one documented error."""
    pair = changed(PAIR, path, new, remove=how == "remove")
    block, receipts = pair if isinstance(pair, list) and len(pair) == 2 else (pair, pair)
    try:
        scanned = scan_block(block, receipts, LISTED, checks)
    except BadAnswerError:
        return
    assert len(scanned.ref.hash) == 32
    assert all(len(movement.recipient) == 20 and movement.amount > 0 for movement in scanned.movements)


@given(JSON)
def test_any_header_is_read_or_refused(answer: object) -> None:
    """No JSON at all makes reading a header raise anything but the documented error."""
    for read in (block_ref, block_transactions):
        with pytest.raises(BadAnswerError):
            read(answer)
