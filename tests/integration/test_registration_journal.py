"""The journal of registrations: whole lines on disk before anybody is told, and never a reason to fail."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from chainbell.domain.chain import Mode
from chainbell.domain.errors import ConflictError, InputError
from chainbell.storage.api_keys import ApiKeyStore, NewApiKey, Scope, write_key
from chainbell.storage.database import Database
from chainbell.storage.endpoints import EndpointChange, EndpointStore, NewEndpoint
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import Journal, read_journals
from chainbell.storage.registrations import addresses_removed, note
from chainbell.storage.watches import NewWatch, WatchStore
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import api_house
from tests.builders_delivery import BOX
from tests.feed_builders import with_a_chain

AT = datetime(2026, 11, 22, tzinfo=UTC)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_registration_is_a_line(database_url: str, tmp_path: Path) -> None:
    """Addresses, endpoints and keys, added, changed and removed; no secret is among it, and others cannot read it."""
    path = tmp_path / "registrations.ndjson"
    async with Database.open(database_url) as database:
        async with database.connection() as connection:
            installation = (await read_installation(connection)).id
        database.journal = Journal(path, installation, 4)
        await with_a_chain(database)
        watches, endpoints, keys = WatchStore(database), EndpointStore(database, BOX), ApiKeyStore(database)
        await watches.add(NewWatch("anvil", builders.OURS, label="till"), now())
        with pytest.raises(ConflictError):
            await watches.add(NewWatch("anvil", builders.OURS), now())
        await watches.remove("anvil", builders.OURS, None, now())
        endpoint, secret = await endpoints.create(NewEndpoint("https://example.com/", Mode.TEST), now())
        await endpoints.update(endpoint.id, EndpointChange(enabled=False), now())
        await endpoints.delete(endpoint.id, now())
        text = write_key(Mode.TEST, bytes(32))
        key = await keys.add(NewApiKey("shop", Mode.TEST, [Scope.READ]), text, now())
        await keys.revoke(UUID(key.id), now())
    lines = _lines(path)
    assert [line["action"] for line in lines] == [
        *("addresses_added", "addresses_removed"),
        *("endpoint_saved", "endpoint_saved", "endpoint_removed"),
        *("api_key_added", "api_key_revoked"),
    ]
    assert {(line["installation"], line["generation"]) for line in lines} == {(installation, 4)}
    assert secret not in path.read_text()
    assert text not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_api_writes_it_before_it_answers(database_url: str, tmp_path: Path) -> None:
    """What was answered with 201 is in the journal."""
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        house.database.journal = Journal(tmp_path / "journal", "x", 0)
        answer = await client.post("/v2/addresses", json={"chain": "anvil", "address": f"0x{builders.OURS.hex()}"})
        assert answer.status_code == 201, answer.text
        assert [line["watchedFrom"] for line in _lines(tmp_path / "journal")] == [answer.json()["watchedFrom"]]


async def test_a_journal_that_cannot_be_written_is_an_error_in_the_log(database_url: str, tmp_path: Path) -> None:
    """The registration stands: losing it would be worse than not remembering it."""
    async with Database.open(database_url) as database:
        await with_a_chain(database)
        database.journal = Journal(tmp_path / "no such folder" / "journal", "x", 0)
        with capture_logs() as logs:
            await WatchStore(database).add(NewWatch("anvil", builders.OURS), now())
        assert [(line["event"], line["log_level"]) for line in logs] == [("registrations_not_journalled", "error")]
        assert (await WatchStore(database).get("anvil", builders.OURS)).address == builders.OURS


async def test_what_is_rolled_back_leaves_no_line(database_url: str, tmp_path: Path) -> None:
    """Only what was committed is remembered."""
    path = tmp_path / "journal"
    async with Database.open(database_url) as database:
        database.journal = Journal(path, "x", 0)

        async def fail() -> None:
            async with database.transaction() as connection:
                note(connection, addresses_removed("anvil", [builders.OURS], AT))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
    assert not path.exists()


async def test_processes_share_it_and_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """Lines written at once never mix; one that a full disk cut off is named, and what follows stands on its own line."""
    path = tmp_path / "journal"
    journals = [Journal(path, "ours", number) for number in range(5)]
    entry = addresses_removed("anvil", [builders.OURS] * 50, AT)
    await asyncio.gather(*(journal.keep([entry, entry]) for journal in journals for _ in range(10)))
    with path.open("ab") as file:
        file.write(b'{"at":"2026-11-22T00:00:00Z","installation":"ou')
    await journals[0].keep([entry])
    await Journal(path, "another", 99).keep([entry])
    found = read_journals([path], "ours")
    assert len(found.lines) == 101
    assert found.newest_generation == 4
    assert found.damaged == [f"{path}:101"]
    assert found.foreign == 1
    with pytest.raises(InputError, match="--journal"):
        read_journals([tmp_path / "elsewhere"], "ours")
