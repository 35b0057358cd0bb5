"""Our scan of blocks of the Bitcoin family against the JSON of real nodes: every script type, spent and paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import new, sha256
from random import Random
from typing import Any

import pytest

from chainbell.domain.utxo import Making, UtxoBlock
from chainbell.nodes.utxo.reveal import reveal, reveal_transaction
from chainbell.nodes.utxo.scan import scan_block, scan_transaction
from tests.bitcoin import COIN, Bitcoind, Litecoind, UtxoDaemon, coin
from tests.fixtures_nodes import Starter
from tests.utxo_bytes import In, Out, Tx, double_sha256
from tests.utxo_truth import expected_transaction, expected_transactions

# The private key 1, whose public key is the generator of secp256k1, and the same key uncompressed.
KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
LONG_KEY = bytes.fromhex(
    "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
)
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SHOWN = {"pubkeyhash", "scripthash", "witness_v0_keyhash", "witness_v0_scripthash"}
"""The node's names of what is unlocked by showing its key or script."""
FEE = 20_000


def hash160(data: bytes) -> bytes:
    return new("ripemd160", sha256(data).digest()).digest()


def wif(suffix: bytes) -> str:
    """Write the private key 1 as a regtest node takes it."""
    payload = b"\xef" + (1).to_bytes(32, "big") + suffix
    number = int.from_bytes(payload + double_sha256(payload)[:4], "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text


@dataclass(frozen=True)
class Kind:
    """A kind of output: its script, and what the node must be told to unlock it (None: nobody does)."""

    script: bytes
    unlock: dict[str, str] | None = field(default_factory=dict)
    anyone: bool = False
    """It is unlocked by nothing at all."""


def multisig(*keys: bytes) -> bytes:
    return b"\x51" + b"".join(bytes([len(key)]) + key for key in keys) + bytes([0x50 + len(keys)]) + b"\xae"


def kinds() -> dict[str, Kind]:
    redeem, program = multisig(KEY, LONG_KEY), b"\x00\x14" + hash160(KEY)
    witness_script = multisig(KEY, KEY)
    nested = b"\x00\x20" + sha256(witness_script).digest()
    return {
        "p2pk": Kind(b"\x21" + KEY + b"\xac"),
        "p2pk long": Kind(b"\x41" + LONG_KEY + b"\xac"),
        "p2pkh": Kind(b"\x76\xa9\x14" + hash160(KEY) + b"\x88\xac"),
        "p2pkh long": Kind(b"\x76\xa9\x14" + hash160(LONG_KEY) + b"\x88\xac"),
        "multisig": Kind(redeem),
        "p2sh": Kind(b"\xa9\x14" + hash160(redeem) + b"\x87", {"redeemScript": redeem.hex()}),
        "p2sh-p2wpkh": Kind(b"\xa9\x14" + hash160(program) + b"\x87", {"redeemScript": program.hex()}),
        "p2sh-p2wsh": Kind(
            b"\xa9\x14" + hash160(nested) + b"\x87", {"redeemScript": nested.hex(), "witnessScript": witness_script.hex()}
        ),
        "p2wpkh": Kind(program),
        "p2wsh": Kind(nested, {"witnessScript": witness_script.hex()}),
        "p2tr": Kind(b"\x51\x20" + KEY[1:], None),
        "op_return": Kind(b"\x6a\x04bell", None),
        "future": Kind(b"\x60\x02\x4e\x73", anyone=True),
        "version 3": Kind(b"\x53\x20" + bytes(range(32)), anyone=True),
    }


@dataclass
class Zoo:
    """Outputs of every kind on a node's chain, made and spent by whoever holds the key 1."""

    node: UtxoDaemon
    random: Random
    by_mempool: bool = False
    """Whether spends wait in the mempool before they are mined: it takes none of what anyone can spend."""
    unspent: list[tuple[str, int, Kind, int]] = field(default_factory=list)

    async def made_from_wallet(self) -> str:
        """Pay every kind from a coin of the wallet, several times and in random order, and return the raw transaction."""
        source = max(await self.node.coins(minimum_depth=1), key=lambda each: each.amount)
        chosen = [*kinds().values()] * 2
        self.random.shuffle(chosen)
        share = source.amount // (len(chosen) + 2)
        amounts = [share - self.random.randrange(share // 2) for _ in chosen]
        outputs: list[tuple[str | bytes, int]] = [
            (kind.script, amount) for kind, amount in zip(chosen, amounts, strict=True)
        ]
        raw = await self.node.raw_transaction([source], outputs, send=False)
        await self._keep(raw, list(zip(chosen, amounts, strict=True)))
        return raw

    async def spent(self, most: int) -> str:
        """Spend some of what was made, of random kinds, to random kinds, and return the raw transaction."""
        spendable = [
            each for each in self.unspent if each[2].unlock is not None and not (self.by_mempool and each[2].anyone)
        ]
        taken = self.random.sample(spendable, min(most, len(spendable)))
        self.unspent = [each for each in self.unspent if each not in taken]
        chosen = self.random.choices([*kinds().values()], k=self.random.randint(1, 4))
        share = (sum(each[3] for each in taken) - FEE) // len(chosen)
        outputs = [(kind, share) for kind in chosen]
        inputs = [In(bytes.fromhex(txid)[::-1] + at.to_bytes(4, "little")) for txid, at, _, _ in taken]
        raw = await self._signed(Tx(inputs, [Out(kind.script, amount) for kind, amount in outputs]), taken)
        await self._keep(raw, outputs)
        return raw

    async def _signed(self, bare: Tx, taken: Sequence[tuple[str, int, Kind, int]]) -> str:
        before = [
            {"txid": txid, "vout": at, "scriptPubKey": kind.script.hex(), "amount": coin(amount), **(kind.unlock or {})}
            for txid, at, kind, amount in taken
        ]
        keys = [wif(b"\1"), wif(b"")]
        signed = await self.node.rpc("signrawtransactionwithkey", bare.raw.hex(), keys, before)
        unsigned = [error for error in signed.get("errors", []) if not self._is_open(error, taken)]
        assert not unsigned, unsigned
        return str(signed["hex"])

    @staticmethod
    def _is_open(error: dict[str, Any], taken: Sequence[tuple[str, int, Kind, int]]) -> bool:
        return any((error["txid"], error["vout"]) == (txid, at) and kind.anyone for txid, at, kind, _ in taken)

    async def _keep(self, raw: str, outputs: Sequence[tuple[Kind, int]]) -> None:
        txid = (await self.node.rpc("decoderawtransaction", raw))["txid"]
        self.unspent += [(txid, at, kind, amount) for at, (kind, amount) in enumerate(outputs)]


async def walk(node: UtxoDaemon, random: Random, blocks: int) -> list[str]:
    """Mine blocks with payments of every kind, and return their hashes."""
    zoo = Zoo(node, random)
    mined = []
    for _ in range(blocks):
        raws = [await zoo.made_from_wallet()]
        raws += [await zoo.spent(random.randint(1, 9)) for _ in range(random.randint(2, 6))]
        mined.append(await node.mine_only(raws))
    return mined


async def walk_by_mempool(node: UtxoDaemon, random: Random, blocks: int) -> None:
    """Mine such blocks by way of the mempool, as litecoind does once it has extension blocks."""
    zoo = Zoo(node, random, by_mempool=True)
    for _ in range(blocks):
        await node.send_raw(await zoo.made_from_wallet())
        for _ in range(random.randint(2, 6)):
            await node.send_raw(await zoo.spent(random.randint(1, 9)))
        await node.mine()


def check(told: dict[str, Any], raw: bytes, *, mweb: bool = False) -> UtxoBlock:
    """Demand that our scan of a block is the node's own JSON of it."""
    block = scan_block(raw, told["height"], mweb=mweb)
    assert block.ref.hash.hex() == told["hash"]
    assert block.ref.parent_hash.hex() == told["previousblockhash"]
    assert block.timestamp.timestamp() == told["time"]
    assert block.transactions == expected_transactions(told)
    return block


async def test_every_script_type_of_bitcoind(bitcoind: Bitcoind, seed: int) -> None:
    """Random blocks of bitcoind that pay and spend every kind of script are read as bitcoind reads them."""
    paid: Counter[str] = Counter()
    for block_hash in await walk(bitcoind, Random(seed), 4):
        told = await bitcoind.block(block_hash)
        check(told, await bitcoind.raw_block(block_hash))
        paid.update(output["scriptPubKey"]["type"] for each in told["tx"] for output in each["vout"])
    assert paid.keys() >= {*SHOWN, "pubkey", "multisig", "witness_v1_taproot", "nulldata", "witness_unknown"}


async def test_what_inputs_reveal_on_bitcoind(bitcoind: Bitcoind, seed: int) -> None:
    """Each input that shows its key or script names the output that it spends, by bitcoind's word; no other names any."""
    spent: Counter[str] = Counter()
    for block_hash in [*await walk(bitcoind, Random(seed + 1), 5), await _taproot_spent(bitcoind)]:
        told = await bitcoind.rpc("getblock", block_hash, 3)
        raw = await bitcoind.raw_block(block_hash)
        for ours, theirs in zip(reveal(raw, scan_block(raw, 0)).transactions, told["tx"], strict=True):
            before = [each["prevout"]["scriptPubKey"] for each in theirs["vin"] if "coinbase" not in each]
            spent.update(each["type"] for each in before)
            assert ours.revealed is not None
            for candidates, script in zip(ours.revealed, before, strict=True):
                assert (bytes.fromhex(script["hex"]) in candidates) == (script["type"] in SHOWN), script
                assert candidates == () or script["type"] in {*SHOWN, "pubkey", "multisig"}
    assert spent.keys() >= {*SHOWN, "pubkey", "multisig", "witness_v1_taproot", "witness_unknown"}


async def _taproot_spent(node: Bitcoind) -> str:
    """Mine a block in which a Taproot output is spent by key, and return its hash."""
    txid = await node.send(await node.new_address("bech32m"), 2 * COIN)
    await node.mine()
    (paid,) = [each for each in await node.coins() if each.txid == txid and each.amount == 2 * COIN]
    await node.raw_transaction([paid], [(await node.new_address("legacy"), COIN)])
    return (await node.mine())[0]


async def test_the_mempool_of_bitcoind(bitcoind: Bitcoind) -> None:
    """A waiting transaction is read as bitcoind reads it, and shows what it will show in its block."""
    txid = await bitcoind.send(await bitcoind.new_address("p2sh-segwit"), COIN)
    raw = bytes.fromhex(await bitcoind.raw(txid))
    waiting = scan_transaction(raw, bytes.fromhex(txid))
    assert waiting == expected_transaction(await bitcoind.rpc("decoderawtransaction", raw.hex()))
    block_hash = await bitcoind.mine_only([txid])
    mined = await bitcoind.raw_block(block_hash)
    assert reveal_transaction(raw, waiting) == reveal(mined, scan_block(mined, 0)).transactions[1]


async def test_every_script_type_of_litecoind(litecoind: Litecoind, seed: int) -> None:
    """Random blocks of litecoind, which has other names and no extension block yet, are read as litecoind reads them."""
    paid: Counter[str] = Counter()
    for block_hash in await walk(litecoind, Random(seed), 3):
        told = await litecoind.block(block_hash)
        check(told, await litecoind.raw_block(block_hash), mweb=True)
        paid.update(output["scriptPubKey"]["type"] for each in told["tx"] for output in each["vout"])
    assert paid.keys() >= {*SHOWN, "pubkey", "multisig", "nulldata", "witness_unknown"}


async def test_extension_blocks_of_litecoind(another: Starter, seed: int) -> None:
    """Blocks with an extension block are read as litecoind reads them: peg-in, peg-out, and payments beside them."""
    litecoind = await another(Litecoind(args=["-acceptnonstdtxn=1"]))
    await litecoind.fund(10)
    await litecoind.activate_mweb(5 * COIN)
    first = await litecoind.height()
    address = await litecoind.new_address("legacy")
    await litecoind.peg_in(60 * COIN)
    peg_out, at = await litecoind.peg_out(address, COIN)
    await walk_by_mempool(litecoind, Random(seed), 2)
    seen: Counter[str] = Counter()
    for height in range(first - 1, await litecoind.height() + 1):
        told = await litecoind.block(height)
        block = check(told, await litecoind.raw_block(height), mweb=True)
        seen.update(output["scriptPubKey"]["type"] for each in told["tx"] for output in each["vout"])
        paid = [each for each in block.transactions if each.hash.hex() == peg_out]
        assert [each.making for each in paid] == [Making.PEG_OUT] * len(paid)
        assert [(each.scripts[at], each.amounts[at]) for each in paid] == [(await litecoind.script(address), COIN)] * len(
            paid
        )
        seen["peg-out"] += len(paid)
    assert seen["peg-out"] == 1
    assert seen.keys() >= {*SHOWN, "witness_mweb_pegin", "witness_mweb_hogaddr", "pubkey", "multisig", "witness_unknown"}


async def test_the_mempool_of_litecoind(litecoind: Litecoind) -> None:
    """A waiting peg-in is read as it will be mined, and what is in the extension block alone spends and pays nothing."""
    await litecoind.activate_mweb(5 * COIN)
    # More than it has in MWEB, change included: the wallet must take it from its other coins.
    peg_in = await litecoind.send(await litecoind.new_address("mweb"), 60 * COIN)
    waiting = scan_transaction(bytes.fromhex(await litecoind.raw(peg_in)), bytes.fromhex(peg_in), mweb=True)
    await litecoind.mine()
    (mined,) = [each for each in (await litecoind.block())["tx"] if each["txid"] == peg_in]
    assert waiting == expected_transaction(mined)
    transparent = [{"txid": each.txid, "vout": each.vout} for each in await litecoind.coins()]
    await litecoind.rpc("lockunspent", False, transparent)
    alone = await litecoind.send(await litecoind.new_address("mweb"), COIN)
    told = await litecoind.rpc("getrawtransaction", alone, True)
    assert all(each["ismweb"] for each in [*told["vin"], *told["vout"]])
    found = scan_transaction(bytes.fromhex(told["hex"]), bytes.fromhex(alone), mweb=True)
    assert (found.hash.hex(), found.outpoints, found.scripts, found.amounts) == (alone, (), (), ())


@pytest.mark.parametrize("version", [0, 1])
async def test_litecoind_that_leaves_extension_data_out(litecoind: Litecoind, version: int) -> None:
    """Under -rpcserialversion=0 or 1 blocks come without flag and extension block: the HogEx is known all the same."""
    await litecoind.activate_mweb(5 * COIN)
    await litecoind.restart(f"-rpcserialversion={version}")
    told = await litecoind.block()
    block = check(told, await litecoind.raw_block(), mweb=True)
    assert block.transactions[-1].making is Making.PEG_OUT
