"""A webhook receiver in a process of its own that does next to nothing: it answers 204 to whatever comes.

It speaks just enough HTTP/1.1 (keep-alive, Content-Length) for the clients that are measured, so that little of the
machine goes into it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class _Receiver(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], None] | None) -> None:
        self._take = take
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        rest, answers = self._rest + data, 0
        while (place := _first_request(rest)) is not None:
            body, rest, answers = rest[place[0] : place[1]], rest[place[1] :], answers + 1
            if self._take is not None:
                self._take(body)
        self._rest = rest
        if answers and self._transport is not None:
            self._transport.write(_ANSWER * answers)


def _first_request(data: bytes) -> tuple[int, int] | None:
    """Return where the body of the first whole request begins and ends; None: it is not whole yet."""
    end = data.find(_HEAD_ENDS)
    if end < 0:
        return None
    head = data[:end].lower()
    place = head.find(_LENGTH)
    length = 0 if place < 0 else int(head[place + len(_LENGTH) :].partition(b"\r\n")[0])
    begins = end + len(_HEAD_ENDS)
    return (begins, begins + length) if len(data) >= begins + length else None


@asynccontextmanager
async def receiver_process() -> AsyncIterator[str]:
    """Run a receiver beside us, and return its URL."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.receiver", stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            message = "the receiver has no output"
            raise RuntimeError(message)
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def receiver_here(take: Callable[[bytes], None]) -> AsyncIterator[str]:
    """Run a receiver in this process that hands every body to `take`, and return its URL."""
    server = await asyncio.get_running_loop().create_server(lambda: _Receiver(take), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Receiver(None), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
