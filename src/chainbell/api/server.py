"""The HTTP server of a process, as one part among others: it takes a listening socket, and ends when it is cancelled."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from chainbell.domain.errors import ConfigurationError

_DRAIN_SECONDS = 10


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the supervisor: the server is not the only part that must end in order."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigurationError` when the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} on {host} is taken: stop what uses it, or set CHAINBELL_API_PORT to another"
        else:
            message = f"cannot listen on {host}:{port} ({error}): check CHAINBELL_API_HOST and CHAINBELL_API_PORT"
        raise ConfigurationError(message) from error
    return listener


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled; then finish the requests under way."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_DRAIN_SECONDS, lifespan="off", ws="none"
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener.dup()]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
