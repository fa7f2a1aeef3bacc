"""The cache of observations: whatever is wrong with it, it is empty and never an error."""

import hashlib
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import threading
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler import observations
from reconciler.model import ABSENT, CachedStamp, CompressedDocument, compress
from reconciler.observations import NAME, ObservationCache

pytestmark = pytest.mark.contract
SEEN = CachedStamp("2026-11-20T12:00:00.0260134Z", idle=True, at=1_800_000_000.5)
DOCUMENT: CompressedDocument = compress(
    {"id": "/S/a", "tags": {"é": "\ud800", "n": 1.0, "t": True, "none": None}}
)


def make(folder: Path, cloud: str = "https://one", form: str = "1") -> ObservationCache:
    return ObservationCache(folder / "cache", cloud, form)


def test_what_was_kept_is_recalled_whatever_the_casing_of_its_id(tmp_path: Path) -> None:
    cache = make(tmp_path)
    assert cache.load() == {}
    assert cache.recall("/S/a") is ABSENT
    cache.keep([("/S/a", SEEN, DOCUMENT), ("/S/b", SEEN, compress({}))])
    for again in (cache, make(tmp_path)):
        assert again.load() == {"/s/a": SEEN, "/s/b": SEEN}
        assert again.recall("/s/A") == DOCUMENT
    later = CachedStamp("x", idle=False, at=2.0)
    cache.keep([("/s/A", later, compress({"new": 1}))])
    assert (cache.load()["/s/a"], cache.recall("/S/a")) == (later, compress({"new": 1}))
    cache.drop(["/S/A", "/never/there"])
    assert list(cache.load()) == ["/s/b"]


def test_more_than_a_project_can_have_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observations, "_MOST_ROWS", 3)
    monkeypatch.setattr(observations, "_LONGEST_TEXT", 100)
    cache = make(tmp_path)
    long = CachedStamp("x" * 200, idle=True, at=2.0)
    cache.keep([("/a", long, DOCUMENT), ("/b" * 60, SEEN, DOCUMENT)])
    assert cache.load() == {}
    cache.keep([(f"/s{number}", SEEN, DOCUMENT) for number in range(5)])
    assert len(cache.load()) == 3
    monkeypatch.setattr(observations, "_MOST_BYTES", len(DOCUMENT.packed))
    assert cache.recall("/s1") is ABSENT


def test_other_clouds_and_other_forms_are_not_found(tmp_path: Path) -> None:
    make(tmp_path).keep([("/a", SEEN, DOCUMENT)])
    for other in (make(tmp_path, cloud="https://two"), make(tmp_path, form="2")):
        assert other.load() == {}
        assert other.recall("/a") is ABSENT
        other.keep([("/a", SEEN, compress({"other": 1}))])
    assert make(tmp_path).recall("/a") == DOCUMENT


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_a_damaged_file_is_an_empty_cache_that_can_be_written(
    tmp_path: Path, damage: bytes | None
) -> None:
    before = make(tmp_path)
    before.keep([("/a", SEEN, DOCUMENT)])
    before.close()
    file = tmp_path / "cache" / NAME
    file.write_bytes(file.read_bytes()[:5000] if damage is None else damage)
    cache = make(tmp_path)
    assert (cache.load() == {}) or cache.recall("/a") is ABSENT
    cache.close()
    again = make(tmp_path)
    again.keep([("/a", SEEN, DOCUMENT)])
    assert again.recall("/a") == DOCUMENT


def test_a_document_that_is_not_what_was_kept_is_none(tmp_path: Path) -> None:
    make(tmp_path).keep([("/a", SEEN, DOCUMENT)])
    with sqlite3.connect(tmp_path / "cache" / NAME) as connection:
        connection.execute("UPDATE seen SET document = zeroblob(40)")
    connection.close()
    assert make(tmp_path).recall("/a") is ABSENT


