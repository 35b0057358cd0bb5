"""Watches as rows."""

from chainbell.domain.watch import Watch
from chainbell.storage.database import Record


def to_watch(row: Record) -> Watch:
    """Read a watch from its row."""
    return Watch(
        id=str(row["id"]),
        chain=row["chain"],
        address=row["address"],
        account_id=str(row["account_id"]),
        customer_id=None if row["customer_id"] is None else str(row["customer_id"]),
        label=row["label"],
        watched_from=row["watched_from"],
        created_at=row["created_at"],
    )
