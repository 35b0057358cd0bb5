"""What must be done again after a restore, in words: each with the command that does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from chainbell.app.restoring import Findings
from chainbell.domain.address import AddressFormat, show_address
from chainbell.domain.watch import Purpose
from chainbell.storage.losses import Line, LostAddress, Retired

_ADDRESSES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Names:
    """How addresses of each chain are written."""

    formats: Mapping[str, AddressFormat]

    def address(self, chain: str, address: bytes) -> str:
        """Return an address as people write it."""
        addresses = self.formats.get(chain)
        return f"0x{address.hex()}" if addresses is None else show_address(addresses, address)


@dataclass(frozen=True, slots=True)
class LostFile:
    """Lost addresses of one chain and account, written for `chainbell address import`."""

    path: Path
    addresses: Sequence[LostAddress]


def todo(findings: Findings, names: Names, files: Sequence[LostFile]) -> list[str]:
    """Say what must be done again, each with the command that does it."""
    found = findings.losses
    if not found.any:
        nothing = ["nothing that the journals know must be registered again"] if findings.lines.lines else []
        return [*_retired(found.retired, names), *nothing]
    return [
        *_retired(found.retired, names),
        "to do again, before `chainbell run` is started:",
        *(f"  chainbell key add {_extended_key(line)}" for line in found.keys),
        *_addresses_to_add(findings, names, files),
        *(f"  chainbell address remove {one.chain} {names.address(one.chain, one.address)}" for one in found.watched_again),
        *(f"  chainbell endpoint add {_endpoint(line)}  (was {line['id']}; gets a new secret)" for line in found.endpoints),
        *(f"  endpoint {line['id']} was changed to: {_endpoint(line)}{_state(line)}" for line in found.changed_endpoints),
        *(f"  chainbell endpoint remove {line['id']}  ({line['url']})" for line in found.endpoints_again),
        *(f"  chainbell api-key add {_key(line)}  (was {line['id']}, {line['prefix']}...)" for line in found.api_keys),
        *(f"  chainbell api-key remove {id_}  (it was revoked, and is valid again)" for id_ in found.valid_again),
    ]


def _retired(retired: Sequence[Retired], names: Names) -> list[str]:
    """Tell what was taken out of circulation: nothing is to be done, but whoever pays there is not told of."""
    if not retired:
        return []
    shown = [f"  {one.chain} {names.address(one.chain, one.address)}" for one in retired[:_ADDRESSES_SHOWN]]
    rest = len(retired) - len(shown)
    more = [f"  and {rest} more addresses: --json names them all"] if rest else []
    return ["removed before the restore, so no key watches or hands out these any more:", *shown, *more]


def _addresses_to_add(findings: Findings, names: Names, files: Sequence[LostFile]) -> list[str]:
    lost = findings.losses.addresses
    if not lost:
        return []
    if not files:
        shown = [
            f"  chainbell address add {one.chain} {names.address(one.chain, one.address)} --account {one.account_id}"
            f"{_facts(one)}{_hole(findings, [one])}"
            for one in lost[:_ADDRESSES_SHOWN]
        ]
        rest = len(lost) - len(shown)
        return (
            [*shown, f"  and {rest} more addresses: add --lost-addresses FOLDER to get files of them all"] if rest else shown
        )
    return [
        f"  chainbell address import {file.addresses[0].chain} {quote(str(file.path))} "
        f"--account {file.addresses[0].account_id}{_hole(findings, file.addresses)}"
        for file in files
    ]


def _hole(findings: Findings, lost: Sequence[LostAddress]) -> str:
    """Return the option that looks back, where the cursor has passed the height from which on they were watched."""
    first = min(one.watched_from for one in lost)
    return f" --from-height {first} --notify" if first <= findings.state.cursors.get(lost[0].chain, -1) else ""


def _facts(lost: LostAddress) -> str:
    label = "" if lost.label is None else f" --label {quote(lost.label)}"
    customer = "" if lost.customer_id is None else f" --customer {lost.customer_id}"
    return f"{label}{customer}{' --change' if lost.purpose is Purpose.CHANGE else ''}"


def _extended_key(line: Line) -> str:
    label = [] if line["label"] is None else [f"--label {quote(line['label'])}"]
    numbers = [f"--gap-limit {line['gapLimit']}", f"--first-index {line['firstIndex']}"]
    return " ".join([line["chain"], quote(line["key"]), f"--account {line['accountId']}", *numbers, *label])


def _endpoint(line: Line) -> str:
    filters = [f"--{name} {quote(value)}" for name, member in _FILTERS for value in line[member]]
    return " ".join([quote(line["url"]), f"--mode {line['mode']}", f"--version {line['version']}", *filters])


_FILTERS = (("event", "events"), ("chain", "chains"), ("account", "accounts"))


def _state(line: Line) -> str:
    return "" if line["enabled"] else ", disabled"


def _key(line: Line) -> str:
    account = [] if line["accountId"] is None else [f"--account {line['accountId']}"]
    scopes = [f"--scope {scope}" for scope in line["scopes"]]
    return " ".join([quote(line["name"]), f"--mode {line['mode']}", *scopes, *account])
