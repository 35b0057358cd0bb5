"""JSON-RPC answers matched to what was asked, and their errors told apart."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.errors import NodeError
from chainbell.nodes.answers import batch_results, single_result
from chainbell.nodes.errors import BadAnswerError, BatchTooLargeError, RateLimitedError, RpcError
from chainbell.nodes.provider import retry_after

YES: object = True


def ok(number: object, result: object = "0x1") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failed(number: object, code: object, message: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def single_of_one(answer: object) -> list[object]:
    return [single_result(answer, 1)]


def batch_of_one(answer: object) -> list[object]:
    return batch_results(answer, [1])


def test_results_come_in_the_order_asked() -> None:
    """A batch is matched by id, in whatever order its entries came."""
    assert batch_results([ok(7, "c"), ok(5, "a"), ok(6, "b")], [5, 6, 7]) == ["a", "b", "c"]
    assert single_result(ok(5, None), 5) is None


@pytest.mark.parametrize(
    "answer",
    [
        [ok(5), ok(6)],
        [ok(5), ok(6), ok(6)],
        [ok(5), ok(6), ok(8)],
        [ok(5), ok(6), ok(7), ok(8)],
        [ok(5), ok(6), ok(None)],
        [ok(5), ok(6), ok("7")],
        [ok(5), ok(6), {"jsonrpc": "2.0", "id": 7}],
        [ok(5), ok(6), {"id": 7, "result": 1}],
        [ok(5), ok(6), {"jsonrpc": "1.0", "id": 7, "result": 1}],
        [ok(5), ok(6), "0x1"],
        [],
        ok(5),
        None,
        "0x1",
    ],
)
def test_mismatched_batches_are_refused_whole(answer: object) -> None:
    """A missing, doubled, foreign or malformed entry refuses the whole batch: all of it or none."""
    with pytest.raises(BadAnswerError):
        batch_results(answer, [5, 6, 7])


def test_true_is_not_one() -> None:
    """An id is a number, also where Python would take true for 1."""
    with pytest.raises(BadAnswerError):
        batch_results([ok(YES)], [1])
    with pytest.raises(BadAnswerError):
        single_result(ok(YES), 1)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (-32601, "the method eth_x does not exist/is not available", RpcError),
        (-32000, "header not found", RpcError),
        (3, "execution reverted", RpcError),
        (-39001, "Unknown block", RpcError),
        ("odd", None, RpcError),
        (-32602, "number too large to fit in target type", RpcError),
        (429, "You have exceeded your compute units per second capacity", RateLimitedError),
        (-32005, "project ID request rate exceeded", RateLimitedError),
        (-32005, "limit exceeded", RateLimitedError),
        (-32600, "Too Many Requests", RateLimitedError),
        (-32003, "response too large", BatchTooLargeError),
        (-32602, "Response size exceeded limit", BatchTooLargeError),
        (-32005, "query returned more than 10000 results", BatchTooLargeError),
    ],
)
def test_errors_are_told_apart(code: object, message: object, expected: type[NodeError]) -> None:
    """An error says whether to slow down, to ask for less, or that the request itself failed."""
    for read, answer in ((single_of_one, failed(1, code, message)), (batch_of_one, [failed(1, code, message)])):
        with pytest.raises(NodeError) as caught:
            read(answer)
        assert type(caught.value) is expected


@pytest.mark.parametrize(
    "answer",
    [
        failed(None, -32600, "Invalid request"),
        failed(None, -32005, "batch limit exceeded"),
        failed(None, -32601, "Method not found"),
        failed(5, -32603, "Internal error"),
        [failed(5, -32600, "batch too large")],
        [ok(5), failed(6, -32003, "response too large"), failed(7, -32003, "response too large")],
    ],
)
def test_a_refused_batch_asks_for_a_smaller_one(answer: object) -> None:
    """One error for a whole batch, or for the rest of one, means: ask for less at once."""
    with pytest.raises(BatchTooLargeError):
        batch_results(answer, [5, 6, 7])


@pytest.mark.parametrize("answer", [failed(None, 429, "slow down"), [ok(5), failed(6, 429, "slow down"), ok(7)]])
def test_a_rate_limited_batch_is_no_large_one(answer: object) -> None:
    """A rate limit is not answered by more, smaller requests."""
    with pytest.raises(RateLimitedError):
        batch_results(answer, [5, 6, 7])


def test_errors_without_id_are_ours() -> None:
    """A node that could not read a request answers without its id; the error still counts."""
    with pytest.raises(RpcError) as caught:
        single_result(failed(None, -32700, "parse error"), 4)
    assert (caught.value.code, caught.value.reason) == (-32700, "parse error")


def test_long_and_unprintable_words_are_cut() -> None:
    """What a node says is shown short and on one line."""
    with pytest.raises(RpcError) as caught:
        single_result(failed(1, 1, "x\n\x1b[31m" + "y" * 10_000), 1)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["jsonrpc", "id", "result", "error", "code", "message"]), inner)
    ),
    max_leaves=12,
)


@given(JSON | st.lists(st.builds(ok, JSON, JSON) | st.builds(failed, JSON, JSON, JSON), max_size=4))
def test_any_answer_is_read_or_refused(answer: object) -> None:
    """Whatever comes, it is a result for each request, or a node's error."""
    kept = copy.deepcopy(answer)
    for read in (single_of_one, batch_of_one):
        with suppress(NodeError):
            assert len(read(answer)) == 1
    assert answer == kept


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (None, None, None),
        ("17", None, 17.0),
        (" 0 ", None, 0.0),
        ("-1", None, None),
        ("soon", "Sun, 22 Nov 2026 12:00:00 GMT", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", None, None),
        ("Sun, 22 Nov 99999999999999999999 12:00:30 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", "Sun, 22 Nov 2026 12:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after(value: str | None, date: str | None, seconds: float | None) -> None:
    """Retry-After is read as seconds or as a date, which counts from the answer's own date; nonsense is no wish."""
    assert retry_after(value, date) == seconds
