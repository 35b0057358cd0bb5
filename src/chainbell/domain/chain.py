"""What a chain is: its definition (data from ``chains/*.toml``), its blocks by reference, its assets."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from chainbell.domain.address import EVM_ADDRESSES, AddressFormat
from chainbell.domain.chain_fields import (
    Confirmations,
    Decimals,
    Depth,
    GenesisHash,
    HexAddress,
    Hrp,
    KeyVersions,
    Seconds,
    Symbol,
    VersionByte,
    VersionBytes,
)
from chainbell.domain.chain_kind import ChainKind


class Mode(StrEnum):
    """``live`` moves real money, ``test`` does not; nothing ever crosses from one to the other."""

    LIVE = "live"
    TEST = "test"


class Capability(StrEnum):
    """A kind of movement that a chain's nodes are promised to show."""

    COIN = "coin"
    LOGS = "logs"
    """What tokens move; of EVM chains."""
    MEMPOOL = "mempool"
    """What no block includes yet; of UTXO chains."""


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


class ScriptType(StrEnum):
    """Which address is made of an extended key's public keys (SLIP-132)."""

    P2PKH = "p2pkh"
    P2SH_P2WPKH = "p2sh-p2wpkh"
    P2WPKH = "p2wpkh"


CAPABILITIES = {
    ChainKind.EVM: frozenset({Capability.COIN, Capability.LOGS}),
    ChainKind.UTXO: frozenset({Capability.COIN, Capability.MEMPOOL}),
}
"""What chains of each kind may promise."""
_KEYS_OF_ONE_KIND = {
    ChainKind.EVM: ("finality_lag", "checks", "tokens"),
    ChainKind.UTXO: ("addresses", "extended_keys", "coinbase_maturity", "pegout_maturity", "auxpow"),
}
_NEEDED_KEYS = {ChainKind.EVM: ("checks",), ChainKind.UTXO: ("genesis_hash", "addresses", "coinbase_maturity")}
_DIGITS_IN_CAIP2 = 32

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


class AddressTable(Definition):
    """How a UTXO chain writes its addresses: see `AddressFormat`."""

    hrp: Hrp | None = None
    p2pkh: VersionByte
    p2sh: VersionBytes
    mweb_hrp: Hrp | None = None


