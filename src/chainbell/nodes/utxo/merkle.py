"""The merkle root of a block's txids. Pure."""

from collections.abc import Sequence
from hashlib import sha256

from chainbell.nodes.errors import BadAnswerError


def merkle_root(digests: Sequence[bytes]) -> bytes:
    """Return the root over txids, all in the order in which they are hashed; there must be one at least.

    Raises:
        BadAnswerError: two neighbours in the tree are equal: transactions were repeated at the end of the block in a way
            that leaves its root as it was (CVE-2012-2459).

    """
    level = list(digests)
    while len(level) > 1:
        left, right = level[::2], level[1::2]
        for one, other in zip(left, right, strict=False):
            if one == other:
                message = "transactions are repeated at its end (CVE-2012-2459)"
                raise BadAnswerError(message)
        if len(left) > len(right):
            right.append(left[-1])
        level = [sha256(sha256(one + other).digest()).digest() for one, other in zip(left, right, strict=True)]
    return level[0]
