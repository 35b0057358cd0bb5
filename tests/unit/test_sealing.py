import base64
import stat
import threading
from pathlib import Path

import pytest

from chainbell.domain.errors import ConfigurationError
from chainbell.storage.sealing import KEY_FILE, SecretBox, load_or_create_key, parse_secret_key

KEY = bytes(range(32))


def test_opens_what_it_sealed_for_the_same_row_only() -> None:
    """A sealed secret moved to another row, or changed by a bit, or under another key, does not open."""
    box = SecretBox(KEY)
    sealed = box.seal(b"whsec_x", "endpoint_secrets:1")
    assert box.open(sealed, "endpoint_secrets:1") == b"whsec_x"
    assert b"whsec" not in sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for opener, content, row in (
        (box, sealed, "endpoint_secrets:2"),
        (box, flipped, "endpoint_secrets:1"),
        (SecretBox(bytes(32)), sealed, "endpoint_secrets:1"),
    ):
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            opener.open(content, row)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    """No nonce is used twice."""
    box = SecretBox(KEY)
    assert box.seal(b"x", "a:1") != box.seal(b"x", "a:1")


def test_keys_are_told_apart_by_their_id() -> None:
    """A key's id is the same each time, differs between keys, and is not the key."""
    assert SecretBox(KEY).key_id == SecretBox(KEY).key_id
    assert SecretBox(KEY).key_id != SecretBox(bytes(32)).key_id
    assert len(SecretBox(KEY).key_id) == 8


def test_reads_the_key_of_the_setting() -> None:
    """Base64 of 32 bytes, with or without a newline, as openssl prints it."""
    assert parse_secret_key(base64.b64encode(KEY).decode() + "\n") == KEY


@pytest.mark.parametrize("text", ["", "x", "hunter2hunter2", base64.b64encode(b"short").decode(), "é" * 44])
def test_a_wrong_key_says_what_to_do_and_is_not_shown(text: str) -> None:
    """The error tells how to make a key, and does not repeat what was given."""
    with pytest.raises(ConfigurationError, match="openssl rand -base64 32") as caught:
        parse_secret_key(text)
    assert not text or text not in str(caught.value)


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """The second start finds the key of the first; nobody else may read it, and no draft is left."""
    key = load_or_create_key(tmp_path)
    assert load_or_create_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    """Whoever is slower takes the key of whoever was faster."""
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        keys.append(load_or_create_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_damaged_or_missing_place_is_a_clear_error(tmp_path: Path) -> None:
    """A key file that was cut off, and a directory that is not there, are named."""
    (tmp_path / KEY_FILE).write_text("cut off")
    with pytest.raises(ConfigurationError, match="damaged: restore it"):
        load_or_create_key(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_or_create_key(tmp_path / "nowhere")
