"""The chains that ship, and what an operator is told about a definition that is wrong."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import is_checksum_address

from chainbell.config.chains import configured_chains, load_chains
from chainbell.config.settings import load_settings
from chainbell.domain.chain import BlockCheck, Capability, ChainDefinition, Mode, ScriptType
from chainbell.domain.chain_kind import ChainKind
from chainbell.domain.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
EVM = ["anvil", "arbitrum", "avalanche", "base", "bsc", "ethereum", "optimism", "polygon", "sepolia"]
UTXO = [
    *("bitcoin", "bitcoin-regtest", "bitcoin-signet", "bitcoin-testnet4"),
    *("dogecoin", "litecoin", "litecoin-regtest", "litecoin-testnet"),
]
BUILT_IN = sorted([*EVM, *UTXO])
VALID = """\
name = "devnet"
kind = "evm"
caip2 = "eip155:1337"
wire_name = "DEVNET"
mode = "test"
block_seconds = 1
required_confirmations = 3
reorg_limit = 64
drop_after_seconds = 60
poll_seconds = 0.5
checks = ["gas", "bloom"]
capabilities = ["coin", "logs"]
native = {symbol = "ETH", decimals = 18}

[[tokens]]
symbol = "ONE"
contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
decimals = 18

[[tokens]]
symbol = "TWO"
contract = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
decimals = 6
"""


VALID_UTXO = """\
name = "devcoin"
kind = "utxo"
caip2 = "bip122:000102030405060708090a0b0c0d0e0f"
wire_name = "DEVCOIN"
mode = "test"
genesis_hash = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
block_seconds = 60
required_confirmations = 3
coinbase_maturity = 100
reorg_limit = 120
drop_after_seconds = 60
poll_seconds = 0.5
capabilities = ["coin", "mempool"]
native = {symbol = "BTC", decimals = 8}
addresses = {hrp = "dev", p2pkh = 111, p2sh = [58, 196]}
extended_keys = {p2pkh = ["043587cf", "0436f6e1"], p2sh-p2wpkh = "044a5262"}
"""


def facts(name: str) -> Any:
    """Return a copied file of facts."""
    return json.loads((DATA / name).read_text())


def write(directory: Path, content: str, name: str = "devnet") -> Path:
    """Put one definition into an operator's directory."""
    (directory / f"{name}.toml").write_text(content)
    return directory


def complaint(directory: Path) -> str:
    """Return what is said about an operator's directory that must be refused."""
    with pytest.raises(ConfigurationError) as caught:
        load_chains(directory)
    return str(caught.value)


def test_every_built_in_chain_loads() -> None:
    """Each chain ships under the name of its file and with a wire name of its own, sorted by name."""
    chains = load_chains()
    assert list(chains) == BUILT_IN
    assert all(chain.name == name and chain.wire_name == name.upper().replace("-", "_") for name, chain in chains.items())
    assert [name for name, chain in chains.items() if chain.kind is ChainKind.UTXO] == UTXO


@pytest.mark.parametrize("name", [name for name in EVM if name != "anvil"])
def test_genesis_hash_and_chain_id_are_the_known_ones(name: str) -> None:
    """A built-in chain carries the genesis hash and chain id that independent sources agree on."""
    known = {key.split()[1]: (key.split()[0], value) for key, value in facts("genesis.json")["eip155"].items()}
    chain = load_chains()[name]
    assert chain.genesis_hash is not None
    assert (str(chain.chain_id), "0x" + chain.genesis_hash.hex()) == known[name]


@pytest.mark.parametrize("name", [name for name in UTXO if name != "litecoin-regtest"])
def test_genesis_hashes_of_the_bitcoin_family_are_the_known_ones(name: str) -> None:
    """The same of UTXO chains, whose CAIP-2 id follows from it; litecoin-regtest is asked of a real node elsewhere."""
    chain = load_chains()[name]
    assert chain.genesis_hash is not None
    assert chain.genesis_hash.hex() == facts("genesis.json")["bip122"][name]
    assert chain.caip2 == f"bip122:{chain.genesis_hash.hex()[:32]}"
    assert chain.chain_id is None


