"""Tracked transactions, with the member names of the v2 webhooks."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from chainbell.api.views.wire import Wire, WireTime
from chainbell.domain.chain import ChainDefinition
from chainbell.domain.transaction import Execution, ScreeningStatus, Status, TransactionEvent, TransactionType
from chainbell.events.v2 import members
from chainbell.storage.transaction_list import ListedTransaction
from chainbell.tracker.confirmation import Policy


class ScreeningView(Wire):
    """Where the AML check stands."""

    status: ScreeningStatus
    provider: str | None
    list_version: str | None


class TransactionView(Wire):
    """A deposit or transfer as it stands, with the members of a v2 webhook's ``data``."""

    uid: str
    ref: str
    reference: str | None
    type: TransactionType
    status: Status
    previous_status: None
    """Belongs to an event, and is null here."""
    final: bool
    chain: str
    """The chain's name on the wire."""
    asset_id: str
    asset_type: str
    contract: str | None
    amount: str
    amount_base_units: str
    decimals: int
    fee: str | None
    fee_of: str | None
    address: str | None
    sender_address: str | None
    hash: str | None
    position: int | None
    log_index: int | None
    block_hash: str | None
    block_height: int | None
    confirmation: int
    """Confirmations now: a webhook has those of its moment."""
    required_confirmation: int | None
    label: str | None
    account_id: str
    customer_id: str | None
    screening: ScreeningView
    created_at: WireTime
    updated_at: WireTime
    execution: Execution = Execution.SUCCEEDED
    """Left out while it is ``SUCCEEDED``."""
    conflicted_by: str = ""
    """Left out where there is none, as are the next two."""
    replaced_by: str = ""
    replaces: str = ""
    sender_addresses: Sequence[str | None] = ()
    """On UTXO chains alone: who it spends from, each once, in input order; null where that cannot be known."""


def transaction_members(listed: ListedTransaction, chains: Mapping[str, ChainDefinition]) -> dict[str, Any]:
    """Return a transaction's members, by the very code that renders webhooks."""
    definition = chains.get(listed.transaction.subject.chain.name)
    policy = Policy(None if definition is None else definition.required_depth, screening=False)
    return members(
        TransactionEvent(
            name="listed",
            transaction=listed.transaction,
            previous_status=None,
            occasion=(),
            confirmations=listed.confirmations,
            required_confirmations=policy.required_of(listed.transaction.maturity),
            at=listed.transaction.updated_at,
        )
    )


def transaction_json(listed: ListedTransaction, chains: Mapping[str, ChainDefinition]) -> bytes:
    """Return a transaction as JSON."""
    return orjson.dumps(transaction_members(listed, chains))
