"""Keys and descriptors as operators give them: published vectors, reasons of refusal, and no secret in any error."""

import hashlib
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.config.chains import load_chains
from chainbell.custody.account_key import KeyRules, key_rules, parse_account_key, stored_template
from chainbell.custody.derivation import derive
from chainbell.custody.descriptor_checksum import checksum_of
from chainbell.custody.extended_key import BIP32_MAIN, PrivateKeyError, parse_extended_key
from chainbell.custody.template import OutputType
from chainbell.domain.address import parse_address, show_address
from chainbell.domain.base58 import encode_check
from chainbell.domain.errors import InputError
from tests.keys import BIP32_XPRV, BIP32_XPUB, BITCOIN, DOGECOIN, EVM, WIF, random_key, random_public_key

CHAINS = load_chains()
XPUB = random_key(Random(1), BIP32_MAIN).text(BIP32_MAIN)
PHRASE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
PUBLIC = random_public_key(Random(2)).hex()


def _checked(body: str) -> str:
    return f"{body}#{checksum_of(body)}"


@pytest.mark.parametrize(
    ("chain", "key", "receiving", "change"),
    [
        (
            "bitcoin",  # BIP84, its test vectors
            "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs",
            ["bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"],
            ["bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"],
        ),
        (
            "bitcoin",  # BIP86, its test vectors
            _checked(
                "tr(xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92"
                "pReUsQ/<0;1>/*)"
            ),
            [
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
                "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
            ],
            ["bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"],
        ),
        (
            "bitcoin-regtest",  # BIP49, its test vectors
            "upub5EFU65HtV5TeiSHmZZm7FUffBGy8UKeqp7vw43jYbvZPpoVsgU93oac7Wk3u6moKegAEWtGNF8DehrnHtv21XXEMYRUocHqguyjknFHYfgY",
            ["2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2"],
            [],
        ),
    ],
    ids=["bip84", "bip86", "bip49"],
)
def test_published_keys_give_their_published_addresses(
    chain: str, key: str, receiving: list[str], change: list[str]
) -> None:
    """The vectors of the BIPs that say how wallets derive, with the versions of the definitions that are shipped."""
    template = parse_account_key(key, key_rules(CHAINS[chain]))
    for branch, expected in enumerate((receiving, change)):
        scripts = derive(template, branch, 0, len(expected))
        assert [show_address(CHAINS[chain].addresses, script) for script in scripts] == expected


@pytest.mark.parametrize(
    ("chain", "version", "type_"),
    [
        ("bitcoin", "0488b21e", "p2pkh"),
        ("bitcoin", "049d7cb2", "p2sh-p2wpkh"),
        ("bitcoin", "04b24746", "p2wpkh"),
        ("bitcoin-testnet4", "045f1cf6", "p2wpkh"),
        ("bitcoin-signet", "043587cf", "p2pkh"),
        ("litecoin", "019da462", "p2pkh"),
        ("litecoin", "01b26ef6", "p2sh-p2wpkh"),
        ("litecoin-testnet", "0436f6e1", "p2pkh"),
        ("ethereum", "0488b21e", "evm"),
    ],
)
def test_the_version_of_a_bare_key_says_its_addresses(chain: str, version: str, type_: str) -> None:
    """By SLIP-132, in the definitions that are shipped."""
    text = random_key(Random(3)).text(bytes.fromhex(version))
    template = parse_account_key(f"  {text}\n", key_rules(CHAINS[chain]))
    assert template.type is OutputType(type_)
    assert stored_template(template.body) == template


def test_the_checksum_is_that_of_bip380() -> None:
    """Its own example; another letter, a missing one and another case do not hold."""
    assert checksum_of("raw(deadbeef)") == "89f8spxm"
    good = _checked(f"wpkh({XPUB}/<0;1>/*)")
    for bad in (good[:-1], good[:-1] + "!", good.replace("/*", "/5"), good + "#"):
        with pytest.raises(InputError, match="checksum"):
            parse_account_key(bad, BITCOIN)
    with pytest.raises(InputError, match=f"it is #{good[-8:]} "):
        parse_account_key(good[:-9], BITCOIN)