def test_facts_of_the_bitcoin_family() -> None:
    """Maturities, merged mining, extension blocks and segwit are where they are."""
    chains = {name: chain for name, chain in load_chains().items() if chain.kind is ChainKind.UTXO}
    assert {name: chain.maturities for name, chain in chains.items()} == {
        name: (240,) if name == "dogecoin" else (100, 6) if name.startswith("litecoin") else (100,) for name in UTXO
    }
    assert [name for name, chain in chains.items() if chain.auxpow] == ["dogecoin"]
    assert [name for name, chain in chains.items() if chain.mweb] == [name for name in UTXO if name.startswith("litecoin")]
    assert [name for name, chain in chains.items() if chain.addresses.hrp is None] == ["dogecoin"]
    assert all(chain.reorg_limit >= max(chain.maturities) for chain in chains.values())
    assert all(chain.capabilities == {Capability.COIN, Capability.MEMPOOL} for chain in chains.values())


def test_extended_key_versions() -> None:
    """A script type has one version or several, as bytes."""
    keys = load_chains()["litecoin"].extended_keys
    assert keys[ScriptType.P2PKH] == (bytes.fromhex("0488b21e"), bytes.fromhex("019da462"))
    assert keys[ScriptType.P2WPKH] == (bytes.fromhex("04b24746"),)


@pytest.mark.parametrize("name", BUILT_IN)
def test_tokens_are_the_listed_ones(name: str) -> None:
    """Symbol, contract and decimals of every token come from the copied list, and none is missing or added."""
    listed = {(token["symbol"], token["contract"].lower(), token["decimals"]) for token in _listed(name)}
    chain = load_chains()[name]
    assert {(token.symbol, "0x" + token.contract.hex(), token.decimals) for token in chain.tokens} == listed


def _listed(name: str) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = facts("tokens.json")["tokens"].get(name, [])
    return tokens


@pytest.mark.parametrize("name", BUILT_IN)
def test_contracts_are_written_with_a_checksum(name: str) -> None:
    """Every contract in a built-in file is in the mixed case of EIP-55, so that a mistyped digit shows."""
    written = re.findall(r'^contract = "(.*)"', (REPOSITORY / "chains" / f"{name}.toml").read_text(), re.MULTILINE)
    assert all(is_checksum_address(contract) for contract in written)


def test_modes_and_development_chain() -> None:
    """Only test networks are of mode test, and only anvil has no genesis hash, no token and every check."""
    chains = load_chains()
    live = ["arbitrum", "avalanche", "base", "bitcoin", "bsc", "dogecoin", "ethereum", "litecoin", "optimism", "polygon"]
    assert [name for name, chain in chains.items() if chain.mode is Mode.LIVE] == live
    assert [name for name, chain in chains.items() if chain.genesis_hash is None] == ["anvil"]
    assert chains["anvil"].tokens == ()
    assert chains["anvil"].checks == set(BlockCheck)
    assert chains["anvil"].caip2 == "eip155:31337"


def test_definitions_cannot_be_changed() -> None:
    """A loaded definition is frozen."""
    with pytest.raises(ValueError, match="frozen"):
        load_chains()["anvil"].reorg_limit = 1


