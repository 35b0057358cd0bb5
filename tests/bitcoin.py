"""Real nodes of the Bitcoin family for tests: a bitcoind or litecoind per test, driven by plain JSON-RPC.

Imports nothing from chainbell, so that what a test finds on the chain is not Chainbell's opinion of it. Hashes are hex
strings as the node writes them; amounts are ints in satoshis, except in the answers of `rpc`, which have Decimals.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, TypedDict, Unpack

from tests.bitcoin_process import DaemonProcess
from tests.nodes import RpcError

__all__ = ["Bitcoind", "Coin", "Litecoind", "RpcError", "UtxoDaemon"]

COIN = 100_000_000
MATURITY = 100
REPLACEABLE = 0xFFFFFFFD
"""The highest sequence number of an input that signals replacement (BIP125)."""
PATIENCE_SECONDS = 60.0


class Coin(NamedTuple):
    """An unspent output of the node's wallet."""

    txid: str
    vout: int
    address: str
    amount: int
    """In satoshis."""


class SendOptions(TypedDict, total=False):
    """What may be chosen of a payment by the wallet; the node fills in the rest.

    `fee_rate` is in satoshis per virtual byte (litecoind refuses less than 10). `replaceable`, the default, signals
    replacement by BIP125: bitcoind replaces either way, litecoind only what signals. The wallets bump only what signals.
    `subtract_fee` has the recipient pay the fee.
    """

    fee_rate: int
    replaceable: bool
    subtract_fee: bool


