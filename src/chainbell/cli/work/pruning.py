"""What ``chainbell prune`` does."""

from datetime import datetime

from chainbell.api.times import parse_moment
from chainbell.app.pruning import Pruned
from chainbell.app.pruning import prune as prune_events
from chainbell.app.services import Services
from chainbell.cli.work.asking import require_consent
from chainbell.cli.work.output import answer, print_table, say
from chainbell.cli.work.progress import progress
from chainbell.cli.work.session import with_services
from chainbell.domain.errors import InputError
from chainbell.events.v2 import wire_time
from chainbell.storage.prune import Plan, Pruner
from chainbell.telemetry.clock import now

HELD_BACK = 3


def prune(before: str, *, yes: bool) -> int:
    """Show what would go and what is held back, ask, and delete it. Return the exit code."""
    moment = parse_moment(before, "--before")
    if moment >= now():
        message = "--before must lie in the past: what is not told yet cannot be forgotten"
        raise InputError(message)

    async def work(services: Services) -> tuple[Plan, Pruned]:
        plan = await Pruner(services.database).plan(moment)
        _show(plan, moment)
        if plan.events:
            require_consent(f"Delete {plan.events:,} events for good?", yes=yes)
        with progress("events", plan.events) as show:
            return plan, await prune_events(services.database, plan, moment, show)

    plan, pruned = with_services(work)
    answer(
        f"deleted: {pruned.events} events, {pruned.deliveries} deliveries with their attempts, "
        f"{pruned.partitions} months of attempts at once, {pruned.orphans} orphaned blocks"
    )
    return HELD_BACK if plan.held_back or pruned.events < plan.events else 0


def _show(plan: Plan, before: datetime) -> None:
    say(f"{plan.events:,} events before {wire_time(before)} can go, with their deliveries and attempts")
    if plan.exhausted:
        say(f"{plan.exhausted:,} of these deliveries were given up: they cannot be replayed any more then")
    if plan.held_back:
        say(f"{plan.held_back:,} more events are older, and stay: deliveries of them are pending")
        rows = [
            [holder.endpoint_id, holder.url, "enabled" if holder.enabled else "disabled", str(holder.pending)]
            for holder in plan.holders
        ]
        print_table(["endpoint", "url", "state", "pending"], rows, "")
        say("Wait until they are delivered or given up; an endpoint that nobody needs: `chainbell endpoint remove`.")
