"""The API keeps what its OpenAPI document promises, also under requests that nobody would send (schemathesis)."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from chainbell.api.app import create_api
from chainbell.api.server import listen, serve
from tests.api_client import CHECKSUMMED, api_house
from tests.keys import BIP32_XPUB
from tests.postgres import Migrate, TestCluster

_START_SECONDS = 30
_EXAMPLES = 60 if settings.default is None else settings.default.max_examples
_COST = 8
"""How many examples of another test one of these takes as long as."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running API, a key for it, and ids that are there."""

    url: str
    key: str
    ids: dict[str, str]


async def _serve(database_url: str, ready: "Future[Served]", stop: "Future[asyncio.Event]") -> None:
    async with api_house(database_url) as house:
        key = await house.key()
        async with house.client(key) as client:
            endpoint = (await client.post("/v2/endpoints", json={"url": "https://example.com/"})).json()["id"]
            assert (await client.post("/v2/addresses", json={"chain": "anvil", "address": CHECKSUMMED})).is_success
            past = {"chain": "anvil", "fromHeight": 1, "notify": False}
            scan = (await client.post("/v2/scans", json=past)).json()["id"]
            xpub = {"chain": "anvil", "key": BIP32_XPUB}
            extended = (await client.post("/v2/keys", json=xpub)).json()["id"]
            uid = await house.tell(1)
            replay = (await client.post(f"/v2/endpoints/{endpoint}/replays", json={"what": "failed"})).json()["id"]
            ids = {
                "chain": "anvil",
                "address": CHECKSUMMED,
                "endpoint_id": endpoint,
                "key_id": extended,
                "scan_id": scan,
                "uid": uid,
                "event_id": await house.fetchval("select id from events limit 1"),
                "delivery_id": str(await house.fetchval("select min(id) from deliveries")),
                "replay_id": replay,
            }
        listener = listen("127.0.0.1", 0)
        asked = asyncio.Event()
        stop.set_result(asked)
        serving = asyncio.create_task(serve(house.app, listener))
        ready.set_result(Served(f"http://127.0.0.1:{listener.getsockname()[1]}", key, ids))
        await asked.wait()
        serving.cancel()
        await asyncio.wait([serving])
        listener.close()


@pytest.fixture(scope="module")
def served(postgres_cluster: TestCluster, migrate_template: Migrate) -> Iterator[Served]:
    """Serve the API over real HTTP from a thread of its own, on a database of its own."""
    ready: Future[Served] = Future()
    stop: Future[asyncio.Event] = Future()
    with postgres_cluster.database(migrate_template) as url, asyncio.Runner() as runner:
        thread = threading.Thread(target=runner.run, args=[_serve(url, ready, stop)], name="api")
        thread.start()
        try:
            yield ready.result(_START_SECONDS)
        finally:
            runner.get_loop().call_soon_threadsafe(stop.result(_START_SECONDS).set)
            thread.join()


@schemathesis.serializer("text/csv", "application/x-ndjson")
def lines_of_text(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """Send a body of lines as it is; what is no text, as a mistaken client might write it."""
    return str(value).encode(errors="replace")


schema = schemathesis.openapi.from_dict(create_api(cast("Any", None)).openapi())


@schema.parametrize()
@settings(max_examples=_EXAMPLES // _COST, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_what_its_document_promises(case: schemathesis.Case[Any], served: Served) -> None:
    """No 500; every status, header, media type and body is as documented; bad data and missing keys are refused."""
    headers = {"Authorization": f"Bearer {served.key}"}
    # A document cannot say which chains, accounts and cursors there are: what fits it may still be refused.
    case.call_and_validate(base_url=served.url, headers=headers, excluded_checks=[positive_data_acceptance])
    if case.path_parameters:
        # Once more of something that is there; in a path that was wrong on purpose it then is right.
        case.path_parameters = {name: served.ids[name] for name in case.path_parameters}
        unsure: list[schemathesis.CheckFunction] = [positive_data_acceptance, negative_data_rejection]
        case.call_and_validate(base_url=served.url, headers=headers, excluded_checks=unsure)
