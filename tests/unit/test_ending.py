"""How an apply ends: the word, the exit code, what is told where, and what is kept."""

import errno
import io
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import reconciler.ledgers.recovery
from reconciler.cli.context import Invocation
from reconciler.cli.errors import report
from reconciler.cli.exit_codes import ExitWord, classify_error, classify_outcome, get_exit_code
from reconciler.cli.outcome import FINISHED, keep_unrecorded, list_folders, report_outcome
from reconciler.errors import LockHeld, PlanRefused, ReconcilerError, StalePlan
from reconciler.model import Action, Address, Entry, Finding, Outcome, StepResult
from tests.events import CENSUS, LOCK_OWNER
from tests.lines import check_stream

ONE = (CENSUS.address,)
FAILED = (Finding("it went wrong", subject="WebService/census", next_step="Plan again."),)
ENTRY = Entry(
    address=CENSUS.address, id=CENSUS.id, action=Action.UPDATE, at="2026-11-24T10:00:00Z", by="ci",
    host="builder", commit="", plan_digest="sha256:0", patch=(), inverse=(), owned={}, secrets={},
)  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "halted", "word"),
    [
        (Outcome(changed=ONE), "", "applied"),
        (Outcome(changed=ONE), "interrupted", "interrupted"),
        (Outcome(changed=ONE, failures=FAILED), "", "incomplete"),
        (Outcome(not_started=ONE), "", "incomplete"),
        (Outcome(not_started=ONE), "stdout was closed", "incomplete"),
        (Outcome(not_started=ONE), "interrupted", "interrupted"),
        (Outcome(failures=FAILED, rolled_back=ONE), "", "rolled-back"),
        (Outcome(failures=FAILED, rolled_back=ONE, unrestored=FAILED), "", "incomplete"),
        (Outcome(failures=FAILED, rolled_back=ONE, unrecorded=(ENTRY,)), "", "incomplete"),
        (Outcome(changed=ONE, unrecorded=(ENTRY,)), "", "incomplete"),
    ],
)
def test_the_word_of_an_outcome(outcome: Outcome, halted: str, word: ExitWord) -> None:
    assert classify_outcome(outcome, halted, planned=True) == word


def test_nothing_to_do_is_a_word_of_its_own() -> None:
    assert classify_outcome(Outcome(), "", planned=False) == "no-changes"


@pytest.mark.parametrize(
    ("word", "code", "plain"),
    [
        ("applied", 0, 0), ("no-changes", 0, 0), ("error", 1, 1), ("refused", 3, 1),
        ("stale", 4, 1), ("locked", 5, 1), ("incomplete", 6, 1), ("rolled-back", 7, 1),
        ("interrupted", 130, 130), ("changes", 2, 0), ("drift", 2, 0), ("in-sync", 0, 0),
        ("evidence-incomplete", 8, 1),
    ],
)  # fmt: skip
def test_the_exit_code_of_a_word(word: ExitWord, code: int, plain: int) -> None:
    assert get_exit_code(word, detailed=True) == code
    assert get_exit_code(word, detailed=False) == plain


def test_the_word_of_an_error() -> None:
    errors = [PlanRefused(FAILED), StalePlan(FAILED), LockHeld("held", LOCK_OWNER), OSError("x")]
    words = ["refused", "stale", "locked", "error"]
    assert [classify_error(error) for error in errors] == words
    assert classify_error(KeyboardInterrupt()) == "interrupted"


def test_an_error_is_a_diagnostic_where_lines_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    invocation = Invocation()
    invocation.as_json = invocation.detailed_exitcode = True
    error = LockHeld("somebody holds it", LOCK_OWNER, subject="the ledger", next_step="Wait.")
    assert report(error, invocation) == 5
    said = capsys.readouterr()
    messages = check_stream(said.out)
    assert messages[1]["diagnostic"] == {
        "severity": "error", "summary": "somebody holds it", "detail": "Wait.",
        "address": "the ledger",
    }  # fmt: skip
    assert messages[-1]["outcome"] == "locked"
    assert said.err == ""
    # What goes wrong after the last word is told, and is no second last word.
    report(ReconcilerError("late"), invocation)
    assert [one["type"] for one in map(json.loads, capsys.readouterr().out.splitlines())] == [
        "diagnostic"
    ]


