"""The only reader of the wall clock. SQL gets `now` as a parameter; only leases use the database's clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)
