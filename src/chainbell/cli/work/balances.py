"""What ``chainbell address balance`` does."""

from chainbell.api.chain_names import named_chain
from chainbell.api.views.balance import BalanceView
from chainbell.app.services import Services
from chainbell.cli.work.output import answer, print_lines
from chainbell.cli.work.session import with_services
from chainbell.domain.address import parse_address
from chainbell.domain.errors import NotFoundError
from chainbell.storage.balances import read_balance


def show(chain: str, address: str, *, as_json: bool) -> None:
    """Show what an address holds."""

    async def work(services: Services) -> BalanceView:
        definition = named_chain(services.chains, chain, None)
        found = await read_balance(services.database, definition.name, parse_address(definition.addresses, address))
        if found is None:
            message = f"this address is not watched on {definition.name}: `chainbell address add` registers it"
            raise NotFoundError(message)
        return BalanceView.of(found, definition)

    view = with_services(work)
    if as_json:
        print_lines([view.to_json()])
    elif view.amount is None:
        answer(f"what {view.address} holds is not known: {view.reason}")
    else:
        answer(f"{view.address} holds {view.amount} {view.symbol} as of block {view.as_of_height}")
