"""Where a webhook may be sent: which addresses, and which URLs can be registered. Pure."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from chainbell.domain.errors import InputError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LONGEST_URL = 2048
_LONGEST_HOST = 253

# IANA special-purpose registries (RFC 6890 and its updates): what is not plainly public is refused.
_REFUSED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network; 0.0.0.0 connects to ourselves
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the platform address of Azure: public by number, internal by nature
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_PUBLIC_IPV6 = IPv6Network("2000::/3")
"""Global unicast. Outside of it lie loopback, IPv4-mapped, NAT64, unique local, link-local, multicast and the unassigned."""

_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)")


def is_allowed(address: Address, opened: Sequence[Network]) -> bool:
    """Tell whether a webhook may be sent to an address: a public one, or one in a network that the operator opened.

    Forms of IPv6 that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are refused whatever they carry.
    """
    if any(address in network for network in opened):
        return True
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return not any(address in network for network in _REFUSED)


def check_url(url: str, opened: Sequence[Network]) -> None:
    """Raise `InputError` for a URL that no webhook can be sent to, saying what is wrong and what to do.

    A name is not resolved here: its addresses are checked at each connect.
    """
    problem = _problem(url, opened)
    if problem is not None:
        message = f"the endpoint's URL {problem}"
        raise InputError(message)


def _problem(url: str, opened: Sequence[Network]) -> str | None:
    if len(url) > LONGEST_URL:
        return f"is {len(url)} characters long: at most {LONGEST_URL} are allowed"
    if not _URL_CHARACTERS.fullmatch(url):
        return "has characters that no URL has: percent-encode them, and write a host name in its xn-- form"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"cannot be read ({error}): write it as https://example.com/webhooks"
    return _problem_of_parts(parts) or _problem_of_host(parts.hostname or "", opened)


def _problem_of_parts(parts: SplitResult) -> str | None:
    if parts.scheme not in {"http", "https"}:
        return "must start with https:// or http://"
    if "@" in parts.netloc:
        return "must not hold a user name or password: webhooks are signed instead"
    if parts.fragment:
        return "must not have a fragment (#...): it would never be sent"
    if not _has_sound_port(parts):
        return "has a port that is none: it must be a number from 1 to 65535"
    return None


def _has_sound_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _problem_of_host(host: str, opened: Sequence[Network]) -> str | None:
    if not host:
        return "names no host: write it as https://example.com/webhooks"
    address = _literal(host)
    if address is not None:
        if is_allowed(address, opened):
            return None
        return (
            f"leads to {address}, which is not a public address: use a public one, or let the operator open its network "
            "with CHAINBELL_ALLOWED_NETWORKS"
        )
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        return f"has a host name that is none: {host}"
    if _NUMBER.fullmatch(labels[-1]):
        return f"has a host that is neither a name nor a whole address: {host}; write it as four decimal numbers"
    return None


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
