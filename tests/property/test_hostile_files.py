"""Files from strange hands: plans whose digest is right, ledgers, caches, what was unrecorded."""

import functools
import hashlib
import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_copy import Copy
from reconciler.ledgers.chain import (
    START,
    Replay,
    advance,
    chain_head_after,
    digest_line,
    follow_all,
    join,
    seal,
)
from reconciler.ledgers.records import Checkpoint, Marker, Record
from reconciler.ledgers.recovery import write_entries
from reconciler.ledgers.verify import verify_lines
from reconciler.model import Action, Entry, Intent
from reconciler.observations import NAME
from reconciler.plans.plan_file import digest_of
from reconciler.text.json_text import canonical
from tests.hostile import TEXTS, VALUES, bent, encode, pick, renamed, spoiled, torn
from tests.hostile_project import NEW, OLD, SCOPE, SERVICE, World
from tests.laws import examples
from tests.ledgers import make_entry, make_intent

pytestmark = pytest.mark.property
Json = Any
QUICK = ("--patience", "0s", "--step-timeout", "0.1s")


@pytest.fixture
def folder(world: World) -> Path:
    """Where the project keeps its ledger and its cache, empty before each example."""
    return world.folder / ".reconciler"


def empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


# Plans.


@pytest.fixture(scope="module")
def saved(world: World) -> Json:
    """A plan as it is saved."""
    world.play({})
    ran = world.run("plan", "--refresh", "full", "--out", "saved.plan")
    assert ran.code == 0, ran.err
    return json.loads((world.folder / "saved.plan").read_bytes())


def sign(body: Json) -> bytes:
    """The plan with a digest that is right: anybody can compute it."""
    return encode({**body, "plan_digest": digest_of(body)} if isinstance(body, dict) else body)


def plans(saved: Json) -> st.SearchStrategy[bytes]:
    crooked = st.one_of(bent(saved), bent(saved, most=1), spoiled(saved), renamed(saved))
    return st.one_of(crooked.map(sign), torn(encode(saved)))


FORMS = [
    *(["--format", form] for form in ("text", "json", "markdown", "html")),
    ["--patch"],
    ["--inverse"],
]


@given(data=st.data())
@examples(50)
def test_a_plan_is_shown_or_refused(world: World, saved: Json, data: st.DataObject) -> None:
    (world.folder / "saved.plan").write_bytes(world.place(data.draw(plans(saved))))
    world.check_run(world.run("show", "saved.plan", *data.draw(pick(FORMS))))


@given(data=st.data())
@examples(30)
def test_a_plan_writes_where_it_says_or_nowhere(
    world: World, folder: Path, saved: Json, data: st.DataObject
) -> None:
    plan = world.place(data.draw(plans(saved)))
    empty(folder)
    world.play({})
    (world.folder / "saved.plan").write_bytes(plan)
    world.check_run(world.run("apply", "saved.plan", *QUICK))
    written = {
        asked.target.partition("?")[0] for asked in world.wild.asked if asked.method != "GET"
    }
    assert written <= {SERVICE}
    assert not written or SERVICE.encode() in plan


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "."])
def test_no_plan_is_read_without_end(world: World, name: str) -> None:
    ran = world.run("show", name)
    world.check_run(ran)
    assert ran.code == 1


# Ledgers: every line chained to the one before, as anybody can.

URI = "/properties/assets/asset3/locationInfo/uri"
EDGES = "/properties/package/edges"
OPS: Json = {
    "patch": (
        {"op": "test", "path": URI, "value": NEW},
        {"op": "replace", "path": URI, "value": OLD},
        {"op": "test", "path": EDGES, "value": [{"a": 1}]},
        {"op": "remove", "path": f"{EDGES}/0"},
    ),
    "inverse": (
        {"op": "add", "path": f"{EDGES}/0", "value": {"a": 1}},
        {"op": "replace", "path": URI, "value": NEW},
    ),
}
ADDED = ({"op": "add", "path": "", "value": {}}, {"op": "add", "path": "/location", "value": "x"})
REMEMBERED: Json = {
    "owned": {URI: OLD, "/tags/owner": "growth"},
    "secrets": {"/properties/keys/primary": "v1"},
    "digests": {URI: "sha256:00"},
    "baseline": {"/location": "southcentralus", "/properties/package": {"digest": "00"}},
}
WORDS = (
    make_entry(action=Action.ADOPT, id=SERVICE, **REMEMBERED),
    make_intent(id=SERVICE, fence=1, owned_paths=(URI,), absences=("/x",), **OPS),
    make_entry(id=SERVICE, intent=3, fence=1, **REMEMBERED),
    make_entry("gone", id=f"{SCOPE}/webServices/gone", **OPS, **REMEMBERED),
    make_intent("new", Action.CREATE, id=f"{SCOPE}/webServices/new", patch=ADDED),
    make_intent(id=SERVICE, stamp="2026", **OPS),
)


