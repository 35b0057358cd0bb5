"""When a node that answers well formed is not believed: what goes on leading nowhere, and branches by turns."""

from dataclasses import dataclass

from chainbell.config.chains import load_chains
from chainbell.nodes.evm.node import EvmNode
from chainbell.nodes.lag import behind, tolerated_lag
from chainbell.watcher.doubts import LOOKS, NOWHERE, REMEMBERED_SECONDS, RETURNS_BELIEVED, Doubts

A, B = b"a" * 32, b"b" * 32


@dataclass(eq=False)
class _Node:
    """Only its identity counts."""


def _doubts() -> tuple[Doubts[EvmNode], EvmNode, EvmNode]:
    return Doubts(), _Node(), _Node()  # type: ignore[return-value] # nothing of a node is used but which one it is


def test_one_look_that_leads_nowhere_is_no_fault() -> None:
    """Some are tolerated; more of them among the last looks are the node's doing, also with good ones in between."""
    doubts, _, _ = _doubts()
    told = []
    for number in range(2 * NOWHERE):
        doubts.look()
        if number % 2:
            told.append(doubts.leads_nowhere())
    assert told == [False] * (NOWHERE - 1) + [True]
    for _ in range(LOOKS):
        doubts.look()
    assert not doubts.leads_nowhere()


def test_who_leads_back_and_forth_is_not_followed() -> None:
    """A node that led us off a branch is not followed back to it, unless it says so again and again."""
    doubts, node, other = _doubts()
    assert not doubts.comes_back(node, [A], 0)
    doubts.left(node, [A, B], 0)
    assert not doubts.comes_back(other, [A], 1)  # that is two nodes of two opinions
    assert [doubts.comes_back(node, [B], 1) for _ in range(RETURNS_BELIEVED)] == [True] * (RETURNS_BELIEVED - 1) + [False]
    doubts.left(node, [A], 2)
    assert doubts.comes_back(node, [A], 3)
    doubts.stands()  # it showed the other branch meanwhile: the count begins anew
    assert doubts.comes_back(node, [A], 4)
    assert not doubts.comes_back(node, [A], 3 + REMEMBERED_SECONDS)


def test_a_chain_halts_only_when_no_usable_node_is_left_that_may_say_otherwise() -> None:
    """One node whose chain left ours too deep gives way to another; when all say so, that is how it is."""
    doubts, node, other = _doubts()
    assert doubts.alone_too_deep(node, [node, other])
    assert not doubts.alone_too_deep(other, [other])
    assert not doubts.alone_too_deep(node, [node, other])
    doubts.stands()
    assert doubts.alone_too_deep(other, [node, other])


def test_how_far_nodes_may_differ() -> None:
    """Some seconds' worth of blocks; a node that was found behind must come nearer than that before it is used again."""
    anvil = load_chains()["anvil"]
    slow, fast = (anvil.model_copy(update={"block_seconds": seconds}) for seconds in (12.0, 0.25))
    assert (tolerated_lag(slow, catching_up=False), tolerated_lag(slow, catching_up=True)) == (5, 2)
    assert (tolerated_lag(fast, catching_up=False), tolerated_lag(fast, catching_up=True)) == (60, 9)
    assert behind(100, [("b", 105)], 5) is None
    assert behind(100, [], 5) is None
    assert behind(100, [("b", 106), ("c", 103)], 5) == "its tip 100 lies 6 blocks behind that of b (106)"
