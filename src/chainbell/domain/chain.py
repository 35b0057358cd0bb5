"""What a chain is: its definition (data from ``chains/*.toml``), its blocks by reference, its assets."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class ChainKind(StrEnum):
    """The family of protocols that a chain speaks."""

    EVM = "evm"


class Mode(StrEnum):
    """``live`` moves real money, ``test`` does not; nothing ever crosses from one to the other."""

    LIVE = "live"
    TEST = "test"


class Capability(StrEnum):
    """A kind of movement that a chain's nodes are promised to show."""

    COIN = "coin"
    LOGS = "logs"


class BlockCheck(StrEnum):
    """A check of a block's receipts against the block itself.

    ``bloom`` holds only where a chain's blocks carry the complete union of their receipts' log blooms; ``gas`` where
    the last receipt's cumulative gas is the block's ``gasUsed``. Receipt count and block hash are always checked.
    """

    GAS = "gas"
    BLOOM = "bloom"


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of a chain: height, hash and the hash of its parent (both 32 bytes)."""

    height: int
    hash: bytes
    parent_hash: bytes


_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


def bytes_from_hex(value: object) -> object:
    """Turn a ``0x`` hex string into bytes and leave anything else for the validator to refuse."""
    if isinstance(value, str):
        if not _HEX.fullmatch(value):
            message = "must be 0x and an even number of hexadecimal digits"
            raise ValueError(message)
        return bytes.fromhex(value[2:])
    return value


def _confirmations(value: object) -> object:
    if value == "finalized" or (type(value) is int and value >= 1):
        return value
    message = 'must be a depth in blocks (a whole number, at least 1) or "finalized"'
    raise ValueError(message)


def _exactly(length: int, value: bytes) -> bytes:
    if len(value) != length:
        message = f"must be {length} bytes: 0x and {2 * length} hexadecimal digits"
        raise ValueError(message)
    return value


HexHash = Annotated[bytes, BeforeValidator(bytes_from_hex), AfterValidator(partial(_exactly, 32))]
HexAddress = Annotated[bytes, BeforeValidator(bytes_from_hex), AfterValidator(partial(_exactly, 20))]
Symbol = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9.₮]+$")]
Decimals = Annotated[int, Field(ge=0, le=77)]
Confirmations = Annotated[int | Literal["finalized"], BeforeValidator(_confirmations)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

COIN = b""
"""The asset key of a chain's own coin; a token's key is its contract address."""


class Definition(BaseModel):
    """Shared rules of everything read from a chain definition: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NativeAsset(Definition):
    """The coin that pays a chain's fees."""

    symbol: Symbol
    decimals: Decimals


class Token(Definition):
    """A listed token: it *is* its contract; the symbol is only what we call it on the wire."""

    symbol: Symbol
    contract: HexAddress
    decimals: Decimals


class ChainDefinition(Definition):
    """One ``chains/*.toml``: everything that is a fact or a policy of a chain, and no secret and no URL."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    """Equal to the name of its file; a setting writes ``_`` for its ``-``."""
    kind: ChainKind = Field(strict=False)
    caip2: Annotated[str, Field(pattern=r"^eip155:[1-9][0-9]*$")]
    """CAIP-2 chain id, ``eip155:<chain id>``."""
    wire_name: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    """The ``chain`` member of a webhook."""
    mode: Mode = Field(strict=False)
    native: NativeAsset
    genesis_hash: HexHash | None = None
    """None only for development chains (mode ``test``), whose genesis differs at each start."""
    block_seconds: Seconds
    """Typical seconds between two blocks."""
    required_confirmations: Confirmations
    """Depth at which a transaction is settled, or the node's ``finalized`` tag."""
    finality_lag: Annotated[int, Field(ge=1)] | None = None
    """Blocks between the tip and the ``finalized`` block in ordinary times; needed under the ``finalized`` tag."""
    reorg_limit: Annotated[int, Field(ge=1, le=100_000)]
    """Deepest reorg, in blocks, that is followed without an operator."""
    drop_after_seconds: Annotated[int, Field(ge=1)]
    """How long a transaction may be in no block before it is called dropped, or listed as unsettled."""
    start_height: Annotated[int, Field(ge=0)] | None = None
    """First block to scan; None starts at the tip of the first start."""
    poll_seconds: Seconds
    """Seconds between two looks at the node's tip."""
    checks: Annotated[frozenset[Annotated[BlockCheck, Field(strict=False)]], Field(strict=False)]
    capabilities: Annotated[frozenset[Annotated[Capability, Field(strict=False)]], Field(strict=False, min_length=1)]
    tokens: Annotated[tuple[Token, ...], Field(strict=False)] = ()

    @property
    def chain_id(self) -> int:
        """The EIP-155 chain id."""
        return int(self.caip2.partition(":")[2])

    @property
    def required_depth(self) -> int | None:
        """Required confirmations as a number; None under the ``finalized`` tag."""
        return None if self.required_confirmations == "finalized" else self.required_confirmations

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        problems = [
            *self._missing(),
            *self._reorg_limit_too_small(),
            *self._assets_not_told_apart(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _missing(self) -> list[str]:
        problems = []
        if self.required_confirmations == "finalized" and self.finality_lag is None:
            problems.append('finality_lag: is missing: required_confirmations = "finalized" needs it')
        if self.mode is Mode.LIVE and self.genesis_hash is None:
            problems.append('genesis_hash: is missing: only a development chain (mode = "test") may go without')
        return problems

    def _reorg_limit_too_small(self) -> list[str]:
        depth = self.required_depth
        least = (self.finality_lag or 0) + 10 if depth is None else depth
        if self.reorg_limit >= least:
            return []
        reason = "its required_confirmations" if depth is not None else "its finality_lag and 10 more"
        return [f"reorg_limit: is {self.reorg_limit}, must be at least {least}, {reason}"]

    def _assets_not_told_apart(self) -> list[str]:
        problems = []
        places_by_contract: dict[bytes, str] = {}
        places_by_symbol = {self.native.symbol: "native"}
        for index, token in enumerate(self.tokens):
            place = f"tokens[{index}]"
            earlier = places_by_contract.setdefault(token.contract, place)
            if earlier != place:
                problems.append(f"{place}.contract: is that of {earlier} too: list a contract once")
            earlier = places_by_symbol.setdefault(token.symbol, place)
            if earlier != place:
                problems.append(f"{place}.symbol: is that of {earlier} too: two assets would share one assetType")
        return problems
