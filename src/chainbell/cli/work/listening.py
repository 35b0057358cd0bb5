"""What ``chainbell listen`` does."""

import asyncio
from collections.abc import Sequence

import orjson

from chainbell.cli.work.output import answer, print_lines, say
from chainbell.domain.errors import InputError
from chainbell.receiver.listen import Received, listening
from chainbell.receiver.verify import is_secret

_INTERRUPTED = 130


def listen(secrets: Sequence[str], host: str, port: int, *, as_json: bool) -> None:
    """Receive, verify and print webhooks until interrupted. Raises `InputError` for what cannot be a secret."""
    _check(secrets)

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


def _check(secrets: Sequence[str]) -> None:
    """Refuse a secret that no webhook could be signed with; the message says which one, never what it is."""
    for number, secret in enumerate(secrets, start=1):
        if not is_secret(secret):
            which = "--secret" if len(secrets) == 1 else f"--secret number {number}"
            message = (
                f"{which} is no signing secret, which is whsec_ and the base64 of 24 to 64 bytes: copy it whole, as "
                "`chainbell endpoint add` printed it"
            )
            raise InputError(message)


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
