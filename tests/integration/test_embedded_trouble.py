"""Places, programs and disks that the embedded server cannot use, and what it says about them."""

import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chainbell.domain.errors import ChainbellError
from chainbell.storage.embedded import Binaries, EmbeddedServerError, find_binaries
from chainbell.storage.embedded.account import choose_account
from chainbell.storage.embedded.binaries import reachable
from chainbell.storage.embedded.socket_dir import socket_dir_for
from tests.embedded import ROOT, Hold, runs, works


@pytest.mark.parametrize("name", ["long-" * 30, "with a blank, and a comma", "weißes-ü"])
def test_paths_that_no_socket_can_have(data_dir: Path, hold: Hold, name: str) -> None:
    """Where the socket cannot be in the data directory, every process finds the same private folder elsewhere."""
    data_dir.mkdir(mode=0o711)
    first, second = hold(data_dir / name), hold(data_dir / name)
    dsn = first.ready()
    assert second.ready() == dsn
    place = Path(dsn.partition("host=")[2].partition("&")[0])
    assert data_dir not in place.parents
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    first.leave()
    second.leave()
    assert not place.exists()


def test_a_socket_folder_that_somebody_else_made(data_dir: Path) -> None:
    """A folder in /tmp that is open to others is refused, by name."""
    long = data_dir / ("long-" * 30)
    long.mkdir(parents=True, mode=0o711)
    data_dir.chmod(0o711)
    place = socket_dir_for(long, choose_account(long, long / "postgres"))
    place.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedServerError, match=str(place)):
            works(long)
    finally:
        place.rmdir()


def test_a_path_that_postgres_cannot_work_with(data_dir: Path) -> None:
    """A path that would be expanded by a shell is refused before anything is made in it."""
    data_dir.mkdir(mode=0o711)
    with pytest.raises(EmbeddedServerError, match="without special characters"):
        works(data_dir / "$HOME")


def test_binaries_out_of_the_servers_reach(data_dir: Path, used_dir: Path) -> None:
    """Programs in a folder that the server's user cannot enter, or a shell would mistake, are copied once."""
    hidden = data_dir.parent / "$hidden"
    hidden.mkdir(mode=0o700)
    source = find_binaries().root
    target = hidden / source.parent.name / source.name
    shutil.copytree(source.parent.with_name(f"{source.parent.name}.libs"), hidden / f"{source.parent.name}.libs")
    for part in ("bin", "lib/postgresql", "share"):
        shutil.copytree(source / part, target / part)
    outdated = used_dir / "postgres-binaries-0123456789ab"
    outdated.mkdir()
    for _ in range(2):
        assert works(used_dir, Binaries(target))
        copies = list(used_dir.glob("postgres-binaries-*"))
        assert len(copies) == 1
        assert outdated not in copies


def test_a_parent_folder_that_is_closed(data_dir: Path) -> None:
    """The closed folder is named and left as it is."""
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700 if ROOT else 0o000)
    with pytest.raises(ChainbellError, match=f"{closed}.*CHAINBELL_DATA_DIR"):
        works(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == (0o700 if ROOT else 0o000)
    closed.chmod(0o700)


def test_an_unprivileged_owner_shares_with_root(data_dir: Path, hold: Hold) -> None:
    """The directory's owner runs the server as themselves; root, coming later, uses it and leaves it usable."""
    owner = pwd.getpwnam("nobody").pw_uid if ROOT else os.getuid()
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, owner, -1)
    within_reach = reachable(find_binaries(), data_dir.parent, choose_account(data_dir, data_dir / "postgres"))
    options = ("--user", str(owner), "--binaries", str(within_reach.root)) if ROOT else ()
    first, second = hold(data_dir, *options), hold(data_dir)
    assert first.ready() == second.ready()
    assert (data_dir / "postgres").stat().st_uid == owner
    first.leave()
    second.leave()
    assert not runs(data_dir)
    again = hold(data_dir, *options)
    again.ready()
    again.leave()


def test_another_major_version(used_dir: Path) -> None:
    """Data of another PostgreSQL is refused with what to do, and left as it is."""
    (used_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match=r"PostgreSQL 17.*pg_upgrade") as refusal:
        works(used_dir)
    assert "CHAINBELL_DATA_DIR" in str(refusal.value)
    assert (used_dir / "postgres" / "PG_VERSION").read_text() == "17\n"


def test_something_else_in_the_clusters_place(data_dir: Path) -> None:
    """Files that are no cluster are refused and left as they are."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "letters.txt").write_text("dear")
    with pytest.raises(EmbeddedServerError, match="no PostgreSQL data directory"):
        works(data_dir)
    assert (data_dir / "postgres" / "letters.txt").read_text() == "dear"


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Put a small file system there, where we may; yield whether."""
    folder.mkdir(mode=0o711, exist_ok=True)
    mounted = (
        ROOT
        and not subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", folder], check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["/bin/umount", folder], check=True)


def test_no_space_to_make_it(data_dir: Path, hold: Hold) -> None:
    """A disk too small for a cluster is told in initdb's own words; nothing half-made is left, and space heals it."""
    with _small_disk(data_dir.parent / "disk", "20m") as mounted:
        place = data_dir.parent / "disk" / "data"
        error = hold(place, *(() if mounted else ("--file-limit", "1000000"))).refused()
        assert re.search("free disk space|No space left on device" if mounted else "File (too large|size limit)", error)
        assert "try again" in error
        assert mounted == (" has 20 MB free" in error)
        assert not list(place.glob("postgres*/"))


def test_no_space_to_start_it(used_dir: Path) -> None:
    """A full disk is told in PostgreSQL's own words even if its log has no room for them; space heals it."""
    with _small_disk(used_dir.parent / "disk", "80m") as mounted:
        place = used_dir.parent / "disk" / "data"
        subprocess.run(["/bin/cp", "-a", used_dir, place], check=True)
        if not mounted:  # without a disk of our own to fill: what stands in the way of writing is an unwritable folder
            (place / "postgres").chmod(0o500)
        (place / "postgres.log").unlink()
        _fill(place / "filler", mounted=mounted)
        with pytest.raises(EmbeddedServerError, match="No space left on device" if mounted else "Permission denied"):
            works(place)
        (place / "filler").unlink()
        (place / "postgres").chmod(0o700)
        assert works(place)


def _fill(path: Path, *, mounted: bool) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while mounted:
                file.write(bytes(4096))
        except OSError:
            return
