"""Bulk registration by the API: checked whole, registered in batches, answered line by line."""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from chainbell.api.routes.bulk_addresses import BULK_LIMIT_BYTES
from chainbell.custody.address_file import Limits
from chainbell.custody.registration import BATCH_SIZE
from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import Scope
from tests.api_client import CHECKSUMMED, CURSOR, ApiHouse, api_house
from tests.bulk import address, csv, held_back, lines, somebody_waits

BULK = "/v2/addresses/bulk"
CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}
ON_ANVIL = {"chain": "anvil"}


async def _customer(house: ApiHouse, account: str) -> str:
    return str(
        await house.fetchval("insert into customers (account_id, created_at) values ($1, now()) returning id", account)
    )


async def test_a_file_is_registered_whole(database_url: str) -> None:
    """Labels and customers are those of the line; CSV and NDJSON mean the same, and the answer is one line a batch."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        customer = await _customer(house, await house.default_account())
        table = f'\ufeffaddress,label,customer\r\n{CHECKSUMMED},"till ""7"", Köln",{customer}\r\n\r\n{address(2)},,\r\n'
        answer = await client.post(BULK, params=ON_ANVIL, content=table.encode(), headers=CSV)
        assert answer.status_code == HTTPStatus.OK, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert lines(answer.text) == [
            {
                "type": "batch",
                "firstLine": 2,
                "lastLine": 4,
                "registered": 2,
                "already": 0,
                "conflicts": [],
                "watchedFrom": CURSOR + 1,
                "scanId": None,
            },
            {"type": "summary", "registered": 2, "already": 0, "conflicts": 0},
        ]
        objects = [{"address": address(3), "label": 'till "7", Köln', "customerId": customer}, {"address": address(4)}]
        body = "\n".join(json.dumps(item) for item in objects).encode()
        answer = await client.post(
            BULK, params={"chain": "ANVIL"}, content=body, headers={"Content-Type": "Application/X-NDJSON; charset=UTF-8"}
        )
        assert lines(answer.text)[-1] == {"type": "summary", "registered": 2, "already": 0, "conflicts": 0}
        items = {item["address"].lower(): item for item in (await client.get("/v2/addresses")).json()["items"]}
        for labelled, bare in ((CHECKSUMMED.lower(), address(2)), (address(3), address(4))):
            assert (items[labelled]["label"], items[labelled]["customerId"]) == ('till "7", Köln', customer)
            assert (items[bare]["label"], items[bare]["customerId"]) == (None, None)
            assert items[bare]["watchedFrom"] == CURSOR + 1
        assert await house.fetchval("select count(*) from scans") == 0


async def test_bad_lines_are_told_before_anything_is_registered(database_url: str) -> None:
    """422 names the first hundred and counts all, also customers that are not there; nothing of the file is registered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        good = csv(*range(BATCH_SIZE + 10)).replace(b"address\n", b"address,label,customer\n").replace(b"\n0x", b",,\n0x")
        good = good.replace(b"customer,,", b"customer").rstrip(b"\n") + b",,\n"
        stranger = await _customer(house, await house.account())
        ends = [f"{address(9_999)},,{stranger}", "0x12,,", f"{address(3)},again,", *["nonsense,,"] * 120]
        answer = await client.post(BULK, params=ON_ANVIL, content=good + "\n".join(ends).encode(), headers=CSV)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["badLineTotal"] == 123
        assert len(document["badLines"]) == Limits().bad_lines_kept
        first = BATCH_SIZE + 12
        assert [bad["line"] for bad in document["badLines"]] == list(range(first, first + 100))
        reasons = [bad["reason"] for bad in document["badLines"][:3]]
        assert "has no customer" in reasons[0]
        assert "is not an address of an EVM chain" in reasons[1]
        assert "stands in line 5" in reasons[2]
        assert f"123 lines are wrong, and nothing was registered. Line {first}:" in document["detail"]
        assert await house.fetchval("select count(*) from addresses") == 0


