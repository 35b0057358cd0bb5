"""`chainbell key` and `chainbell address next`: what they do and print, and that no private key gets anywhere."""

import asyncio
import subprocess
from functools import partial
from pathlib import Path
from random import Random

import pytest

from chainbell.custody.extended_key import BIP32_MAIN
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
