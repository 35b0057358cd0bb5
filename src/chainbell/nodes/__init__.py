"""Stage 1, talk: JSON-RPC and bytes of real nodes in, domain types out."""

import sys

# py_ecc, which web3 brings, raises Python's recursion limit to 100,000 for the whole process. With that, a deeply nested
# JSON body overflows the C stack and kills us, instead of raising `RecursionError`: so the limit is put back.
_recursion_limit = sys.getrecursionlimit()
import web3  # noqa: E402, F401 - its import is what is guarded

sys.setrecursionlimit(_recursion_limit)
