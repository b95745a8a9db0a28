"""Blobs as files: shared, whole or not at all, and never believed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import LedgerError, StoreError, blob_root, pack_blob, verify_ledger
from bdn.chain.blob_files import SYNCED_ONE_BY_ONE, BlobFiles, blobs_of

BLOB = pack_blob([b"one", b"two"])
ROOT = blob_root(BLOB)


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")


def test_a_blob_is_a_file_of_its_roots_name(files: BlobFiles) -> None:
    files.write(ROOT, BLOB)
    files.write(ROOT, BLOB)
    files.sync()
    assert [place.name for place in files.path.iterdir()] == [ROOT.hex()]
    assert files.read(ROOT, len(BLOB)) == BLOB


def test_the_edge_servers_of_a_run_keep_one_copy(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """Each ledger knows what it holds itself; the bytes are there once."""
    (tmp_path / "edges").mkdir()
    chains = [make_chain(tmp_path / place) for place in ("ledger.sqlite", "edges/edge-1.sqlite")]
    assert {blobs_of(tmp_path / place) for place in ("ledger.sqlite", "edges/edge-1.sqlite")} == {
        tmp_path / "blobs"}
    first, second = (chain.ledger for chain in chains)
    first.put_blob(BLOB)
    assert second.store.blob_size(ROOT) is None
    second.put_blob(BLOB)
    assert first.blob(ROOT) == second.blob(ROOT) == BLOB
    assert len(list((tmp_path / "blobs").iterdir())) == 1
    for chain in chains:
        chain.ledger.close()


def test_a_block_is_stored_with_one_synchronisation_of_its_blobs(
    make_chain: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = make_chain(tmp_path / "ledger.sqlite")
    synced: list[int] = []
    real = BlobFiles.sync

    def sync(files: BlobFiles) -> None:
        synced.append(len(files._unsynced))
        real(files)

    monkeypatch.setattr(BlobFiles, "sync", sync)
    chain.add_epoch(1)
    assert synced == [4], "three updates and their sum"
    chain.ledger.close()


def test_many_new_files_are_synchronised_at_once(
    files: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(handle), real(handle)))
    for k in range(SYNCED_ONE_BY_ONE + 1):
        blob = pack_blob([bytes([k])])
        files.write(blob_root(blob), blob)
    files.sync()
    assert len(calls) in (0, SYNCED_ONE_BY_ONE + 2), "one call, or one per file and their folder"


def _folder(place: Path) -> None:
    place.mkdir()


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _link(place: Path) -> None:
    place.symlink_to("/dev/zero")


def _huge(place: Path) -> None:
    with place.open("wb") as stream:
        stream.truncate(1 << 40)


def _other(place: Path) -> None:
    place.write_bytes(pack_blob([b"one", b"tow"]))


HOSTILE = {"a folder": _folder, "a pipe": _pipe, "a link": _link, "a huge file": _huge,
           "another blob": _other, "nothing": lambda _place: None}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_stands_in_a_blobs_place_is_named_in_one_line(
    make_chain: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    """Neither reading nor verifying waits for it, follows it or reads all of it."""
    chain = make_chain(tmp_path / "ledger.sqlite")
    chain.add_epoch(1)
    root = next(chain.ledger.store.blob_roots())
    place = tmp_path / "blobs" / root.hex()
    place.unlink()
    HOSTILE[kind](place)
    for read in (lambda: chain.ledger.blob(root), lambda: verify_ledger(chain.ledger.store)):
        with pytest.raises(LedgerError, match=root.hex()) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    chain.ledger.close()


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link"])
def test_what_bdn_did_not_make_is_not_written_over(files: BlobFiles, kind: str) -> None:
    files.path.mkdir()
    place = files.path / ROOT.hex()
    HOSTILE[kind](place)
    before = place.lstat()
    with pytest.raises(StoreError, match="which bdn did not make: move it away"):
        files.write(ROOT, BLOB)
    assert os.path.samestat(place.lstat(), before)


@pytest.mark.parametrize("left", [b"", bytes(len(BLOB)), BLOB[:3], BLOB + b"more"])
def test_a_damaged_file_is_put_right_by_whoever_has_the_blob(
    files: BlobFiles, left: bytes
) -> None:
    """A crash of the machine may leave a file of zeros under the right name."""
    files.path.mkdir()
    (files.path / ROOT.hex()).write_bytes(left)
    files.write(ROOT, BLOB)
    assert files.read(ROOT, len(BLOB)) == BLOB


def test_a_file_that_vanished_is_written_again(files: BlobFiles) -> None:
    files.write(ROOT, BLOB)
    shutil.rmtree(files.path)
    files.write(ROOT, BLOB)
    assert files.read(ROOT, len(BLOB)) == BLOB


def test_only_what_an_interrupted_write_left_is_removed(files: BlobFiles) -> None:
    files.write(ROOT, BLOB)
    part = f".{ROOT.hex()}.01234567.bdn-part"
    (files.path / part).write_bytes(b"half")
    kept = [".hidden", f"{ROOT.hex()}.bak", ".bdn-part", ROOT.hex()[:-1]]
    for name in kept:
        (files.path / name).write_bytes(b"a user's")
    (files.path / f".{ROOT.hex()}.abcdef01.bdn-part").symlink_to("elsewhere")
    files.remove_unfinished()
    left = {place.name for place in files.path.iterdir()}
    assert left == {ROOT.hex(), *kept, f".{ROOT.hex()}.abcdef01.bdn-part"}
    files.remove_all()
    assert {place.name for place in files.path.iterdir()} == left - {ROOT.hex()}


def test_a_folder_that_is_a_link_is_not_emptied(files: BlobFiles, tmp_path: Path) -> None:
    other = BlobFiles(tmp_path / "others")
    other.write(ROOT, BLOB)
    files.path.symlink_to(other.path)
    files.remove_all()
    assert other.read(ROOT, len(BLOB)) == BLOB
