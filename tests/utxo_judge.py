"""What a chain of the Bitcoin family itself says of watched scripts, by its node's JSON.

Imports nothing from chainbell: it is the judge. Scripts and hashes are hex, as the node writes them; amounts are satoshis.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from tests.bitcoin import UtxoDaemon, satoshis

SPEND = -1
"""Position of a transfer that is no single output."""
PEG_OUTS = "witness_mweb_hogaddr"
"""Type of the first output of Litecoin's HogEx."""


@dataclass(slots=True)
class Watched:
    """A script that was registered."""

    account: str
    change: bool
    since: int
    """Lowest height whose block of the best chain was committed after it was registered."""


@dataclass(frozen=True, order=True, slots=True)
class Truth:
    """One side of a movement, as the best chain has it now."""

    type: str
    hash: str
    position: int
    address: str
    amount: int
    counterparty: str | None
    senders: tuple[str, ...]
    block: str
    status: str
    fee: int | None


class Side(NamedTuple):
    """What one record is about."""

    type: str
    position: int
    address: str
    amount: int
    counterparty: str | None


@dataclass(frozen=True, slots=True)
class Output:
    """An output as the node tells it."""

    script: str
    amount: int
    type: str


@dataclass(slots=True)
class Judge:
    """Reads blocks, each once, and tells what follows from them for watched scripts."""

    node: UtxoDaemon
    required: int
    coinbase_maturity: int
    pegout_maturity: int = 0
    watched: dict[str, Watched] = field(default_factory=dict)
    outputs: dict[tuple[str, int], Output] = field(default_factory=dict)
    """Every output of every block that was read, by txid and index."""
    spenders: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Which transaction of the best chain spends an output, and at which height."""
    frozen: dict[str, list[Side]] = field(default_factory=dict)
    """What was told of transactions before the last registration: it is never decided anew."""
    _blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    _chain: list[str] = field(default_factory=list)

    @property
    def height(self) -> int:
        return len(self._chain) - 1

    def block_of(self, height: int) -> dict[str, Any]:
        return self._blocks[self._chain[height]]

    def height_of(self, block_hash: str) -> int | None:
        """Return the height of a block that was read, on whatever branch."""
        return self._blocks[block_hash]["height"] if block_hash in self._blocks else None

    async def read(self) -> None:
        """Read the best chain as it is now."""
        tip = await self.node.block_hash()
        fresh: list[str] = []
        block_hash, height = tip, None
        while height is None or height >= 0:
            if block_hash not in self._blocks:
                self._take(await self.node.block(block_hash))
            height = int(self._blocks[block_hash]["height"])
            if height < len(self._chain) and self._chain[height] == block_hash:
                break
            fresh.append(block_hash)
            if height == 0:
                break
            block_hash = self._blocks[block_hash]["previousblockhash"]
        kept = int(self._blocks[block_hash]["height"]) + (0 if block_hash in fresh else 1)
        self._chain[kept:] = reversed(fresh)
        assert await self.node.block_hash() == tip, "the chain moved while it was read"
        self._note_spenders()

    def _take(self, block: dict[str, Any]) -> None:
        self._blocks[block["hash"]] = block
        for told in block["tx"]:
            for out in told["vout"]:
                script = out["scriptPubKey"]
                self.outputs[told["txid"], int(out["n"])] = Output(
                    script["hex"], satoshis(Decimal(out["value"])), script["type"]
                )

    def _note_spenders(self) -> None:
        self.spenders = {
            spent: (told["txid"], height)
            for height, block_hash in enumerate(self._chain)
            for told in self._blocks[block_hash]["tx"]
            for spent in spent_by(told)
        }

    async def made_by_blocks(self) -> set[str]:
        """Return every transaction that a block itself made, on any branch that the node still has."""
        blocks = dict(self._blocks)
        for tip in await self.node.rpc("getchaintips"):
            block_hash = tip["hash"]
            while block_hash not in blocks and tip["status"] != "headers-only":
                blocks[block_hash] = await self.node.block(block_hash)
                block_hash = blocks[block_hash]["previousblockhash"]
        return {
            told["txid"]
            for block in blocks.values()
            for told in block["tx"]
            if "coinbase" in told["vin"][0] or told["vout"][0]["scriptPubKey"]["type"] == PEG_OUTS
        }

    def truths(self) -> list[Truth]:
        """Return every record that must stand in a block of the best chain, sorted."""
        return sorted(
            truth
            for height in range(self.height + 1)
            for told in self.block_of(height)["tx"]
            for truth in self._of(told, height)
        )

    def unspents(self) -> dict[tuple[str, int], Output]:
        """Return the unspent outputs of watched scripts on the best chain, by these very blocks."""
        return {
            key: output
            for told in self._transactions()
            for key in made_by(told)
            if (output := self.outputs[key]).script in self.watched and output.amount > 0 and key not in self.spenders
        }

    def paid(self) -> Counter[str]:
        """Count outputs of the best chain by watched script."""
        made = (self.outputs[key] for told in self._transactions() for key in made_by(told))
        return Counter(output.script for output in made if output.script in self.watched)

    def spent(self) -> Counter[str]:
        """Count inputs of the best chain by watched script."""
        return Counter(script for key in self.spenders if (script := self.outputs[key].script) in self.watched)

    def recipients(self) -> Counter[str]:
        """Count the script types, in the node's words, that are paid by what spends watched outputs."""
        paying = (
            told
            for told in self._transactions()
            if any(self.outputs[spent].script in self.watched for spent in spent_by(told))
        )
        return Counter(self.outputs[key].type for told in paying for key in made_by(told))

    def peg_outs(self) -> int:
        """Count outputs to watched scripts that Litecoin's extension block made."""
        return sum(
            self.outputs[key].script in self.watched
            for told in self._transactions()
            if self.outputs[told["txid"], 0].type == PEG_OUTS
            for key in made_by(told)
        )

    def _transactions(self) -> Iterator[dict[str, Any]]:
        for block_hash in self._chain:
            yield from self._blocks[block_hash]["tx"]

    def freeze(self) -> None:
        """Note what is told by now of what the best chain holds: later registrations add to it, and change none of it."""
        for height in range(self.height + 1):
            for told in self.block_of(height)["tx"]:
                if sides := self._sides(told["txid"], self._reading(told, height)):
                    self.frozen[told["txid"]] = sides

    def fees(self) -> dict[str, int]:
        """Return the fee of each transaction that one account pays alone."""
        readings = (self._reading(told, height) for height in range(self.height + 1) for told in self.block_of(height)["tx"])
        return {reading.txid: reading.fee for reading in readings if self._fee_payer(reading) is not None}

    def _reading(self, told: dict[str, Any], height: int) -> "_Reading":
        watched = {script: watch for script, watch in self.watched.items() if watch.since <= height}
        made = [self.outputs[told["txid"], int(out["n"])] for out in told["vout"]]
        is_made_by_block = "coinbase" in told["vin"][0] or made[0].type == PEG_OUTS
        spent = [] if is_made_by_block else [self.outputs[key] for key in spent_by(told)]
        return _Reading(told["txid"], spent, made, watched)

    def _sides(self, txid: str, reading: "_Reading") -> list[Side]:
        """Return what is told of a transaction: what was told before, and what is new since."""
        before = self.frozen.get(txid, [])
        told = {self.watched[side.address].account if side.type == "TRANSFER" else side.position for side in before}
        return before + [
            side
            for side in reading.sides()
            if (self.watched[side.address].account if side.type == "TRANSFER" else side.position) not in told
        ]

    def _fee_payer(self, reading: "_Reading") -> str | None:
        """Return who owes the fee: as told before the last registration. A net amount holds its share of it already."""
        told = [side for side in self.frozen.get(reading.txid, []) if side.type == "TRANSFER"]
        single = min((side for side in told if side.position != SPEND), default=None)
        if single is not None:
            return single.address
        return None if any(side.amount for side in told) else reading.payer

    def _of(self, told: dict[str, Any], height: int) -> list[Truth]:
        reading = self._reading(told, height)
        maturity = 0
        if "coinbase" in told["vin"][0]:
            maturity = self.coinbase_maturity
        elif reading.made[0].type == PEG_OUTS:
            maturity = self.pegout_maturity
        settled = self.height - height + 1 >= max(self.required, maturity)
        payer = self._fee_payer(reading)
        return [
            Truth(
                side.type,
                reading.txid,
                side.position,
                side.address,
                side.amount,
                side.counterparty,
                reading.senders,
                self._chain[height],
                "SUCCESS" if settled else "AWAITING_CONFIRMATION",
                reading.fee if side.type == "TRANSFER" and side.address == payer else None,
            )
            for side in self._sides(reading.txid, reading)
        ]


