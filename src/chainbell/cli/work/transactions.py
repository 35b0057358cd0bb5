"""What ``chainbell transactions`` does."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from chainbell.api.chain_names import address_of, named_chain
from chainbell.api.views.transaction import transaction_members
from chainbell.app.services import Services
from chainbell.cli.work.output import print_lines, print_table, say_next
from chainbell.cli.work.session import with_services
from chainbell.domain.address import parse_hash
from chainbell.domain.transaction import Status, TransactionType
from chainbell.storage.accounts import OPERATOR
from chainbell.storage.paging import Page, PageRequest
from chainbell.storage.transaction_list import TransactionFilter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which transactions to list; None stands for all."""

    type: str | None
    status: str | None
    chain: str | None
    address: str | None
    hash: str | None
    account: UUID | None


def show(wanted: Wanted, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """List transactions."""

    async def work(services: Services) -> Page[dict[str, Any]]:
        page = await services.transactions.list(_filter(services, wanted), OPERATOR, PageRequest(limit, cursor))
        return Page([transaction_members(listed, services.chains) for listed in page.items], page.next_cursor)

    page = with_services(work)
    if as_json:
        print_lines(orjson.dumps(item) for item in page.items)
    else:
        print_table(
            ["first seen", "type", "status", "amount", "asset", "confirmations", "address", "uid"],
            [_row(item) for item in page.items],
            "no transaction is tracked that fits",
        )
    say_next("--cursor", page.next_cursor)


def _filter(services: Services, wanted: Wanted) -> TransactionFilter:
    chain = None if wanted.chain is None else named_chain(services.chains, wanted.chain, None)
    known = list(services.chains.values()) if chain is None else [chain]
    return TransactionFilter(
        type=None if wanted.type is None else TransactionType(wanted.type),
        status=None if wanted.status is None else Status(wanted.status),
        chain=None if chain is None else chain.name,
        address=None if wanted.address is None else address_of(known, wanted.address),
        tx_hash=None if wanted.hash is None else parse_hash(wanted.hash),
        account_id=None if wanted.account is None else str(wanted.account),
    )


def _row(item: dict[str, Any]) -> list[str | None]:
    required = item["requiredConfirmation"]
    depth = f"{item['confirmation']}" if required is None else f"{item['confirmation']} of {required}"
    ours = item["address"] if item["type"] == TransactionType.DEPOSIT else item["senderAddress"]
    amount = f"{item['amount']}"
    return [item["createdAt"], item["type"], item["status"], amount, item["assetType"], depth, ours, item["uid"]]
