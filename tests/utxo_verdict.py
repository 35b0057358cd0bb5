"""Our books of a chain of the Bitcoin family beside what its node says: records, unspent outputs, and every event told."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from tests.bitcoin import UtxoDaemon, satoshis
from tests.utxo_house import UtxoHouse
from tests.utxo_judge import Judge, Truth

WAITS = {"DEPOSIT": "PENDING", "TRANSFER": "PROCESSING"}
_NEXT = {
    None: {"PENDING", "AWAITING_CONFIRMATION"},
    "PENDING": {"AWAITING_CONFIRMATION", "DROPPED", "REPLACED"},
    "AWAITING_CONFIRMATION": {"SUCCESS", "PENDING", "DROPPED"},
    "SUCCESS": {"REVERTED"},
    "REVERTED": {"PENDING", "AWAITING_CONFIRMATION", "REPLACED"},
    "DROPPED": {"PENDING", "AWAITING_CONFIRMATION", "REPLACED"},
    "REPLACED": {"PENDING", "AWAITING_CONFIRMATION", "REPLACED"},
}
"""Which status may follow which; a transfer that waits is processing."""
_ENDED = {"DROPPED", "REPLACED", "REVERTED"}

Inputs: TypeAlias = Mapping[str, Collection[tuple[str, int]]]
"""What transactions spend, by txid."""

_IN_BLOCKS = "select * from transactions where block_height is not null"
_UNSPENT = """
select o.outpoint, o.script, o.amount from outputs o
where o.block_height is not null and o.gone_at is null and o.amount > 0 and not exists (
    select from inputs i where i.chain = o.chain and i.outpoint = o.outpoint and i.block_height is not null
)
"""


async def records(home: UtxoHouse) -> list[Truth]:
    """Return our records that stand in blocks, as the judge tells them, sorted."""
    return sorted(
        Truth(
            type=row["type"],
            hash=row["tx_hash"].hex(),
            position=row["position"],
            address=row["address"].hex(),
            amount=int(row["amount"]),
            counterparty=None if row["counterparty"] is None else row["counterparty"].hex(),
            senders=tuple("" if sender is None else sender.hex() for sender in row["senders"]),
            block=row["block_hash"].hex(),
            status=row["status"],
            fee=None if row["fee"] is None else int(row["fee"]),
        )
        for row in await home.fetch(_IN_BLOCKS)
    )


async def unspents(home: UtxoHouse) -> dict[tuple[str, int], tuple[str, int]]:
    """Return script and amount of what our ledger of inputs and outputs calls unspent."""
    return {
        (row["outpoint"][31::-1].hex(), int.from_bytes(row["outpoint"][32:], "little")): (row["script"].hex(), row["amount"])
        for row in await home.fetch(_UNSPENT)
    }


async def check_books(home: UtxoHouse, judge: Judge) -> None:
    """Demand that records and balances are what the node says; the cursor must be its tip, and all be seeded."""
    await judge.read()
    assert await home.cursor_hash() == judge.block_of(judge.height)["hash"]
    ours, truth = await records(home), judge.truths()
    assert ours == truth, "\n".join(_differences(judge, ours, truth))
    theirs = await _node_unspents(judge.node, judge.watched)
    assert theirs == {key: (each.script, each.amount) for key, each in judge.unspents().items()}
    assert await unspents(home) == theirs
    await check_fees(home, judge)


async def check_balances(home: UtxoHouse) -> None:
    """Demand that what our ledger calls unspent is what the node does; the cursor must be its tip, and all be seeded."""
    rows = await home.fetch("select address from addresses where removed_at is null")
    assert await unspents(home) == await _node_unspents(home.node, [row["address"].hex() for row in rows])


def _differences(judge: Judge, ours: Sequence[Truth], truth: Sequence[Truth]) -> Iterator[str]:
    """Say of the first few transactions that differ what we tell, what is so, and where their scripts stand."""
    wrong = sorted({each.hash for each in set(ours) ^ set(truth)})
    yield f"{len(wrong)} transactions differ; the tip is {judge.height}"
    for txid in wrong[:3]:
        for label, told in (("told", ours), ("so", truth)):
            for each in told:
                if each.hash == txid:
                    yield f"{label}: {each} {judge.height_of(each.block)} {judge.watched.get(each.address)}"


async def _node_unspents(node: UtxoDaemon, scripts: Collection[str]) -> dict[tuple[str, int], tuple[str, int]]:
    """Ask a node for its own set of unspent outputs of some scripts."""
    told = await node.rpc("scantxoutset", "start", [f"raw({script})" for script in scripts])
    assert told["success"], told
    return {
        (each["txid"], int(each["vout"])): (each["scriptPubKey"], satoshis(each["amount"]))
        for each in told["unspents"]
        if each["amount"] > 0
    }


async def check_fees(home: UtxoHouse, judge: Judge) -> None:
    """Demand one fee for each transaction that one account pays alone, as the judge reads it, and none for another."""
    rows = await home.fetch("select tx_hash, amount from fees where block_hash is not null")
    assert {row["tx_hash"].hex(): int(row["amount"]) for row in rows} == judge.fees()


async def check_stories(home: UtxoHouse) -> Counter[str]:
    """Demand that each record's events are a legal story without a gap, and count the kinds of event."""
    await home.check_stories()
    rows = await home.fetch("select resource_id, type, body_v2 from events order by position")
    stories: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for row in rows:
        stories[row["resource_id"]].append((row["type"].rpartition(".")[2], orjson.loads(row["body_v2"])["data"]))
    for uid, story in stories.items():
        _check_story(uid, story)
    uids = await home.fetch(
        "select count(*) as n, count(distinct (type, tx_hash, address, position)) as facts from transactions"
    )
    assert uids[0]["n"] == uids[0]["facts"] == len(stories)
    return Counter(row["type"].removeprefix("transaction.") for row in rows)


