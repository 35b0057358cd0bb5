"""What ``chainbell listen`` does."""

import asyncio
from collections.abc import Sequence

import orjson

from chainbell.cli.work.output import answer, print_lines, say
from chainbell.receiver.listen import Received, listening

_INTERRUPTED = 130


def listen(secrets: Sequence[str], host: str, port: int, *, as_json: bool) -> None:
    """Receive, verify and print webhooks until interrupted."""

    async def hear(received: Received) -> None:
        if as_json:
            print_lines([_json(received)])
        else:
            answer(_line(received))

    async def until_interrupted() -> None:
        async with listening(host, port, secrets, hear) as url:
            say(f"listening on {url}: webhooks to any path of it are verified and printed")
            await asyncio.Event().wait()

    try:
        asyncio.run(until_interrupted())
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None


def _json(received: Received) -> bytes:
    return orjson.dumps(
        {
            "verified": received.verified,
            "reason": received.reason,
            "path": received.path,
            "webhookId": received.headers.get("webhook-id"),
            "webhookTimestamp": received.headers.get("webhook-timestamp"),
            "body": received.parsed,
        }
    )


def _line(received: Received) -> str:
    identity = _printable(received.headers.get("webhook-id", "-"))
    if received.parsed is None:
        return f"REFUSED  {identity}  {_printable(received.reason or '')}"
    data = received.parsed.get("data")
    members = data if isinstance(data, dict) else {}
    named = (members.get(name) for name in ("status", "amount", "assetType", "address"))
    words = (_printable(str(word)) for word in (received.parsed.get("event"), identity, *named) if word is not None)
    return "verified  " + "  ".join(words)


def _printable(text: str) -> str:
    """Return text that anybody may have sent without what would control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
