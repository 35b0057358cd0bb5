"""How nodes fare, in the database: who may say so, and what follows from it for a chain's lag."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chainbell.api.chain_report import chain_report
from chainbell.config.chains import load_chains
from chainbell.domain.node import Hints, HintsState, NodeState, NodeStatus, Tip
from chainbell.storage.chains import ChainStates
from chainbell.storage.database import Database
from chainbell.storage.node_states import FRESH, ChainNodes, Lag, NodeStates
from tests.house import caught_up, following, house, started, until
from tests.nodes import Anvil

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANVIL = load_chains()["anvil"]
WELL = NodeStatus("http://a", NodeState.HEALTHY, None, NOW, Tip(110, NOW + timedelta(seconds=30)))
HEARD = replace(WELL, hints=Hints(HintsState.CONNECTED, NOW, None))
UNHEARD = replace(WELL, hints=Hints(HintsState.DISCONNECTED, NOW, "tcp://a:1: cannot connect"))
DOWN = NodeStatus("http://b", NodeState.FAILING, "cannot connect", NOW, None, "cannot connect", NOW)


async def start(database: Database, *, follower: str | None = None) -> None:
    """Put a chain there whose cursor is block 100, mined at `NOW`, with a lease of whom it is followed by."""
    async with database.connection() as connection:
        await connection.execute(
            "insert into chains (name, caip2, kind, wire_name, coin_decimals, mode, genesis_hash, cursor_height,"
            " cursor_hash, cursor_parent_hash, reorg_limit, advanced_at, follower, lease_until)"
            " values ('anvil', 'eip155:31337', 'evm', 'ANVIL', 18, 'test', '', 100, 'h', 'p', 64, $1, $2,"
            " clock_timestamp() + interval '1 hour')",
            NOW,
            follower,
        )
        await connection.execute(
            "insert into blocks (chain, height, hash, parent_hash, mined_at) values ('anvil', 100, 'h', 'p', $1)", NOW
        )


async def nodes_of(states: NodeStates, now: datetime = NOW) -> ChainNodes:
    return (await states.of(["anvil"], now))["anvil"]


async def test_only_who_follows_a_chain_reports_its_nodes(database_url: str) -> None:
    """Before the first start anybody who tries may; then the holder of a living lease alone."""
    async with Database.open(database_url) as database:
        states = NodeStates(database)
        assert await states.report("anvil", "first", [DOWN, WELL], NOW)
        assert [node.status for node in (await nodes_of(states)).nodes] == [DOWN, WELL]
        await start(database, follower="second")
        assert not await states.report("anvil", "first", [WELL], NOW)
        for status in (WELL, HEARD, UNHEARD, WELL):
            assert await states.report("anvil", "second", [status], NOW)
            assert [(node.position, node.status) for node in (await nodes_of(states)).nodes] == [(1, status)]
        async with database.connection() as connection:
            await connection.execute("update chains set lease_until = clock_timestamp() - interval '1 second'")
        assert not await states.report("anvil", "second", [DOWN], NOW)


async def test_lag_is_that_of_the_node_in_use(database_url: str) -> None:
    """Blocks and seconds to the first healthy node's tip; unknown without one, or when nobody reported lately."""
    async with Database.open(database_url) as database:
        states = NodeStates(database)
        await start(database, follower="us")
        assert (await nodes_of(states)).lag is None
        await states.report("anvil", "us", [DOWN, WELL], NOW)
        assert (await nodes_of(states)).lag == Lag(10, 30.0)
        assert (await nodes_of(states, NOW + FRESH)).lag is None
        at_tip = NodeStatus("http://a", NodeState.HEALTHY, None, NOW, Tip(99, NOW - timedelta(seconds=1)))
        await states.report("anvil", "us", [at_tip, WELL], NOW)
        assert (await nodes_of(states)).lag == Lag(0, 0.0)
        await states.report("anvil", "us", [DOWN], NOW)
        assert (await nodes_of(states)).lag is None
        async with database.connection() as connection:
            await connection.execute("update blocks set mined_at = null")
        await states.report("anvil", "us", [WELL], NOW)
        assert (await nodes_of(states)).lag == Lag(10, None)


async def test_a_chain_that_was_never_started_says_why(database_url: str) -> None:
    """The reasons of its nodes, or the height that they have not reached; nothing while nobody tried."""
    async with Database.open(database_url) as database:

        async def trouble(start_height: int | None = None) -> str | None:
            definition = ANVIL.model_copy(update={"start_height": start_height})
            (shown,) = await chain_report(database, ChainStates(database), [definition], NOW)
            assert (shown.cursor, shown.lag) == (None, None)
            return shown.trouble

        assert await trouble() is None
        await NodeStates(database).report("anvil", "us", [DOWN, DOWN], NOW)
        assert await trouble() == "not started: cannot connect; cannot connect"
        await NodeStates(database).report("anvil", "us", [WELL], NOW)
        assert await trouble() == "not started yet"
        assert await trouble(500) == "not started: start_height 500 is not reached, the nodes' tip is 110"


async def test_a_followed_chain_shows_its_nodes_and_its_lag(anvil: Anvil, database_url: str) -> None:
    """While a chain is followed its nodes are reported, and how far it is behind them is known."""
    async with house(anvil, database_url, node_urls=[anvil.url, "http://127.0.0.1:1"]) as home, following(home):
        await started(home)
        await anvil.mine(3)
        await caught_up(home)

        async def known() -> bool:
            (shown,) = await chain_report(home.database, ChainStates(home.database), [home.definition], datetime.now(UTC))
            nodes = shown.nodes or []
            found = [(node.name, node.state, node.tip_height, node.reason is None) for node in nodes]
            expected = [("node 1", NodeState.HEALTHY, 3, True), ("node 2", NodeState.FAILING, None, False)]
            return found == expected and (shown.lag, shown.lag_seconds) == (0, 0.0)

        await until(known, "the nodes and the lag are known")
