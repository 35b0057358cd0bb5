"""What the fields of a chain definition may hold, and what is said of anything else.

A validator turns text into what stands inside, and leaves what is no text for pydantic to refuse.
"""

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from chainbell.domain.chain_kind import ChainKind

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


def _bytes_from_hex(value: object) -> object:
    if isinstance(value, str):
        if not _HEX.fullmatch(value):
            message = "must be 0x and an even number of hexadecimal digits"
            raise ValueError(message)
        return bytes.fromhex(value[2:])
    return value


def _genesis(value: object, info: ValidationInfo) -> object:
    if info.data.get("kind") is not ChainKind.UTXO:
        return _bytes_from_hex(value)
    return _plain_hex(64, value)


def _plain_hex(digits: int, value: object) -> object:
    if isinstance(value, str):
        if len(value) != digits or not re.fullmatch(r"[0-9a-fA-F]*", value):
            message = f"must be {digits} hexadecimal digits, without 0x"
            raise ValueError(message)
        return bytes.fromhex(value)
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


def _confirmations(value: object) -> object:
    if value == "finalized" or (type(value) is int and value >= 1):
        return value
    message = 'must be a depth in blocks (a whole number, at least 1) or "finalized"'
    raise ValueError(message)


def _exactly(length: int, value: bytes) -> bytes:
    if len(value) != length:
        message = f"must be {length} bytes: 0x and {2 * length} hexadecimal digits"
        raise ValueError(message)
    return value


GenesisHash = Annotated[bytes, BeforeValidator(_genesis), AfterValidator(partial(_exactly, 32))]
HexAddress = Annotated[bytes, BeforeValidator(_bytes_from_hex), AfterValidator(partial(_exactly, 20))]
Symbol = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9.₮]+$")]
Decimals = Annotated[int, Field(ge=0, le=77)]
Confirmations = Annotated[int | Literal["finalized"], BeforeValidator(_confirmations)]
Depth = Annotated[int, Field(ge=1)]
Hrp = Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
VersionByte = Annotated[int, Field(ge=0, le=255)]
VersionBytes = Annotated[tuple[VersionByte, ...], BeforeValidator(_one_or_more), Field(strict=False, min_length=1)]
KeyVersion = Annotated[bytes, BeforeValidator(partial(_plain_hex, 8))]
KeyVersions = Annotated[tuple[KeyVersion, ...], BeforeValidator(_one_or_more), Field(strict=False, min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