class UtxoDaemon(DaemonProcess):
    """A regtest chain of its own, on free ports, in memory, that does not outlive the test run.

    `zmq` are the topics published on `zmq_url`. `cookie` leaves the credentials to the daemon (see `cookie_file`), which
    then change at each start. `prune` is what -prune takes: 1 is by hand, see `prune_below`. Each has a wallet,
    with no coins before `fund`.

    A fresh node counts as syncing (and says nothing by ZMQ) until it has a block of today: `mine` or `fund` first.
    """

    no_fee_limit: ClassVar[int | str]

    async def lose_mempool(self) -> None:
        """Have the node forget its mempool, as if everything in it were evicted, and its wallet give those payments up.

        It restarts for that. From then on its wallet sends nothing by itself: use `send` and the like, not `rpc`.
        """
        lost = await self.mempool()
        await self.stop()
        (self.folder / "regtest/mempool.dat").unlink()
        self._broadcasts = False
        await self.start()
        for txid in lost:
            # What the wallet did not send, it cannot give up.
            with contextlib.suppress(RpcError):
                await self.rpc("abandontransaction", txid)
        assert await self.mempool() == []

    async def height(self) -> int:
        """Return the height of the tip."""
        return int(await self.rpc("getblockcount"))

    async def block_hash(self, height: int | None = None) -> str:
        """Return the hash of the block at a height, by default of the tip."""
        if height is None:
            return str(await self.rpc("getbestblockhash"))
        return str(await self.rpc("getblockhash", height))

    async def block(self, height: int | str | None = None) -> dict[str, Any]:
        """Return a block with whole transactions (verbosity 2) by height or hash, by default the tip."""
        block_hash = height if isinstance(height, str) else await self.block_hash(height)
        found: dict[str, Any] = await self.rpc("getblock", block_hash, 2)
        return found

    async def raw_block(self, height: int | str | None = None) -> bytes:
        """Return the bytes of a block by height or hash, by default of the tip."""
        block_hash = height if isinstance(height, str) else await self.block_hash(height)
        return bytes.fromhex(await self.rpc("getblock", block_hash, 0))

    async def mempool(self) -> list[str]:
        """Return the txids in the mempool."""
        found: list[str] = await self.rpc("getrawmempool")
        return found

    async def raw(self, txid: str) -> str:
        """Return the bytes of a transaction in the mempool or of the wallet, as hex."""
        try:
            return str(await self.rpc("getrawtransaction", txid))
        except RpcError:
            return str((await self.rpc("gettransaction", txid))["hex"])

    async def script(self, address: str) -> bytes:
        """Return the scriptPubKey of an address, as the daemon says."""
        return bytes.fromhex((await self.rpc("validateaddress", address))["scriptPubKey"])

    async def mine(self, blocks: int = 1, address: str | None = None) -> list[str]:
        """Mine blocks with what waits in the mempool, and return their hashes.

        Each call pays a script of its own that nobody can spend, if no address is given: to the same one, within the same
        second, the node would build a block again that was invalidated.
        """
        if address is None:
            mined = await self.rpc("generatetodescriptor", blocks, _nobody())
        else:
            mined = await self.rpc("generatetoaddress", blocks, address)
        assert len(mined) == blocks
        return [str(block_hash) for block_hash in mined]

    async def mine_only(self, transactions: Sequence[str] = (), *, address: str | None = None) -> str:
        """Mine one block with just these transactions (txids in the mempool, or raw hex), and return its hash."""
        mined = await self.rpc("generateblock", address or _nobody(), list(transactions))
        return str(mined["hash"])

    async def invalidate(self, block_hash: str) -> None:
        """Have the node refuse a block of its chain, and all above it; their transactions return to its mempool."""
        before = await self.block_hash()
        await self.rpc("invalidateblock", block_hash)
        assert await self.block_hash() != before, "the tip did not change"

    async def reconsider(self, block_hash: str) -> None:
        """Have the node take a block again that it was made to refuse."""
        await self.rpc("reconsiderblock", block_hash)

    async def reorg(self, depth: int, blocks: int | None = None, *, empty: bool = False) -> list[str]:
        """Replace the newest `depth` blocks by `blocks` (one more by default); the hashes of the new ones.

        What was in the old ones is in the first new one, unless they shall be `empty`: then it waits in the mempool.
        """
        lowest = await self.height() - depth + 1
        assert lowest > 0, f"a chain of height {lowest + depth - 1} cannot reorganise {depth} blocks"
        await self.invalidate(await self.block_hash(lowest))
        count = depth + 1 if blocks is None else blocks
        if empty:
            return [await self.mine_only() for _ in range(count)]
        return await self.mine(count)

    async def prune_below(self, height: int) -> int:
        """Have the node forget old blocks (it needs `prune=1` and the argument `-fastprune`); the last one that is gone.

        Blocks go by whole files, of about 260 empty blocks each, and the newest 288 never do: mine some 1,000 first.
        """
        return int(await self.rpc("pruneblockchain", height))

    async def fund(self, coins: int = 1) -> None:
        """Give the wallet `coins` mature coinbase outputs: that many blocks, and 100 more above them."""
        await self.mine(coins, await self.new_address())
        await self.mine(MATURITY)

    async def new_address(self, kind: str = "bech32") -> str:
        """Return a fresh address of the wallet: `legacy`, `p2sh-segwit`, `bech32`; bitcoind `bech32m`, litecoind `mweb`."""
        return str(await self.rpc("getnewaddress", "", kind))

    async def coins(self, *, minimum_depth: int = 0) -> list[Coin]:
        """Return what the wallet can spend."""
        found = await self.rpc("listunspent", minimum_depth)
        return [
            Coin(each["txid"], each["vout"], each["address"], satoshis(each["amount"])) for each in found if "vout" in each
        ]

    async def balance(self) -> int:
        """Return what the wallet can spend, in satoshis: its confirmed coins, and its own unconfirmed change."""
        return satoshis(await self.rpc("getbalance"))

    async def send(self, address: str, amount: int, **options: Unpack[SendOptions]) -> str:
        """Pay `amount` satoshis from the wallet; the txid. It is in the mempool when this returns."""
        named: dict[str, object] = {
            "address": address,
            "amount": coin(amount),
            "replaceable": options.get("replaceable", True),
        }
        if "fee_rate" in options:
            named["fee_rate"] = options["fee_rate"]
        if options.get("subtract_fee", False):
            named["subtractfeefromamount"] = True
        return await self._broadcast(str(await self.rpc("sendtoaddress", named)))

    async def send_many(self, amounts: Mapping[str, int], **options: Unpack[SendOptions]) -> str:
        """Pay several addresses in one transaction; the txid. For two outputs to one address see `raw_transaction`."""
        named: dict[str, object] = {
            "dummy": "",
            "amounts": {address: coin(amount) for address, amount in amounts.items()},
            "replaceable": options.get("replaceable", True),
        }
        if "fee_rate" in options:
            named["fee_rate"] = options["fee_rate"]
        if options.get("subtract_fee", False):
            named["subtractfeefrom"] = list(amounts)
        return await self._broadcast(str(await self.rpc("sendmany", named)))

    async def bump(self, txid: str, fee_rate: int | None = None) -> str:
        """Replace a waiting payment of the wallet by one with a higher fee (satoshis per virtual byte); the new txid."""
        options: dict[str, int] = {} if fee_rate is None else {"fee_rate": fee_rate}
        return await self._broadcast(str((await self.rpc("bumpfee", txid, options))["txid"]))

    async def raw_transaction(
        self,
        inputs: Sequence[Coin | tuple[str, int]],
        outputs: Sequence[tuple[str | bytes, int]],
        *,
        sequence: int = REPLACEABLE,
        send: bool = True,
    ) -> str:
        """Spend these (txid, vout) of the wallet; the txid, or the signed bytes as hex if it shall not be `send`.

        An output is an address or a scriptPubKey, and satoshis. What the outputs leave is the fee: there is no change.
        """
        spent = [(each[0], each[1]) for each in inputs]
        paid = [(script if isinstance(script, bytes) else await self.script(script), amount) for script, amount in outputs]
        signed = await self.rpc("signrawtransactionwithwallet", _unsigned(spent, paid, sequence).hex())
        assert signed["complete"], signed
        return await self.send_raw(signed["hex"]) if send else str(signed["hex"])

    async def send_raw(self, raw: str) -> str:
        """Give the node a signed transaction, whatever fee it pays; the txid."""
        return str(await self.rpc("sendrawtransaction", raw, self.no_fee_limit))

    async def _broadcast(self, txid: str) -> str:
        # A wallet keeps a payment that its own node did not take, and says nothing: sent once more, the node says why.
        if not self._broadcasts or txid not in await self.mempool():
            await self.send_raw(str((await self.rpc("gettransaction", txid))["hex"]))
        assert txid in await self.mempool(), "the wallet's payment is not in the mempool"
        return txid

    async def connect(self, other: UtxoDaemon) -> None:
        """Connect to another node, and wait until both are on the same block."""
        await self.rpc("addnode", other.p2p_address, "onetry")
        await _until("the nodes are connected", lambda: self._is_connected(other))
        await self.synced(other)

    async def disconnect(self, other: UtxoDaemon) -> None:
        """Part from all other nodes, of which `other` is one: two chains can grow."""
        for node in (self, other):
            for peer in await node.rpc("getpeerinfo"):
                with contextlib.suppress(RpcError):
                    await node.rpc("disconnectnode", "", peer["id"])
        await _until("the nodes are parted", lambda: self._is_parted(other))

    async def set_network_active(self, active: bool) -> None:
        """Cut the node off from all others, or let it connect again (it does not by itself)."""
        await self.rpc("setnetworkactive", active)

        async def is_alone() -> bool:
            return active or not await self.rpc("getpeerinfo")

        await _until("the node is alone", is_alone)

    async def synced(self, other: UtxoDaemon) -> None:
        """Wait until this node and another are on the same block."""

        async def same() -> bool:
            return await self.block_hash() == await other.block_hash()

        await _until("the nodes are on the same block", same)

    async def has_transaction(self, txid: str) -> None:
        """Wait until a transaction is in this node's mempool."""

        async def there() -> bool:
            return txid in await self.mempool()

        await _until(f"{txid} is in the mempool", there)

    async def _is_connected(self, other: UtxoDaemon) -> bool:
        # Not before the handshake: what is announced earlier is lost.
        peers = [*await self.rpc("getpeerinfo"), *await other.rpc("getpeerinfo")]
        return len(peers) > 1 and all(peer["version"] for peer in peers)

    async def _is_parted(self, other: UtxoDaemon) -> bool:
        return not await self.rpc("getpeerinfo") and not await other.rpc("getpeerinfo")