async def test_each_batch_is_a_commit_and_a_repetition_is_harmless(database_url: str) -> None:
    """Batches hold a thousand at most; the same call again changes nothing, whatever its labels say."""
    count = 2 * BATCH_SIZE + 1
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post(BULK, params=ON_ANVIL, content=csv(*range(count)), headers=CSV)
        *batches, summary = lines(answer.text)
        assert [batch["registered"] for batch in batches] == [BATCH_SIZE, BATCH_SIZE, 1]
        assert [(batch["firstLine"], batch["lastLine"]) for batch in batches] == [(2, 1001), (1002, 2001), (2002, 2002)]
        assert summary == {"type": "summary", "registered": count, "already": 0, "conflicts": 0}
        before = await house.fetchval("select array_agg(a order by address) from addresses a")
        relabelled = b"".join(b'{"address": "%s", "label": "new"}\n' % address(n).encode() for n in range(count + 1))
        again = await client.post(BULK, params=ON_ANVIL, content=relabelled, headers=NDJSON)
        *batches, summary = lines(again.text)
        assert [batch["watchedFrom"] for batch in batches] == [None, None, CURSOR + 1]
        assert summary == {"type": "summary", "registered": 1, "already": count, "conflicts": 0}
        kept = await house.fetchval("select array_agg(a order by address) from addresses a where label is null")
        assert kept == before


async def test_what_another_account_watches_is_a_conflict_of_its_line(database_url: str) -> None:
    """The others stand, and nobody is told whose it is."""
    async with api_house(database_url) as house:
        account = await house.account()
        async with house.client(await house.key(account=account)) as own, house.client(await house.key()) as client:
            assert (await own.post(BULK, params=ON_ANVIL, content=csv(2, 4), headers=CSV)).is_success
            answer = await client.post(BULK, params=ON_ANVIL, content=csv(1, 2, 3, 4, 5), headers=CSV)
            batch, summary = lines(answer.text)
            assert [(one["line"], int(one["address"], 16), one["code"]) for one in batch["conflicts"]] == [
                (3, 2, "watched_by_another_account"),
                (5, 4, "watched_by_another_account"),
            ]
            assert account not in answer.text
            assert summary == {"type": "summary", "registered": 3, "already": 0, "conflicts": 2}
            listed = (await own.get("/v2/addresses")).json()["items"]
            assert sorted(int(item["address"], 16) for item in listed) == [2, 4]


