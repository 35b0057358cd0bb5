"""A file of addresses: every line is an entry or a bad line, however the file is cut, and nothing else ever happens."""

import csv
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainbell.custody.address_file import AddressFile, BadLine, Entry, FileContent, FileFormat, Limits
from chainbell.domain.address import EVM_ADDRESSES, format_address
from chainbell.domain.label import MAX_LABEL_LENGTH

CHECKSUMMED = "0x52908400098527886E0F7030069857D2E4169EE7"
OTHER = "0x" + "ab" * 20
CUSTOMER = "7f3c1a52-5d0e-4c59-9d6a-2f0a3c1b9e11"
HEADER = b"address,label,customer\n"

LABELS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=MAX_LABEL_LENGTH)
ENTRIES = st.lists(
    st.tuples(st.binary(min_size=20, max_size=20), st.none() | LABELS, st.none() | st.uuids().map(str)),
    min_size=1,
    max_size=20,
    unique_by=lambda entry: entry[0],
)


def read(data: bytes, file_format: FileFormat = FileFormat.CSV, limits: Limits | None = None, step: int = 7) -> FileContent:
    """Read a file in pieces of some bytes."""
    file = AddressFile(EVM_ADDRESSES, file_format, limits)
    for start in range(0, len(data), step):
        file.feed(data[start : start + step])
    return file.finish()


def reasons(content: FileContent) -> list[tuple[int, str]]:
    assert content.bad.total == len(content.bad.first)
    return [(bad.line, bad.reason) for bad in content.bad.first]


