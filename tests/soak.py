"""What happens around processes that are killed or frozen: a walk on the chain, a receiver, and a judge at the end."""

import asyncio
import base64
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from chainbell.domain.chain import Mode
from chainbell.domain.delivery import WebhookVersion
from chainbell.storage.endpoints import EndpointStore, NewEndpoint
from chainbell.storage.sealing import SecretBox
from chainbell.telemetry.clock import now
from tests.books import Books
from tests.chain_truth import read_truth
from tests.house import ALICE, BOB, House, until
from tests.merchant import Receiver
from tests.nodes import RpcError, die_with_parent

KEY = bytes(range(32))
CHAINS = Path(__file__).parents[1] / "chains"
KILLED = -signal.SIGKILL


@dataclass
class Walk:
    """What happens on the chain meanwhile: deposits of coin and token, transfers, and reorgs."""

    home: House
    token: str
    chance: random.Random
    first: int
    guests: list[str] = field(default_factory=list)
    """Addresses that were registered meanwhile: paid to from then on."""
    raws: list[str] = field(default_factory=list)
    reorgs: int = 0

    @property
    def people(self) -> list[str]:
        return [*self.home.anvil.accounts[1:3], ALICE, *self.guests]

    async def step(self) -> None:
        anvil = self.home.anvil
        match self.chance.choice(["coin", "coin", "token", "token", "mine", "mine", "reorg", "resend"]):
            case "coin":
                payer, payee = self.chance.choice(anvil.accounts[:4]), self.chance.choice([*self.people, BOB])
                self.raws.append(await anvil.raw(await anvil.send(payer, payee, self.chance.randrange(1, 10**15))))
            case "token":
                sent = await anvil.token_transfer(
                    self.token, anvil.accounts[0], self.chance.choice(self.people), self.chance.randrange(1, 10**6)
                )
                self.raws.append(await anvil.raw(sent))
            case "reorg":
                depth = min(self.chance.randrange(1, 6), await anvil.height() - self.first)
                if depth > 0:
                    await anvil.reorg(depth)
                    self.reorgs += 1
            case "resend" if self.raws:
                with suppress(RpcError):
                    await anvil.resend(self.chance.choice(self.raws))
            case _:
                await anvil.mine(self.chance.randrange(1, 3))

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Walk for as long as the process under test lives."""

        async def walk() -> None:
            while True:
                await self.step()
                await asyncio.sleep(self.chance.uniform(0, 0.05))

        task = asyncio.create_task(walk())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


@asynccontextmanager
async def chainbell_process(
    environment: Mapping[str, str], point: str, times: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `chainbell run` so that it dies at a point; its log shows up when the test fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash_run", point, str(times), "run"),
        env=environment,
        preexec_fn=die_with_parent,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def live_until_killed(environment: Mapping[str, str], point: str, times: int, seconds: float) -> int | None:
    """Let one life end at a point, or by a kill after so many seconds; None when the point was not reached in time."""
    async with chainbell_process(environment, point, times) as process:
        if point == "-":
            await asyncio.sleep(seconds)
            process.kill()
            return await process.wait()
        with suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), seconds)
        return None


def soak_environment(home: House, database_url: str, definitions: Path) -> dict[str, str]:
    return process_environment(database_url, definitions, {"ANVIL": home.anvil.url})


def process_environment(database_url: str, definitions: Path, nodes: Mapping[str, str]) -> dict[str, str]:
    """Say what a `chainbell run` is to know; `nodes` are by the end of the name of their setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHAINBELL_", "PYTHONDONTWRITE"))}
    return kept | {
        "PYTHONPYCACHEPREFIX": str(definitions / "bytecode"),  # each life begins sooner with what the first one compiled
        "CHAINBELL_DATABASE_URL": database_url,
        "CHAINBELL_SECRET_KEY": base64.b64encode(KEY).decode(),
        "CHAINBELL_CHAINS_DIR": str(definitions),
        "CHAINBELL_DATA_DIR": str(definitions),
        **{f"CHAINBELL_NODES__{name}": url for name, url in nodes.items()},
        "CHAINBELL_SCREENING": "off",
        "CHAINBELL_ALLOWED_NETWORKS": "127.0.0.0/8",
        "CHAINBELL_API_PORT": "0",
        "CHAINBELL_LOG_LEVEL": "warning",
        "CHAINBELL_DELIVERY_TIMEOUT_SECONDS": "15",
    }


def define(definitions: Path, token: str) -> None:
    text = (CHAINS / "anvil.toml").read_text().replace("poll_seconds = 0.2", "poll_seconds = 0.05")
    listed = f'\n[[tokens]]\nsymbol = "TUSD"\ncontract = "{token}"\ndecimals = 6\n'
    (definitions / "anvil.toml").write_text(text + listed)


async def subscribe(home: Books, receiver: Receiver) -> None:
    store = EndpointStore(home.database, SecretBox(KEY), [ip_network("127.0.0.0/8")])
    for version, path in ((WebhookVersion.V1, "/v1"), (WebhookVersion.V2, "/v2")):
        events = ("*", "transaction.deposit.confirmation") if version is WebhookVersion.V2 else ()
        wanted = NewEndpoint(url=receiver.url + path, mode=Mode.TEST, version=version, events=events)
        _, receiver.secrets[path] = await store.create(wanted, now())


async def told_to_the_end(home: House) -> None:
    async def everything_delivered() -> bool:
        (pending,) = await home.fetch("select count(*) as pending from deliveries where status = 'pending'")
        return await home.cursor_hash() == await home.anvil.block_hash() and pending["pending"] == 0

    await until(everything_delivered, "the cursor is the tip and every delivery has ended", seconds=120)


async def judge(home: House, walk: Walk, receiver: Receiver, label: str) -> None:
    truth = await read_truth(home.anvil.url, set(walk.people), {walk.token}, walk.first, 3)
    assert await home.truths() == truth, label
    await home.check_stories()
    await judge_what_was_received(home, receiver, label)
    states = receiver.final_states()
    standing = sorted((t.type, t.hash, t.position, t.amount, t.status) for t in truth)
    assert standing == sorted(
        (data["type"], data["hash"], data["position"], int(data["amountBaseUnits"]), data["status"])
        for data in states.values()
        if data["blockHash"] is not None
        and data.get("execution") != "ABSENT"
        and not (data["type"] == "DEPOSIT" and data.get("execution"))
    ), label


async def judge_what_was_received(home: Books, receiver: Receiver, label: str) -> None:
    """Demand that both endpoints got the whole feed, signed, byte for byte, each record's events in their order."""
    assert receiver.complaints == [], label
    rows = await home.fetch("select id, resource_id, body_v2, v1_type from events order by position")
    assert {row["id"]: row["body_v2"] for row in rows} == {
        webhook_id: body for webhook_id, body in receiver.bodies.items() if not webhook_id.endswith("_v1")
    }, label
    assert {row["id"] + "_v1" for row in rows if row["v1_type"]} == {i for i in receiver.bodies if i.endswith("_v1")}, label
    for uid, sequences in receiver.sequences().items():
        assert sequences == list(range(1, len(sequences) + 1)), f"{uid} {label}"
