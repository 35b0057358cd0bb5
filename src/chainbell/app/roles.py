"""What one process of `chainbell run` does. No role needs another to be up."""

from enum import StrEnum


class Role(StrEnum):
    """A share of the work. Any number of processes may have the same one."""

    WATCHER = "watcher"
    """Follows each chain that has a node and whose lease it gets."""
    DELIVERY = "delivery"
    """Sends webhooks; claims share them among all who do. Needs no node."""
    API = "api"
    """Serves ``/v2``. Needs no node, but the same chain definitions as the watchers."""


EVERY_ROLE = frozenset(Role)
