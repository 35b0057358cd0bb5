"""`chainbell key` and `chainbell address next`: what they do and print, and that no private key gets anywhere."""

import asyncio
import signal
import subprocess
from functools import partial
from pathlib import Path
from random import Random

import pytest

from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN, BIP32_TEST
from chainbell.domain.chain import BlockRef
from chainbell.domain.following import KeptLedger
from chainbell.telemetry.clock import now
from tests import builders
from tests.api_client import CURSOR, api_house
from tests.command import COMMAND, SECRET_KEY, Ended, chainbell, environment
from tests.keys import BIP32_XPRV, WIF, random_key

pytestmark = pytest.mark.timeout(300)

XPUB = random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN)
PHRASE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"


def _add_from_file(folder: Path, text: str, settings: dict[str, str]) -> Ended:
    given = folder / "given"
    given.write_text(text + "\n")
    with given.open() as stdin:
        words = [str(COMMAND), "key", "add", "anvil", "-"]
        ended = subprocess.run(
            words,
            stdin=stdin,
            cwd=folder,
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    given.unlink()
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def _files_with(piece: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and piece in path.read_text()]


async def test_a_key_is_added_shown_and_hands_out_addresses(database_url: str, tmp_path: Path) -> None:
    """JSON lines have the API's members, words are for people, and `next` prints an address alone."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url) as house, house.client(await house.key()) as client:
        added = run("key", "add", "anvil", XPUB, "--label", "shop [7]", "--gap-limit", "3")
        assert (added.code, added.err) == (0, "")
        assert f"is watched on anvil from block {CURSOR + 1} on" in added.out
        (shown,) = run("key", "list", "--json").lines
        assert (await client.get("/v2/keys")).json()["items"] == [shown]
        first = shown["branches"][0]["firstAddress"]
        assert f"index 0 is {first}" in added.out
        assert "shop [7]" in run("key", "list", "--chain", "anvil").out
        assert run("key", "show", shown["id"], "--json").lines == [shown]
        assert run("key", "show", shown["id"]).out.startswith(XPUB)
        handed = run("address", "next", "anvil", "--label", "order 1")
        assert (handed.code, handed.out, handed.err) == (0, f"{first}\n", "")
        (second,) = run("address", "next", "anvil", "--key", shown["id"], "--json").lines
        assert (second["keyIndex"], second["label"]) == (1, "shop [7]")
        again = run("key", "add", "anvil", XPUB)
        assert (again.code, again.out) == (1, "")
        assert "is registered on anvil already" in again.err


@pytest.mark.parametrize("secret", [BIP32_XPRV, WIF, PHRASE], ids=["xprv", "wif", "phrase"])
async def test_a_private_key_gets_nowhere(database_url: str, tmp_path: Path, secret: str) -> None:
    """As an argument, as words, or by a file: one error that says why and repeats nothing; no file and no table holds it."""
    run = partial(chainbell, cwd=tmp_path, LOG_LEVEL="debug", DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    data = tmp_path / "data"
    data.mkdir()
    async with api_house(database_url) as house:
        ended = [run("key", "add", "anvil", secret, DATA_DIR=str(data)), run("key", "add", "anvil", *secret.split())]
        settings = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "DATA_DIR": str(data)}
        ended.append(await asyncio.to_thread(_add_from_file, tmp_path, secret, settings))
        piece = "abandon" if secret is PHRASE else secret[6:20]
        for one in ended:
            assert (one.code, one.out) == (1, "")
            assert "this is a private key" in one.err
            assert piece not in one.err
        assert not await asyncio.to_thread(_files_with, piece, tmp_path)
        async with house.database.connection() as connection:
            tables = await connection.fetch("select table_name from information_schema.tables where table_schema = 'public'")
            for table in tables:
                rows = await connection.fetch(f'select * from "{table["table_name"]}"')
                assert not any(piece in str(dict(row)) for row in rows)


@pytest.mark.parametrize("secret", [BIP32_XPRV, WIF], ids=["xprv", "wif"])
async def test_a_private_key_in_the_place_of_an_address_is_not_repeated(
    database_url: str, tmp_path: Path, secret: str
) -> None:
    """By `address add`, `remove`, `balance`, and in each column of a file that `address import` reads."""
    run = partial(chainbell, cwd=tmp_path, DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    async with api_house(database_url):
        pass
    lines = tmp_path / "given.csv"
    await asyncio.to_thread(lines.write_text, f"address\n{secret}\n")
    header = tmp_path / "header.csv"
    await asyncio.to_thread(header.write_text, f"address,{secret}\n")
    for words in (
        ["add", "anvil", secret],
        ["add", "bitcoin", secret],
        ["add", secret, XPUB],
        ["remove", "bitcoin", secret],
        ["balance", "bitcoin", secret],
        ["import", "bitcoin", str(lines)],
        ["import", "bitcoin", str(header)],
        ["next", secret],
    ):
        ended = run("address", *words)
        assert (ended.code, ended.out) == (1, ""), words
        assert "looks like a private or extended key" in ended.err
        assert not any(secret[at : at + 10] in ended.err for at in range(40)), ended.err


async def test_a_key_that_takes_long_can_be_given_up(database_url: str, tmp_path: Path) -> None:
    """An interrupt ends the command within seconds, and nothing is registered."""
    keys = ",".join(f"{random_key(Random(seed)).text(BIP32_TEST)}/<0;1>/*" for seed in range(20))
    body = f"wsh(sortedmulti(2,{keys}))"
    words = [str(COMMAND), "key", "add", "bitcoin-regtest", f"{body}#{checksum_of(body)}", "--gap-limit", "75"]
    async with api_house(database_url) as house:
        cursor = BlockRef(CURSOR, builders.block_hash(CURSOR), builders.block_hash(CURSOR - 1))
        definition = house.services.chains["bitcoin-regtest"]
        await house.services.chain_states.start(definition, builders.block_hash(0), KeptLedger((cursor,)), now())
        settings = environment(DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
        command = await asyncio.create_subprocess_exec(*words, cwd=tmp_path, env=settings, stderr=asyncio.subprocess.PIPE)
        derives = "select count(*) from pg_stat_activity where application_name like $1 and query ilike 'rollback%'"
        async with asyncio.timeout(60):
            while not await house.fetchval(derives, f"chainbell {command.pid}@%"):
                assert command.returncode is None
                await asyncio.sleep(0.05)
        command.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            _, told = await command.communicate()
        assert command.returncode not in {0, None}
        assert b"Traceback" not in told
        assert await house.fetchval("select count(*) from keys") == 0
