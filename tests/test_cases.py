"""Every rule as a folder: planned, shown, applied, read back, and planned again in vain.

A case needs no Python: see tests/cases/README.md. `pytest --bless` writes what is expected
anew; read the difference as a user would.
"""

import contextlib
import copy
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from reconciler.document.diff import diff
from reconciler.document.pointers import set_at, split_pointer
from reconciler.kinds import find_kinds
from tests.casework.case import OUTCOMES, Case, find_cases
from tests.casework.golden import check, mask, show_after, show_plan
from tests.casework.record import Recorder, show_calls
from tests.casework.stage import Stage, remove_at
from tests.e2e.world import Done, Emulator, run_emulator
from tests.outputs import check_output
from tests.storage import ALL_CHECKS

pytestmark = pytest.mark.e2e
Json = Any
SAVED = "saved.plan"
KINDS = find_kinds()
# What a second plan says; the second line if every resource of the case was destroyed.
NO_CHANGES = (
    "No changes. Your services match the manifests.\n",
    "No changes. This plan has no service to change.\n",
)
_COUNTS = re.compile(r"(\d+) (?:to )?add(?:ed)?, (\d+) (?:to )?changed?, (\d+) (?:to )?destroy")


@pytest.fixture(scope="session")
def emulators(emulator: Emulator) -> Iterator[Callable[[Mapping[str, str]], Emulator]]:
    """The emulator, or one with some unknowns settled otherwise, on the same blob storage."""
    with contextlib.ExitStack() as stack:
        started: dict[str, Emulator] = {"{}": emulator}

        def start(switches: Mapping[str, str]) -> Emulator:
            key = json.dumps(dict(sorted(switches.items())))
            if key not in started:
                options = [f"--switch={name}={value}" for name, value in switches.items()]
                options += ["--operation-seconds=0.05", f"--blob-url={emulator.blob}"]
                made = stack.enter_context(run_emulator(*options))
                started[key] = replace(made, blob=emulator.blob)
            return started[key]

        yield start


@pytest.mark.parametrize("folder", find_cases(), ids=lambda folder: folder.name)
def test_case(
    folder: Path, emulators: Callable[[Mapping[str, str]], Emulator], tmp_path: Path
) -> None:
    switches = Case(folder, Emulator("", "")).script.switches
    case = Case(folder, replace(emulators(switches), group=f"case-{folder.name}"))
    stage = Stage(case, tmp_path / "project")
    stage.set()
    check(case, {name: mask(case, text) for name, text in Play(stage).perform().items()})


_PLAN_DIGEST = re.compile(r"(?<=Digest of this plan: )sha256:[0-9a-f]{64}")