REFUSED = [
    ("addr(bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu)", BITCOIN, "kind addr .* register that"),
    ("raw(00)", BITCOIN, "kind raw"),
    (f"combo({PUBLIC})", BITCOIN, "kind combo"),
    (f"pk({PUBLIC})", BITCOIN, "kind pk"),
    (f"rawtr({PUBLIC[2:]})", BITCOIN, "kind rawtr"),
    (f"multi(1,{PUBLIC})", BITCOIN, "kind multi"),
    (f"wsh(pk({PUBLIC}))", BITCOIN, "miniscript"),
    (f"wsh(and_v(v:pk({PUBLIC}),older(144)))", BITCOIN, "miniscript"),
    (f"wsh(wpkh({PUBLIC}))", BITCOIN, "is not taken"),
    (f"sh(sh(multi(1,{PUBLIC})))", BITCOIN, "is not taken"),
    (f"tr(musig({XPUB},{XPUB})/0/*)", BITCOIN, "script tree|cannot be read|is not taken"),
    (f"tr({XPUB}/*,pk({PUBLIC}))", BITCOIN, "script tree"),
    (f"wpkh({XPUB}/0h/*)", BITCOIN, "hardened"),
    (f"wpkh({XPUB}/0/*')", BITCOIN, "hardened"),
    (f"wpkh({XPUB}/*/0)", BITCOIN, "path"),
    (f"wpkh({XPUB}/<0;1>/<0;1>/*)", BITCOIN, "branches twice"),
    (f"wpkh({XPUB}/<0;1;2>/*)", BITCOIN, "branches in two"),
    (f"wpkh({XPUB}/<0;0>/*)", BITCOIN, "branches in two"),
    (f"wpkh({XPUB}/2147483648/*)", BITCOIN, "path"),
    (f"wpkh({XPUB}//*)", BITCOIN, "path"),
    (f"wpkh([zzzz]{XPUB}/*)", BITCOIN, "origin"),
    (f"wpkh({PUBLIC}/0)", BITCOIN, "single public key has no path"),
    (f"wpkh(04{PUBLIC[2:]}{PUBLIC[2:]})", BITCOIN, "public key of the descriptor is none"),
    (f"wpkh(02{'ff' * 32})", BITCOIN, "public key of the descriptor is none"),
    (f"sh(multi(1,{','.join([PUBLIC] * 16)}))", BITCOIN, "too many keys"),
    (f"wsh(multi(1,{','.join([PUBLIC] * 21)}))", BITCOIN, "at most 20"),
    (f"wsh(multi(2,{PUBLIC}))", BITCOIN, "how many must sign"),
    (f"wsh(multi(0,{PUBLIC}))", BITCOIN, "how many must sign"),
    (f"wpkh({random_key(Random(4)).text(bytes.fromhex('043587cf'))}/*)", BITCOIN, "another network"),
    (f"wpkh({random_key(Random(4)).text(bytes.fromhex('04b24746'))}/*)", BITCOIN, "another network"),
    (f"wpkh({XPUB}/*)", DOGECOIN, "no segwit"),
    (f"pkh({XPUB}/*)", EVM, "EVM chain has no descriptors"),
    (f"evm({XPUB}/0/*)", BITCOIN, "is not taken"),
    ("wpkh(", BITCOIN, "no descriptor"),
]


@pytest.mark.parametrize(("body", "rules", "reason"), REFUSED)
def test_other_descriptors_are_refused_with_a_reason(body: str, rules: KeyRules, reason: str) -> None:
    """Each kind that is not taken, and each that nobody could derive, though its checksum holds."""
    with pytest.raises(InputError, match=reason) as refusal:
        parse_account_key(_checked(body), rules)
    assert not isinstance(refusal.value, PrivateKeyError)


