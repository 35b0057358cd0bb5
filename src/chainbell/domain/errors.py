"""The error tree.

Expected outcomes are values. What is raised derives from here, and says in words for people what is wrong and what to do::

    ChainbellError
    |-- ConfigurationError      a setting or a chain definition is wrong: nothing starts until it is mended
    |-- InputError              what somebody asked for cannot be done as asked
    |   |-- NotFoundError       ... because what it names is not there
    |   `-- ConflictError       ... because it is there already, or was meanwhile changed
    |-- UnavailableError        not now: time or an operator heals it, the same call may succeed later
    |   |-- NodeError           a node did not answer, or answered what cannot be used
    |   |   |-- NodeBehindError ... because it is behind what we know of the chain
    |   |   `-- TooMuchAskedError ... because it was too much at once: less may be answered
    |   |-- DatabaseError       the database did not answer
    |   `-- UnderivedError      a commit needs addresses of a key that must be derived first
    `-- ChainHaltedError        a chain cannot go on by itself: an operator must look at it
"""


class ChainbellError(Exception):
    """Root of what Chainbell raises on purpose."""


class ConfigurationError(ChainbellError):
    """A setting or a chain definition is wrong."""


class InputError(ChainbellError):
    """What somebody asked for cannot be done as asked."""


class NotFoundError(InputError):
    """What a request names is not there."""


class ConflictError(InputError):
    """What a request would create is there already, or was changed meanwhile."""


class UnavailableError(ChainbellError):
    """Not now; the same call may succeed later."""


class NodeError(UnavailableError):
    """A node did not answer in time, or answered what cannot be used. Never advance past it."""


class NodeBehindError(NodeError):
    """A node is behind what we have read already, or behind another node."""


class TooMuchAskedError(NodeError):
    """A node did not answer so much at once, or not within our limits; it may when asked for less."""


class DatabaseError(UnavailableError):
    """The database did not answer."""


class UnderivedError(UnavailableError):
    """A commit needs addresses of a key's branch, until before an index, that must be derived first, outside of it."""

    def __init__(self, key_id: str, branch: int, end: int) -> None:
        super().__init__("addresses of this key must be derived first; the same call may succeed later")
        self.key_id = key_id
        self.branch = branch
        self.end = end


class ChainHaltedError(ChainbellError):
    """A chain cannot go on by itself, and an operator must look at it."""
