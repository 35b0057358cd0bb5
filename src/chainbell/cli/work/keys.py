"""What ``chainbell key`` does."""

import sys
from dataclasses import dataclass
from uuid import UUID

from chainbell.api.chain_names import named_chain
from chainbell.api.views.key import KeyView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines, print_table, say_next
from chainbell.cli.work.session import with_services
from chainbell.custody.account_key import LONGEST_KEY, key_rules, parse_account_key
from chainbell.custody.new_key import NewKey
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.paging import Page, PageRequest
from chainbell.storage.watches import WatchFilter
from chainbell.telemetry.clock import now


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to watch."""

    chain: str
    key: str
    label: str | None
    account: UUID | None
    gap_limit: int
    first_index: int


def add(wanted: Wanted, *, as_json: bool) -> None:
    """Watch the addresses of a key."""
    text = sys.stdin.read(LONGEST_KEY + 1) if wanted.key == "-" else wanted.key

    async def work(services: Services) -> KeyView:
        chain = named_chain(services.chains, wanted.chain, None)
        key = NewKey(
            chain=chain.name,
            template=parse_account_key(text, key_rules(chain)),
            account_id=None if wanted.account is None else str(wanted.account),
            label=wanted.label,
            gap_limit=wanted.gap_limit,
            first_index=wanted.first_index,
        )
        return KeyView.of(await services.keys.add(key, now()), services.chains)

    view = with_services(work)
    if as_json:
        print_lines([view.to_json()])
    else:
        answer(f"key {view.id} is watched on {view.chain} from block {view.watched_from} on")
        _answer_branches(view)


def show(key: UUID, *, as_json: bool) -> None:
    """Show one key."""

    async def work(services: Services) -> KeyView:
        return KeyView.of(await services.keys.get(str(key), OPERATOR), services.chains)

    view = with_services(work)
    if as_json:
        print_lines([view.to_json()])
        return
    label = "" if view.label is None else f", {view.label}"
    answer(f"{view.key}\nkey {view.id} of account {view.account_id} on {view.chain}: {view.type}{label}")
    answer(f"watched from block {view.watched_from} on, gap limit {view.gap_limit}")
    _answer_branches(view)


def show_all(chain: str | None, account: UUID | None, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List keys."""

    async def work(services: Services) -> Page[KeyView]:
        name = None if chain is None else named_chain(services.chains, chain, None).name
        wanted = WatchFilter(chain=name, account_id=None if account is None else str(account))
        page = await services.keys.list(wanted, PageRequest(limit, cursor))
        return Page([KeyView.of(key, services.chains) for key in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(view.to_json() for view in page.items)
    else:
        rows = [
            [
                str(view.id),
                view.chain,
                view.type,
                str(view.branches[0].next_index),
                view.label,
                str(view.account_id),
                view.key,
            ]
            for view in page.items
        ]
        print_table(
            ["id", "chain", "type", "next", "label", "account", "key"],
            rows,
            "no key is watched: `chainbell key add` registers one",
        )
    say_next("--cursor", page.next_cursor)


def _answer_branches(view: KeyView) -> None:
    for branch in view.branches:
        answer(
            f"  {branch.purpose}: watched through index {branch.watched_through}, next is {branch.next_index}, "
            f"index 0 is {branch.first_address or 'not watched any more'}"
        )