class _Reading:
    """One transaction by section 5 of the design: who pays, what is change, what leaves and what arrives."""

    def __init__(self, txid: str, spent: Sequence[Output], made: Sequence[Output], watched: dict[str, Watched]) -> None:
        self.txid = txid
        self._spent, self.made, self._watched = spent, made, watched
        self._payers: dict[str, str] = {}
        for output in spent:
            if output.script in watched:
                self._payers.setdefault(watched[output.script].account, output.script)

    @property
    def payer(self) -> str | None:
        """The first script spent, where all inputs belong to one account."""
        alone = len(self._payers) == 1 and all(output.script in self._watched for output in self._spent)
        return next(iter(self._payers.values())) if alone else None

    @property
    def senders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(output.script for output in self._spent))[:100]

    @property
    def fee(self) -> int:
        return sum(output.amount for output in self._spent) - sum(output.amount for output in self.made)

    def _is_change(self, output: Output) -> bool:
        watch = self._watched.get(output.script)
        if watch is None:
            return False
        spent_from = any(output.script == spent.script for spent in self._spent)
        return spent_from or (watch.change and watch.account in self._payers)

    def sides(self) -> Iterator[Side]:
        """Yield what each record is about."""
        first = self._spent[0].script if self._spent else None
        for index, output in enumerate(self.made):
            if output.script in self._watched and output.amount > 0 and not self._is_change(output):
                yield Side("DEPOSIT", index, output.script, output.amount, first)
        if self.payer is None:
            for account, payer in self._payers.items():
                yield Side("TRANSFER", SPEND, payer, self._net(account), None)
            return
        leaving = [
            (index, output) for index, output in enumerate(self.made) if output.amount > 0 and not self._is_change(output)
        ]
        for index, output in leaving:
            yield Side("TRANSFER", index, self.payer, output.amount, output.script)
        if not leaving:
            yield Side("TRANSFER", SPEND, self.payer, 0, None)

    def _net(self, account: str) -> int:
        def of_account(output: Output) -> bool:
            return output.script in self._watched and self._watched[output.script].account == account

        put_in = sum(output.amount for output in self._spent if of_account(output))
        back = sum(output.amount for output in self.made if of_account(output) and self._is_change(output))
        return max(0, put_in - back)


def spent_by(told: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the outpoints that a transaction in the node's JSON spends, in order."""
    return [(each["txid"], int(each["vout"])) for each in told["vin"] if "txid" in each]


def made_by(told: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the outpoints that a transaction in the node's JSON makes, in order."""
    return [(told["txid"], int(each["n"])) for each in told["vout"]]
