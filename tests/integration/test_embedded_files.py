"""The files around the embedded server: its data directory and its log."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from chainbell.storage.data_dir import DataDirError, default_data_dir, prepare_data_dir
from chainbell.storage.embedded.account import choose_account
from chainbell.storage.embedded.server_log import ServerLog


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "/data/ann"}, 0, "/var/lib/chainbell"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "/data/ann"}, 1000, "/data/ann/chainbell"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "relative"}, 1000, "/home/ann/.local/share/chainbell"),
        ({"HOME": "/home/ann"}, 1000, "/home/ann/.local/share/chainbell"),
    ],
)
def test_default_data_dir(environ: dict[str, str], uid: int, expected: str) -> None:
    """Root's is system-wide, everybody else's is where XDG says."""
    assert default_data_dir(environ, uid) == Path(expected)


def test_default_data_dir_without_a_home() -> None:
    """A user without HOME has the home folder of the password file; one who is not even there must choose."""
    user = pwd.getpwnam("daemon")
    assert default_data_dir({}, user.pw_uid) == Path(user.pw_dir) / ".local/share/chainbell"
    with pytest.raises(DataDirError, match="set CHAINBELL_DATA_DIR"):
        default_data_dir({}, 4_000_000)


def test_the_data_dir_is_private(tmp_path: Path) -> None:
    """It is made for its owner alone, and found again through a link."""
    made = prepare_data_dir(tmp_path / "some" / "where")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(made)
    assert prepare_data_dir(tmp_path / "link") == made


def test_a_file_in_the_data_dirs_place(tmp_path: Path) -> None:
    """A file is no data directory, nor is there one below it."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataDirError, match="choose another CHAINBELL_DATA_DIR"):
            prepare_data_dir(path)


def test_a_data_dir_that_everybody_may_write(tmp_path: Path) -> None:
    """Secrets and money are not kept where anybody can swap the files."""
    tmp_path.chmod(0o777)
    with pytest.raises(DataDirError, match="chmod o-w"):
        prepare_data_dir(tmp_path)


def test_the_log_is_bounded(tmp_path: Path) -> None:
    """A log over 10 MB is emptied under the server's hands; its last megabyte is kept; a short one is left alone."""
    log = ServerLog(tmp_path, choose_account(tmp_path, tmp_path / "postgres"))
    descriptor = os.open(log.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b"short\n")
        log.bound()
        assert log.since(0) == "short"
        os.write(descriptor, b"x" * 10_000_000 + b"last words\n")
        before = log.prepare()
        assert before == 0
        os.write(descriptor, b"new words\n")
        assert log.since(before) == "new words"
    finally:
        os.close(descriptor)
    kept = (tmp_path / "postgres.log.1").read_bytes()
    assert len(kept) == 1_000_000
    assert kept.endswith(b"last words\n")
    assert stat.S_IMODE((tmp_path / "postgres.log.1").stat().st_mode) == 0o600