def _check_story(uid: str, story: list[tuple[str, dict[str, Any]]]) -> None:
    label = f"{uid}: {[(name, data['confirmation'], data['requiredConfirmation']) for name, data in story][:8]}"
    status: str | None = None
    depth = 0
    for name, data in story[1:]:
        now = "PENDING" if data["status"] == "PROCESSING" else data["status"]
        assert data["previousStatus"] == (None if status is None else _spoken(data["type"], status)), label
        if name == "confirmation":
            assert now == status == "AWAITING_CONFIRMATION", label
            assert depth < min(data["confirmation"], data["requiredConfirmation"]), label
        else:
            assert now in _NEXT[status], label
            assert name.upper() == data["status"], label
        if name == "success":
            assert data["confirmation"] >= data["requiredConfirmation"], label
            assert data["final"] is True, label
        depth = data["confirmation"] if now == "AWAITING_CONFIRMATION" else 0
        status = now


def _spoken(type_: str, status: str) -> str:
    return WAITS[type_] if status == "PENDING" else status


async def check_gone(home: UtxoHouse, judge: Judge, sent: Inputs) -> None:
    """Demand the right end of every record that stands in no block; `sent` are the inputs of ordinary transactions."""
    mempool, coinbases = set(await judge.node.mempool()), await judge.made_by_blocks()
    for row in await home.fetch("select * from transactions where block_height is null"):
        txid, status = row["tx_hash"].hex(), row["status"]
        label = f"{row['uid']} {txid} {status} {await home.story(txid, row['type'])}"
        if txid in mempool:
            assert status == WAITS[row["type"]], label
        elif txid in coinbases:
            assert status in {"DROPPED", "REVERTED"}, label
            assert row["final"], label
        elif _taken(judge, sent[txid]):
            assert status == "REPLACED", label
            assert row["final"], label
            assert row["replaced_by"].hex() in _taken(judge, _inherited(sent, txid)), label
        else:
            assert status in _ENDED, label


def _taken(judge: Judge, outpoints: Collection[tuple[str, int]]) -> set[str]:
    """Return which transactions, in blocks at the required depth, spend some of these."""
    found = [judge.spenders[spent] for spent in outpoints if spent in judge.spenders]
    return {txid for txid, height in found if judge.height - height + 1 >= judge.required}


def _inherited(sent: Inputs, txid: str) -> set[tuple[str, int]]:
    """Return what a transaction and its ancestors spend: whoever takes any of that replaces it."""
    found, left = set(sent[txid]), [txid]
    while left:
        spent = set(sent.get(left.pop(), ()))
        found |= spent
        left += [parent for parent, _ in spent if parent in sent]
    return found


__all__ = ["check_balances", "check_books", "check_fees", "check_gone", "check_stories", "records", "unspents"]
