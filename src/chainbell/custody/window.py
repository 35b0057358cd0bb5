"""The window of a branch (BIP44's gap limit): which of a key's addresses must be watched. Pure."""

from chainbell.custody.extended_key import HARDENED

DEFAULT_GAP_LIMIT = 20
"""Of BIP44."""
MOST_GAP = 1_000
MOST_FIRST_INDEX = 10_000
MOST_DERIVATIONS = 12_000
"""Of single public keys, for one key or descriptor at once: about 20 seconds."""
END = HARDENED
"""Index behind the last that can be derived from a public key."""


def next_after(next_index: int, taken: int | None, end: int = END) -> int:
    """Return what is handed out next, once an index was taken: handed out, or seen used."""
    return next_index if taken is None else max(next_index, min(taken + 1, end))


def watched_until(next_index: int, gap_limit: int, watched_end: int, end: int = END) -> int:
    """Return the index behind the last that must be watched, where all below `watched_end` are.

    At least a gap limit of unused addresses is watched behind the last that was taken. Where there are fewer, twice as many
    are from then on: each widening may cost a node a look through all its unspent outputs.
    """
    if watched_end >= min(next_index + gap_limit, end):
        return watched_end
    return min(next_index + 2 * gap_limit, end)


def derived_until(watched_end: int, gap_limit: int, end: int = END) -> int:
    """Return the index behind the last that should be derived ahead: enough for the next widening."""
    return min(watched_end + 2 * gap_limit, end)