def make_checkpoint() -> Checkpoint:
    replay = Replay()
    replay.apply(make_entry(id=SERVICE, sequence=1, **REMEMBERED))
    replay.apply(make_intent("other", id=f"{SCOPE}/webServices/other", sequence=2, **OPS))
    return replay.checkpoint("ledger-1-1.jsonl", "sha256:0", 1)


def make_ledger(*words: Record) -> list[Json]:
    """The documents of the words, as the lines of a ledger say them."""
    end, lines = START, []
    for record in words:
        line = join(end, record)
        ended = advance(end, record, line)
        end = chain_head_after(line[:-1])
        assert ended == end
        lines.append(json.loads(line))
    return lines


def chain(documents: list[Json]) -> bytes:
    """The documents as lines, each with the digest of the one before and of itself."""
    data, before = b"", START.digest
    for document in documents:
        if isinstance(document, dict) and "previous" in document:
            said = {name: value for name, value in document.items() if name != "digest"}
            line = seal({**said, "previous": before})
        else:
            line = canonical(document).encode("utf-8", "surrogatepass")
        data, before = data + line + b"\n", digest_line(line)
    return data


# In both, the outcome names an intent by its number.
LEDGERS = [make_ledger(Marker("lock", 1), *WORDS), make_ledger(make_checkpoint(), *WORDS)]


@st.composite
def ledgers(draw: st.DrawFn) -> bytes:
    usual = draw(pick(LEDGERS))
    crooked = st.one_of(bent(usual), bent(usual, most=1), spoiled(usual), renamed(usual))
    return draw(st.one_of(crooked.map(chain), torn(chain(usual))))


USES = [
    ["history"],
    ["history", "--json"],
    ["history", "WebService/census", "--blame"],
    ["history", "--at", "2026-11-20"],
    ["ledger", "verify"],
    ["ledger", "compact"],
    ["ledger", "rebuild", "--auto-approve"],
    ["plan", "--refresh", "full"],
    ["drift", "--unmanaged"],
    ["rollback", "WebService/gone", "--out", "back.plan"],
    ["apply", "--auto-approve", *QUICK],
]


@given(data=st.data())
@examples(80)
def test_a_ledger_is_read_or_refused(world: World, folder: Path, data: st.DataObject) -> None:
    use, ledger = data.draw(pick(USES)), data.draw(ledgers())
    empty(folder)
    world.play({})
    (folder / "ledger.jsonl").write_bytes(world.place(ledger))
    world.check_run(world.run(*use))


@given(ledger=ledgers())
@examples(80)
def test_lines_of_a_container_are_followed_or_refused(ledger: bytes) -> None:
    """What storage holds comes in by another way, and is read by the same rules."""

    def number() -> Iterator[tuple[str, int, bytes]]:
        copy = Copy()
        with copy:
            copy.add_before("https://acct/ledger/000001.jsonl", [ledger])
            yield from copy.number()

    verify_report = verify_lines(
        number, lambda _: "", Replay(), lambda: None, lambda: ("lock", START)
    )
    assert verify_report.entries >= 0
    replay = Replay()
    try:
        for record in follow_all(number(), replay):
            replay.apply(record)
    except LedgerInvalid:
        return
    assert all(isinstance(one, Intent) for one in replay.snapshot().open)


LOCK = {
    "version": 1, "fence": 3, "machine": "m", "renewed": "", "holder": {
        "id": "1", "who": "ann", "why": "apply", "host": "desk", "pid": 7, "started": "1",
        "since": "2026-11-20T12:00:00Z", "commit": "", "fence": 3,
    },
}  # fmt: skip


@given(data=st.data())
@examples(20)
def test_a_lock_is_read_or_refused(world: World, folder: Path, data: st.DataObject) -> None:
    lock = data.draw(st.one_of(bent(LOCK).map(encode), torn(encode(LOCK))))
    use = data.draw(pick([["force-unlock", "1"], ["apply", "--auto-approve", *QUICK]]))
    empty(folder)
    world.play({})
    (folder / "lock.json").write_bytes(lock)
    world.check_run(world.run(*use))


# What could not be recorded.

UNRECORDED = json.loads(write_entries([one for one in WORDS if isinstance(one, Entry)]))


def seal_entries(document: Json) -> bytes:
    """The document with its digest."""
    if not isinstance(document, dict):
        return encode(document)
    body = {name: value for name, value in document.items() if name != "sha256"}
    text = canonical(body).encode("utf-8", "surrogatepass")
    return encode({**body, "sha256": f"sha256:{hashlib.sha256(text).hexdigest()}"})


