"""How large batches are, how long a node is left alone, and what its health says: pure policies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.domain.node import NodeState
from chainbell.nodes.backoff import Backoff
from chainbell.nodes.batching import FORGET, PATIENCE, AdaptiveBatch
from chainbell.nodes.errors import NodeTimeoutError, RateLimitedError, WrongChainError
from chainbell.nodes.health import Health

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.integers(1, 200), st.integers(1, 200))
def test_batches_settle_below_any_limit(limit: int, ceiling: int) -> None:
    """Whatever a node's limit is, few refusals find it exactly, and then nearly nothing is refused."""
    policy, refusals = AdaptiveBatch(ceiling, ceiling), []
    for round_number in range(4 * FORGET):
        used = policy.size
        if used > limit:
            refusals.append(round_number)
            policy = policy.shrunk(used)
        else:
            policy = policy.grown(used)
        assert 1 <= policy.size <= ceiling
    assert len([refusal for refusal in refusals if refusal > 2 * FORGET]) <= 24
    assert policy.proven == min(limit, ceiling) or policy.size == ceiling <= limit


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 120)), max_size=60))
def test_batches_stay_in_bounds(steps: list[tuple[bool, int]]) -> None:
    """In whatever order answers of overlapping batches come, the size stays between 1 and the ceiling."""
    policy = AdaptiveBatch(100, 100)
    for works, used in steps:
        policy = policy.grown(used) if works else policy.shrunk(used)
        assert 1 <= policy.size <= 100


def test_growth_needs_full_batches() -> None:
    """A batch that was not full proves nothing about a larger one."""
    policy = AdaptiveBatch(100, 100).shrunk(100)
    for _ in range(10 * PATIENCE):
        policy = policy.grown(policy.size - 1)
    assert policy.size == 50
    for _ in range(PATIENCE):
        policy = policy.grown(policy.size)
    assert policy.size == 62


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_delays_are_bounded(failures: int, chance: float, wish: float | None) -> None:
    """A delay lies between half and the whole of its step, up to the cap, or is the other side's wish if longer."""
    backoff = Backoff()
    delay = backoff.delay(failures, chance, wish)
    step = min(backoff.cap, backoff.first * 2.0 ** min(failures - 1, 60))
    assert delay >= step / 2
    assert delay <= max(step, min(wish or 0, backoff.longest_wish))
    assert delay >= min(wish or 0, backoff.longest_wish)


def fail(health: Health, at: float, error: Exception | None = None) -> Health:
    cause = error if isinstance(error, RateLimitedError | WrongChainError) else NodeTimeoutError("too slow")
    return health.failed(cause, at=at, now=NOW + timedelta(seconds=at), backoff=Backoff(), chance=0.999999)


def test_failures_in_a_row_wait_longer() -> None:
    """A node that identifies itself well and then fails again is left alone longer each time."""
    health, waits = Health(NodeState.UNTRIED, NOW), []
    at = 0.0
    for _ in range(8):
        health = fail(health, at)
        waits.append(round(health.retry_at - at))
        assert not health.is_due(at)
        at = health.retry_at
        assert health.is_due(at)
        health = health.recovered(NOW)
        assert not health.is_due(at)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_old_failures_are_forgiven() -> None:
    """After a time without failures the next one counts as a first."""
    health = fail(fail(fail(Health(NodeState.UNTRIED, NOW), 0), 5), 10)
    assert health.failures == 3
    assert fail(health.recovered(NOW), 131).failures == 1


def test_retry_after_is_honoured_up_to_a_bound() -> None:
    """What a node wishes is waited for, but not for days."""
    asked = fail(Health(NodeState.HEALTHY, NOW), 0, RateLimitedError("slow", 45))
    assert asked.retry_at == 45
    assert fail(Health(NodeState.HEALTHY, NOW), 0, RateLimitedError("slow", 1e6)).retry_at == Backoff().longest_wish


def test_since_is_when_the_state_began() -> None:
    """A node that goes on failing is said to fail since the first time."""
    first = fail(Health(NodeState.HEALTHY, NOW), 3)
    assert (first.state, first.since) == (NodeState.FAILING, NOW + timedelta(seconds=3))
    assert fail(first, 9).since == first.since
    wrong = fail(first, 12, WrongChainError("chain id 5"))
    assert (wrong.state, wrong.reason, wrong.since) == (NodeState.WRONG_CHAIN, "chain id 5", NOW + timedelta(seconds=12))


@pytest.mark.parametrize("state", [NodeState.UNTRIED, NodeState.FAILING, NodeState.WRONG_CHAIN])
def test_untried_nodes_are_due_at_once(state: NodeState) -> None:
    """A node without a wait behind it may be asked at any time."""
    assert Health(state, NOW).is_due(-1e9)
