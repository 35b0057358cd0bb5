"""The watcher and the tracker together, on a real anvil and a real PostgreSQL."""

import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from chainbell.domain.following import Committed, Stale
from chainbell.storage.chains import ChainStates
from chainbell.telemetry.clock import now
from chainbell.watcher import follower
from tests.chain_truth import read_truth
from tests.house import ALICE, BOB, ETHER, caught_up, following, house, started, until
from tests.nodes import Anvil, RpcError
from tests.rpcproxy import Answer, LyingProxy


async def test_a_coin_deposit_goes_through_its_lifecycle(anvil: Anvil, database_url: str) -> None:
    """A deposit is created, awaits confirmation, deepens and succeeds, in this order and once each."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await caught_up(home)
        await anvil.mine(1)
        await caught_up(home)
        await anvil.mine(1)
        await caught_up(home)
        assert await home.told() == [
            "deposit.created",
            "deposit.awaiting_confirmation",
            "deposit.confirmation",
            "deposit.confirmation",
            "deposit.success",
        ]


async def test_a_catch_up_tells_every_step_in_one_commit(anvil: Anvil, database_url: str) -> None:
    """What is deep at first sight is told whole; none of its steps is skipped, and no pending is invented."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(40)
        async with following(home):
            await caught_up(home)
        assert await home.told() == ["deposit.created", "deposit.awaiting_confirmation", "deposit.success"]


async def test_a_reorg_takes_a_deposit_back_and_another_block_brings_it_again(anvil: Anvil, database_url: str) -> None:
    """A retraction is told as pending, the return as awaiting_confirmation under the same uid."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        raw = await anvil.raw(await anvil.send(anvil.accounts[0], ALICE, ETHER))
        await caught_up(home)
        await anvil.reorg(1)
        await caught_up(home)
        await anvil.resend(raw)
        await caught_up(home)
        await anvil.mine(2)
        await caught_up(home)
        told = await home.told()
        assert told[:4] == [
            "deposit.created",
            "deposit.awaiting_confirmation",
            "deposit.pending",
            "deposit.awaiting_confirmation",
        ]
        assert told[-1] == "deposit.success"
        assert len({uid for uid, _ in await home.events()}) == 1


async def test_what_stays_in_no_block_is_listed(anvil: Anvil, database_url: str) -> None:
    """An orphan that nothing replaces stays pending, and the status lists it after `drop_after`."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await caught_up(home)
        await anvil.reorg(1)
        await caught_up(home)
        (record,) = await home.records()
        patience = timedelta(seconds=home.definition.drop_after_seconds + 60)
        for later, listed in ((timedelta(), ()), (patience, (record["uid"],))):
            (status,) = await ChainStates(home.database).statuses([home.definition], now() + later)
            assert status.stranded == listed
        assert (await home.told())[-1] == "deposit.pending"


async def test_a_success_that_the_chain_takes_back_is_told_as_reverted(anvil: Anvil, database_url: str) -> None:
    """A reorg deeper than required retracts the success; the same nonce used elsewhere then replaces it for good."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(4)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.success"
        await anvil.reorg(5)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.reverted"
        await anvil.send(anvil.accounts[0], BOB, 1)
        await anvil.mine(2)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.replaced"


async def test_an_orphaned_replacement_gives_the_nonce_back(anvil: Anvil, database_url: str) -> None:
    """What a block decided falls with the block, also when another transaction had replaced ours for good."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        raw = await anvil.raw(await anvil.send(anvil.accounts[0], ALICE, ETHER))
        await caught_up(home)
        await anvil.reorg(1)
        await anvil.send(anvil.accounts[0], BOB, 1)
        await anvil.mine(3)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.replaced"
        await anvil.reorg(await anvil.height() - 1)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.pending"
        await anvil.resend(raw)
        await anvil.mine(3)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.success"