def test_an_error_is_told_on_stderr_where_nobody_reads_the_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    invocation = Invocation()
    invocation.as_json = True
    assert report(ReconcilerError("it went wrong"), invocation) == 1
    assert "Error: it went wrong" in capsys.readouterr().err


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_outcome_in_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    invocation = Invocation()
    invocation.as_json = True
    outcome = Outcome(changed=ONE, failures=FAILED, not_started=ONE)
    assert report_outcome(invocation, outcome, tmp_path, planned=True) == 1
    said = capsys.readouterr()
    messages = check_stream(said.out)
    assert [one["type"] for one in messages] == ["version", "diagnostic", "change_summary"]
    assert messages[-1]["outcome"] == "incomplete"
    assert said.err == ""


def test_an_outcome_that_stdout_does_not_take_is_told_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert report_outcome(Invocation(), Outcome(changed=ONE), tmp_path, planned=True) == 1
    assert "Apply complete! Resources: 0 added, 1 changed" in capsys.readouterr().err


def test_an_interrupted_apply_says_that_all_is_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invocation = Invocation()
    invocation.interruption.interrupted = True
    outcome = Outcome(changed=ONE, not_started=ONE)
    assert report_outcome(invocation, outcome, tmp_path, planned=True) == 130
    said = capsys.readouterr()
    assert said.out.startswith("Apply interrupted! Resources: 0 added, 1 changed")
    assert said.err == f"{FINISHED}\n"


def test_what_could_not_be_recorded_is_kept_and_how_to_take_it_in_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(
        reconciler.ledgers.recovery,
        "write_entries",
        lambda entries: json.dumps([one.id for one in entries]),
    )
    invocation = Invocation()
    outcome = Outcome(changed=ONE, failures=FAILED, unrecorded=(ENTRY,))
    assert report_outcome(invocation, outcome, tmp_path, planned=True) == 1
    kept = tmp_path / "errored.ledger.json"
    assert json.loads(kept.read_text()) == [CENSUS.id]
    said = capsys.readouterr().err
    assert "1 step done and not recorded: the ledger cannot be written" in said
    assert "Without them the next plan does not know who made the changes." in said
    assert f"reconciler ledger verify --recover {kept}" in said
    assert FINISHED not in said
    # Nowhere to keep it: it is printed, so that it can be saved by hand.
    monkeypatch.setattr("reconciler.cli.outcome.list_folders", lambda _: [tmp_path / "none"])
    report_outcome(Invocation(), outcome, tmp_path, planned=True)
    said = capsys.readouterr().err
    assert json.dumps([CENSUS.id]) in said
    assert "The entries follow; save them in a FILE" in said


def test_what_was_not_done_is_not_said_to_be_done_because_it_is_not_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unrecorded = (ENTRY, replace(ENTRY, result=StepResult.NOT_DONE))
    outcome = Outcome(failures=FAILED, unrecorded=unrecorded)
    report_outcome(Invocation(), outcome, tmp_path, planned=True)
    said = capsys.readouterr().err
    assert "the result of 2 steps is not recorded: the ledger cannot be written" in said
    assert "done and not recorded" not in said
    assert "Without them the next apply first reads the live documents." in said


def test_the_file_is_its_owners_alone_and_none_is_written_over(tmp_path: Path) -> None:
    first, second = (keep_unrecorded(text, [tmp_path]) for text in ("one", "two"))
    assert first == tmp_path / "errored.ledger.json"
    assert second == tmp_path / "errored.ledger.1.json"
    assert (first.read_text(), second.read_text()) == ("one", "two")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_the_next_folder_is_tried_and_nothing_half_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full, roomy = tmp_path / "full", tmp_path / "roomy"
    full.mkdir()
    roomy.mkdir()
    synced: list[int] = []

    def sync(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    assert keep_unrecorded("x", [tmp_path / "none", full, roomy]) == roomy / "errored.ledger.json"
    assert list(full.iterdir()) == []
    assert keep_unrecorded("x", [tmp_path / "none"]) is None


def test_the_project_is_tried_first_and_the_temporary_folder_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert list_folders(Path("/project")) == [Path("/project"), Path(), tmp_path]


def test_the_address_of_what_was_left_is_made_harmless(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = replace(Outcome(), not_started=(Address("WebService", "a\x1b[2J"),))
    report_outcome(Invocation(), outcome, tmp_path, planned=True)
    assert "\x1b" not in capsys.readouterr().out
