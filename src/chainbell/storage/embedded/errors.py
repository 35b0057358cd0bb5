"""What is raised when the embedded server cannot be used."""

from chainbell.domain.errors import ChainbellError


class EmbeddedServerError(ChainbellError):
    """The embedded PostgreSQL cannot be started or reached; the message says why, in its own words, and what to do."""


class InterruptedStartError(EmbeddedServerError):
    """Whoever asked for the server gave up while it was being started."""
