"""What ``chainbell chain accept-reorg`` does."""

from chainbell.api.chain_names import named_chain
from chainbell.app.deep_reorg import Proposal, propose
from chainbell.app.deep_reorg import accept as accept_proposal
from chainbell.app.services import Services
from chainbell.cli.work.asking import require_consent
from chainbell.cli.work.output import answer, print_table, say
from chainbell.cli.work.session import with_services
from chainbell.domain.address import format_hash
from chainbell.domain.amount import plain_decimal
from chainbell.domain.chain import BlockRef
from chainbell.domain.chain_kind import ChainKind

_UIDS_SHOWN = 100


def accept(name: str, *, yes: bool) -> None:
    """Show what the node's chain takes back, ask, and take it back."""

    async def work(services: Services) -> tuple[Proposal, int]:
        proposal = await propose(services, named_chain(services.chains, name, None))
        _show(proposal)
        question = f"Take back {proposal.depth} blocks of {proposal.chain.name} and follow the node's chain?"
        require_consent(question, yes=yes)
        return proposal, await accept_proposal(services, proposal)

    proposal, events = with_services(work)
    answer(
        f"the cursor of {proposal.chain.name} is back at block {proposal.ancestor.height}; {events} events tell what was "
        "taken back. `chainbell run` goes on from there by itself"
    )


def _show(proposal: Proposal) -> None:
    kind = proposal.chain.kind
    answer(
        f"chain          {proposal.chain.name}\n"
        f"node           {proposal.node}\n"
        f"its tip        {_block(proposal.tip, kind)}\n"
        f"our cursor     {_block(proposal.cursor, kind)}\n"
        f"last in common {_block(proposal.ancestor, kind)}\n"
        f"taken back     {proposal.depth} blocks, {len(proposal.uids)} transactions"
    )
    rows = [
        [group.type, group.status, str(group.transactions), f"{plain_decimal(group.amount, group.decimals)} {group.symbol}"]
        for group in proposal.taken_back
    ]
    print_table(["type", "status", "transactions", "amount"], rows, "no transaction stands in these blocks")
    for uid in proposal.uids[:_UIDS_SHOWN]:
        answer(uid)
    if len(proposal.uids) > _UIDS_SHOWN:
        answer(f"and {len(proposal.uids) - _UIDS_SHOWN} more")
    say(
        "Each of them is told: a success as reverted, what awaited confirmation as pending or processing. What the node's "
        "chain includes is then told anew. Be sure that this node is on the right chain: ask a second one, or an explorer, "
        f"for the hash of block {proposal.cursor.height}."
    )


def _block(ref: BlockRef, kind: ChainKind) -> str:
    return f"{ref.height} {format_hash(kind, ref.hash)}"
