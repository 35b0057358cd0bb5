"""The embedded PostgreSQL: a real server that belongs to a data directory and needs no care."""

from chainbell.storage.embedded.binaries import Binaries, find_binaries
from chainbell.storage.embedded.errors import EmbeddedServerError
from chainbell.storage.embedded.server import embedded_server, stop_unused_server

__all__ = ["Binaries", "EmbeddedServerError", "embedded_server", "find_binaries", "stop_unused_server"]