class Bitcoind(UtxoDaemon):
    """Bitcoin, with full replacement of what waits in the mempool, and ZMQ."""

    program = "bitcoind"
    wallet_of_descriptors = True
    # Transactions are passed on at once, not after a random wait.
    # Else Knots refuses what its own wallet makes at height 21: that lock time is the mark of an overlay protocol.
    own_options = ("-whitelist=in,out,noban@127.0.0.1", "-rejectparasites=0")
    no_fee_limit = 0


class Litecoind(UtxoDaemon):
    """Litecoin 0.21: no ZMQ, no prevouts, replacement only of what signals it; MWEB from height 432 on.

    Replacement is switched on here: by default litecoind keeps what it saw first, whatever it signals.
    """

    program = "litecoind"
    wallet_of_descriptors = False
    # It replaces nothing otherwise.
    own_options = ("-whitelist=noban@127.0.0.1", "-mempoolreplacement=1")
    # It takes 0 at its word for a peg-in.
    no_fee_limit = "1000"

    MWEB_HEIGHT = 432

    async def activate_mweb(self, amount: int = 5 * COIN) -> str:
        """Mine past the height from which blocks carry MWEB data, with a first peg-in of the wallet; the peg-in's txid.

        The wallet must be funded. Its coins in MWEB are spendable afterwards: `send` may peg out, see `peg_out`.
        """
        missing = self.MWEB_HEIGHT - 1 - await self.height()
        assert missing >= 0, "MWEB is active already"
        if missing:
            await self.mine(missing)
        return await self.peg_in(amount)

    async def peg_in(self, amount: int) -> str:
        """Move coins of the wallet into MWEB and mine that; the txid."""
        txid = await self.send(await self.new_address("mweb"), amount)
        await self.mine()
        assert txid not in await self.mempool(), "the peg-in was not mined"
        return txid

    async def peg_out(self, address: str, amount: int) -> tuple[str, int]:
        """Pay an address from the wallet's coins in MWEB and mine that; the outpoint, in the block's last transaction.

        Before it is mined, nothing of it can be seen on the transparent side.
        """
        transparent = [{"txid": each.txid, "vout": each.vout} for each in await self.coins()]
        await self.rpc("lockunspent", False, transparent)
        try:
            await self.send(address, amount)
        finally:
            await self.rpc("lockunspent", True, transparent)
        await self.mine()
        hogex = (await self.block())["tx"][-1]
        script = (await self.script(address)).hex()
        paid = [output["n"] for output in hogex["vout"] if output["scriptPubKey"]["hex"] == script]
        assert len(paid) == 1, hogex
        return hogex["txid"], paid[0]


