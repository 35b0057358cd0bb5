"""A process that uses the embedded server of a data directory until its standard input ends; tests start and kill it.

It prints one JSON line ``{"dsn": ...}`` when the server is ready, ``{"error": ...}`` when it cannot be used, and
``{"said": ...}`` for each line meant for people. With ``--user`` it first becomes that user.
"""

import argparse
import asyncio
import json
import os
import pwd
import resource
import sys
from importlib import import_module
from pathlib import Path

import asyncpg

from chainbell.domain.errors import ChainbellError
from chainbell.storage.embedded import Binaries, embedded_server


def _say(**line: str) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - this is how it talks to its test


async def _hold(data_dir: Path, binaries: Binaries | None) -> None:
    async with embedded_server(data_dir, log=lambda line: _say(said=line), binaries=binaries) as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select current_database()") == "chainbell"
        await connection.close()
        _say(dsn=dsn)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
        await ended.wait()


def main() -> int:
    """Hold the server until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--user", type=int)
    parser.add_argument("--binaries", type=Path)
    parser.add_argument("--file-limit", type=int)
    arguments = parser.parse_args()
    if arguments.user is not None:
        import_module("concurrent.futures.thread")  # asyncio imports it late, when the interpreter may be out of reach
        os.setgroups([])
        os.setgid(pwd.getpwuid(arguments.user).pw_gid)
        os.setuid(arguments.user)
    if arguments.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_limit, arguments.file_limit))
    binaries = Binaries(arguments.binaries) if arguments.binaries else None
    try:
        asyncio.run(_hold(arguments.data_dir, binaries))
    except ChainbellError as error:
        _say(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