def test_a_cache_of_another_version_is_made_anew(tmp_path: Path) -> None:
    make(tmp_path).keep([("/a", SEEN, DOCUMENT)])
    with sqlite3.connect(tmp_path / "cache" / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    cache = make(tmp_path)
    assert cache.load() == {}
    cache.keep([("/a", SEEN, DOCUMENT)])
    assert cache.recall("/a") == DOCUMENT


def test_a_folder_that_cannot_be_made_costs_reads_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = make(tmp_path)
    cache.keep([("/a", SEEN, DOCUMENT)])
    assert (cache.load(), cache.recall("/a")) == ({}, ABSENT)


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    make(tmp_path).keep([("/a", SEEN, DOCUMENT)])
    for file in (tmp_path / "cache").glob(f"{NAME}*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_threads_share_one_cache(tmp_path: Path) -> None:
    cache = make(tmp_path)

    def write(number: int) -> None:
        for i in range(20):
            cache.keep([(f"/{number}/{i}", SEEN, DOCUMENT)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.load()) == 160


def _write_many(arguments: tuple[str, int]) -> int:
    folder, number = arguments
    cache = ObservationCache(Path(folder), "https://one", "1")
    for i in range(30):
        cache.keep([(f"/{number}/{i}", SEEN, DOCUMENT)])
        cache.load()
    return os.getpid()


def test_processes_use_it_side_by_side(tmp_path: Path) -> None:
    work: list[Any] = [(str(tmp_path / "cache"), number) for number in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(pool.map(_write_many, work)) == 4
    assert len(make(tmp_path).load()) == 120


def test_git_sees_nothing_of_it(tmp_path: Path) -> None:
    make(tmp_path).keep([("/a", SEEN, DOCUMENT)])
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    said = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain"], check=True, capture_output=True
    )
    assert said.stdout == b""
    (tmp_path / "cache" / "ledger.jsonl").write_text("kept")
    said = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain"], check=True, capture_output=True
    )
    assert b"cache/" in said.stdout


@pytest.mark.parametrize(
    "spell",
    [
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM seen; END",
        (
            "DROP TABLE seen; CREATE VIEW seen AS WITH RECURSIVE r(key, stamp, settled, read_at) AS"
            " (VALUES('', '', 1, 1.0) UNION ALL SELECT key, stamp, settled, read_at FROM r)"
            " SELECT * FROM r"
        ),
        "DROP TABLE seen; CREATE TABLE seen (key, stamp, settled, read_at, digest, document)",
    ],
)
def test_a_file_that_holds_anything_else_begins_anew(tmp_path: Path, spell: str) -> None:
    before = make(tmp_path)
    before.keep([("/a", SEEN, DOCUMENT)])
    before.close()
    with closing(sqlite3.connect(tmp_path / "cache" / NAME)) as base:
        base.executescript(spell)
    cache = make(tmp_path)
    assert cache.load() == {}
    cache.keep([("/b", SEEN, DOCUMENT)])
    assert make(tmp_path).recall("/b") == DOCUMENT


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE seen SET stamp = x'00'",
        "UPDATE seen SET read_at = 'soon'",
        "UPDATE seen SET read_at = 9e999",
        "UPDATE seen SET read_at = 1e300",
    ],
)
def test_a_sighting_that_is_none_is_passed_over(tmp_path: Path, change: str) -> None:
    cache = make(tmp_path)
    cache.keep([("/a", SEEN, DOCUMENT)])
    with closing(sqlite3.connect(tmp_path / "cache" / NAME)) as base, base:
        base.execute(change)
    assert cache.load() == {}


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b"[1]", b"NaN", b" " * 3_000_000, b'{"a": 1} x'],
    ids=["deep", "list", "nan", "bomb", "more"],
)
def test_a_document_that_is_none_is_absent(
    tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observations, "_MOST_BYTES", 1_000_000)
    cache = make(tmp_path)
    cache.keep([("/a", SEEN, DOCUMENT)])
    packed = zlib.compress(text)
    row = (hashlib.sha256(packed).digest(), packed)
    with closing(sqlite3.connect(tmp_path / "cache" / NAME)) as base, base:
        base.execute("UPDATE seen SET digest = ?, document = ?", row)
    assert cache.recall("/a") is ABSENT


def test_what_no_cache_can_hold_is_not_kept(tmp_path: Path) -> None:
    cache = make(tmp_path)
    cache.keep([("/a\ud800", SEEN, DOCUMENT)])
    assert cache.recall("/a\ud800") is ABSENT
    cache.keep([("/b", SEEN, DOCUMENT)])
    assert cache.recall("/b") == DOCUMENT
