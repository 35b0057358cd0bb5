"""Extended keys and descriptors for tests: random, and those that others published."""

from random import Random

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chainbell.custody.account_key import KeyRules
from chainbell.custody.extended_key import BIP32_MAIN, BIP32_TEST, ExtendedKey
from chainbell.custody.template import OutputType
from chainbell.domain.chain_kind import ChainKind

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

BITCOIN = KeyRules(
    ChainKind.UTXO,
    {
        BIP32_MAIN: OutputType.P2PKH,
        bytes.fromhex("049d7cb2"): OutputType.P2SH_P2WPKH,
        bytes.fromhex("04b24746"): OutputType.P2WPKH,
    },
    BIP32_MAIN,
    segwit=True,
)
REGTEST = KeyRules(
    ChainKind.UTXO,
    {
        BIP32_TEST: OutputType.P2PKH,
        bytes.fromhex("044a5262"): OutputType.P2SH_P2WPKH,
        bytes.fromhex("045f1cf6"): OutputType.P2WPKH,
    },
    BIP32_TEST,
    segwit=True,
)
DOGECOIN = KeyRules(ChainKind.UTXO, {bytes.fromhex("02facafd"): OutputType.P2PKH}, BIP32_MAIN, segwit=False)
EVM = KeyRules(ChainKind.EVM, {BIP32_MAIN: OutputType.EVM}, BIP32_MAIN, segwit=False)

# BIP32, test vector 1: the master key of the seed 000102030405060708090a0b0c0d0e0f.
BIP32_XPUB = (
    "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8"
)
BIP32_XPRV = (
    "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi"
)
# BIP32's own tprv of that kind, and a WIF key from the Bitcoin wiki ("Wallet import format").
WIF = "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"


def random_public_key(random: Random) -> bytes:
    """Return a compressed public key."""
    key = ec.derive_private_key(random.randrange(1, _ORDER), ec.SECP256K1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def random_key(random: Random, version: bytes = BIP32_TEST, depth: int = 3) -> ExtendedKey:
    """Return the extended key of an account that nobody has."""
    return ExtendedKey(
        version, depth, random.randbytes(4), random.getrandbits(32), random.randbytes(32), random_public_key(random)
    )
