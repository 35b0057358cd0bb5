"""What ``chainbell api-key`` does."""

import secrets
from collections.abc import Sequence
from uuid import UUID

from chainbell.api.views.api_key import ApiKeyView, NewApiKeyView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say, say_next
from chainbell.cli.work.session import with_services
from chainbell.domain.chain import Mode
from chainbell.storage.api_keys import KEY_BYTES, NewApiKey, Scope, write_key
from chainbell.storage.paging import Page, PageRequest
from chainbell.telemetry.clock import now


def add(name: str, mode: str, scopes: Sequence[str], account: UUID | None, *, as_json: bool) -> None:
    """Make an API key and show it."""
    account_id = None if account is None else str(account)
    wanted = NewApiKey(name, Mode(mode), [Scope(scope) for scope in scopes], account_id)
    text = write_key(wanted.mode, secrets.token_bytes(KEY_BYTES))

    async def work(services: Services) -> NewApiKeyView:
        made = await services.api_keys.add(wanted, text, now())
        return NewApiKeyView.of(made, key=text)

    added = with_services(work)
    if as_json:
        print_lines([added.to_json()])
    else:
        answer(f"id   {added.id}\nkey  {added.key}")
        say("keep the key now: it is not shown again. Send it as Authorization: Bearer <key>")


def show(limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List API keys."""

    async def work(services: Services) -> Page[ApiKeyView]:
        page = await services.api_keys.list(PageRequest(limit, cursor))
        return Page([ApiKeyView.of(key) for key in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        print_table(
            ["id", "name", "mode", "begins with", "scopes", "account", "state"],
            [_row(view) for view in page.items],
            "there is no API key: `chainbell api-key add` makes one",
        )
    say_next("--cursor", page.next_cursor)


def _row(view: ApiKeyView) -> list[str]:
    return [
        str(view.id),
        view.name,
        view.mode.value,
        f"{view.prefix}...",
        ", ".join(view.scopes),
        "all" if view.account_id is None else str(view.account_id),
        "valid" if view.revoked_at is None else "revoked",
    ]


def remove(key_id: UUID) -> None:
    """Revoke an API key."""

    async def work(services: Services) -> None:
        await services.api_keys.revoke(key_id, now())

    with_services(work)
    say(f"API key {key_id} is revoked")
