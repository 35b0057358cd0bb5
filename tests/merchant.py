"""A merchant's receiver: verifies every signature with the published Standard Webhooks library, and remembers all."""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook


@dataclass
class Receiver:
    """What came in, by webhook id; `secrets` are set once the endpoints exist."""

    url: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    """Path of an endpoint to its secret."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """webhook-id to body; a second delivery must bring the same bytes."""
    arrivals: list[tuple[str, str]] = field(default_factory=list)
    """Path and webhook id of each delivery, in the order of arrival."""
    complaints: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body, path = await request.read(), request.path
        headers = {name.lower(): value for name, value in request.headers.items()}
        webhook_id = headers.get("webhook-id", "")
        try:
            Webhook(self.secrets[path]).verify(body, headers)
        except Exception as error:  # noqa: BLE001 - the library raises several, and each is a complaint
            self.complaints.append(f"{path} {webhook_id}: {error!r}")
        if path == "/v1":
            expected = hmac.new(self.secrets[path].encode(), body, hashlib.sha256).hexdigest()
            if headers.get("x-signature") != expected:
                self.complaints.append(f"{webhook_id}: X-Signature is wrong")
        if self.bodies.setdefault(webhook_id, body) != body:
            self.complaints.append(f"{webhook_id} came with two bodies")
        self.arrivals.append((path, webhook_id))
        return web.Response(status=204)

    def events(self, path: str) -> list[dict[str, Any]]:
        """First arrival of each event at one endpoint, in order."""
        ids = dict.fromkeys(webhook_id for where, webhook_id in self.arrivals if where == path)
        return [orjson.loads(self.bodies[webhook_id]) for webhook_id in ids]

    def final_states(self) -> dict[str, dict[str, Any]]:
        """Data of the newest v2 event of each transaction, by (generation, sequence), as a merchant would keep it."""
        newest: dict[str, dict[str, Any]] = {}
        for event in self.events("/v2"):
            uid = event["data"]["uid"]
            if uid not in newest or event["sequence"] > newest[uid]["sequence"]:
                newest[uid] = event
        return {uid: event["data"] for uid, event in newest.items()}

    def sequences(self) -> dict[str, list[int]]:
        """Sequences of each transaction in the order of their first arrival."""
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.events("/v2"):
            found[event["data"]["uid"]].append(event["sequence"])
        return dict(found)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve a receiver on a free port of this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1", receiver.handle)
    app.router.add_post("/v2", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