def satoshis(amount: Decimal) -> int:
    """Return what a node wrote in coins, in satoshis. Raises ValueError where that is no whole number."""
    scaled = Decimal(amount) * COIN
    if scaled != int(scaled):
        message = f"{amount} is no number of satoshis"
        raise ValueError(message)
    return int(scaled)


def coin(amount: int) -> str:
    """Return satoshis as a node takes them: coins, as a decimal string."""
    return f"{amount // COIN}.{amount % COIN:08d}"


def _nobody() -> str:
    """Return a fresh descriptor of a witness program that nobody has the key of."""
    return f"raw(0014{secrets.token_hex(20)})"


def _unsigned(inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[bytes, int]], sequence: int) -> bytes:
    """Serialise a transaction (version 2, no lock time) as it goes over the wire, without signatures."""
    spent = b"".join(
        bytes.fromhex(txid)[::-1] + vout.to_bytes(4, "little") + b"\0" + sequence.to_bytes(4, "little")
        for txid, vout in inputs
    )
    paid = b"".join(amount.to_bytes(8, "little") + _size(len(script)) + script for script, amount in outputs)
    return b"\2\0\0\0" + _size(len(inputs)) + spent + _size(len(outputs)) + paid + b"\0\0\0\0"


def _size(number: int) -> bytes:
    """Serialise a length: Bitcoin's CompactSize."""
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + number.to_bytes(2, "little")


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        message = f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}"
        raise AssertionError(message) from None
