import asyncio
import socket

import httpx
import pytest

from chainbell.delivery.signature import new_secret, sign
from chainbell.domain.delivery import WebhookVersion
from chainbell.domain.errors import InputError
from chainbell.receiver.listen import LARGEST_BODY, Received, listen, listening
from chainbell.telemetry import clock
from tests.receivers import until

SECRET = new_secret(bytes(range(32)))
BODY = b'{"id":"evt_1"}'


def signed(secret: str = SECRET) -> dict[str, str]:
    return sign([secret], "evt_1", clock.now(), BODY, WebhookVersion.V2)


async def test_hands_on_what_is_verified_and_says_why_the_rest_is_not() -> None:
    """A good webhook arrives parsed and is answered 204; a forged one arrives with the reason and is answered 401."""
    got: list[Received] = []

    async def take(received: Received) -> None:
        got.append(received)

    async with listening("127.0.0.1", 0, [SECRET], take) as url, httpx.AsyncClient() as client:
        good = await client.post(f"{url}/any/path", content=BODY, headers=signed())
        forged = await client.post(url, content=BODY, headers=signed(new_secret(bytes(32))))
        bare = await client.post(url, content=BODY)
        asked = await client.get(url)
    assert [answer.status_code for answer in (good, forged, bare, asked)] == [204, 401, 401, 405]
    assert [received.verified for received in got] == [True, False, False]
    assert (got[0].path, got[0].parsed, got[0].body, got[0].reason) == ("/any/path", {"id": "evt_1"}, BODY, None)
    assert got[0].headers["webhook-id"] == "evt_1"
    assert (got[1].parsed, "no signature matches" in str(got[1].reason)) == (None, True)
    assert "webhook-id" in str(got[2].reason)


async def test_answers_what_it_is_told() -> None:
    """Whoever takes the webhook decides the status, so that failures can be tried out."""

    async def refuse(_received: Received) -> int:
        return 503

    async with listening("127.0.0.1", 0, SECRET, refuse) as url, httpx.AsyncClient() as client:
        assert (await client.post(url, content=BODY, headers=signed())).status_code == 503


async def test_refuses_what_is_too_large() -> None:
    """No body can fill the memory."""

    async def take(_received: Received) -> None:
        raise AssertionError

    async with listening("127.0.0.1", 0, SECRET, take) as url, httpx.AsyncClient() as client:
        assert (await client.post(url, content=bytes(LARGEST_BODY + 1))).status_code == 413


@pytest.mark.parametrize("port", [None, 70_000])
async def test_a_port_that_cannot_be_taken_says_what_to_do(port: int | None) -> None:
    """A taken or impossible port is an error for people."""

    async def take(_received: Received) -> None:
        """Take everything."""

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="choose"):
            await listen("127.0.0.1", port or taken.getsockname()[1], SECRET, take)


async def test_listens_until_it_is_cancelled() -> None:
    """The port is free again afterwards."""

    async def take(_received: Received) -> None:
        """Take everything."""

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    task = asyncio.create_task(listen("127.0.0.1", port, SECRET, take))
    async with httpx.AsyncClient() as client:

        async def answers() -> bool:
            try:
                answer = await client.post(f"http://127.0.0.1:{port}/", content=BODY, headers=signed())
            except httpx.ConnectError:
                return False
            return answer.status_code == 204

        await until(answers)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
