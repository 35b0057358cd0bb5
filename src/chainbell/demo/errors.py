"""What ends a demo early."""

from chainbell.domain.errors import ChainbellError


class DemoError(ChainbellError):
    """The demo cannot go on; the message says why, and what to do."""
