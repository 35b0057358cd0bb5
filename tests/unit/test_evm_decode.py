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
        assert transaction.sender == bytes.fromhex(entry["from"][2:])
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
    assert movement.recipient == bytes.fromhex(receipts[3]["contractAddress"][2:])
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


# What layer 1 deposits


def deposited(
    kind: str, receipt: dict[str, Any], **changes: object
) -> list[tuple[int, bytes | None, bytes | None, int | None, int | None, bool]]:
    """Give the movements of a block's only transaction, a deposit of this type."""
    scanned = lone({"type": kind, "nonce": None} | changes, {"logs": []} | receipt)
    assert all(moved.asset == COIN and moved.log_index is None for moved in scanned.movements)
    return [
        (moved.amount, moved.sender, moved.recipient, moved.incoming_position, moved.outgoing_position, moved.happened)
        for moved in scanned.movements
    ]


L1_SENDER, L1_RECIPIENT = ACCOUNTS[1], RECIPIENT


def test_a_mint_comes_first_and_from_nobody() -> None:
    """An OP Stack deposit credits its sender before it moves its value on."""
    assert deposited("0x7e", {}, mint="0x9", value="0x5") == [
        (9, None, L1_SENDER, 0, 0, True),
        (5, L1_SENDER, L1_RECIPIENT, 0, 0, True),
    ]
    assert deposited("0x7e", {}, mint="0x9", value="0x0") == [(9, None, L1_SENDER, 0, 0, True)]


def test_a_bridge_to_oneself_arrives_twice_and_leaves_once() -> None:
    """Mint and value are two incoming movements of one address, told apart by position: plus, minus and plus."""
    itself = "0x" + L1_SENDER.hex()
    moved = deposited("0x7e", {}, mint="0x7", value="0x5", to=itself)
    assert moved == [(7, None, L1_SENDER, 0, 0, True), (5, L1_SENDER, L1_SENDER, 1, 0, True)]
    balance = sum(amount * ((into == L1_SENDER) - (out == L1_SENDER)) for amount, out, into, *_ in moved)
    assert balance == 7 - 5 + 5


def test_a_mint_stays_when_its_call_fails() -> None:
    """The credit of a failed deposit happened; its value was not moved."""
    assert deposited("0x7e", {"status": "0x0"}, mint="0x9", value="0x5") == [
        (9, None, L1_SENDER, 0, 0, True),
        (5, L1_SENDER, L1_RECIPIENT, 0, 0, False),
    ]


@pytest.mark.parametrize("mint", [None, "0x0"])
def test_no_mint_is_no_movement(mint: str | None) -> None:
    """A deposit that mints nothing only moves its value."""
    assert deposited("0x7e", {}, mint=mint, value="0x5") == [(5, L1_SENDER, L1_RECIPIENT, 0, 0, True)]


def test_an_arbitrum_deposit_mints_its_value() -> None:
    """Its sender, the alias of a layer 1 account, is credited with what goes on to the recipient."""
    assert deposited("0x64", {}, value="0x5") == [
        (5, None, L1_SENDER, 0, 0, True),
        (5, L1_SENDER, L1_RECIPIENT, 0, 0, True),
    ]
    assert deposited("0x64", {}, value="0x0") == []


@pytest.mark.parametrize("kind", ["0x0", "0x2", "0x65", "0x68", "0x69", "0x7f"])
def test_only_deposits_mint(kind: str) -> None:
    """A member of that name in a transaction of another type creates nothing."""
    scanned = lone({"type": kind, "mint": "0x9"}, {"logs": []})
    assert [moved.sender for moved in scanned.movements] == [L1_SENDER]


def test_a_malformed_mint_is_refused() -> None:
    """It is read as strictly as any other amount."""
    with pytest.raises(BadAnswerError):
        deposited("0x7e", {}, mint="9", value="0x5")


# Anything malformed

