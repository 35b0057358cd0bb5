from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.delivery.targets import check_url, is_allowed
from chainbell.domain.errors import InputError

INTERNAL = [
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c:0:7ffe:f5ff:fffe",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450:4001::5"]


@pytest.mark.parametrize("text", INTERNAL)
def test_internal_addresses_are_refused(text: str) -> None:
    """Nothing that is not plainly public may be sent to, whatever its form."""
    assert not is_allowed(ip_address(text), [])


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    """Ordinary addresses of the internet may be sent to."""
    assert is_allowed(ip_address(text), [])


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_refused_wherever_python_calls_it_internal(address: IPv4Address) -> None:
    """We never allow what the standard library knows as private, reserved or not global."""
    if is_allowed(address, []):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_refused_wherever_python_calls_it_internal(address: IPv6Address) -> None:
    """The same for IPv6, and nothing that carries an IPv4 address is allowed."""
    if is_allowed(address, []):
        assert address.is_global
        assert not address.is_multicast
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None


def test_an_opened_network_is_allowed_and_nothing_else() -> None:
    """A setting opens exactly the networks that it names, in the form that it names them."""
    opened = [ip_network("10.1.0.0/16"), ip_network("::1/128")]
    assert is_allowed(ip_address("10.1.2.3"), opened)
    assert is_allowed(ip_address("::1"), opened)
    assert not is_allowed(ip_address("10.2.0.1"), opened)
    assert not is_allowed(ip_address("::ffff:10.1.2.3"), opened)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hooks?source=chainbell&n=1",
        "http://example.com:8080/",
        "HTTPS://Example.COM/",
        "https://xn--bcher-kva.example/",
        "https://a_b.example.com./x",
        "https://8.8.8.8/hook",
        "https://[2606:4700:4700::1111]:8443/hook",
        "https://localhost/",  # a name: its addresses are checked at each connect
    ],
)
def test_sound_urls_pass(url: str) -> None:
    """What a receiver may really have is taken."""
    check_url(url, [])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "characters"),
        ("example.com/hook", "https://"),
        ("ftp://example.com/", "https://"),
        ("https:///hook", "names no host"),
        ("https://user:pass@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:http/", "port"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com/\r\nX-Evil: 1", "characters"),
        ("https://bücher.example/", "xn--"),
        ("https://example..com/", "host name"),
        ("https://-a.example/", "host name"),
        ("https://[::1/", "cannot be read"),
        ("https://" + "a" * 2100, "2048"),
        ("http://127.0.0.1:8000/", "CHAINBELL_ALLOWED_NETWORKS"),
        ("http://[::ffff:10.0.0.1]/", "CHAINBELL_ALLOWED_NETWORKS"),
        ("http://169.254.169.254/latest/meta-data", "CHAINBELL_ALLOWED_NETWORKS"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://0177.0.0.01/", "four decimal numbers"),
    ],
)
def test_unsound_urls_are_refused_with_what_to_do(url: str, reason: str) -> None:
    """A URL that no webhook can be sent to is refused, in words for people."""
    with pytest.raises(InputError, match="endpoint's URL") as caught:
        check_url(url, [])
    assert reason in str(caught.value)


@given(st.text(max_size=80), st.sampled_from(["", "http://", "https://", "https://["]))
def test_no_text_breaks_the_check(text: str, start: str) -> None:
    """Any text is taken or refused; nothing else is raised."""
    try:
        check_url(start + text, [])
    except InputError:
        return
    assert (start + text).lower().startswith(("http://", "https://"))
