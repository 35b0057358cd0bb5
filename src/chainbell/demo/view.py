"""The live view: a scene to something that Rich can draw."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chainbell.demo.scene import Scene
from chainbell.demo.script import DEPOSITS, SCRIPT, Deposit
from chainbell.demo.webhook import Webhook

_COLOURS = {"PENDING": "yellow", "AWAITING_CONFIRMATION": "cyan", "SUCCESS": "bold green"}
_NEWEST = 8
_SHORT_HASH = 10
_DEPOSIT_WIDTH = 12
_FRAME_ROWS = 10
"""Rows of headline and table that hold no webhook."""
_ROOMY_ROWS = 44
"""From this height on the newest webhooks are shown below the table."""


def draw(scene: Scene, rows: int) -> RenderableType:
    """Draw what is happening and each deposit in both versions; the last webhooks too, where the rows suffice."""
    roomy = rows >= _ROOMY_ROWS
    left = rows - _FRAME_ROWS - (_NEWEST + 2 if roomy else 0)
    steps = max(1, left // len(DEPOSITS) - 1)
    newest = [_newest(scene.received)] if roomy else []
    return Group(_headline(scene), _deposits(scene, steps), *newest)


def summary(scene: Scene) -> Text:
    """Say how it ended."""
    if scene.complaints:
        return Text.assemble(("It went wrong:\n", "bold red"), "\n".join(f"  - {line}" for line in scene.complaints))
    count = len(scene.received)
    return Text.assemble(
        ("All is well. ", "bold green"),
        f"{count} webhooks, v1 and v2, every signature good, each event told once and in order; ",
        "the payment that the reorg took back was told as pending, and as success only when it was deep enough again.",
    )


def _headline(scene: Scene) -> Panel:
    chain = "no block yet" if scene.height is None else f"block {scene.height}  {_short(scene.tip_hash)}"
    step = f"step {len(scene.played)} of {len(SCRIPT)}, ✓ signature good" if scene.played else "getting ready"
    return Panel(Text(scene.caption, "bold"), title=f"chainbell demo · anvil, {chain}", subtitle=step, padding=(0, 2))


def _deposits(scene: Scene, steps: int) -> Table:
    table = Table(expand=True, show_lines=True)
    table.add_column("deposit", width=_DEPOSIT_WIDTH, no_wrap=True)
    table.add_column("v2", ratio=1)
    table.add_column("v1 (legacy)", ratio=1)
    for deposit in DEPOSITS:
        tx_hash = scene.tx_hashes.get(deposit)
        own = [webhook for webhook in scene.received if tx_hash is not None and webhook.tx_hash == tx_hash]
        table.add_row(_subject(deposit, tx_hash), *(_course(_of_version(own, version), steps) for version in (2, 1)))
    return table


def _subject(deposit: Deposit, tx_hash: str | None) -> Text:
    amount = f"{deposit.wire_amount} {deposit.asset_type.partition('_')[0]}"
    return Text.assemble((f"{amount}\n", "bold"), f"{deposit.title}\n", (_short(tx_hash), "dim"))


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
    return f"{name} {webhook.confirmations}/{webhook.required}" if name == "confirmation" else name


def _of_version(webhooks: Iterable[Webhook], version: int) -> list[Webhook]:
    return [webhook for webhook in webhooks if webhook.version == version]


def _short(hex_: str | None) -> str:
    return "" if hex_ is None else f"{hex_[:_SHORT_HASH]}…"