class ChainDefinition(Definition):
    """One ``chains/*.toml``: everything that is a fact or a policy of a chain, and no secret and no URL."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    """Equal to the name of its file; a setting writes ``_`` for its ``-``."""
    kind: ChainKind = Field(strict=False)
    caip2: Annotated[str, Field(pattern=r"^(eip155:[1-9][0-9]*|bip122:[0-9a-f]{32})$")]
    """CAIP-2 chain id, ``eip155:<chain id>`` or ``bip122:<first half of the genesis hash>``."""
    wire_name: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    """The ``chain`` member of a webhook."""
    mode: Mode = Field(strict=False)
    native: NativeAsset
    genesis_hash: GenesisHash | None = None
    """None only for EVM development chains (mode ``test``), whose genesis differs at each start."""
    block_seconds: Seconds
    """Typical seconds between two blocks."""
    required_confirmations: Confirmations
    """Depth at which a transaction is settled, or the node's ``finalized`` tag."""
    finality_lag: Depth | None = None
    """Blocks between the tip and the ``finalized`` block in ordinary times; needed under the ``finalized`` tag."""
    reorg_limit: Annotated[int, Field(ge=1, le=100_000)]
    """Deepest reorg, in blocks, that is followed without an operator."""
    drop_after_seconds: Annotated[int, Field(ge=1)]
    """How long a transaction may be in no block before it is called dropped, or listed as unsettled."""
    start_height: Annotated[int, Field(ge=0)] | None = None
    """First block to scan; None starts at the tip of the first start."""
    poll_seconds: Seconds
    """Seconds between two looks at the node's tip."""
    checks: Annotated[frozenset[Annotated[BlockCheck, Field(strict=False)]], Field(strict=False)] = frozenset()
    capabilities: Annotated[frozenset[Annotated[Capability, Field(strict=False)]], Field(strict=False, min_length=1)]
    tokens: Annotated[tuple[Token, ...], Field(strict=False)] = ()
    address_table: AddressTable | None = Field(default=None, alias="addresses")
    extended_keys: Mapping[Annotated[ScriptType, Field(strict=False)], KeyVersions] = {}
    """The versions that an extended public key may have (SLIP-132), by what its addresses are."""
    coinbase_maturity: Depth | None = None
    """Confirmations below which no output of a coinbase can be spent."""
    pegout_maturity: Depth | None = None
    """The same of what left an extension block (LIP-2); None: the chain has none."""
    auxpow: bool = False
    """Whether headers may carry the proof of a parent chain's work (merged mining)."""

    _addresses: AddressFormat = PrivateAttr(EVM_ADDRESSES)

    @property
    def chain_id(self) -> int | None:
        """The EIP-155 chain id; None of a UTXO chain."""
        return int(self.caip2.partition(":")[2]) if self.kind is ChainKind.EVM else None

    @property
    def addresses(self) -> AddressFormat:
        """How addresses are written."""
        return self._addresses

    @property
    def mweb(self) -> bool:
        """Whether the chain's blocks may carry an extension block (LIP-2)."""
        return self.addresses.mweb_hrp is not None

    @property
    def maturities(self) -> tuple[int, ...]:
        """Depths that some outputs need, whatever the required confirmations say."""
        return tuple(depth for depth in (self.coinbase_maturity, self.pegout_maturity) if depth is not None)

    def among(self, chains: "Iterable[ChainDefinition]") -> Self:
        """Return this definition, with errors about addresses that can name these other chains."""
        known = self.model_copy()
        others = [(chain.name, replace(chain.addresses, neighbours=())) for chain in chains if chain.name != self.name]
        known._addresses = replace(self.addresses, neighbours=tuple(others))  # noqa: SLF001 - of the same class
        return known

    def model_post_init(self, _context: object, /) -> None:
        """Derive how addresses are written."""
        table = self.address_table
        if table is not None:
            self._addresses = AddressFormat(self.kind, table.hrp, table.p2pkh, table.p2sh, table.mweb_hrp)

    @property
    def required_depth(self) -> int | None:
        """Required confirmations as a number; None under the ``finalized`` tag."""
        return None if self.required_confirmations == "finalized" else self.required_confirmations

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        problems = [
            *self._of_another_kind(),
            *self._missing(),
            *self._reorg_limit_too_small(),
            *self._key_versions_not_told_apart(),
            *self._assets_not_told_apart(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _given(self) -> set[str]:
        fields = type(self).model_fields
        return {fields[name].alias or name for name in self.model_fields_set}

    def _of_another_kind(self) -> Iterator[str]:
        for kind, keys in _KEYS_OF_ONE_KIND.items():
            if kind is not self.kind:
                yield from (
                    f"{key}: is for {kind} chains, and this one is {self.kind}: take it out"
                    for key in keys
                    if key in self._given()
                )
        allowed = CAPABILITIES[self.kind]
        for capability in sorted(self.capabilities - allowed):
            yield f"capabilities: {self.kind} chains have no {capability}, they have {', '.join(sorted(allowed))}"
        if self.kind is ChainKind.UTXO and self.required_confirmations == "finalized":
            yield "required_confirmations: utxo chains call no block finalized: give a depth in blocks"
        yield from self._wrong_caip2()

    def _wrong_caip2(self) -> Iterator[str]:
        if self.kind is ChainKind.EVM:
            if not self.caip2.startswith("eip155:"):
                yield f"caip2: is {self.caip2}, of evm chains it is eip155:<chain id>"
        elif self.genesis_hash is not None:
            right = f"bip122:{self.genesis_hash.hex()[:_DIGITS_IN_CAIP2]}"
            if self.caip2 != right:
                yield f"caip2: is {self.caip2}, and genesis_hash makes it {right}"

    def _missing(self) -> list[str]:
        problems = [f"{key}: is missing" for key in _NEEDED_KEYS[self.kind] if key not in self._given()]
        if self.required_confirmations == "finalized" and self.finality_lag is None:
            problems.append('finality_lag: is missing: required_confirmations = "finalized" needs it')
        if self.kind is ChainKind.EVM and self.mode is Mode.LIVE and self.genesis_hash is None:
            problems.append('genesis_hash: is missing: only a development chain (mode = "test") may go without')
        return problems

    def _reorg_limit_too_small(self) -> list[str]:
        if self.required_depth is None:
            needs = [((self.finality_lag or 0) + 10, "its finality_lag and 10 more")]
        else:
            needs = [
                (self.required_depth, "its required_confirmations"),
                (self.coinbase_maturity or 0, "its coinbase_maturity"),
                (self.pegout_maturity or 0, "its pegout_maturity"),
            ]
        least, reason = max(needs)
        if self.reorg_limit >= least:
            return []
        return [f"reorg_limit: is {self.reorg_limit}, must be at least {least}, {reason}"]

    def _key_versions_not_told_apart(self) -> Iterator[str]:
        types: dict[bytes, ScriptType] = {}
        for script_type, versions in self.extended_keys.items():
            for version in versions:
                earlier = types.setdefault(version, script_type)
                if earlier is not script_type:
                    yield f"extended_keys.{script_type}: {version.hex()} stands at {earlier} too: a version says one thing"

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
