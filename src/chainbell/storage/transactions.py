"""Transaction records as rows."""

from collections.abc import Sequence

from chainbell.domain.address import EVM_ADDRESSES, AddressFormat
from chainbell.domain.chain import Mode
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.transaction import (
    BlockPoint,
    Chain,
    Conflict,
    Execution,
    Origin,
    ScreeningStatus,
    Status,
    Subject,
    Transaction,
    TransactionType,
)
from chainbell.storage.database import Connection, Record

OF_CHAIN = """c.caip2, c.kind, c.wire_name, c.mode, c.coin_decimals, c.address_hrp, c.address_p2pkh, c.address_p2sh,
c.address_mweb_hrp"""
"""SQL: what `to_chain` reads of a row ``c`` of ``chains``, beside its name as ``chain``."""

SELECT = f"""
select t.*, {OF_CHAIN}
from transactions t join chains c on c.name = t.chain
"""  # noqa: S608 - a constant

_COLUMNS = (
    "uid",
    "type",
    "chain",
    "tx_hash",
    "asset",
    "symbol",
    "decimals",
    "address",
    "position",
    "account_id",
    "asset_id",
    "customer_id",
    "label",
    "amount",
    "counterparty",
    "origin_sender",
    "origin_nonce",
    "may_return",
    "status",
    "screening",
    "block_height",
    "block_hash",
    "log_index",
    "execution",
    "conflict_tx_hash",
    "conflict_height",
    "conflict_hash",
    "replaced_by",
    "replaces",
    "fee",
    "fee_of",
    "told_depth",
    "final",
    "sequence",
    "historical_until",
    "silent",
    "senders",
    "maturity",
    "created_at",
    "updated_at",
)
_FIXED_AT_FIRST_SIGHT = _COLUMNS[: _COLUMNS.index("amount")]

_UPSERT = (
    f"insert into transactions ({', '.join(_COLUMNS)}) "  # noqa: S608 - only the names above
    f"values ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))}) "
    "on conflict (uid) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _FIXED_AT_FIRST_SIGHT)
)


async def save_transactions(connection: Connection, transactions: Sequence[Transaction]) -> None:
    """Write records, new or changed, in the order given."""
    await connection.executemany(_UPSERT, [_to_row(transaction) for transaction in transactions])


def _to_row(transaction: Transaction) -> tuple[object, ...]:
    subject = transaction.subject
    block, conflict = transaction.block, transaction.conflict
    return (
        transaction.uid,
        subject.type.value,
        subject.chain.name,
        subject.tx_hash,
        subject.asset,
        subject.symbol,
        subject.decimals,
        subject.address,
        subject.position,
        subject.account_id,
        subject.asset_id,
        subject.customer_id,
        subject.label,
        transaction.amount,
        transaction.counterparty,
        None if transaction.origin is None else transaction.origin.sender,
        None if transaction.origin is None else transaction.origin.nonce,
        transaction.may_return,
        transaction.status.value,
        transaction.screening.value,
        None if block is None else block.height,
        None if block is None else block.hash,
        transaction.log_index,
        transaction.execution.value,
        None if conflict is None else conflict.tx_hash,
        None if conflict is None else conflict.block.height,
        None if conflict is None else conflict.block.hash,
        transaction.replaced_by,
        transaction.replaces,
        transaction.fee,
        transaction.fee_of,
        transaction.told_depth,
        transaction.final,
        transaction.sequence,
        transaction.historical_until,
        transaction.silent,
        list(transaction.senders),
        transaction.maturity,
        transaction.created_at,
        transaction.updated_at,
    )


def to_chain(row: Record) -> Chain:
    """Read what a record carries of its chain."""
    return Chain(
        name=row["chain"],
        caip2=row["caip2"],
        kind=ChainKind(row["kind"]),
        wire_name=row["wire_name"],
        mode=Mode(row["mode"]),
        coin_decimals=row["coin_decimals"],
        addresses=_to_address_format(row),
    )


def _to_address_format(row: Record) -> AddressFormat:
    kind = ChainKind(row["kind"])
    if kind is ChainKind.EVM:
        return EVM_ADDRESSES
    return AddressFormat(
        kind, row["address_hrp"], row["address_p2pkh"], tuple(row["address_p2sh"]), mweb_hrp=row["address_mweb_hrp"]
    )


def to_transaction(row: Record) -> Transaction:
    """Read a record from a row of `SELECT`."""
    return Transaction(
        uid=row["uid"],
        subject=Subject(
            type=TransactionType(row["type"]),
            chain=to_chain(row),
            tx_hash=row["tx_hash"],
            asset=row["asset"],
            symbol=row["symbol"],
            decimals=row["decimals"],
            address=row["address"],
            position=row["position"],
            account_id=str(row["account_id"]),
            asset_id=str(row["asset_id"]),
            customer_id=None if row["customer_id"] is None else str(row["customer_id"]),
            label=row["label"],
        ),
        amount=int(row["amount"]),
        counterparty=row["counterparty"],
        origin=None if row["origin_sender"] is None else Origin(row["origin_sender"], int(row["origin_nonce"])),
        may_return=row["may_return"],
        status=Status(row["status"]),
        screening=ScreeningStatus(row["screening"]),
        block=None if row["block_hash"] is None else BlockPoint(row["block_height"], row["block_hash"]),
        log_index=row["log_index"],
        execution=Execution(row["execution"]),
        conflict=None
        if row["conflict_hash"] is None
        else Conflict(row["conflict_tx_hash"], BlockPoint(row["conflict_height"], row["conflict_hash"])),
        replaced_by=row["replaced_by"],
        replaces=row["replaces"],
        fee=None if row["fee"] is None else int(row["fee"]),
        fee_of=row["fee_of"],
        told_depth=row["told_depth"],
        final=row["final"],
        sequence=row["sequence"],
        historical_until=row["historical_until"],
        silent=row["silent"],
        senders=tuple(row["senders"]),
        maturity=row["maturity"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
