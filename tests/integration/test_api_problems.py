"""Every error is a problem document, whatever is sent and whatever is down."""

from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from chainbell.api.app import BODY_LIMIT_BYTES
from tests.api_client import CHECKSUMMED, api_house

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", HTTPStatus.NOT_FOUND),
        ("GET", "/v2", HTTPStatus.NOT_FOUND),
        ("GET", "/v2/addresses/", HTTPStatus.NOT_FOUND),
        ("GET", "/v2/nonsense/%00/\u00e4", HTTPStatus.NOT_FOUND),
        ("PUT", "/v2/addresses", HTTPStatus.METHOD_NOT_ALLOWED),
        ("POST", "/v2/events", HTTPStatus.METHOD_NOT_ALLOWED),
        ("GET", "/v2/endpoints/nonsense", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("GET", "/v2/deliveries/nonsense", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("GET", "/v2/deliveries/0", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("GET", "/v2/chains?typo=1", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("GET", "/v2/chains/anvil?typo=1", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("POST", "/v2/deliveries/1/replay?typo=1", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("DELETE", f"/v2/addresses/anvil/{CHECKSUMMED}?force=1", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("DELETE", "/v2/addresses/anvil/nonsense", HTTPStatus.UNPROCESSABLE_ENTITY),
    ],
)
async def test_an_error_is_a_problem_document(database_url: str, method: str, path: str, status: HTTPStatus) -> None:
    """RFC 9457 members, with the path and words for people; also for the framework's own errors."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.request(method, path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document.keys() >= {"type", "title", "status", "detail", "instance", "errors"}
        assert document["status"] == status
        assert document["instance"].isascii()
        assert document["detail"]


async def test_a_wrong_method_names_all_that_are_allowed(database_url: str) -> None:
    """Allow holds every method of the path, not only that of the first route."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for path, allowed in (
            ("/v2/addresses", "GET, POST"),
            (f"/v2/addresses/anvil/{CHECKSUMMED}", "DELETE, GET"),
            ("/v2/endpoints/1", "DELETE, GET, PATCH"),
            ("/v2/openapi.json", "GET"),
        ):
            assert (await client.put(path)).headers["allow"] == allowed


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xff\xfe", HTTPStatus.BAD_REQUEST),
        (b'{"chain": "\xff"}', HTTPStatus.BAD_REQUEST),
        (b'{"chain"', HTTPStatus.BAD_REQUEST),
        (b"[" * 100_000, HTTPStatus.BAD_REQUEST),
        (b"1" * 5_000, HTTPStatus.BAD_REQUEST),
        (b"", HTTPStatus.UNPROCESSABLE_ENTITY),
        (b"null", HTTPStatus.UNPROCESSABLE_ENTITY),
        (b"[]", HTTPStatus.UNPROCESSABLE_ENTITY),
        (b"NaN", HTTPStatus.UNPROCESSABLE_ENTITY),
        (b'{"chain": "\\ud800", "address": "\\ud800"}', HTTPStatus.UNPROCESSABLE_ENTITY),
        (b'{"chain": "anvil", "address": "0x", "\\ud800": 1}', HTTPStatus.UNPROCESSABLE_ENTITY),
        (b'{"chain": "anvil", "address": "0x", "a/b~c": 1}', HTTPStatus.UNPROCESSABLE_ENTITY),
        (b" " * (BODY_LIMIT_BYTES + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(database_url: str, body: bytes, status: HTTPStatus) -> None:
    """Never a 500: not JSON is 400, other JSON than asked for 422, too much of it 413."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post("/v2/addresses", content=body, headers=JSON)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_of_the_largest_size_is_read(database_url: str) -> None:
    """The limit is the limit: what just fits is judged by what it says."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        wanted = b'{"chain": "anvil", "address": "' + CHECKSUMMED.encode() + b'"'
        body = wanted + b" " * (BODY_LIMIT_BYTES - len(wanted) - 1) + b"}"
        assert (await client.post("/v2/addresses", content=body, headers=JSON)).status_code == HTTPStatus.CREATED


async def test_every_flaw_is_named(database_url: str) -> None:
    """The list errors names each, with a pointer into the body or the parameter's name, and never what was sent."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        body = {"chain": 1, "address": 7, "label": "geheim\x00", "typo": "geheim"}
        answer = await client.post("/v2/addresses", json=body)
        pointers = {error["pointer"] for error in answer.json()["errors"]}
        assert pointers == {"#/chain", "#/address", "#/label", "#/typo"}
        assert "geheim" not in answer.text
        query = await client.get("/v2/transactions", params={"limit": "x", "accountId": "y", "typo": "z"})
        assert {error["parameter"] for error in query.json()["errors"]} == {"limit", "accountId", "typo"}


async def test_a_message_says_what_to_do(database_url: str) -> None:
    """Also where the framework alone would only say what it expected."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for path, words in (
            ("/v2/nonsense", "check how it is written; /v2/openapi.json lists what there is"),
            ("/v2/scans/nonsense", "copy it whole"),
            ("/v2/deliveries?eventId=foo", "this is no event id, which begins with evt_"),
            ("/v2/transactions/foo", "this is no transaction id, which begins with trx_"),
            (f"/v2/addresses/anvil/{CHECKSUMMED}", "is not watched on anvil: register it"),
            (f"/v2/coverage?chain=anvil&address={CHECKSUMMED}", "is not watched on anvil: register it"),
        ):
            assert words in (await client.get(path)).json()["detail"], path
        missing = await client.post("/v2/addresses", json={"address": CHECKSUMMED})
        assert missing.json()["detail"].startswith("#/chain: is missing: add it")


async def test_a_database_that_is_away_is_503(database_url: str, tmp_path: Path) -> None:
    """With Retry-After; the API answers again as soon as the database does."""
    socket = Path(parse_qs(urlsplit(database_url).query)["host"][0])
    path_to_it = tmp_path / "s"
    path_to_it.symlink_to(socket)
    async with (
        api_house(database_url.replace(str(socket), str(path_to_it))) as house,
        house.client(await house.key()) as client,
    ):
        path_to_it.unlink()
        admin = await asyncpg.connect(database_url)
        others = "datname = current_database() and pid <> pg_backend_pid()"
        await admin.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}")
        await admin.close()
        for method, path in (("GET", "/v2/addresses"), ("GET", "/v2/events"), ("POST", "/v2/deliveries/1/replay")):
            answer = await client.request(method, path)
            assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, answer.text
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["content-type"] == "application/problem+json"
        path_to_it.symlink_to(socket)
        assert (await client.get("/v2/addresses")).status_code == HTTPStatus.OK


async def test_what_nobody_planned_for_tells_nothing(database_url: str) -> None:
    """A fault of ours is a 500 without a trace of its cause."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        async with house.database.connection() as connection:
            await connection.execute("alter table addresses rename to hidden")
        answer = await client.get("/v2/addresses")
        assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        assert answer.headers["content-type"] == "application/problem+json"
        assert "hidden" not in answer.text
        assert "relation" not in answer.text
