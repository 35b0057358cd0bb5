"""Addresses of extended keys and descriptors, against the daemons' own derivation and checksums."""

import importlib
from collections.abc import Iterator
from random import Random

import pytest

from chainbell.custody import public_derivation
from chainbell.custody.account_key import parse_account_key
from chainbell.custody.derivation import derive
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN
from chainbell.custody.template import OutputType
from tests.bitcoin import Bitcoind, Litecoind, UtxoDaemon
from tests.keys import EVM, REGTEST, random_key, random_public_key

COUNT = 3


def _key(random: Random, ending: str) -> str:
    origin = random.choice(["", "[d34db33f/84h/0h/0h]", "[D34DB33F]"])
    return origin + random_key(random).text(REGTEST.bip32) + ending


def _uncompressed(random: Random) -> str:
    key = random_public_key(random)
    x = int.from_bytes(key[1:])
    prime = 2**256 - 2**32 - 977
    y = pow(x**3 + 7, (prime + 1) // 4, prime)
    return (b"\4" + key[1:] + (y if y % 2 == key[0] % 2 else prime - y).to_bytes(32)).hex()


def _bodies(random: Random, *, modern: bool) -> Iterator[str]:
    """Yield descriptors of every kind; `modern` ones have branches and taproot, which litecoind 0.21 does not know."""
    endings = ["/*", "/0/*", "/7/2147483647/*", "/5", ""] + (["/<0;1>/*", "/<4;2>/3/*"] if modern else [])
    for ending in endings:
        for form in ["pkh({})", "wpkh({})", "sh(wpkh({}))", *(["tr({})"] if modern else [])]:
            yield form.format(_key(random, ending))
        for form in ["sh({})", "wsh({})", "sh(wsh({}))"]:
            for name in ["multi", "sortedmulti"]:
                keys = [_key(random, ending), random_public_key(random).hex(), _key(random, ending)]
                yield form.format(f"{name}({random.randint(1, 3)},{','.join(keys)})")
    yield f"pkh({_uncompressed(random)})"
    yield f"sh(multi(1,{_uncompressed(random)},{_key(random, '/*')}))"
    yield f"wsh(sortedmulti(16,{','.join(random_public_key(random).hex() for _ in range(16))}))"
    yield f"sh(multi(15,{','.join(random_public_key(random).hex() for _ in range(15))}))"
    if modern:
        yield f"wsh(multi(17,{','.join(random_public_key(random).hex() for _ in range(20))}))"
        yield f"tr({random_public_key(random)[1:].hex()})"
        yield f"tr([d34db33f/86h/0h/0h]{random_public_key(random)[1:].hex()})"
        yield f"tr([D34DB33F]{random_public_key(random)[1:].hex()})"


async def _agree(node: UtxoDaemon, body: str) -> None:
    text = f"{body}#{checksum_of(body)}"
    info = await node.rpc("getdescriptorinfo", body)
    assert info["checksum"] == checksum_of(body)
    template = parse_account_key(text, REGTEST)
    assert info["isrange"] == template.ranged
    answer = await node.rpc("deriveaddresses", text, *([[1, COUNT]] if template.ranged else []))
    expected = answer if isinstance(answer[0], list) else [answer]
    assert len(expected) == len(template.branches)
    for branch, addresses in enumerate(expected):
        scripts = derive(template, branch, 1, COUNT + 1) if template.ranged else derive(template, branch, 0, 1)
        assert scripts == [await node.script(address) for address in addresses], body
    assert (await node.rpc("getdescriptorinfo", template.body))["checksum"] == template.text.rpartition("#")[2]


async def test_every_kind_of_descriptor_derives_what_bitcoind_derives() -> None:
    """Scripts, ranges, branches and checksums are the node's, for random keys in every form that is taken."""
    async with Bitcoind() as node:
        for body in _bodies(Random(4), modern=True):
            await _agree(node, body)


async def test_every_kind_of_descriptor_derives_what_litecoind_derives() -> None:
    """The same on Litecoin, in the forms that its daemon knows."""
    async with Litecoind() as node:
        for body in _bodies(Random(5), modern=False):
            await _agree(node, body)


@pytest.mark.parametrize(
    ("version", "form"),
    [("043587cf", "pkh({})"), ("044a5262", "sh(wpkh({}))"), ("045f1cf6", "wpkh({})")],
)
async def test_a_bare_key_has_a_receiving_and_a_change_branch(version: str, form: str) -> None:
    """tpub, upub and vpub derive what bitcoind derives of the descriptor with /0/* and /1/* (SLIP-132, BIP44, 49, 84)."""
    random = Random(version)
    key = random_key(random)
    template = parse_account_key(key.text(bytes.fromhex(version)), REGTEST)
    async with Bitcoind() as node:
        for branch in (0, 1):
            body = form.format(f"{key.text(REGTEST.bip32)}/{branch}/*")
            addresses = await node.rpc("deriveaddresses", f"{body}#{checksum_of(body)}", [0, 2])
            assert derive(template, branch, 0, 3) == [await node.script(address) for address in addresses]


async def test_an_xpub_derives_the_accounts_of_a_wallet_on_evm_chains() -> None:
    """The account's xpub gives the addresses of m/44'/60'/0'/0/i, as eth_account derives them with the private keys."""
    importlib.import_module("chainbell.nodes")  # before eth_account, whose py_ecc raises the recursion limit
    from eth_account import Account  # noqa: PLC0415 - see above
    from eth_account.hdaccount.mnemonic import Mnemonic  # noqa: PLC0415 - see above

    public_derivation.load()
    from bitcoinlib.keys import HDKey  # noqa: PLC0415 - by now it was loaded as the product loads it

    Account.enable_unaudited_hdwallet_features()
    phrase = "test test test test test test test test test test test junk"
    account = HDKey.from_seed(Mnemonic.to_seed(phrase), network="bitcoin").subkey_for_path("m/44'/60'/0'").public()
    xpub = account.wif(prefix=BIP32_MAIN)
    template = parse_account_key(xpub, EVM)
    assert template.type is OutputType.EVM
    expected = [Account.from_mnemonic(phrase, account_path=f"m/44'/60'/0'/0/{index}").address for index in range(5)]
    assert ["0x" + address.hex() for address in derive(template, 0, 0, 5)] == [address.lower() for address in expected]
