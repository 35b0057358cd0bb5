"""The moves of the story on anvil: payments in coins and in a token, and a reorg before the success."""

import secrets
from typing import Self

import aiohttp
from eth_utils.address import to_checksum_address

from chainbell.config.chains import built_in_definition
from chainbell.demo import token
from chainbell.demo.anvil import Anvil
from chainbell.demo.errors import DemoError
from chainbell.demo.sandbox import Sandbox
from chainbell.demo.script import REORG_DEPTHS, Deposit, Move, Network
from chainbell.demo.stage import Standing

_ADDRESS_BYTES = 20


class AnvilStage:
    """A `Stage`, with a token deployed."""

    def __init__(self, anvil: Anvil, accounts: list[str], contract: str) -> None:
        self._anvil = anvil
        self._deployer, self._customer = accounts[:2]
        self._contract = contract
        self._raw: dict[Deposit, str] = {}
        self._first_block: dict[Deposit, str] = {}
        self.network = Network.ANVIL
        self.tx_hashes: dict[Deposit, str] = {}
        self.watched: str = to_checksum_address(secrets.token_bytes(_ADDRESS_BYTES))
        self.node_url = f"{anvil.url}?ws={anvil.websocket}"
        self.definition: str | None = _definition(contract)

    @classmethod
    async def build(cls, sandbox: Sandbox, session: aiohttp.ClientSession) -> Self:
        """Start the node and deploy the token, before Chainbell looks for it. Raises `DemoError`."""
        anvil = await Anvil.start(sandbox, session)
        accounts = await anvil.accounts()
        return cls(anvil, accounts, await _deploy_token(anvil, accounts[0]))

    async def make(self, move: Move, deposit: Deposit | None) -> None:
        """Make a move."""
        match move, deposit:
            case Move.PAY, Deposit():
                await self._pay(deposit)
            case Move.PAY_AGAIN, Deposit():
                await self._pay_again(deposit)
            case Move.REORGANISE, _:
                await self._anvil.reorganise(REORG_DEPTHS[self.network])
            case Move.MINE, _:
                await self._anvil.mine()
            case _:
                message = f"anvil's stage cannot make the move {move!r}: the script is wrong"
                raise DemoError(message)

    async def tip(self) -> tuple[int, str]:
        """Return height and hash of the newest block."""
        return await self._anvil.tip()

    async def standing(self, deposit: Deposit) -> Standing:
        """Ask the node where a payment is."""
        receipt = await self._anvil.receipt(self.tx_hashes[deposit])
        if receipt is None or receipt["blockHash"] is None:
            return Standing(None)
        height, _ = await self._anvil.tip()
        return Standing(receipt["blockHash"], height - int(receipt["blockNumber"], 16) + 1)

    async def _pay(self, deposit: Deposit) -> None:
        if deposit.token:
            data = token.transfer_data(bytes.fromhex(self.watched[2:]), deposit.amount)
            tx_hash = await self._anvil.send(self._deployer, self._contract, 0, data)
        else:
            tx_hash = await self._anvil.send(self._customer, self.watched, deposit.amount, b"")
        self.tx_hashes[deposit] = tx_hash
        # A reorg's transactions do not return to anvil's pool: whoever wants one back keeps its bytes.
        self._raw[deposit] = await self._anvil.raw(tx_hash)
        await self._anvil.mine()
        self._first_block[deposit] = (await self._anvil.mined(tx_hash))["blockHash"]

    async def _pay_again(self, deposit: Deposit) -> None:
        await self._anvil.resend(self._raw[deposit])
        await self._anvil.mine()
        block_hash = (await self._anvil.mined(self.tx_hashes[deposit]))["blockHash"]
        if block_hash == self._first_block[deposit]:
            message = f"anvil mined the transaction into block {block_hash} again: this anvil cannot show a reorg"
            raise DemoError(message)


async def _deploy_token(anvil: Anvil, deployer: str) -> str:
    """Deploy the token as the deployer's first transaction, and return its address."""
    tx_hash = await anvil.send(deployer, None, 0, token.creation_code())
    await anvil.mine()
    contract = f"0x{token.contract_address(bytes.fromhex(deployer[2:])).hex()}"
    found = str((await anvil.mined(tx_hash))["contractAddress"])
    if found != contract:
        message = f"the token is at {found}, not at {contract}: this anvil does not start as a fresh chain"
        raise DemoError(message)
    return contract


def _definition(contract: str) -> str:
    """Return the built-in definition of the development chain with the demo's token added."""
    listed = f'[[tokens]]\nsymbol = "{token.SYMBOL}"\ncontract = "{contract}"\ndecimals = {token.DECIMALS}\n'
    return f"{built_in_definition(Network.ANVIL)}\n{listed}"
