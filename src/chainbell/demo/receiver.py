"""The demo's merchant: an HTTP server with a v2 and a v1 endpoint that believes no webhook before its signature is checked.

It checks with the published `standardwebhooks` library, not with Chainbell's own code.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError

from chainbell.demo.webhook import Webhook, read_webhook
from chainbell.telemetry.clock import now

VERSIONS = (2, 1)
_SIGNED_TWICE = 1
"""The version whose webhooks carry ``X-Signature`` too."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A POST as it came in, before anything is believed of it. The names of headers are lower-case."""

    version: int
    headers: Mapping[str, str]
    body: bytes


Tamper = Callable[[Arrival], Sequence[Arrival]]
"""What happens to an arrival on its way to the receiver: by nature nothing, `untouched`. Tests show with it that the
demo notices a webhook that is lost, doubled, late or forged."""


def untouched(arrival: Arrival) -> Sequence[Arrival]:
    """Let an arrival through."""
    return (arrival,)


class Receiver:
    """Collects what arrives, good and bad."""

    def __init__(self, hear: Callable[[Webhook], None], tamper: Tamper = untouched) -> None:
        self.received: list[Webhook] = []
        self.news = asyncio.Event()
        """Set at each arrival; whoever waits clears it."""
        self._hear = hear
        self._tamper = tamper
        self._secrets: dict[int, str] = {}
        self._port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve on a free port of this machine."""
        app = web.Application()
        app.add_routes([web.post(r"/v{version:[12]}", self._take)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    def url(self, version: int) -> str:
        """Return the URL of the endpoint that takes webhooks of this version."""
        return f"http://127.0.0.1:{self._port}/v{version}"

    def trust(self, version: int, secret: str) -> None:
        """Take the secret that was shown once when the endpoint was registered."""
        self._secrets[version] = secret

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrival = Arrival(int(request.match_info["version"]), headers, await request.read())
        taken = [self._read(changed) for changed in self._tamper(arrival)]
        for webhook in taken:
            self.received.append(webhook)
            self._hear(webhook)
        self.news.set()
        refused = any(webhook.problem for webhook in taken)
        return web.Response(status=HTTPStatus.UNAUTHORIZED if refused else HTTPStatus.NO_CONTENT)

    def _read(self, arrival: Arrival) -> Webhook:
        webhook_id = arrival.headers.get("webhook-id", "")
        problem = _problem(arrival, self._secrets.get(arrival.version))
        return read_webhook(arrival.version, webhook_id, arrival.body, now(), problem)


def _problem(arrival: Arrival, secret: str | None) -> str | None:
    """Return why an arrival cannot be believed, or None."""
    if secret is None:
        return "no secret is known for this endpoint yet"
    try:
        StandardWebhook(secret).verify(arrival.body, dict(arrival.headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:  # ValueError: a header or a body that cannot be decoded
        return f"standardwebhooks says: {error}"
    if arrival.version == _SIGNED_TWICE:
        expected = hmac.digest(secret.encode(), arrival.body, hashlib.sha256).hex()
        if not hmac.compare_digest(arrival.headers.get("x-signature", "").encode(), expected.encode()):
            return "X-Signature is not the HMAC-SHA256 of the body"
    return None