def as_csv(entries: Sequence[tuple[bytes, str | None, str | None]], line_end: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow(["address", "label", "customer"])
    writer.writerows([format_address(EVM_ADDRESSES, a), label or "", customer or ""] for a, label, customer in entries)
    return text.getvalue().encode()


def as_ndjson(entries: Sequence[tuple[bytes, str | None, str | None]], line_end: str) -> bytes:
    objects = [{"address": f"0x{a.hex()}", "label": label, "customerId": customer} for a, label, customer in entries]
    return line_end.join(json.dumps(item, ensure_ascii=False) for item in objects).encode()


@given(ENTRIES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(FileFormat), st.booleans(), st.integers(1, 50))
def test_what_is_written_is_read(
    entries: list[tuple[bytes, str | None, str | None]], line_end: str, file_format: FileFormat, marked: bool, step: int
) -> None:
    """Whatever the labels hold, however lines end and the stream is cut, with or without a byte order mark."""
    written = as_csv(entries, line_end) if file_format is FileFormat.CSV else as_ndjson(entries, line_end)
    content = read((b"\xef\xbb\xbf" if marked else b"") + written, file_format, step=step)
    assert reasons(content) == []
    first = 2 if file_format is FileFormat.CSV else 1
    assert content.entries == [Entry(first + index, *entry) for index, entry in enumerate(entries)]


@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([b'"', b",", b"\r", b"\n", b"\0", b"0x", b"{", b"}", b"[", b"1", b":"])).map(b"".join),
    st.sampled_from(FileFormat),
    st.sampled_from([b"", HEADER, f'{{"address": "{OTHER}"}}\n'.encode()]),
    st.integers(1, 30),
    st.sampled_from([Limits(), Limits(lines=3, line_bytes=40, bad_lines_kept=2)]),
)
def test_no_bytes_are_more_than_bad_lines(
    data: bytes, file_format: FileFormat, before: bytes, step: int, limits: Limits
) -> None:
    """Nothing raises; every line with something on it is an entry or a bad line; how the stream is cut changes nothing."""
    content = read(before + data, file_format, limits, step)
    whole = read(before + data, file_format, limits, 10_000)
    assert (content.entries, content.bad.first, content.bad.total) == (whole.entries, whole.bad.first, whole.bad.total)
    assert len(content.bad.first) == min(content.bad.total, limits.bad_lines_kept)
    assert content.entries or content.bad.total
    assert len(content.entries) <= limits.lines
    numbers = [entry.line for entry in content.entries] + [bad.line for bad in content.bad.first]
    assert len(numbers) == len(set(numbers))
    assert max(numbers) <= (before + data).count(b"\n") + 1
    assert len({entry.address for entry in content.entries}) == len(content.entries)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0x1234,,", "is not an address of an EVM chain"),
        (f"{CHECKSUMMED.replace('E', 'e', 1)},,", "checksum"),
        (f" {CHECKSUMMED},,", "is not an address of an EVM chain"),
        (",,", "is not an address of an EVM chain"),
        (f"{'0' * 129},,", "more than 128 characters"),
        (CHECKSUMMED, "has 1 values and the header 3 columns"),
        (f"{CHECKSUMMED},a,b,", "put a value that holds a comma in double quotes"),
        (f'{CHECKSUMMED}, "till 7",', "the quotes are wrong"),
        (f'{CHECKSUMMED},"till 7,', "the quotes are wrong"),
        (f'{CHECKSUMMED},till "7",', "the quotes are wrong"),
        (f'{CHECKSUMMED},"a"b,', "the quotes are wrong"),
        (f"{CHECKSUMMED},a\rb,", "the quotes are wrong"),
        (f'{CHECKSUMMED},"a\rb",', "no control characters"),
        (f"{CHECKSUMMED},{'x' * (MAX_LABEL_LENGTH + 1)},", "1 to 200 characters"),
        (f"{CHECKSUMMED},a\tb,", "no control characters"),
        (f"{CHECKSUMMED},,nobody", "the customer is no UUID"),
        (f"{CHECKSUMMED},,{CUSTOMER.replace('-', '')}", "the customer is no UUID"),
        (f"{CHECKSUMMED},{'x' * 4096},", "longer than 4096 bytes"),
    ],
)
def test_a_bad_line_of_csv_is_told_with_its_number(line: str, words: str) -> None:
    """The others are read all the same."""
    content = read(HEADER + f"{OTHER},,\n\n{line}\n0x{'cd' * 20},,\n".encode())
    ((number, reason),) = reasons(content)
    assert number == 4
    assert words in reason
    assert [entry.line for entry in content.entries] == [2, 5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0x1234", "is no JSON object"),
        (f'"{CHECKSUMMED}"', "is no JSON object"),
        (f'["{CHECKSUMMED}"]', "is no JSON object"),
        (f'{{"address": "{CHECKSUMMED}"', "is no JSON object"),
        ("[" * 4000, "is no JSON object"),
        ("1" * 4096, "is no JSON object"),
        (f'{{"address": "{CHECKSUMMED}"}}, ', "is no JSON object"),
        ("{}", "the member address is missing"),
        ('{"address": null}', "address must be a string"),
        ('{"address": 12}', "address must be a string"),
        (f'{{"address": "{CHECKSUMMED}", "label": 7}}', "label must be a string or null"),
        (f'{{"address": "{CHECKSUMMED}", "label": ""}}', "1 to 200 characters"),
        (f'{{"address": "{CHECKSUMMED}", "label": "\\ud800"}}', "no control characters"),
        ('{"address": "\\ud800"}', "is not an address of an EVM chain"),
        (f'{{"address": "{CHECKSUMMED}", "customer": null}}', "'customer' is no member of ours"),
        (f'{{"address": "{CHECKSUMMED}", "{"x" * 99}": null}}', "xxx...' is no member of ours"),
        (f'{{"address": "{CHECKSUMMED}", "customerId": "x"}}', "the customer is no UUID"),
        (f'{{"address": "{CHECKSUMMED}", "address": "{OTHER}"}}', "names a member twice"),
    ],
)
def test_a_bad_line_of_ndjson_is_told_with_its_number(line: str, words: str) -> None:
    """The others are read all the same, and a reason can always be written as JSON."""
    good = f'{{"address": "0x{"cd" * 20}", "label": null}}'
    content = read(f"{good}\n{line}\n \r\n".encode(), FileFormat.NDJSON)
    ((number, reason),) = reasons(content)
    assert number == 2
    assert words in reason
    assert reason.encode()
    assert [entry.line for entry in content.entries] == [1]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("adress,label", "'adress' is no column of ours"),
        ("address,label,customerId", "'customerId' is no column of ours"),
        ("address;label;customer", "'address;label;customer' is no column of ours"),
        ("address,label,label", "names a column twice"),
        ("label,customer", "names no column address"),
        (CHECKSUMMED, "is no column of ours"),
        ('"address', "the quotes are wrong"),
    ],
)
def test_without_our_header_nothing_is_read(header: str, words: str) -> None:
    """One bad line says so; the rest would be wrong line by line, and is not looked at."""
    file = AddressFile(EVM_ADDRESSES, FileFormat.CSV)
    file.feed(f"{header}\n".encode())
    assert file.given_up
    file.feed(b"nonsense\n" * 1000)
    ((number, reason),) = reasons(file.finish())
    assert number == 1
    assert words in reason


