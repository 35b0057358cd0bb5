"""The moves of the story on Bitcoin: a payment that waits, its fee bump, and a reorg that takes back even a success."""

import secrets
from typing import Self

import aiohttp

from chainbell.config.chains import load_chains
from chainbell.demo.bitcoind import Bitcoind
from chainbell.demo.errors import DemoError
from chainbell.demo.sandbox import Sandbox
from chainbell.demo.script import REORG_DEPTHS, Deposit, Move, Network
from chainbell.demo.stage import Standing
from chainbell.domain.address import show_address

_FEE_RATES = {Move.SEND: 2, Move.BUMP: 20}
"""In satoshis per virtual byte."""
_P2WPKH = b"\x00\x14"
"""What comes before the 20 bytes of a public key's hash in a scriptPubKey (BIP141)."""
_KEY_HASH_BYTES = 20


class BitcoinStage:
    """A `Stage`, on which payments wait in a mempool."""

    def __init__(self, bitcoind: Bitcoind) -> None:
        self._bitcoind = bitcoind
        self._waiting = ""
        self.network = Network.BITCOIN
        self.tx_hashes: dict[Deposit, str] = {}
        script = _P2WPKH + secrets.token_bytes(_KEY_HASH_BYTES)
        self.watched = show_address(load_chains()[self.network].addresses, script)
        self.node_url = bitcoind.node_url
        self.definition: str | None = None

    @classmethod
    async def build(cls, sandbox: Sandbox, session: aiohttp.ClientSession) -> Self:
        """Start the node. Raises `DemoError`."""
        return cls(await Bitcoind.start(sandbox, session))

    async def make(self, move: Move, deposit: Deposit | None) -> None:
        """Make a move."""
        match move, deposit:
            case Move.SEND, Deposit():
                self._waiting = await self._bitcoind.send(self.watched, deposit.wire_amount, _FEE_RATES[move])
                self.tx_hashes[deposit] = self._waiting
            case Move.BUMP, Deposit():
                self._waiting = await self._bitcoind.bump(self._waiting, _FEE_RATES[move])
                self.tx_hashes[deposit] = self._waiting
            case Move.REORGANISE, _:
                await self._bitcoind.reorganise(REORG_DEPTHS[self.network])
            case Move.MINE, _:
                await self._bitcoind.mine()
            case _:
                message = f"Bitcoin's stage cannot make the move {move!r}: the script is wrong"
                raise DemoError(message)

    async def tip(self) -> tuple[int, str]:
        """Return height and hash of the newest block."""
        return await self._bitcoind.tip()

    async def standing(self, deposit: Deposit) -> Standing:
        """Ask the node where a payment is, and what else took its coins."""
        payment = await self._bitcoind.payment(self.tx_hashes[deposit])
        if payment.get("blockhash") is not None:
            return Standing(payment["blockhash"], payment["confirmations"])
        waiting = await self._bitcoind.mempool()
        for rival in payment["walletconflicts"]:
            depth = (await self._bitcoind.payment(rival))["confirmations"]
            if depth > 0 or rival in waiting:
                return Standing(None, 0, rival, depth)
        if payment["txid"] not in waiting:
            message = f"bitcoind keeps payment {payment['txid']} neither in its mempool nor in a block: start the demo again"
            raise DemoError(message)
        return Standing(None)