@pytest.mark.parametrize(
    ("text", "rules", "reason"),
    [
        (random_key(Random(5)).text(bytes.fromhex("0295b43f")), BITCOIN, "not one of this chain, .*zpub for p2wpkh"),
        (random_key(Random(5)).text(bytes.fromhex("045f1cf6")), BITCOIN, "not one of this chain"),
        (random_key(Random(5)).text(bytes.fromhex("043587cf")), EVM, "written as xpub"),
        (random_key(Random(5), depth=4).text(BIP32_MAIN), BITCOIN, "below an account's"),
        (XPUB[:-1], BITCOIN, "checksum does not hold"),
        (XPUB + "1", BITCOIN, "checksum does not hold"),
        ("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", BITCOIN, "checksum does not hold"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", BITCOIN, "no extended key"),
        (encode_check(BIP32_MAIN + bytes(41) + b"\2" + b"\xff" * 32), BITCOIN, "no point of the curve"),
        ("", BITCOIN, "cannot be read|checksum"),
        ("x" * 5000, BITCOIN, "at most 4096"),
        (PUBLIC, BITCOIN, "checksum does not hold"),
    ],
)
def test_other_keys_are_refused_with_a_reason(text: str, rules: KeyRules, reason: str) -> None:
    """Those of other chains, of several signers, below an account's, mistyped, or no keys at all."""
    with pytest.raises(InputError, match=reason):
        parse_account_key(text, rules)


def _private_version(version: str) -> str:
    data = bytes.fromhex(version) + b"\3" + bytes(8) + hashlib.sha256(b"chain").digest()
    return encode_check(data + b"\0" + hashlib.sha256(b"secret").digest())


PRIVATE = [
    BIP32_XPRV,
    BIP32_XPRV[:-1] + "j",
    WIF,
    encode_check(b"\x80" + hashlib.sha256(b"secret").digest() + b"\1"),
    encode_check(b"\xef" + hashlib.sha256(b"secret").digest()),
    *map(_private_version, ["0488ade4", "049d7878", "04b2430c", "04358394", "044a4e28", "045f18bc", "019d9cfe", "0436ef7d"]),
    # Whatever its version: what it holds is private.
    _private_version("0488b21e"),
    PHRASE,
    PHRASE.upper(),
    hashlib.sha256(b"secret").hexdigest(),
    "0x" + hashlib.sha256(b"secret").hexdigest(),
]


@pytest.mark.parametrize("rules", [BITCOIN, EVM], ids=["bitcoin", "evm"])
@pytest.mark.parametrize("secret", PRIVATE)
def test_a_private_key_is_refused_and_never_repeated(secret: str, rules: KeyRules) -> None:
    """Alone, and with or without a checksum in every place of a descriptor: the error says why, and nothing of it."""
    texts = [secret, f" {secret}\n"]
    if " " not in secret and not secret.startswith("0x") and len(secret) != 64:
        for form in ("wpkh({})", "wpkh([d34db33f/84h]{}/0h/*h)", "tr({},pk({}))", "wsh(multi(1,{0}/*,{0}))", "xyz({})"):
            body = form.format(secret, secret)
            texts += [body, _checked(body), body + "#wrong"]
    for text in texts:
        with pytest.raises(PrivateKeyError, match="this is a private key") as refusal:
            parse_account_key(text, rules)
        assert secret[4:12] not in str(refusal.value)
        assert refusal.value.__cause__ is None


@given(st.text(max_size=80) | st.text("()[]<>;/*,#hxpubwkhtrmsi0123456789abcdef'", max_size=120))
def test_whatever_is_given_is_a_key_or_refused(text: str) -> None:
    """No other error than the one for people comes out."""
    try:
        template = parse_account_key(text, BITCOIN)
    except InputError:
        return
    assert stored_template(template.body) == template


@given(st.integers(0, 110), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_a_mistyped_letter_shows(place: int, letter: str) -> None:
    """In a bare key, by its checksum; and the error does not repeat the key."""
    mistyped = BIP32_XPUB[:place] + letter + BIP32_XPUB[place + 1 :]
    if mistyped == BIP32_XPUB:
        assert parse_extended_key(mistyped).depth == 0
        return
    with pytest.raises(InputError) as refusal:
        parse_account_key(mistyped, BITCOIN)
    assert mistyped[20:30] not in str(refusal.value)


def test_one_key_written_differently_is_the_same() -> None:
    """Origins, versions and the form of a hardened step change nothing; the script and the path do."""
    key = random_key(Random(6), BIP32_MAIN)
    bare = parse_account_key(key.text(bytes.fromhex("04b24746")), BITCOIN)
    xpub = key.text(BIP32_MAIN)
    for body in (
        f"wpkh({xpub}/<0;1>/*)",
        f"wpkh([d34db33f/84'/0'/0']{xpub}/<0;1>/*)",
        f"wpkh([d34db33f/84h/0h]{xpub}/<0;1>/*)",
    ):
        assert parse_account_key(_checked(body), BITCOIN).identity == bare.identity
    for body in (f"wpkh({xpub}/0/*)", f"sh(wpkh({xpub}/<0;1>/*))", f"wpkh({xpub}/<1;0>/*)"):
        assert parse_account_key(_checked(body), BITCOIN).identity != bare.identity


def test_an_x_only_key_of_tr_may_have_an_origin() -> None:
    """It is the same key with one and without, it is written with it, and other mistakes in it are still named."""
    key = PUBLIC[2:]
    bare = parse_account_key(_checked(f"tr({key})"), BITCOIN)
    known = parse_account_key(_checked(f"tr([d34db33f/86'/0'/0']{key})"), BITCOIN)
    assert known.identity == bare.identity
    assert derive(known, 0, 0, 1) == derive(bare, 0, 0, 1)
    assert known.body == f"tr([d34db33f/86h/0h/0h]{key})"
    assert stored_template(known.body) == known
    for body, reason in (
        (f"tr([zzzz]{key})", "origin"),
        (f"tr([d34db33f]{'ff' * 32})", "no point"),
        (f"tr([d34db33f]{key}/0)", "no path"),
        (f"wpkh([d34db33f]{key})", "66 hexadecimal digits"),
    ):
        with pytest.raises(InputError, match=reason):
            parse_account_key(_checked(body), BITCOIN)


def test_bitcoinlib_leaves_nothing_behind_and_asks_nobody(tmp_path: Path) -> None:
    """Deriving writes no file into the home directory, leaves its setting and no folder, and opens no connection."""
    program = f"""
import os, socket, tempfile
def refuse(*_args, **_named):
    raise AssertionError("a connection")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from tests.keys import BITCOIN
from chainbell.custody.account_key import parse_account_key
from chainbell.custody.derivation import derive
derive(parse_account_key({XPUB!r}, BITCOIN), 0, 0, 2)
assert "BCL_DATA_DIR" not in os.environ
"""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"HOME": str(tmp_path), "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", program],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert [path for path in tmp_path.rglob("*") if path != temporary] == []


def test_addresses_of_a_key_are_addresses() -> None:
    """Whatever it makes can be written on its chain, and read back."""
    for name, form in (("litecoin", "sh(wpkh({}/*))"), ("dogecoin", "pkh({}/*)"), ("bitcoin", "wsh(sortedmulti(1,{}/*))")):
        template = parse_account_key(_checked(form.format(XPUB)), key_rules(CHAINS[name]))
        for script in derive(template, 0, 0, 2):
            assert parse_address(CHAINS[name].addresses, show_address(CHAINS[name].addresses, script)) == script