def test_columns_come_in_any_order() -> None:
    """Only the address must be there; names may be quoted."""
    content = read(f'customer,"address"\r\n,{OTHER}\r\n{CUSTOMER.upper()},{CHECKSUMMED}'.encode())
    assert reasons(content) == []
    assert [(entry.label, entry.customer_id) for entry in content.entries] == [(None, None), (None, CUSTOMER)]


def test_a_second_time_in_the_file_names_the_first() -> None:
    """Upper or lower case is the same address, and a bad line of it counts as a first time."""
    text = f"address,label\n{CHECKSUMMED},\t\n{OTHER},\n{CHECKSUMMED.lower()},\n"
    content = read(text.encode())
    assert reasons(content)[1] == (4, "the same address stands in line 2: leave one of them out")
    assert [entry.line for entry in content.entries] == [3]


def test_a_line_that_is_not_utf_8_is_told() -> None:
    """The others are read all the same."""
    content = read(HEADER + f"{OTHER},Köln,\n".encode("latin-1") + f"{CHECKSUMMED},Köln,\n".encode())
    assert reasons(content) == [(2, "the line is not UTF-8: save the file in that encoding")]
    assert content.entries[0].label == "Köln"


@pytest.mark.parametrize("data", [b"", b"\n\r\n \n", HEADER, HEADER[:-1]])
def test_a_file_without_an_address_is_wrong(data: bytes) -> None:
    """Who sends nothing has made a mistake."""
    assert reasons(read(data)) == [(1, "the file names no address: there is nothing to register")]


def test_a_file_with_too_many_lines_is_wrong() -> None:
    """The hundred-thousandth line is taken, the next one ends it."""
    text = "address\n" + "".join(f"0x{number:040x}\n" for number in range(100_000))
    assert len(read(text.encode(), step=1 << 16).entries) == 100_000
    file = AddressFile(EVM_ADDRESSES, FileFormat.CSV)
    file.feed(f"{text}\n{OTHER}\n".encode())
    assert file.given_up
    assert reasons(file.finish()) == [
        (100_003, "the file has more than 100000 lines: split it, and register the parts in turn")
    ]


def test_a_line_without_an_end_is_not_kept() -> None:
    """However long a line is, only what a line may have is held."""
    file = AddressFile(EVM_ADDRESSES, FileFormat.CSV)
    file.feed(HEADER)
    for _ in range(100):
        file.feed(b"x" * 100_000)
        assert len(file._line) < 5_000
    assert reasons(file.finish()) == [(2, "the line is longer than 4096 bytes")]


def test_of_many_bad_lines_the_first_are_told() -> None:
    """All are counted."""
    content = read(HEADER + b"nonsense,,\n" * 250, limits=Limits(bad_lines_kept=3))
    assert content.bad.total == 250
    assert [bad.line for bad in content.bad.first] == [2, 3, 4]
    assert isinstance(content.bad.first[0], BadLine)
    assert content.bad.summary == "250 lines are wrong, and nothing was registered"