def test_a_definition_is_added_and_one_replaced(tmp_path: Path) -> None:
    """A file of an operator's directory adds a chain, or replaces the built-in one of its name whole."""
    write(tmp_path, VALID)
    anvil = VALID.replace("devnet", "anvil").replace("DEVNET", "ANVIL").replace("eip155:1337", "eip155:31337")
    write(tmp_path, anvil, "anvil")
    chains = load_chains(tmp_path)
    assert list(chains) == sorted([*BUILT_IN, "devnet"])
    assert [token.symbol for token in chains["anvil"].tokens] == ["ONE", "TWO"]


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ("decimals = 6", 'decimals = "6"', "tokens[1].decimals: must be a valid integer"),
        ("decimals = 6", "decimals = true", "tokens[1].decimals: must be a valid integer"),
        ("decimals = 6", "decimals = 6\nnote = 1", "tokens[1].note: unknown key (allowed here: symbol, contract"),
        ("decimals = 6", "", "tokens[1].decimals: is missing"),
        ('symbol = "TWO"', 'symbol = "ONE"', "tokens[1].symbol: is that of tokens[0] too"),
        ('symbol = "TWO"', 'symbol = "ETH"', "tokens[1].symbol: is that of native too"),
        (
            "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
            "0x5fbdb2315678afecb367f032d93f642f64180aa3",
            "tokens[1].contract",
        ),
        ("0xe7f1725E", "0xe7f1725e", "tokens[1].contract: the checksum of"),
        ("0xe7f1725E", "0xe7f1725", "tokens[1].contract: must be 0x and an even number of hexadecimal digits"),
        ("0xe7f1725E", "0xe7f172", "tokens[1].contract: must be 20 bytes: 0x and 40 hexadecimal digits"),
        ('mode = "test"', 'mode = "tset"', "mode: must be 'live' or 'test'"),
        ('mode = "test"', 'mode = "live"', "genesis_hash: is missing"),
        ('kind = "evm"', 'kind = "btc"', "kind: must be 'evm' or 'utxo'"),
        ('kind = "evm"', 'kind = "utxo"', "checks: is for evm chains, and this one is utxo: take it out"),
        ('checks = ["gas", "bloom"]', "", "checks: is missing"),
        (
            "poll_seconds",
            "coinbase_maturity = 100\npoll_seconds",
            "coinbase_maturity: is for utxo chains, and this one is evm",
        ),
        ("poll_seconds", "auxpow = false\npoll_seconds", "auxpow: is for utxo chains"),
        ('["coin", "logs"]', '["coin", "mempool"]', "capabilities: evm chains have no mempool, they have coin, logs"),
        ('"eip155:1337"', f'"bip122:{"0" * 32}"', "of evm chains it is eip155:<chain id>"),
        ('"eip155:1337"', '"eip155:0"', "caip2: "),
        ('"bloom"', '"blom"', "checks[1]: must be 'gas' or 'bloom'"),
        ('["coin", "logs"]', "[]", "capabilities:"),
        ("poll_seconds", "poll_second", "poll_second: unknown key, did you mean poll_seconds?"),
        ("poll_seconds = 0.5", "poll_seconds = inf", "poll_seconds: must be a finite number"),
        ("block_seconds = 1", 'block_seconds = "1"', "block_seconds: must be a valid number"),
        (
            "required_confirmations = 3",
            'required_confirmations = "final"',
            "required_confirmations: must be a depth in",
        ),
        ("required_confirmations = 3", "required_confirmations = 0", "required_confirmations: must be a depth in"),
        ("required_confirmations = 3", 'required_confirmations = "finalized"', "finality_lag: is missing"),
        ("reorg_limit = 64", "reorg_limit = 2", "reorg_limit: is 2, must be at least 3"),
        ('{symbol = "ETH", decimals = 18}', "3", "native: must be a table"),
        ('["gas", "bloom"]', '"gas"', "checks: must be an array"),
        ('name = "devnet"', 'name = "other"', "name: is 'other', must be the file's own name, 'devnet'"),
        ('name = "devnet"', "name = ", "is not TOML: "),
        ("eip155:1337", "eip155:1", "caip2: is eip155:1, as in chains/ethereum.toml"),
        ('"DEVNET"', '"ETHEREUM"', "wire_name: is ETHEREUM, as in chains/ethereum.toml"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, wrong: str, right: str, expected: str) -> None:
    """Whatever is wrong with a definition, the message names the file, the key, and what is allowed there."""
    assert wrong in VALID
    message = complaint(write(tmp_path, VALID.replace(wrong, right)))
    file = "chains/ethereum.toml" if message.startswith("chains/") else str(tmp_path / "devnet.toml")
    assert message.startswith(f"{file}: ") or f"\n{file}: " in message
    assert expected.replace("as in chains/ethereum.toml", "as in ") in message


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ('genesis_hash = "', 'genesis_hash = "0x', "genesis_hash: must be 64 hexadecimal digits, without 0x"),
        ('1d1e1f"', '1d1e"', "genesis_hash: must be 64 hexadecimal digits"),
        ('1d1e1f"', '1d1e1g"', "genesis_hash: must be 64 hexadecimal digits"),
        (
            '0c0d0e0f"',
            '0c0d0eff"',
            "caip2: is bip122:000102030405060708090a0b0c0d0eff, and genesis_hash makes it bip122:0001",
        ),
        ('"bip122:000102030405060708090a0b0c0d0e0f"', '"eip155:1338"', "genesis_hash makes it bip122:0001"),
        ("coinbase_maturity = 100", "", "coinbase_maturity: is missing"),
        ("coinbase_maturity = 100", "coinbase_maturity = 0", "coinbase_maturity: must be greater than or equal to 1"),
        (
            "coinbase_maturity = 100",
            "coinbase_maturity = 121",
            "reorg_limit: is 120, must be at least 121, its coinbase_maturity",
        ),
        ("coinbase_maturity", "pegout_maturity = 130\ncoinbase_maturity", "must be at least 130, its pegout_maturity"),
        ("required_confirmations = 3", "required_confirmations = 140", "must be at least 140, its required_confirmations"),
        ("required_confirmations = 3", 'required_confirmations = "finalized"', "utxo chains call no block finalized"),
        ("block_seconds", "finality_lag = 3\nblock_seconds", "finality_lag: is for evm chains, and this one is utxo"),
        ("block_seconds", "checks = []\nblock_seconds", "checks: is for evm chains"),
        ("block_seconds", "tokens = []\nblock_seconds", "tokens: is for evm chains"),
        ('["coin", "mempool"]', '["coin", "logs"]', "capabilities: utxo chains have no logs, they have coin, mempool"),
        ("p2pkh = 111,", "", "addresses.p2pkh: is missing"),
        ("p2pkh = 111,", "p2pkh = 256,", "addresses.p2pkh: must be less than or equal to 255"),
        ("p2pkh = 111,", "p2pk = 1, p2pkh = 111,", "addresses.p2pk: unknown key, did you mean p2pkh?"),
        ("[58, 196]", "[]", "addresses.p2sh: "),
        ('hrp = "dev"', 'hrp = "DEV"', "addresses.hrp: "),
        ("addresses = {", "address = {", "address: unknown key, did you mean addresses?"),
        ("addresses = {", "# addresses = {", "addresses: is missing"),
        ("p2sh-p2wpkh", "p2tr", "extended_keys.p2tr"),
        ('"044a5262"', '"0x044a5262"', "must be 8 hexadecimal digits, without 0x"),
        ('"044a5262"', '"043587cf"', "extended_keys.p2sh-p2wpkh: 043587cf stands at p2pkh too"),
    ],
)
def test_an_error_in_a_utxo_definition_names_its_key(tmp_path: Path, wrong: str, right: str, expected: str) -> None:
    """The same for the keys of the Bitcoin family, and for those that only the other kind has."""
    assert wrong in VALID_UTXO
    message = complaint(write(tmp_path, VALID_UTXO.replace(wrong, right), "devcoin"))
    assert message.startswith(f"{tmp_path / 'devcoin.toml'}: ")
    assert expected in message


