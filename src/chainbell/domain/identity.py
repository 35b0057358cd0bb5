"""Who is who: ids derived from facts, so that a second scan of the same chain tells the same facts under the same ids.

Canonical bytes are a sequence of parts, each preceded by its length as four bytes, big-endian. An id is the first 128 bits
of the SHA-256 over them, in lower-case RFC 4648 base32 without padding: 26 characters. Golden vectors stand in the tests; a
change here would double every deposit of every installation.
"""

import base64
import hashlib
from collections.abc import Sequence

from chainbell.domain.transaction import SPEND, TransactionType


def canonical(parts: Sequence[bytes]) -> bytes:
    """Return parts as one byte string from which no other parts could have been made."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _derive(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256(canonical(parts)).digest()[:16]
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def movement_uid(  # noqa: PLR0913 - an identity is these six parts
    type_: TransactionType, caip2: str, tx_hash: bytes, asset: bytes, address: bytes, position: int
) -> str:
    """Return the ``trx_`` id of a deposit or an on-chain transfer.

    ``asset`` is a token's contract, or empty for the coin; ``address`` the watched side, on UTXO chains its scriptPubKey;
    ``position`` the ordinal among the movements of that asset at that address in that transaction, on UTXO chains the index
    of the output or ``SPEND``.
    """
    place = b"spend" if position == SPEND else str(position).encode()
    parts = (type_.encode(), caip2.encode(), tx_hash, asset, address, place)
    return f"trx_{_derive(parts)}"


def event_id(resource_id: str, event_type: str, occasion: Sequence[bytes], repeat: int) -> str:
    """Return the ``evt_`` id of one telling: the same fact on the same occasion is always the same event.

    ``repeat`` counts how often this type was told before of this resource with this occasion.
    """
    parts = (resource_id.encode(), event_type.encode(), *occasion, str(repeat).encode())
    return f"evt_{_derive(parts)}"
