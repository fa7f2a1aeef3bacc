"""A ledger and three plans that an earlier build of this program wrote: every later one reads them.

`recorded-ledger` is what the runs of one project left: web services that were created, adopted,
changed, deleted and forgotten, a Classic endpoint with a token, a fleet of which one member failed
and one was taken away, an apply that was killed and recovered, an archive with an open intent, and
an apply that was killed at the end. `history.json` and `compacted.jsonl` are what that build made
of it by `history --json` and `ledger compact`. `retrained.plan` gives a service a retrained model
and is of a build that did not show the verdicts of its gate. Nothing here is ever written anew.
"""

import json
import shutil
from pathlib import Path

import pytest

from reconciler.ledgers.file import FileLedger
from reconciler.model import Json
from reconciler.plans.plan_file import read_plan
from reconciler.text.json_text import canonical
from tests.casework.record import Recorder
from tests.contract.test_ledger import outcome
from tests.ledgers import make_intent

pytestmark = pytest.mark.contract
RECORDED = Path(__file__).parent / "recorded-ledger"
PROJECT = """\
apiVersion: reconciler/v1
kind: Project
metadata: {name: recorded}
spec: {cloud: emulator}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that holds the recorded ledger."""
    (tmp_path / "reconciler.yaml").write_text(PROJECT)
    kept = tmp_path / ".reconciler"
    kept.mkdir()
    for file in RECORDED.glob("ledger*.jsonl"):
        shutil.copy(file, kept)
    return tmp_path


@pytest.fixture
def ledger(folder: Path) -> FileLedger:
    return FileLedger(folder / ".reconciler")


def run(folder: Path, *arguments: str) -> Json:
    done = Recorder(folder, {}, lambda _, document: document).run(*arguments)
    assert done.code == 0, done.said
    return json.loads(done.out)


def test_a_recorded_ledger_is_whole(ledger: FileLedger) -> None:
    verify_report = ledger.verify()
    assert (verify_report.entries, verify_report.intents, verify_report.findings) == (18, 18, ())


def test_a_recorded_ledger_reports_the_same_history(folder: Path) -> None:
    assert run(folder, "history", "--json") == json.loads((RECORDED / "history.json").read_text())


def test_a_recorded_ledger_remembers_the_same(folder: Path, ledger: FileLedger) -> None:
    """A compacted ledger holds all that is remembered and open, so its bytes show both."""
    assert ledger.compact() == "ledger-24-37.jsonl"
    compacted = json.loads((folder / ".reconciler" / "ledger.jsonl").read_bytes())
    recorded = json.loads((RECORDED / "compacted.jsonl").read_bytes())
    assert compacted.pop("digest").startswith("sha256:")  # lines of version 3 have one
    assert (compacted.pop("version"), recorded.pop("version")) == (3, 2)
    assert canonical(compacted) == canonical(recorded)
    assert ledger.verify().findings == ()


@pytest.mark.parametrize("compacted", [False, True])
def test_a_recorded_ledger_goes_on(ledger: FileLedger, compacted: bool) -> None:
    (left,) = ledger.load().open
    assert (str(left.address), left.action.value) == ("WebService/stopped", "update")
    if compacted:
        ledger.compact()
    ledger.record(outcome(left.sequence, "stopped"))
    ledger.record(outcome(ledger.intend(make_intent("later")), "later"))
    snapshot = ledger.load()
    assert snapshot.open == ()
    assert {"stopped", "later"} <= {address.name for address in snapshot.last_applied_by_address}
    verify_report = ledger.verify()
    assert (verify_report.entries, verify_report.intents, verify_report.findings) == (20, 19, ())


@pytest.mark.parametrize("name", ["saved.plan", "back.plan", "retrained.plan"])
def test_a_recorded_plan_is_read_and_shown_as_it_is(folder: Path, name: str) -> None:
    text = (RECORDED / name).read_text()
    assert read_plan(text)[1] == json.loads(text)["plan_digest"]
    assert run(folder, "show", str(RECORDED / name), "--json") == json.loads(text)