@given(data=st.data())
@examples(30)
def test_what_was_not_recorded_is_taken_in_or_refused(
    world: World, folder: Path, data: st.DataObject
) -> None:
    crooked = st.one_of(bent(UNRECORDED), spoiled(UNRECORDED), renamed(UNRECORDED)).map(
        seal_entries
    )
    file = world.folder / "errored.ledger.json"
    file.write_bytes(data.draw(st.one_of(crooked, torn(encode(UNRECORDED)))))
    empty(folder)
    world.check_run(world.run("ledger", "verify", "--recover", file.name))
    world.check_run(world.run("history", "--json"))
    for left in world.folder.glob("errored.ledger.json*"):
        left.unlink()


# The cache.

CHANGES = [
    "UPDATE seen SET key = ?",
    "UPDATE seen SET stamp = ?",
    "UPDATE seen SET settled = ?",
    "UPDATE seen SET read_at = ?",
    "UPDATE seen SET digest = ?",
    "UPDATE seen SET document = ?",
]
FIELDS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    TEXTS.map(lambda text: text.encode("utf-8", "replace").decode()),
)
EVIL = [
    "CREATE VIEW more AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM seen; END",
    (
        "DROP TABLE seen; CREATE VIEW seen AS WITH RECURSIVE"
        " r(key, stamp, settled, read_at, digest, document) AS"
        " (VALUES('', '', 1, 1.0, x'', x'') UNION ALL SELECT * FROM r) SELECT * FROM r"
    ),
    "DROP TABLE seen; CREATE TABLE seen (key, stamp, settled, read_at, digest, document)",
    "PRAGMA user_version = 2",
    "DROP TABLE seen",
]


@functools.cache
def make_bomb() -> bytes:
    """Little that becomes much."""
    return zlib.compress(b" " * 150_000_000, 9)


BOMBS = st.builds(make_bomb)


@st.composite
def spells(draw: st.DrawFn) -> tuple[str, tuple[Json, ...]]:
    """A statement that somebody has let loose on a cache."""
    if draw(st.booleans()):
        return draw(pick(EVIL)), ()
    if draw(st.booleans()):
        packed = draw(st.one_of(VALUES.map(lambda value: zlib.compress(encode(value), 1)), BOMBS))
        digest = hashlib.sha256(packed).digest()
        return "UPDATE seen SET digest = ?, document = ?", (digest, packed)
    return draw(pick(CHANGES)), (draw(FIELDS),)


@pytest.fixture(scope="module")
def cache(world: World) -> bytes:
    """A cache as commands leave it."""
    empty(world.folder / ".reconciler")
    world.play({})
    for _ in range(2):
        assert world.run("drift", "--unmanaged").code == 0
    whole = world.folder / "cache"
    with closing(sqlite3.connect(world.folder / ".reconciler" / NAME)) as base:
        base.execute("VACUUM INTO ?", (str(whole),))
    return whole.read_bytes()


@given(data=st.data())
@examples(20)
def test_a_cache_is_believed_or_read_anew(
    world: World, folder: Path, cache: bytes, data: st.DataObject
) -> None:
    statement, values = data.draw(spells())
    damaged = data.draw(st.one_of(st.none(), torn(cache)))
    empty(folder)
    world.play({})
    (folder / NAME).write_bytes(cache if damaged is None else damaged)
    if damaged is None:
        with closing(sqlite3.connect(folder / NAME)) as base, base:
            spell(base, statement, values)
    for mode in ("none", "auto"):
        world.check_run(world.run("plan", "--refresh", mode))
    world.check_run(world.run("drift", "--unmanaged"))


def spell(base: sqlite3.Connection, statement: str, values: tuple[Json, ...]) -> None:
    if values:
        with suppress(sqlite3.IntegrityError):  # the tables have bounds of their own
            base.execute(statement, values)
    else:
        base.executescript(statement)


# Links that lead out.

LINKS = ["ledger.jsonl", "lock.json", "lock.json.new", NAME, f"{NAME}-wal", ".gitignore"]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("there", [True, False], ids=["to-a-file", "to-none-yet"])
def test_nothing_is_written_through_a_link(
    world: World, folder: Path, tmp_path: Path, name: str, there: bool
) -> None:
    target = tmp_path / "theirs"
    if there:
        target.write_text("theirs\n")
    empty(folder)
    (folder / name).symlink_to(target)
    world.play({})
    for use in (["apply", "--auto-approve", *QUICK], ["drift", "--unmanaged"]):
        world.check_run(world.run(*use))
    assert list(tmp_path.iterdir()) == ([target] if there else [])
    assert not there or target.read_text() == "theirs\n"


def test_a_folder_of_the_ledger_that_leads_out_is_refused(
    world: World, folder: Path, tmp_path: Path
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(tmp_path)
    try:
        ran = world.run("apply", "--auto-approve", *QUICK)
        world.check_run(ran)
        assert "the ledger's folder is outside the project's folder" in ran.err
        assert list(tmp_path.iterdir()) == []
    finally:
        folder.unlink()
