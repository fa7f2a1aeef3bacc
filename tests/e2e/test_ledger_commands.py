"""Looking after the ledger by the command line: verify, recover, rebuild, compact, unlock."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import Project, clean_environment
from tests.outputs import check_output

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]
HOLD = """
import sys, time
from reconciler.cli.wiring import assemble_project
from reconciler.cli.context import Invocation
from reconciler.cli.wiring import lock_ledger
assembly = assemble_project(Invocation())
with lock_ledger(assembly, "a test", 0.0) as lease:
    print(lease.lock_owner.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def applied(project: Project) -> Project:
    """Two services under management."""
    world = project.emulator
    for name in "ab":
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    done = project.run("apply", "--auto-approve")
    assert done.code == 0, done.said
    return project


def ledger_of(project: Project) -> Path:
    return project.folder / ".reconciler" / "ledger.jsonl"


def ops_of(project: Project) -> Any:
    done = project.run("plan", "--format", "json")
    return [one["patch"] for one in json.loads(done.out)["resource_changes"]]


def test_a_whole_ledger_is_proven(applied: Project) -> None:
    done = applied.run("ledger", "verify")
    last = ledger_of(applied).read_bytes().splitlines()[-1]
    digest = f"sha256:{hashlib.sha256(last).hexdigest()}"
    assert done.code == 0
    assert done.out.splitlines() == [
        "The ledger holds: 2 entries, 2 intents, chain intact.",
        f"Its last line has sequence 4 and digest {digest}.",
    ]
    reported = json.loads(applied.run("ledger", "verify", "--json").out)
    check_output(reported, "ledger")
    assert (reported["entries"], reported["whole"]) == (2, True)
    assert reported["head"] == {"sequence": 4, "digest": digest}


def test_a_line_that_was_changed_is_named_and_fails(applied: Project) -> None:
    file = ledger_of(applied)
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace("WebService/", "WebService/x")
    file.write_text("\n".join(lines) + "\n")
    done = applied.run("ledger", "verify")
    assert done.code == 1
    assert "chain broken" in done.out
    assert "ledger.jsonl" in done.out
    reported = applied.run("ledger", "verify", "--json")
    document = json.loads(reported.out)
    check_output(document, "ledger")
    assert (reported.code, document["whole"]) == (1, False)
    assert document["diagnostics"]


@pytest.mark.parametrize("harm", ["changed", "cut", "emptied", "gone"])
def test_a_ledger_that_lost_its_end_is_refused_until_it_is_rebuilt(
    applied: Project, harm: str
) -> None:
    file = ledger_of(applied)
    lines = file.read_bytes().splitlines(keepends=True)
    if harm == "gone":
        file.unlink()
    else:
        changed = lines[-1].replace(b"WebService/", b"WebService/x")
        left = {"changed": [*lines[:-1], changed], "cut": lines[:-1], "emptied": []}[harm]
        file.write_bytes(b"".join(left))
    applied.manifest("a", applied.emulator.model_uri("newest"))
    for command in (["ledger", "verify"], ["apply", "--auto-approve"], ["apply", "--auto-approve"]):
        done = applied.run(*command)
        assert done.code == 1, done.said
        assert "ledger.jsonl" in done.said
        assert "reconciler ledger rebuild" in done.said
    assert applied.emulator.model("a") == applied.emulator.model_uri("new")
    assert applied.run("ledger", "rebuild", "--auto-approve").code == 0
    assert applied.run("apply", "--auto-approve").code == 0
    assert applied.emulator.model("a") == applied.emulator.model_uri("newest")
    assert applied.run("ledger", "verify").code == 0


READING = [
    ("plan",),
    ("drift",),
    ("drift", "--json"),
    ("list",),
    ("list", "--json"),
    ("history",),
    ("history", "WebService/a"),
    ("history", "--at", "2026-01-01"),
    ("export", "--all"),
    ("import", "WebService/c", "c"),
    ("rollback", "WebService/a", "--out", "rollback.json"),
]
LOCKING = [
    ("apply", "--auto-approve"),
    ("forget", "WebService/a"),
    ("ledger", "compact"),
    ("ledger", "verify"),
]


@pytest.mark.parametrize("left", [b"", None], ids=["empty", "gone"])
@pytest.mark.parametrize("command", [*READING, *LOCKING], ids=" ".join)
def test_no_command_passes_over_a_ledger_that_lost_its_lines(
    applied: Project, command: tuple[str, ...], left: bytes | None
) -> None:
    applied.emulator.deploy("c", applied.emulator.model_uri("old"))
    ledger_of(applied).unlink()
    if left is not None:
        ledger_of(applied).write_bytes(left)
    done = applied.run(*command)
    assert "the ledger is empty, and its lock remembers sequence 4" in done.said
    assert "reconciler ledger rebuild" in done.said
    if command in LOCKING:
        assert done.code == 1, done.said
    if "--json" in command:
        json.loads(done.out)


@pytest.mark.parametrize("loss", ["lost", "broken", "whole"])
def test_a_ledger_is_rebuilt_from_what_is_live(applied: Project, loss: str) -> None:
    applied.emulator.patch("a", title="Theirs")
    applied.manifest("b", applied.emulator.model_uri("newest"))
    before = ops_of(applied)
    assert len(before) == 1
    file = ledger_of(applied)
    if loss == "lost":
        file.unlink()
    elif loss == "broken":
        file.write_text("not a ledger\nat all\n")
    done = applied.run("ledger", "rebuild", *([] if loss == "lost" else ["--auto-approve"]))
    assert done.code == 0, done.said
    assert "<= WebService/a [a]: 1 value remembered" in done.out
    assert "left out, the live value differs: properties.assets.asset3" in done.out
    assert ("is kept as" in done.out) == (loss != "lost")
    assert ops_of(applied) == before
    assert applied.run("ledger", "verify").code == 0
    assert "<= adopt  WebService/a" in applied.run("history").out
    drift = applied.run("drift")
    assert "Theirs" not in drift.out, "what was live at the rebuild is what is known"


def test_a_rebuild_asks_where_a_ledger_is_there(applied: Project) -> None:
    before = ledger_of(applied).read_bytes()
    done = applied.run("ledger", "rebuild", stdin="no\n")
    assert (done.code, "Do you want to rebuild the ledger?" in done.out) == (1, True), done.said
    assert ledger_of(applied).read_bytes() == before
    silent = applied.run("ledger", "rebuild", env={"RECONCILER_INPUT": "0"})
    assert "--auto-approve" in silent.err
    assert applied.run("ledger", "rebuild", stdin="yes\n").code == 0


def test_nothing_is_set_aside_where_anything_could_not_be_read(applied: Project) -> None:
    before = ledger_of(applied).read_bytes()
    applied.emulator = type(applied.emulator)("http://127.0.0.1:1", "")
    applied.write_project()
    done = applied.run("ledger", "rebuild", "--auto-approve")
    assert done.code == 1
    assert ledger_of(applied).read_bytes() == before


def test_a_compacted_ledger_remembers_and_can_be_proven(applied: Project) -> None:
    last_applied_by_address = applied.run("history", "--at", "2999-01-01", "--json").out
    done = applied.run("ledger", "compact")
    assert done.code == 0, done.said
    assert "Archived: 2 entries and 2 intents, to ledger-" in done.out
    assert "The new ledger starts with 2 resources." in done.out
    assert applied.run("history", "--at", "2999-01-01", "--json").out == last_applied_by_address
    assert applied.run("plan", "--detailed-exitcode").code == 0
    assert applied.run("ledger", "verify").code == 0
    applied.manifest("a", applied.emulator.model_uri("newest"))
    assert applied.run("apply", "--auto-approve").code == 0
    assert applied.run("rollback", "WebService/a", "--auto-approve").code == 0
    assert applied.emulator.model("a") == applied.emulator.model_uri("new")


def test_what_was_not_recorded_is_recovered_once(applied: Project) -> None:
    from reconciler.ledgers.file import FileLedger
    from reconciler.ledgers.recovery import write_entries

    ledger = FileLedger(applied.folder / ".reconciler")
    text = write_entries(list(ledger.entries()))
    shutil.rmtree(ledger_of(applied).parent)
    kept = applied.folder / "errored.ledger.json"
    kept.write_text(text)
    done = applied.run("ledger", "verify", "--recover", "errored.ledger.json")
    assert done.code == 0, done.said
    assert "Recovered: 2 of 2 entries recorded." in done.out
    assert not kept.exists()
    kept.write_text(text)
    again = applied.run("ledger", "verify", "--recover", "errored.ledger.json", "--json")
    assert json.loads(again.out)["recovered"] == 0
    assert sorted(file.name for file in applied.folder.glob("errored*")) == [
        "errored.ledger.json.recovered",
        "errored.ledger.json.recovered-2",
    ]
    assert len(list(ledger.entries())) == 2
    kept.write_text("{")
    wrong = applied.run("ledger", "verify", "--recover", "errored.ledger.json")
    assert (wrong.code, "errored.ledger.json" in wrong.err, kept.exists()) == (1, True, True)
    assert applied.run("ledger", "verify", "--recover", "nowhere").code == 1


@pytest.fixture
def holding(applied: Project) -> Any:
    """A process that holds the lock, and the lock's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=applied.folder,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        yield applied, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize(
    "command",
    [("forget", "WebService/a"), ("ledger", "rebuild", "--auto-approve"), ("ledger", "compact"),
     ("rollback", "WebService/a", "--auto-approve")],
)  # fmt: skip
def test_what_writes_the_ledger_waits_for_its_lock(holding: Any, command: tuple[str, ...]) -> None:
    project, lock_id = holding
    before = ledger_of(project).read_bytes()
    done = project.run(*command, "--lock-timeout", "0s")
    assert done.code == 1
    assert lock_id in done.err
    assert "a test" in done.err
    assert ledger_of(project).read_bytes() == before
    assert project.run("history").code == 0, "who reads takes no lock"
    assert project.run("ledger", "verify").code == 0


def test_a_lock_is_taken_away_by_its_id(holding: Any) -> None:
    project, lock_id = holding
    wrong = project.run("force-unlock", "nonsense", "--force")
    assert (wrong.code, lock_id in wrong.err) == (1, True)
    asked = project.run("force-unlock", lock_id, stdin="no\n")
    assert "Do you really want to force-unlock?" in asked.out
    assert asked.code == 1
    done = project.run("force-unlock", lock_id, stdin="yes\n")
    assert (done.code, "The ledger is unlocked." in done.out) == (0, True), done.said
    assert project.run("forget", "WebService/a", "--lock-timeout", "0s").code == 0
    none = project.run("force-unlock", "-force", lock_id)
    assert (none.code, "the ledger is not locked" in none.err) == (1, True)


def test_an_apply_of_files_that_the_commit_does_not_contain_is_marked(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", world.model_uri("old"))
    git = ["git", "-C", str(project.folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE)
    head = commit.stdout.decode().strip()
    project.manifest("a", world.model_uri("new"))

    differ = "These files differ from the commit: manifests/a.yaml"
    planned = project.run("plan", "--out", "p.plan").out
    assert f"Created from {head[:7]}-dirty. {differ}.\n" in planned
    assert json.loads((project.folder / "p.plan").read_text())["inputs"]["differing"] == [
        "manifests/a.yaml"
    ]
    assert project.run("apply", "p.plan").code == 0

    shown = project.run("history").out
    assert f"@{head[:7]}-dirty" in shown
    assert f"\n      {differ}\n" in shown
    assert f"@{head[:7]}-dirty" in project.run("list").out
    entries = json.loads(project.run("history", "--json").out)["entries"]
    assert [one["commit"] for one in entries] == [f"{head}-dirty"]
    assert [one["differing"] for one in entries] == [["manifests/a.yaml"]]
    (recalled,) = json.loads(project.run("history", "--json", "--at", "#2").out)["resources"]
    blame = json.loads(project.run("history", "WebService/a", "--blame", "--json").out)
    for one in (recalled, *blame["fields"]):
        assert one["differing"] == ["manifests/a.yaml"]
    subprocess.run([*git, "commit", "-q", "-a", "-m", "second"], check=True)
    assert "-dirty" not in project.run("plan").out.partition("Created from")[2]


@pytest.mark.parametrize("changed", ["manifests/new.yaml", "reconciler.yaml", "many"])
def test_the_history_names_the_files_that_differ_from_the_commit(
    project: Project, changed: str
) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", world.model_uri("new"))
    git = ["git", "-C", str(project.folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    names = [f"manifests/{n:02}{c}.txt.yaml" for n in range(20) for c in "ab"]
    for name in names if changed == "many" else [changed]:
        with (project.folder / name).open("a") as file:
            file.write("# edited\n")
    assert project.run("apply", "--auto-approve").code == 0
    done = json.loads(project.run("history", "--json").out)
    check_output(done, "history")
    (entry,) = done["entries"]
    assert entry["differing"] == (names[:21] if changed == "many" else [changed])
    (line,) = [one for one in project.run("history").out.splitlines() if "differ from" in one]
    assert names[0] in line if changed == "many" else line.endswith(f"commit: {changed}")
    assert line.endswith(" and more") is (changed == "many")
    assert project.run("ledger", "verify").code == 0
    assert project.run("ledger", "compact").code == 0
    assert project.run("forget", "WebService/a").code == 0
    last = json.loads(project.run("history", "--json").out)["entries"][0]
    # forget reads the project file and no manifest.
    assert ("differing" in last) is (changed == "reconciler.yaml")