BIG = [2**31, 2**53, 2**60, 2**63, 2**64, 10**20, 10**78 // 2**20, 2**256 - 1, 2**256]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.from_regex(r"0x[0-9a-f]{0,70}")
    | (st.sampled_from(BIG) | st.integers(0, 2**256)).map(hex),
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
    assert_storable(scanned)


def assert_storable(scanned: ScannedBlock) -> None:
    """What was read fits into what the database has for it."""
    assert len(scanned.ref.hash) == 32
    assert 0 <= scanned.ref.height < 2**63
    assert scanned.timestamp.tzinfo is not None
    for transaction in scanned.transactions:
        assert len(transaction.sender or b"") == 20
        assert 0 <= (transaction.nonce or 0) < 2**64
        assert 0 <= transaction.fee < 10**78
    for movement in scanned.movements:
        assert len(movement.recipient or b"") == 20
        assert 0 < movement.amount < 2**256
        assert movement.log_index is None or movement.log_index < 2**31


def read_or_refused(pair: Any) -> bool:
    try:
        assert_storable(scan(pair[0], pair[1], frozenset()))
    except BadAnswerError:
        return False
    return True


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


EXTRAS = ("blobGasUsed", "blobGasPrice", "l1Fee", "operatorFeeScalar", "operatorFeeConstant", "depositNonce")
PLAIN = [
    SAMPLE["block"] | {"transactions": [SAMPLE["block"]["transactions"][0] | {"mint": "0x1"}]},
    [SAMPLE["receipts"][0] | dict.fromkeys(EXTRAS, "0x1")],
]
"""Small, and with the members that other chains and transactions add."""


@pytest.mark.parametrize("number", BIG, ids=hex)
@pytest.mark.parametrize("kind", ["0x2", "0x3", "0x7e"])
def test_big_numbers_in_any_place_are_read_or_refused(kind: str, number: int) -> None:
    """No quantity, however big, gets further than it can be stored, alone or where it is multiplied."""
    plain = changed(PLAIN, (0, "transactions", 0, "type"), kind, remove=False)
    assert read_or_refused(plain)
    for path in paths(plain):
        if isinstance(at(plain, path), str):
            read_or_refused(changed(plain, path, hex(number), remove=False))
    everywhere = plain
    for name in ("gasUsed", "effectiveGasPrice", "blobGasUsed", "blobGasPrice", "operatorFeeScalar", "operatorFeeConstant"):
        everywhere = changed(everywhere, (1, 0, name), hex(number), remove=False)
    read_or_refused(everywhere)


@pytest.mark.parametrize(
    ("place", "limit"),
    [
        ((0, "number"), 2**63),
        ((0, "timestamp"), 253402300800),
        ((0, "transactions", 0, "nonce"), 2**64),
    ],
    ids=["height", "timestamp", "nonce"],
)
def test_limits(place: tuple[Any, ...], limit: int) -> None:
    """The greatest number that can be kept is read, and one more is refused."""
    for number, fits in ((limit - 1, True), (limit, False)):
        pair = changed(PLAIN, place, hex(number), remove=False)
        pair = changed(pair, (1, 0, "blockNumber"), pair[0]["number"], remove=False)
        pair = changed(pair, (1, 0, "depositNonce"), None, remove=False)
        assert read_or_refused(pair) is fits


def test_a_fee_that_nobody_could_pay_is_refused() -> None:
    """Its digits end where the database's do."""
    assert lone({}, {"gasUsed": "0x1", "effectiveGasPrice": hex(10**77)}).transactions[0].fee == 10**77
    with pytest.raises(BadAnswerError, match="fee"):
        lone({}, {"gasUsed": "0xa", "effectiveGasPrice": hex(10**77)})


@given(JSON)
def test_any_header_is_read_or_refused(answer: object) -> None:
    """No JSON at all makes reading a header raise anything but the documented error."""
    for read in (block_ref, block_transactions):
        with pytest.raises(BadAnswerError):
            read(answer)
