"""The live view: a scene to something that Rich can draw."""

import re
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chainbell.demo.scene import Scene
from chainbell.demo.script import DEPOSITS, SCRIPT, Deposit, Network
from chainbell.demo.webhook import Webhook

_COLOURS = {
    "PENDING": "yellow",
    "AWAITING_CONFIRMATION": "cyan",
    "SUCCESS": "bold green",
    "REPLACED": "magenta",
    "REVERTED": "red",
    "FAILED": "red",
}
_NODES = {Network.ANVIL: "anvil", Network.BITCOIN: "bitcoind"}
_NEWEST = 8
_PREFIX = re.compile(r"0x|bc(rt)?1|tb1|")
"""What all hashes or addresses of a kind begin with."""
_HEAD, _TAIL = 4, 4
"""Characters that are shown behind the prefix and at the end."""
_DEPOSIT_WIDTH = 16
_FRAME_ROWS = 7
"""Rows of headline and table that belong to no deposit, and one to spare."""
_ROOMY_ROWS = 44
"""From this height on the newest webhooks are shown below the table."""


def draw(scene: Scene, rows: int) -> RenderableType:
    """Draw what is happening and each deposit in both versions.

    Where the rows suffice, there are the deposits of both chains and the last webhooks too, else those of the chain that the
    story is on.
    """
    roomy = rows >= _ROOMY_ROWS
    deposits = [deposit for deposit in DEPOSITS if roomy or deposit.network is scene.network]
    left = rows - _FRAME_ROWS - (_NEWEST + 2 if roomy else 0)
    steps = max(1, left // len(deposits) - 2)
    newest = [_newest(scene.received)] if roomy else []
    return Group(_headline(scene), _deposits(scene, deposits, steps), *newest)


def short(text: str | None) -> str:
    """Shorten a hash or an address to what tells it from others: its prefix, some characters, and its end."""
    if text is None:
        return ""
    prefix = _PREFIX.match(text)
    head = text[: _HEAD + (prefix.end() if prefix else 0)]
    return text if len(text) <= len(head) + _TAIL + 1 else f"{head}…{text[-_TAIL:]}"


def summary(scene: Scene) -> Text:
    """Say how it ended."""
    if scene.complaints:
        return Text.assemble(("It went wrong:\n", "bold red"), "\n".join(f"  - {line}" for line in scene.complaints))
    count = len(scene.received)
    return Text.assemble(
        ("All is well. ", "bold green"),
        f"{count} webhooks, v1 and v2, every signature good, each event told once and in order; ",
        "what the reorgs took back was told as pending or reverted, and as success only when it was deep enough again; "
        "on Bitcoin the payment that a fee bump replaced named the new one, and never succeeded.",
    )


def _headline(scene: Scene) -> Panel:
    chain = "no block yet" if scene.height is None else f"block {scene.height}  {short(scene.tip_hash)}"
    step = f"step {len(scene.played)} of {len(SCRIPT)}, ✓ signature good" if scene.played else "getting ready"
    return Panel(
        Text(scene.caption, "bold"),
        title=f"chainbell demo · {_NODES[scene.network]}, {chain}",
        subtitle=step,
        padding=(0, 2),
    )


def _deposits(scene: Scene, deposits: Sequence[Deposit], steps: int) -> Table:
    table = Table(expand=True, show_lines=True)
    table.add_column("deposit", width=_DEPOSIT_WIDTH, no_wrap=True)
    table.add_column("v2", ratio=1)
    table.add_column("v1 (legacy)", ratio=1)
    for deposit in deposits:
        tx_hash = scene.tx_hashes.get(deposit)
        own = [webhook for webhook in scene.received if tx_hash is not None and webhook.tx_hash == tx_hash]
        subject = _subject(deposit, tx_hash, scene.watched.get(deposit.network))
        table.add_row(subject, *(_course(_of_version(own, version), steps) for version in (2, 1)))
    return table


def _subject(deposit: Deposit, tx_hash: str | None, address: str | None) -> Text:
    amount = f"{deposit.wire_amount} {deposit.asset_type.partition('_')[0]}"
    parts = ((f"{amount}\n", "bold"), f"{deposit.title}\n", f"➜ {short(address)}\n", (short(tx_hash), "dim"))
    return Text.assemble(*parts)


def _course(webhooks: Sequence[Webhook], steps: int) -> Text:
    """Write the status now, and below it the last steps of the way there."""
    if not webhooks:
        return Text("-", "dim")
    status = webhooks[-1].status or "?"
    way = [_line(webhook, "%H:%M:%S", _name(webhook)) for webhook in webhooks[-steps:]]
    return _lines([Text(status, _COLOURS.get(status, "bold red")), *way])


def _newest(received: Sequence[Webhook]) -> Panel:
    lines = [_line(webhook, "%H:%M:%S.%f", f"v{webhook.version} {webhook.event}") for webhook in received[-_NEWEST:]]
    return Panel(_lines(lines), title="last webhooks", title_align="left")


def _line(webhook: Webhook, clock: str, words: str) -> Text:
    sign = ("✓ ", "green") if webhook.problem is None else ("BAD SIGNATURE ", "bold red")
    return Text.assemble(sign, (f"{webhook.received_at.astimezone():{clock}} ", "dim"), words)


def _lines(lines: Sequence[Text]) -> Text:
    """Put lines below one another; one that is too long for its place is cut, so that the height is known."""
    text = Text("\n").join(lines)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _name(webhook: Webhook) -> str:
    name = (webhook.event or "?").rpartition(".")[2]
    if webhook.replaced_by is not None:
        return f"{name} by {short(webhook.replaced_by)}{', for good' if webhook.final else ''}"
    return f"{name} {webhook.confirmations}/{webhook.required}" if name == "confirmation" else name


def _of_version(webhooks: Iterable[Webhook], version: int) -> list[Webhook]:
    return [webhook for webhook in webhooks if webhook.version == version]