async def test_tokens_are_their_contracts(anvil: Anvil, database_url: str) -> None:
    """Listed tokens are told on both sides, once per transfer; unlisted contracts, zero amounts and NFTs are not."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    spoof = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    payer = anvil.accounts[0]
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await home.watch(payer)
        await anvil.token_transfer(token, payer, ALICE, 5_000_000)
        await anvil.token_transfer(token, payer, ALICE, 0)
        await anvil.token_transfer(spoof, payer, ALICE, 5_000_000)
        await anvil.invoke(payer, token, "burst", ALICE, [1, 2, 3])
        await anvil.mine(3)
        await caught_up(home)
        records = await home.records()
        assert sorted((r["type"], r["position"], int(r["amount"])) for r in records) == [
            ("DEPOSIT", 0, 1),
            ("DEPOSIT", 0, 5_000_000),
            ("DEPOSIT", 1, 2),
            ("DEPOSIT", 2, 3),
            ("TRANSFER", 0, 1),
            ("TRANSFER", 0, 5_000_000),
            ("TRANSFER", 1, 2),
            ("TRANSFER", 2, 3),
        ]
        assert {r["status"] for r in records} == {"SUCCESS"}
        transfers = [r for r in records if r["type"] == "TRANSFER"]
        assert all(r["fee"] > 0 for r in transfers)
        assert len({r["fee_of"] for r in transfers}) == 2
        assert all(r["fee"] is None for r in records if r["type"] == "DEPOSIT")
        assert await home.fees() == 4


async def test_a_failed_transaction_is_a_failed_transfer_and_no_deposit(anvil: Anvil, database_url: str) -> None:
    """With a coin value its sender is told `failed` at depth; without value only its fee counts."""
    reverter = await anvil.deploy("Reverter")
    payer = anvil.accounts[1]
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(payer)
        await home.watch(reverter)
        await anvil.send(payer, reverter, ETHER, gas=100_000)
        await anvil.send(payer, reverter, 0, gas=100_000)
        await anvil.mine(3)
        await caught_up(home)
        assert await home.told() == ["transfer.created", "transfer.awaiting_confirmation", "transfer.failed"]
        (record,) = await home.records()
        assert record["execution"] == "REVERTED"
        assert await home.fees() == 2


async def test_a_switched_off_token_is_not_matched_and_its_coverage_ends(anvil: Anvil, database_url: str) -> None:
    """Other decimals, or no code: amounts would be wrong, so nothing is told, and coverage says so."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6), ("0x" + "77" * 20, "GHOST", 6)]) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            await anvil.mine(2)
            await caught_up(home)
            assert await home.coverage() == {("coin", "", True), ("logs", "", True), ("token", token, True)}
    async with house(anvil, database_url, tokens=[(token, "TUSD", 18)]) as home, following(home):
        await anvil.token_transfer(token, anvil.accounts[0], ALICE, 5)
        await anvil.mine(3)
        await caught_up(home)
        assert await home.told() == []
        assert ("token", token, False) in await home.coverage()


async def test_what_is_tracked_of_a_token_is_told_to_the_end(manual_anvil: Anvil, database_url: str) -> None:
    """A token that is not listed any more raises nothing new, but a deposit told before still gets its success."""
    anvil = manual_anvil
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        sent = await anvil.token_transfer(token, anvil.accounts[0], ALICE, 5)
        raw = await anvil.raw(sent)
        await anvil.mine(1)
        await caught_up(home)
        await anvil.reorg(1)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.pending"
    async with house(anvil, database_url) as home, following(home):
        await anvil.resend(raw)
        await anvil.mine(1)
        await anvil.token_transfer(token, anvil.accounts[0], ALICE, 6)
        await anvil.mine(3)
        await caught_up(home)
        told = await home.told()
        assert told[-1] == "deposit.success"
        assert told.count("deposit.created") == 1


async def test_a_reorg_deeper_than_the_limit_stops_the_chain(anvil: Anvil, database_url: str) -> None:
    """Nothing is taken back beyond `reorg_limit`; the chain waits and says why."""
    async with house(anvil, database_url, reorg_limit=4) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(8)
        await caught_up(home)
        before = await home.told()
        await anvil.reorg(7)
        await until(home.in_trouble, "the chain says that it waits")
        await anvil.mine(3)
        assert await home.told() == before
        assert await home.cursor() <= 9


