"""What a node of Bitcoin's family wants to see before it answers: a user and a password, by HTTP's basic authentication."""

import asyncio
import base64
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from chainbell.nodes.endpoint import Endpoint, without
from chainbell.nodes.errors import NodeUnreachableError

_LARGEST_COOKIE = 4096


class Credentials:
    """User and password of one node: those of its URL, or those in its cookie file, which it writes anew at each start."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        """Where to ask, without them."""
        self._cookie = endpoint.cookie
        given = parts.username is not None or parts.password is not None
        self._pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if given else None
        self._sent: str | None = None

    async def header(self) -> str | None:
        """Give the value of ``Authorization``; None where the node is configured without credentials.

        Raises:
            NodeUnreachableError: the cookie file cannot be read.

        """
        if self._pair is None and self._cookie is not None:
            self._pair = await self._read(self._cookie)
        self._sent = self._pair
        return None if self._pair is None else "Basic " + base64.b64encode(self._pair.encode()).decode()

    async def renew(self) -> bool:
        """Read the cookie file again, after the node was down or refused us; tell whether it holds something new."""
        if self._cookie is None:
            return False
        self._pair = await self._read(self._cookie)
        return self._pair != self._sent

    def forget(self) -> None:
        """Read the cookie file again before the next request: the node may be started anew."""
        if self._cookie is not None:
            self._pair = None

    def scrub(self, text: str) -> str:
        """``text`` without what the cookie file held; ``Endpoint.scrub`` knows what is in the URL."""
        if self._cookie is None:
            return text
        passwords = {pair.partition(":")[2] or pair for pair in (self._pair, self._sent) if pair}
        return without(text, passwords)

    @property
    def refusal(self) -> str:
        """Say what to do about an HTTP status 401."""
        if self._cookie is not None:
            return f"what its cookie file {self._cookie} holds is not accepted; is it the file of this very node?"
        if self._pair is None:
            return "it wants a user and a password; write http://user:password@host:port, or use the option cookie"
        return "it does not accept the user and the password in its URL; compare them with rpcauth or rpcuser of the node"

    async def _read(self, path: str) -> str:
        try:
            text = await asyncio.to_thread(_contents, path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
            message = (
                f"its cookie file {path} cannot be read ({reason}): a node writes it when it starts, so see that it runs, "
                "and that Chainbell may read the file"
            )
            raise NodeUnreachableError(message) from None
        return text.strip()


def _contents(path: str) -> str:
    with Path(path).open(encoding="utf-8") as file:
        return file.read(_LARGEST_COOKIE)
