"""The scanner of blocks of the Bitcoin family against broken bytes: one error, and work that follows the bytes."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.nodes.errors import BadAnswerError
from chainbell.nodes.utxo.reveal import reveal
from chainbell.nodes.utxo.scan import scan_block, scan_transaction
from tests.utxo_bytes import NOTHING, Block, In, Out, Tx, coinbase, payment

DATA = Path(__file__).parents[1] / "data"
MWEB = json.loads((DATA / "litecoin-regtest-mweb.json").read_text())
MWEB_BLOCK = bytes.fromhex(MWEB["raw"])
WAITING = [bytes.fromhex(each) for each in MWEB["waiting"].values()]
PLAIN = Block(
    [
        coinbase(),
        payment(1, Out(b"\x00\x14" + bytes(20), 5), Out(bytes(300), 6), witness=(bytes(71), b"\2" + bytes(32))),
        Tx([In(bytes([7]) * 36, bytes([0x4C, 0x50]) * 40), In(bytes([8]) * 36, b"\x51")], [Out(b"\x51", 1)]),
    ]
)
MERGED = Block(
    PLAIN.transactions,
    version=0x620104,
    proof=coinbase().raw + bytes(32) + b"\2" + bytes(68) + b"\1" + bytes(36) + bytes(80),
)
SEEDS = [(PLAIN.raw, False, False), (MERGED.raw, True, False), (MWEB_BLOCK, False, True)]
SIZES = [
    b"\xff" * 9,
    b"\xfe" + b"\xff" * 4,
    b"\xfe\xff\xff\xff\1",
    b"\xfe\0\0\0\2",
    b"\xfd\xff\xff",
    b"\xfc",
    b"\0",
    b"\xff" + bytes(7) + b"\x80",
]
LINES_PER_BYTE, LINES_AT_LEAST = 12, 600
"""Lines of Python that a scan may run: every loop takes a byte, and none has more lines than that for each."""
MEMORY_PER_BYTE, MEMORY_AT_LEAST = 64, 200_000


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Change, cut, insert, repeat and remove, up to four times."""
    raw = whole
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        to = draw(st.integers(at, min(len(raw), at + 200)))
        more = draw(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from(SIZES)))
        ways = {
            "cut": raw[:at],
            "remove": raw[:at] + raw[to:],
            "repeat": raw[:to] + raw[at:],
            "change": raw[:at] + more + raw[at + len(more) :],
            "insert": raw[:at] + more + raw[at:],
            "grow": raw[:at] + more + raw[at + 1 :],
        }
        raw = ways[draw(st.sampled_from(sorted(ways)))]
    return raw


def lines_run(work: Callable[[], object]) -> int:
    """Count the lines of the scanner that `work` runs; it may only fail with the one error."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "/nodes/utxo/" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except BadAnswerError:
        pass
    finally:
        sys.settrace(before)
    return count


def scan_and_reveal(raw: bytes, *, auxpow: bool, mweb: bool) -> None:
    reveal(raw, scan_block(raw, 1, auxpow=auxpow, mweb=mweb), auxpow=auxpow, mweb=mweb)


@pytest.mark.parametrize(("whole", "auxpow", "mweb"), SEEDS)
@given(data=st.data())
def test_broken_blocks(whole: bytes, auxpow: bool, mweb: bool, data: st.DataObject) -> None:
    """A broken block is refused with the one error, or is whole again, in steps that its bytes bound."""
    raw = data.draw(broken(whole))
    assert lines_run(partial(scan_and_reveal, raw, auxpow=auxpow, mweb=mweb)) <= LINES_PER_BYTE * len(raw) + LINES_AT_LEAST


@pytest.mark.parametrize("whole", [*WAITING, PLAIN.transactions[1].raw])
@given(data=st.data())
def test_broken_transactions(whole: bytes, data: st.DataObject) -> None:
    """So is a broken transaction, of a chain with and without an extension block."""
    raw = data.draw(broken(whole))
    for mweb in (False, True):
        lines = lines_run(partial(scan_transaction, raw, bytes(32), mweb=mweb))
        lines += lines_run(partial(scan_transaction, raw, mweb=mweb))
        assert lines <= LINES_PER_BYTE * len(raw) + LINES_AT_LEAST


@given(raw=st.binary(max_size=400), auxpow=st.booleans(), mweb=st.booleans())
def test_noise(raw: bytes, auxpow: bool, mweb: bool) -> None:
    """Bytes that never were a block are refused with the one error."""
    with pytest.raises(BadAnswerError):
        scan_block(raw, 1, auxpow=auxpow, mweb=mweb)


@pytest.mark.parametrize(("whole", "auxpow", "mweb"), SEEDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_count_replaced(whole: bytes, auxpow: bool, mweb: bool, size: bytes) -> None:
    """An enormous count at any place costs neither steps nor memory beyond what the bytes there are allow."""
    scan_block(whole, 1, auxpow=auxpow, mweb=mweb)
    for at in range(80, min(len(whole), 1200)):
        raw = whole[:at] + size + whole[at + 1 :]
        assert (
            lines_run(partial(scan_and_reveal, raw, auxpow=auxpow, mweb=mweb)) <= LINES_PER_BYTE * len(raw) + LINES_AT_LEAST
        )


def test_memory_follows_the_bytes() -> None:
    """Counts that promise gigabytes take none."""
    tracemalloc.start()
    try:
        for at in range(80, len(PLAIN.raw), 5):
            for size in SIZES:
                with pytest.raises(BadAnswerError):
                    scan_block(PLAIN.raw[:at] + size + b"\0" + PLAIN.raw[at + 1 :], 1)
        assert tracemalloc.get_traced_memory()[1] <= MEMORY_PER_BYTE * len(PLAIN.raw) + MEMORY_AT_LEAST
    finally:
        tracemalloc.stop()


SMALLEST = Tx([In(bytes(36))], [Out(b"", 0)])


@pytest.mark.parametrize(
    "grown",
    [
        lambda count: Block([coinbase(), *map(payment, range(count))]).raw,
        lambda count: Block([coinbase(), Tx([In(at.to_bytes(36, "big")) for at in range(count)], [Out(b"", 1)])]).raw,
        lambda count: Block([coinbase(*[Out(b"", 1)] * count)]).raw,
        lambda count: Block([coinbase(), payment(1, witness=(b"",) * count)]).raw,
        lambda count: Block([coinbase(), Tx([In(bytes(36), b"\x51" * count)], [Out(b"", 1)])]).raw,
        lambda count: Block([coinbase(), *[SMALLEST] * count]).raw,
        lambda count: Block([coinbase(), *[Tx([In(NOTHING)], [Out(b"", 1)])] * count]).raw,
    ],
)
def test_ten_times_the_block_is_ten_times_the_work(grown: Callable[[int], bytes]) -> None:
    """Whatever a block has many of, ten times as many cost no more than ten times the steps, and a little."""
    small, large = (lines_run(partial(scan_and_reveal, grown(count), auxpow=False, mweb=False)) for count in (40, 400))
    assert 0 < large <= 11 * small