def test_a_utxo_chain_without_segwit_or_keys(tmp_path: Path) -> None:
    """Only version bytes must be given; one p2sh byte may stand alone."""
    plain = VALID_UTXO.replace('hrp = "dev", ', "").replace("[58, 196]", "58")
    chain = load_chains(write(tmp_path, re.sub("extended_keys.*", "", plain), "devcoin"))["devcoin"]
    assert (chain.addresses.hrp, chain.addresses.p2pkh, chain.addresses.p2sh) == (None, 111, (58,))
    assert (chain.extended_keys, chain.pegout_maturity, chain.auxpow, chain.mweb) == ({}, None, False, False)


def test_all_errors_of_all_files_come_at_once(tmp_path: Path) -> None:
    """An operator mends everything in one go: each file has one line, with all of its problems."""
    write(tmp_path, VALID.replace("decimals = 6", "decimals = -1").replace('"evm"', '"x"'))
    write(tmp_path, "name = 1", "other")
    lines = complaint(tmp_path).splitlines()
    assert len(lines) == 2
    assert "tokens[1].decimals: " in lines[0]
    assert "kind: " in lines[0]
    assert "name: must be a valid string" in lines[1]


@pytest.mark.parametrize(("limit", "accepted"), [(39, False), (40, True)])
def test_reorg_limit_covers_the_finality_lag(tmp_path: Path, limit: int, accepted: bool) -> None:
    """Under the finalized tag a reorg limit must be the ordinary lag and ten blocks more."""
    finalized = VALID.replace("confirmations = 3", 'confirmations = "finalized"\nfinality_lag = 30')
    directory = write(tmp_path, finalized.replace("reorg_limit = 64", f"reorg_limit = {limit}"))
    if accepted:
        assert load_chains(directory)["devnet"].required_depth is None
    else:
        assert "reorg_limit: is 39, must be at least 40" in complaint(directory)