async def test_the_past_is_asked_for_with_both_words(database_url: str) -> None:
    """A height without notify is refused, and the other way round; each batch has its scan, of what was new in it."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        for half in ({"fromHeight": "7"}, {"notify": "true"}):
            refused = await client.post(BULK, params=ON_ANVIL | half, content=csv(1), headers=CSV)
            assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert "fromHeight" in refused.json()["detail"]
        assert (await client.post(BULK, params=ON_ANVIL, content=csv(0), headers=CSV)).is_success
        past = ON_ANVIL | {"fromHeight": "7", "notify": "false"}
        answer = await client.post(BULK, params=past, content=csv(*range(BATCH_SIZE + 2)), headers=CSV)
        first, second, _ = lines(answer.text)
        for batch, members in ((first, BATCH_SIZE - 1), (second, 2)):
            scan = "select from_height || '/' || through_height || '/' || notify from scans where id = $1"
            assert await house.fetchval(scan, batch["scanId"]) == f"7/{CURSOR}/false"
            assert await house.fetchval("select count(*) from scan_addresses where scan_id = $1", batch["scanId"]) == members
        above = ON_ANVIL | {"fromHeight": str(CURSOR + 1), "notify": "true"}
        answer = await client.post(BULK, params=above, content=csv(5_000), headers=CSV)
        assert lines(answer.text)[0]["scanId"] is None


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, HTTPStatus.UNPROCESSABLE_ENTITY, "chain"),
        ({"chain": "etherium"}, HTTPStatus.UNPROCESSABLE_ENTITY, "there is no chain 'etherium'"),
        ({"chain": "ethereum"}, HTTPStatus.UNPROCESSABLE_ENTITY, "nothing crosses modes"),
        ({"chain": "sepolia"}, HTTPStatus.SERVICE_UNAVAILABLE, "takes no address yet"),
        (ON_ANVIL | {"typo": "1"}, HTTPStatus.UNPROCESSABLE_ENTITY, "typo"),
        (ON_ANVIL | {"accountId": str(uuid4())}, HTTPStatus.UNPROCESSABLE_ENTITY, "there is no such account"),
        (ON_ANVIL | {"fromHeight": "-1", "notify": "true"}, HTTPStatus.UNPROCESSABLE_ENTITY, "fromHeight"),
        (ON_ANVIL | {"fromHeight": str(2**63), "notify": "true"}, HTTPStatus.UNPROCESSABLE_ENTITY, "fromHeight"),
    ],
)
async def test_a_query_that_cannot_be_done_is_refused(
    database_url: str, query: dict[str, str], status: HTTPStatus, words: str
) -> None:
    """A problem document says what is wrong, and nothing is registered."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post(BULK, params=query, content=csv(1), headers=CSV)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in answer.text
        assert await house.fetchval("select count(*) from addresses") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "text/csv; charset=utf-16"},
        CSV | {"Content-Encoding": "gzip"},
    ],
)
async def test_another_way_of_writing_is_refused(database_url: str, headers: dict[str, str]) -> None:
    """415 names the two that are read."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        answer = await client.post(BULK, params=ON_ANVIL, content=csv(1), headers=headers)
        assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        assert "send UTF-8 as it is, with the Content-Type text/csv or application/x-ndjson" in answer.json()["detail"]


async def test_keys_are_judged_as_for_one_address(database_url: str) -> None:
    """No key is 401, one that only reads 403; a key of one account registers there alone."""
    async with api_house(database_url) as house:
        async with house.client() as nobody:
            answer = await nobody.post(BULK, params=ON_ANVIL, content=csv(1), headers=CSV)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED
        async with house.client(await house.key(scopes=[Scope.READ])) as reader:
            answer = await reader.post(BULK, params=ON_ANVIL, content=csv(1), headers=CSV)
            assert answer.status_code == HTTPStatus.FORBIDDEN
        async with house.client(await house.key(Mode.LIVE)) as live:
            answer = await live.post(BULK, params=ON_ANVIL, content=csv(1), headers=CSV)
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        account = await house.account()
        async with house.client(await house.key(account=account)) as own:
            elsewhere = ON_ANVIL | {"accountId": await house.default_account()}
            answer = await own.post(BULK, params=elsewhere, content=csv(1), headers=CSV)
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
            assert (await own.post(BULK, params=ON_ANVIL, content=csv(1), headers=CSV)).is_success
            assert str(await house.fetchval("select account_id from addresses")) == account


async def test_too_large_a_body_is_refused(database_url: str) -> None:
    """413, by its Content-Length or by what comes; too many lines are 422 before the rest is read."""
    sent = 0

    async def endless(piece: bytes) -> AsyncIterator[bytes]:
        yield b"address\n"
        while True:
            nonlocal sent
            sent += len(piece)
            yield piece

    async with api_house(database_url) as house, house.client(await house.key()) as client:
        announced = CSV | {"Content-Length": str(BULK_LIMIT_BYTES + 1)}
        answer = await client.post(BULK, params=ON_ANVIL, content=csv(1), headers=announced)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert str(BULK_LIMIT_BYTES) in answer.json()["detail"]
        answer = await client.post(BULK, params=ON_ANVIL, content=endless(b" " * 999_999), headers=CSV)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert answer.headers["content-type"] == "application/problem+json"
        assert sent < BULK_LIMIT_BYTES + 2_000_000
        sent = 0
        answer = await client.post(BULK, params=ON_ANVIL, content=endless(b"0x12\n" * 20_000), headers=CSV)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert sent < 1_000_000
        assert answer.json()["badLineTotal"] == Limits().lines + 1
        assert await house.fetchval("select count(*) from addresses") == 0


async def test_a_database_that_goes_away_in_the_middle_ends_the_answer(database_url: str, tmp_path: Path) -> None:
    """What was committed stands, the last line says how to go on, and the same call again does."""
    socket = Path(parse_qs(urlsplit(database_url).query)["host"][0])
    path_to_it = tmp_path / "s"
    path_to_it.symlink_to(socket)
    count = 5 * BATCH_SIZE
    async with (
        api_house(database_url.replace(str(socket), str(path_to_it))) as house,
        house.client(await house.key()) as client,
    ):
        async with held_back(database_url, 3 * BATCH_SIZE + 7) as other:
            call = client.post(BULK, params=ON_ANVIL, content=csv(*range(count)), headers=CSV)
            registering = asyncio.create_task(call)
            await somebody_waits(other)
            path_to_it.unlink()
            await other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name like 'chainbell%'"
            )
            answer = await registering
        assert answer.status_code == HTTPStatus.OK
        *batches, last = lines(answer.text)
        assert len(batches) == 3
        assert (last["type"], last["status"], last["registered"]) == ("error", 503, 3 * BATCH_SIZE)
        assert "repeat the whole call" in last["detail"]
        path_to_it.symlink_to(socket)
        again = await client.post(BULK, params=ON_ANVIL, content=csv(*range(count)), headers=CSV)
        assert lines(again.text)[-1] == {
            "type": "summary",
            "registered": 2 * BATCH_SIZE,
            "already": 3 * BATCH_SIZE,
            "conflicts": 0,
        }
