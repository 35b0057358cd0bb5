"""Watches as rows."""

from chainbell.domain.watch import KeyPlace, Purpose, Watch
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
        purpose=Purpose(row["purpose"]),
        outgoing_from=row["outgoing_from"],
        seeded_height=row["seeded_height"],
        place=_to_place(row),
    )


def _to_place(row: Record) -> KeyPlace | None:
    if row["key_id"] is None:
        return None
    return KeyPlace(str(row["key_id"]), row["branch"], row["key_index"], row["handed_out_at"] is not None)