@pytest.mark.parametrize("name", ["missing", "file.toml"])
def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """A chains directory that is missing, or no directory, stops the start by name."""
    (tmp_path / "file.toml").touch()
    assert complaint(tmp_path / name).startswith(f"CHAINBELL_CHAINS_DIR: {tmp_path / name} cannot be read")


def test_a_directory_without_definitions_is_refused(tmp_path: Path) -> None:
    """An empty chains directory is a mount that went wrong, not a wish."""
    assert "holds no *.toml file" in complaint(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are reported with their file."""
    (tmp_path / "devnet.toml").write_bytes(b'name = "\xff"')
    assert complaint(tmp_path) == f"{tmp_path / 'devnet.toml'}: is not UTF-8 text (byte 8)"


def test_nodes_of_an_unknown_chain_are_refused() -> None:
    """A setting for a chain that nobody defined is refused, with the chain that was probably meant."""
    settings = load_settings({"CHAINBELL_NODES__ETHEREM": "http://secret.example"})
    with pytest.raises(ConfigurationError) as caught:
        configured_chains(settings)
    assert "CHAINBELL_NODES__ETHEREM" in str(caught.value)
    assert "did you mean CHAINBELL_NODES__ETHEREUM?" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nodes_of_an_added_chain_are_accepted(tmp_path: Path) -> None:
    """A private chain's nodes are found by its name, whose - is _ in the variable."""
    write(tmp_path, VALID.replace('"devnet"', '"dev-net"'), "dev-net")
    settings = load_settings({"CHAINBELL_CHAINS_DIR": str(tmp_path), "CHAINBELL_NODES__DEV_NET": "http://node"})
    assert configured_chains(settings)["dev-net"].wire_name == "DEVNET"
    assert list(settings.nodes) == ["dev-net"]


def test_every_key_is_documented() -> None:
    """docs/configuration.md explains every key of a definition, and no other."""
    chapter = (REPOSITORY / "docs" / "configuration.md").read_text().partition("## Chains")[2]
    keys = [field.alias or name for name, field in ChainDefinition.model_fields.items()]
    assert sorted(re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)) == sorted(keys)


def test_the_documented_definition_loads(tmp_path: Path) -> None:
    """The whole files shown in docs/configuration.md are valid ones."""
    examples = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs" / "configuration.md").read_text(), re.DOTALL)
    assert load_chains(write(tmp_path, examples[-2], "my-devnet"))["my-devnet"].tokens[0].symbol == "TEST"
    assert load_chains(write(tmp_path, examples[-1], "my-signet"))["my-signet"].addresses.hrp == "tb"


def test_the_wheel_carries_the_chains(tmp_path: Path) -> None:
    """A wheel built from this checkout finds the same chains without the checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    program = "import chainbell, chainbell.config.chains as c; print(chainbell.__file__, *c.load_chains())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout.split()
    assert Path(found[0]).is_relative_to(tmp_path)
    assert found[1:] == BUILT_IN