class Play:
    """One case from the first plan to the last; what was told is kept by the file's name."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.case = stage.case
        self.script = stage.case.script
        self.recorder = Recorder(stage.folder, self.script.env, self._amend)
        self.told: dict[str, str] = {"requests.http": ""}
        # What holds of each case alike is seen in a third of them, and of all in a run of all checks.
        self.is_thorough = ALL_CHECKS or zlib.crc32(self.case.folder.name.encode()) % 3 == 0

    def perform(self) -> Mapping[str, str]:
        plan_code, apply_code = OUTCOMES[self.script.outcome]
        self.before = self.stage.read_live()
        planned = self._plan(plan_code)
        if apply_code is None:
            self.told["stderr.txt"] = planned.err
            self._expect_untouched(self.before)
        else:
            self._show(planned)
            self._check_patches()
            if self.is_thorough:
                self._check_without_ledger()
            self.stage.edit()
            self._apply(apply_code)
        self._expect_no_secret()
        return self.told

    def _plan(self, code: int) -> Done:
        planned = self._run("plan", *self._flags(), "--out", SAVED)
        assert planned.code == code, planned.said
        self._note_requests("plan")
        self._expect_no_write()
        return planned

    def _show(self, planned: Done) -> None:
        """The three faces of the plan; a saved plan shows the same to the byte."""
        saved = (self.stage.folder / SAVED).read_text()
        document = json.loads(saved)
        check_output(document, "plan")
        assert document["outcome"] == self._outcome_of_plan()
        faces = {"text": planned.out, "json": saved}
        faces["markdown"] = self._run("plan", *self._flags(), "--format=markdown").out
        for form, text in faces.items() if self.is_thorough else ():
            shown = self.recorder.run("show", SAVED, "--format", form)
            # The comment was made by another plan, whose time is in its digest.
            hide = _PLAN_DIGEST.sub if form == "markdown" else lambda _, said: said
            assert hide("", shown.out) == hide("", text), shown.said
        again = json.loads(self._run("plan", *self._flags(), "--format=json").out)
        for name in ("timestamp", "plan_digest"):
            again[name] = document[name]
        assert again == document
        self.document = document
        self.told |= {"plan.txt": planned.out, "plan.md": faces["markdown"]}

    def _outcome_of_plan(self) -> str:
        reported = {"nothing": "no-changes", "refused": "refused"}
        return reported.get(self.script.outcome, "changes")

    def _check_patches(self) -> None:
        """Any library leads by the patch from what is live to what is desired, and back."""
        known: dict[str, Json] = {}
        for change in self.document["resource_changes"]:
            address, said = change["address"], change["change"]
            live = None
            if said["before"] is not None:
                live = json.loads(self._run("export", address, "--format", "json").out)
                assert said["before"] == live
                known[f"{{{address} as it is live}}"] = live
            patch = self._take("--patch", address) if self.is_thorough else change["patch"]
            assert patch == change["patch"]
            if said["after"] is None:
                assert patch == []
                continue
            desired = jsonpatch.apply_patch(live, patch)
            assert diff(KINDS[change["type"]].field, desired, said["after"]) == ()
            if live is not None and self.is_thorough:
                back = self._take("--inverse", address)
                assert jsonpatch.apply_patch(desired, back) == live
            known[f"{{{address} once patched}}"] = desired
            said["after"] = _name_desired(address, desired, said["after"])
        self.told["plan.json"] = show_plan(self.case, self.document, known)

    def _take(self, part: str, address: str) -> Json:
        return json.loads(self.recorder.run("show", SAVED, part, "--target", address).out)

    def _check_without_ledger(self) -> None:
        """A ledger is a memory: without it the operations are the same."""
        ledger = self.stage.folder / ".reconciler" / "ledger.jsonl"
        away = ledger.with_suffix(".away")
        removes = {"--prune", "--destroy"} & set(self._flags())
        if not ledger.exists() or removes or self.script.project.get("moved"):
            return
        ledger.rename(away)
        lost = json.loads(self._run("plan", *self._flags(), "--format=json").out)
        away.rename(ledger)
        assert lost["baseline"] == "lost"
        assert _patches(lost) == _patches(self.document)

    def _apply(self, code: int) -> None:
        edited = self.stage.read_live()
        applied = self._run("apply", SAVED, "--detailed-exitcode", *self.case.flags(""))
        assert applied.code == code, applied.said
        self._note_requests("apply")
        if code:
            self.told["stderr.txt"] = applied.err
        else:
            _expect_counts(self.told["plan.txt"], applied.out)
        if self.script.outcome == "incomplete":
            self.told["apply.txt"] = applied.out
        if self.script.outcome in {"refused", "stale", "nothing"}:
            self._expect_no_write()
            self._expect_untouched(edited)
        else:
            self.told["after.json"] = show_after(self.case, edited, self.stage.read_live())
        if code == 0:
            self._apply_again()
            self._plan_again()

    def _apply_again(self) -> None:
        """A plan that was done is read, holds, and writes nothing."""
        again = self._run("apply", SAVED, "--detailed-exitcode")
        counts = _COUNTS.search(again.out)
        assert (again.code, counts and counts.groups()) == (0, ("0", "0", "0")), again.said
        self._expect_no_write()

    def _plan_again(self) -> None:
        flags = self.script.again if self.script.again is not None else self.script.plan
        again = self._run("plan", "--detailed-exitcode", *self.case.flags(flags))
        self._note_requests("plan again")
        if self.script.not_silent:
            assert again.code == 2, again.said
            self.told["again.txt"] = again.out
        else:
            said = again.out[: again.out.find("\n") + 1]
            assert (again.code, said in NO_CHANGES) == (0, True), again.said

    def _flags(self) -> list[str]:
        return ["--detailed-exitcode", *self.case.flags(self.script.plan)]

    def _run(self, *arguments: str) -> Done:
        return self.recorder.run(*arguments)

    def _note_requests(self, command: str) -> None:
        ordered = self.script.parallelism == 1
        shown = show_calls(self.case, self.recorder.calls, ordered=ordered)
        before = self.told["requests.http"]
        self.told["requests.http"] = f"{before}{before and chr(10)}### {command}\n\n{shown}"

    def _expect_no_write(self) -> None:
        assert {call.method for call in self.recorder.calls} <= {"GET"}

    def _expect_untouched(self, before: Mapping[str, Json]) -> None:
        assert self.stage.read_live() == before

    def _expect_no_secret(self) -> None:
        """No secret in any byte that was printed or written."""
        files = (path for path in self.stage.folder.rglob("*") if path.is_file())
        written = [path.read_bytes() for path in files if path.parent.name != "secrets"]
        written += [said.encode() for said in self.recorder.said]
        env = self.script.env.items()
        secrets = {value for name, value in env if not name.startswith("GITHUB_")}
        secrets |= {
            text.strip() for name, text in self.case.files.items() if name.startswith("secrets/")
        }
        for secret in secrets:
            assert not any(secret.encode() in text for text in written)

    def _amend(self, resource: str, document: Json) -> Json:
        """What a later service might show beside what the emulator knows, or not show."""
        shown = copy.deepcopy(document)
        for pointer, value in self.script.shows.get(resource, {}).items():
            set_at(shown, split_pointer(pointer), value)
        for pointer in self.script.hides.get(resource, ()):
            remove_at(shown, pointer)
        return shown


def _patches(document: Json) -> Json:
    changes = document["resource_changes"]
    return {change["address"]: change["patch"] for change in changes if change["patch"]}


def _name_desired(address: str, desired: Json, after: Json) -> Json:
    """Where the plan's `after` says more than the patch makes, that alone is told."""
    if desired == after:
        return after
    more: Json = json.loads(json.dumps(after))
    return {"{once patched, and}": _more(desired, more)}


def _more(desired: Json, after: Json) -> Json:
    if not (isinstance(desired, dict) and isinstance(after, dict)):
        return after
    return {
        name: _more(desired.get(name), below)
        for name, below in after.items()
        if name not in desired or desired[name] != below
    }


def _expect_counts(plan: str, outcome: str) -> None:
    """An apply does as much as its plan said."""
    wanted = _COUNTS.search(plan)
    done = _COUNTS.search(outcome)
    assert done is not None, outcome
    assert done.groups() == (wanted.groups() if wanted else ("0", "0", "0"))
