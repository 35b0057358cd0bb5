"""Identities: golden vectors, and no two identities with the same bytes."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.chain import COIN
from chainbell.domain.identity import canonical, event_id, movement_uid
from chainbell.domain.transaction import SPEND, TransactionType

HASH = bytes.fromhex("5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060")
"""The first transaction on Ethereum that moved value."""
USDT = bytes.fromhex("dac17f958d2ee523a2206206994597c13d831ec7")
ADDRESS = bytes.fromhex("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
BLOCK = bytes.fromhex("88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6")
UID = "trx_j4roobpmi3rbnkcqqjal3ukolu"

BITCOIN = "bip122:000000000019d6689c085ae165831e93"
PIZZA = bytes.fromhex("a1075db55d416d3ca199f55b6084e2115b9345e16c5cf302fc80e9d5fbf5d48d")
"""txid of the first payment for goods on Bitcoin, as it is written."""
SCRIPT = bytes.fromhex("76a91446af3fb481837fadbb421727f9959c2d32a3682988ac")
"""scriptPubKey of its output."""

Identity = tuple[TransactionType, str, bytes, bytes, bytes, int]

MOVEMENTS: list[tuple[str, Identity]] = [
    ("trx_rsrlddm26gkwoqtpzzkl7z3yde", (TransactionType.DEPOSIT, "eip155:1", HASH, COIN, ADDRESS, 0)),
    ("trx_j4roobpmi3rbnkcqqjal3ukolu", (TransactionType.DEPOSIT, "eip155:1", HASH, USDT, ADDRESS, 0)),
    ("trx_pjd23uct2x22uawrjzodllcmdi", (TransactionType.DEPOSIT, "eip155:1", HASH, USDT, ADDRESS, 1)),
    ("trx_el2gzwibocwtkb3xytmgjkg6xq", (TransactionType.DEPOSIT, "eip155:1", HASH, USDT, ADDRESS, 10)),
    ("trx_cpqxrdf2ci4ieotm73lwamq5ga", (TransactionType.DEPOSIT, "eip155:137", HASH, USDT, ADDRESS, 0)),
    ("trx_d4e2hra6fxg5nuc24crpdyx3ra", (TransactionType.TRANSFER, "eip155:1", HASH, COIN, ADDRESS, 0)),
    ("trx_pfllcrg3kswpaywftk4yqntk5m", (TransactionType.TRANSFER, "eip155:1", HASH, USDT, ADDRESS, 0)),
    ("trx_qf7umi33dpshdqkegyreadhgzm", (TransactionType.TRANSFER, "eip155:1", HASH, USDT, ADDRESS, 12)),
    ("trx_724fp3cmuv3mr54frkdhjabxti", (TransactionType.DEPOSIT, BITCOIN, PIZZA, COIN, SCRIPT, 0)),
    ("trx_yieeu4ucwgnbjzw7r3dekswr6u", (TransactionType.DEPOSIT, BITCOIN, PIZZA, COIN, SCRIPT, 1)),
    ("trx_4sz5bmssiwotornb7yocokvcwa", (TransactionType.TRANSFER, BITCOIN, PIZZA, COIN, SCRIPT, 1)),
    ("trx_cuowismo2pgzyrswxa6uokzc5a", (TransactionType.TRANSFER, BITCOIN, PIZZA, COIN, SCRIPT, SPEND)),
]

Telling = tuple[str, tuple[bytes, ...], int]

EVENTS: list[tuple[str, Telling]] = [
    ("evt_uquanckkdzostprpy7mmn2zf6m", ("transaction.deposit.created", (), 0)),
    ("evt_d4grtzmograsxchnr3xnjvv74q", ("transaction.deposit.awaiting_confirmation", (BLOCK,), 0)),
    ("evt_edohudyghw2f34xrq7xth5gzxi", ("transaction.deposit.awaiting_confirmation", (BLOCK,), 1)),
    ("evt_fvl2ch5reeor62ckami7okvl5m", ("transaction.deposit.confirmation", (BLOCK, b"2"), 0)),
    ("evt_f5mxsb3qvjzwkqz6qo5e74qdcu", ("transaction.deposit.success", (BLOCK,), 0)),
    ("evt_kpakdj3flt23jriihrdhmm4dde", ("transaction.deposit.reverted", (BLOCK,), 0)),
    ("evt_rm5fkey7hgd6bzj6ta7zhxbjli", ("transaction.deposit.pending", (BLOCK,), 0)),
    ("evt_xday3oagvrfxstdi2hkxmkleo4", ("transaction.deposit.pending", (b"0",), 0)),
    ("evt_efqpyltzotyf6pvsdmb4c4d6re", ("transaction.deposit.dropped", (b"3",), 0)),
    ("evt_q2kalp3vgyzsxbk2vtr5wdq32q", ("transaction.transfer.replaced", (HASH,), 0)),
    ("evt_rlm5y5kla3wbju67cvos33ummi", ("transaction.transfer.replaced", (BLOCK,), 0)),
    ("evt_kqo36wpfhx2ny77zqrg52qjpaa", ("transaction.transfer.failed", (BLOCK,), 2)),
]


def plain_id(prefix: str, parts: list[bytes]) -> str:
    """Derive an id as DESIGN section 5 says, by nothing of chainbell."""
    told = b""
    for part in parts:
        told += bytes([len(part) >> 24 & 255, len(part) >> 16 & 255, len(part) >> 8 & 255, len(part) & 255]) + part
    first_128_bits = hashlib.sha256(told).hexdigest()[:32]
    return prefix + base64.b32encode(bytes.fromhex(first_128_bits)).decode().lower()[:26]


@pytest.mark.parametrize(("frozen", "identity"), MOVEMENTS)
def test_a_movement_has_its_frozen_uid(frozen: str, identity: Identity) -> None:
    """The uid of a movement is the one that was frozen, and that a plain re-implementation derives."""
    type_, caip2, tx_hash, asset, address, position = identity
    place = "spend" if position < 0 else str(position)
    parts = [type_.value.encode(), caip2.encode(), tx_hash, asset, address, place.encode()]
    assert movement_uid(*identity) == plain_id("trx_", parts) == frozen


@pytest.mark.parametrize(("frozen", "telling"), EVENTS)
def test_an_event_has_its_frozen_id(frozen: str, telling: Telling) -> None:
    """The id of an event is the one that was frozen, for each kind of occasion."""
    type_, occasion, repeat = telling
    parts = [UID.encode(), type_.encode(), *occasion, str(repeat).encode()]
    assert event_id(UID, *telling) == plain_id("evt_", parts) == frozen


def test_vectors_are_all_different() -> None:
    """No two of the vectors share an id."""
    ids = [frozen for frozen, _ in MOVEMENTS] + [frozen for frozen, _ in EVENTS]
    assert len(set(ids)) == len(ids)


def test_canonical_bytes_are_frozen() -> None:
    """Each part is preceded by its length as four bytes, big-endian; nothing is between, before or after."""
    assert canonical([]) == b""
    assert canonical([b"ab", b"", b"c"]) == b"\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c"
    assert canonical([bytes(300)])[:4] == b"\x00\x00\x01\x2c"


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_different_parts_never_have_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    """Canonical bytes can be read back, so no two identities share them by concatenation."""
    assert (canonical(one) == canonical(other)) == (one == other)


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_canonical_bytes_can_be_read_back(parts: list[bytes]) -> None:
    """A reader that knows nothing but the rule finds the parts again."""
    rest, found = canonical(parts), []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        found.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    assert found == parts


identities = st.tuples(
    st.sampled_from([TransactionType.DEPOSIT, TransactionType.TRANSFER]),
    st.sampled_from(["eip155:1", "eip155:11", "eip155:10"]),
    st.sampled_from([HASH, BLOCK]),
    st.sampled_from([COIN, USDT]),
    st.sampled_from([ADDRESS, USDT]),
    st.integers(0, 11),
)


@given(identities, identities)
def test_one_fact_has_one_uid(one: Identity, other: Identity) -> None:
    """Two identities have the same uid exactly when they are the same."""
    assert (movement_uid(*one) == movement_uid(*other)) == (one == other)


occasions = st.lists(st.sampled_from([b"", b"0", b"1", BLOCK, HASH]), max_size=3).map(tuple)
tellings = st.tuples(st.sampled_from(["transaction.deposit.success", "transaction.deposit.failed"]), occasions)


@given(st.tuples(tellings, st.integers(0, 3)), st.tuples(tellings, st.integers(0, 3)))
def test_one_occasion_has_one_event_id(
    one: tuple[tuple[str, tuple[bytes, ...]], int], other: tuple[tuple[str, tuple[bytes, ...]], int]
) -> None:
    """An occasion of two parts is never taken for one of one part with another repeat."""
    first, second = event_id(UID, *one[0], one[1]), event_id(UID, *other[0], other[1])
    assert (first == second) == (one == other)


@given(identities)
def test_an_id_is_26_characters_of_lower_case_base32(identity: Identity) -> None:
    """128 bits in base32 without padding."""
    prefix, _, rest = movement_uid(*identity).partition("_")
    assert prefix == "trx"
    assert len(rest) == 26
    assert set(rest) <= set("abcdefghijklmnopqrstuvwxyz234567")
