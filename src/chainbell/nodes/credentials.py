"""What a node of Bitcoin's family wants to see before it answers: a user and a password, by HTTP's basic authentication."""

import asyncio
import base64
from collections import deque
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from chainbell.nodes.endpoint import Endpoint, without
from chainbell.nodes.errors import NodeUnreachableError

_LARGEST_COOKIE = 4096
_RUNS = 4
"""Of so many runs of a node the passwords are masked: an answer may come late."""


class Credentials:
    """User and password of one node: those of its URL, or those in its cookie file, which it writes anew at each start."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        """Where to ask, without them."""
        self._cookie = endpoint.cookie
        given = parts.username is not None or parts.password is not None
        self._pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if given else None
        self._read_before: deque[str] = deque(maxlen=_RUNS)

    async def header(self) -> str | None:
        """Give the value of ``Authorization``; None where the node is configured without credentials.

        Raises:
            NodeUnreachableError: the cookie file cannot be read.

        """
        pair = self._pair
        if pair is None and self._cookie is not None:
            pair = self._pair = await self._read(self._cookie)
        return _basic(pair)

    async def renew(self, refused: str | None) -> bool:
        """Read the cookie file again, after the node refused ``refused``; tell whether it holds something else.

        Whoever is refused must say what with: another request may have brought the new password meanwhile.
        """
        if self._cookie is None:
            return False
        self._pair = await self._read(self._cookie)
        return _basic(self._pair) != refused

    def forget(self) -> None:
        """Read the cookie file again before the next request: the node may be started anew."""
        if self._cookie is not None:
            self._pair = None

    def scrub(self, text: str) -> str:
        """``text`` without what the cookie file held; ``Endpoint.scrub`` knows what is in the URL."""
        if self._cookie is None:
            return text
        return without(text, {pair.partition(":")[2] or pair for pair in self._read_before if pair})

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
        pair = text.strip()
        if pair not in self._read_before:
            self._read_before.append(pair)
        return pair


def _basic(pair: str | None) -> str | None:
    return None if pair is None else "Basic " + base64.b64encode(pair.encode()).decode()


def _contents(path: str) -> str:
    with Path(path).open(encoding="utf-8") as file:
        return file.read(_LARGEST_COOKIE)