async def test_the_very_first_cursor_may_be_reorganised_away(anvil: Anvil, database_url: str) -> None:
    """A chain started on a block that then falls goes on on the other branch, and misses nothing there."""
    await anvil.mine(10)
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await anvil.reorg(4)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        await anvil.mine(2)
        await caught_up(home)
        assert (await home.told())[-1] == "deposit.success"


async def test_a_start_height_is_scanned_from_there_on(anvil: Anvil, database_url: str) -> None:
    """Blocks from `start_height` on are read, also those that were there before the first start."""
    await anvil.mine(6)
    async with house(anvil, database_url, start_height=3) as home, following(home):
        await caught_up(home)
        rows = await home.fetch("select height from blocks where mined_at is not null order by height")
        assert [row["height"] for row in rows] == [3, 4, 5, 6]


async def test_a_second_follower_waits_and_takes_over(anvil: Anvil, database_url: str) -> None:
    """One follower at a time: the second writes nothing until the first has gone."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            fence = await home.fence()
            async with following(home):
                await anvil.mine(5)
                await caught_up(home)
                assert await home.fence() == fence
        async with following(home):
            await anvil.send(anvil.accounts[0], ALICE, ETHER)
            await anvil.mine(3)
            await caught_up(home)
            assert await home.fence() > fence
            assert (await home.told())[-1] == "deposit.success"


async def test_a_commit_prepared_under_an_old_fence_is_thrown_away(anvil: Anvil, database_url: str) -> None:
    """A leader that slept and woke up cannot write."""
    async with house(anvil, database_url) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
            await anvil.mine(1)
            await caught_up(home)
            fence = await home.fence()
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        node = await home.pool.current()
        cursor = await home.cursor()
        blocks = await node.blocks_from(cursor + 1, cursor + 1)
        tracker = home.tracker()
        assert isinstance(await tracker.advance(fence - 1, blocks, None, now()), Stale)
        assert isinstance(await tracker.advance(fence + 1, blocks, None, now()), Stale)
        assert await home.told() == []
        assert isinstance(await tracker.advance(fence, blocks, None, now()), Committed)
        assert isinstance(await tracker.advance(fence, blocks, None, now()), Stale)
        assert await home.told() == ["deposit.created", "deposit.awaiting_confirmation"]


async def test_the_finalized_tag_settles_and_an_older_answer_never_lowers_it(database_url: str) -> None:
    """Under the tag nothing succeeds above the node's finalized block."""
    async with (
        Anvil(slots_in_an_epoch=2) as anvil,
        house(anvil, database_url, required_confirmations="finalized", finality_lag=8) as home,
        following(home),
    ):
        await started(home)
        await home.watch(ALICE)
        await anvil.send(anvil.accounts[0], ALICE, ETHER)
        included = await anvil.height()
        for _ in range(8):
            await anvil.mine(1)
            await caught_up(home)
            finalized = int((await anvil.block("finalized"))["number"], 16)
            assert ("deposit.success" in await home.told()) == (finalized >= included)
        assert "deposit.confirmation" not in await home.told()


async def test_a_watch_registered_while_blocks_commit_misses_nothing(anvil: Anvil, database_url: str) -> None:
    """Every deposit mined at or above the answer's `watchedFrom` is told."""
    async with house(anvil, database_url) as home, following(home):
        await started(home)
        owed: list[str] = []
        for number in range(25):
            address = "0x" + number.to_bytes(20, "big").replace(b"\0", b"\x5a").hex()
            for _ in range(3):
                await anvil.send(anvil.accounts[number % 5], BOB, 1)
            watched_from = await home.watch(address)
            await anvil.send(anvil.accounts[number % 5], address, number + 1)
            assert watched_from <= await anvil.height()
            owed.append(address)
        await anvil.mine(3)
        await caught_up(home)
        records = await home.records()
        assert sorted("0x" + r["address"].hex() for r in records) == sorted(owed)
        assert {r["status"] for r in records} == {"SUCCESS"}


async def test_what_is_told_equals_the_chain_after_a_random_walk(
    manual_anvil: Anvil, database_url: str, seed: int, soak: bool
) -> None:
    """Deposits, transfers, failures and reorgs at random: the records end where the chain itself stands."""
    anvil, chance = manual_anvil, random.Random(seed)
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    reverter = await anvil.deploy("Reverter")
    people = [*anvil.accounts[1:4], ALICE]
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home, following(home):
        await started(home)
        first = await home.cursor() + 1
        for address in people:
            await home.watch(address)
        raws: list[str] = []
        for _ in range(400 if soak else 60):
            match chance.choice(["coin", "coin", "token", "fail", "mine", "mine", "reorg", "resend", "wait"]):
                case "coin":
                    payer, payee = chance.choice(anvil.accounts[:5]), chance.choice([*people, BOB])
                    raws.append(await anvil.raw(await anvil.send(payer, payee, chance.randrange(1, 10**15))))
                case "token":
                    payee = chance.choice([*people, BOB])
                    raws.append(
                        await anvil.raw(await anvil.token_transfer(token, anvil.accounts[0], payee, chance.randrange(9)))
                    )
                case "fail":
                    await anvil.send(chance.choice(anvil.accounts[:5]), reverter, chance.randrange(2), gas=100_000)
                case "mine":
                    await anvil.mine(chance.randrange(1, 4))
                case "reorg":
                    depth = min(chance.randrange(1, 7), await anvil.height() - first)
                    if depth > 0:
                        await anvil.reorg(depth)
                case "resend" if raws:
                    with suppress(RpcError):
                        await anvil.resend(chance.choice(raws))
                case _:
                    await caught_up(home)
        await anvil.mine(4)
        await caught_up(home)
        truth = await read_truth(anvil.url, set(people), {token}, first, 3)
        assert await home.truths() == truth, f"seed {seed}"
        await home.check_stories()


async def test_a_watched_payer_of_a_token_that_was_taken_off_the_list(anvil: Anvil, database_url: str) -> None:
    """Its fee is counted in no record, because there is none; the chain goes on."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    payer = anvil.accounts[0]
    async with house(anvil, database_url, tokens=[(token, "TUSD", 6)]) as home, following(home):
        await started(home)
        await home.watch(ALICE)
        await home.watch(payer)
        await anvil.token_transfer(token, payer, ALICE, 5)
        await caught_up(home)
    async with house(anvil, database_url) as home, following(home):
        await anvil.token_transfer(token, payer, ALICE, 6)
        await anvil.mine(5)
        await caught_up(home)
        assert [row["counted_in"] for row in await home.fetch("select * from fees order by block_height")][1:] == [None]


async def test_what_was_read_ahead_is_read_again_for_a_token_that_comes_on(
    anvil: Anvil, lying_proxy: LyingProxy, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is found well while we catch up is matched in every block from which on it is said to be covered."""
    token = await anvil.deploy("Token", "Test USD", "TUSD", 6, 10**12)
    monkeypatch.setattr(follower, "CHECK_TOKENS_SECONDS", 0.3)
    well = False

    def no_code(asked: str, _params: list[Any], answer: Answer) -> Answer:
        return answer | {"result": "0x"} if asked == "eth_getCode" and not well else answer

    lying_proxy.rule = no_code
    async with house(anvil, database_url, node_urls=[lying_proxy.url], tokens=[(token, "TUSD", 6)]) as home:
        async with following(home):
            await started(home)
            await home.watch(ALICE)
        for _ in range(400):
            await anvil.token_transfer(token, anvil.accounts[0], ALICE, 7)
        async with following(home):

            async def on_its_way() -> bool:
                return await home.cursor() > 100

            await until(on_its_way, "a part is read")
            well = True
            await caught_up(home)

            async def covered() -> bool:
                await anvil.mine(1)
                return ("token", token, True) in await home.coverage()

            await until(covered, "the token is covered")
            await caught_up(home)
        (since,) = await home.fetch("select max(from_height) as height from coverage where token <> ''")
        seen = {row["block_height"] for row in await home.records()}
        paid = [height for height in range(2, 402) if height >= since["height"]]
        assert set(paid) <= seen
