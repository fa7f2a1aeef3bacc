"""Retrainings that are killed at each call of their job, and the command after each.

One job is started for each story, the same run goes on, and its model is proposed. A story begins
with new data, so that its model differs from the one before.
"""

import contextlib
import itertools
import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.test_jobs import people
from tests.e2e.test_retrain import Training
from tests.e2e.world import spawn_emulator
from tests.survival.nursery import Nursery, open_nursery
from tests.survival.places import End
from tests.survival.verdict import Story

BRANCH = "retrain/census"
GATE = "  gate: [{metric: AUC, min: 0.5}]"
# The calls that make something, and those whose answers decide; how often a job is polled differs.
CALLS = (
    " POST jobs",
    " POST start",
    " GET job",
    " storage.upload",
    " storage.exists",
    " storage.read",
    " storage.digest",
    " ledger.record",
    " rewrite",
    " write_whole",
    " git commit-tree",
    " git update-ref",
    " git write-tree",
)


@dataclass
class Trained:
    """A project whose model is trained in each story; with `branch` it is proposed on one."""

    training: Training
    nursery: Nursery
    branch: str = ""
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(10))

    @property
    def command(self) -> tuple[str, ...]:
        more = ("--branch", self.branch) if self.branch else ()
        return ("retrain", "census", "--json", *more)

    def list_places(self) -> list[tuple[str, int]]:
        """Each place of a whole run where a kill matters, as its name and its number among these.

        Places after the last line are left out: the run is over there.
        """
        self._change_data()
        note = self.training.folder.parent / "places"
        note.unlink(missing_ok=True)
        ended = self.nursery.run(self.training.folder, *self.command, note=note)
        assert ended.code == 0, ended.said
        reached = note.read_text().splitlines()
        last = max(n for n, name in enumerate(reached) if name == "before ledger.record")
        counted = Counter(name for name in reached[: last + 1] if name.endswith(CALLS))
        return [
            (name, number)
            for name, times in counted.items()
            for number in range(1, 1 + (1 if name.endswith(" GET job") else times))
        ]

    def die(self, name: str, number: int) -> Story:
        """One that is killed, and all that must hold after the next."""
        self._change_data()
        started, runs = self.training.count_calls("POST", "/start"), self._list_runs()
        note = self.training.folder.parent / "places"
        note.unlink(missing_ok=True)
        end = End(number, (name,))
        killed = self.nursery.run(self.training.folder, *self.command, note=note, end=end)
        wrong = [] if killed.code == -signal.SIGKILL else [f"it was not killed: {killed.said}"]
        ended = self.nursery.run(self.training.folder, *self.command)
        if ended.code:
            wrong.append(f"the next ended with {ended.code}: {ended.said}")
        else:
            wrong += self._check_result(ended.out)
        jobs = self.training.count_calls("POST", "/start") - started
        made = len(self._list_runs() - runs)
        wrong += [f"{jobs} jobs were started"] if jobs != 1 else []
        wrong += [f"{made} runs have begun"] if made != 1 else []
        if self.training.run("ledger", "verify").code:
            wrong.append("the ledger does not verify")
        return Story(f"killed at {name}, number {number}", name, wrong)

    def _change_data(self) -> None:
        data = people(seed=next(self.seeds))
        (self.training.folder / "manifests/census.csv").write_bytes(data)
        if self.branch:
            self.training.git("add", "-A")
            self.training.git("commit", "-qm", "newer data")

    def _check_result(self, out: str) -> Iterator[str]:
        (result,) = json.loads(out)["results"]
        if result["outcome"] not in {"proposed", "unchanged"}:
            yield f"the model was {result['outcome']}"
        if self.branch:
            shown = self.training.git("show", f"{self.branch}:manifests/live.yaml")
        else:
            shown = (self.training.folder / "manifests/live.yaml").read_text()
        if result["digest"].removeprefix("sha256:") not in shown:
            yield "the manifest does not name the model"

    def _list_runs(self) -> set[str]:
        ledger = self.training.folder / ".reconciler/ledger.jsonl"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        data = (json.loads(line).get("data") or {} for line in lines)
        return {one["run"] for one in data if "run" in one}


@contextlib.contextmanager
def open_trained(folder: Path, branch: str = "", *, storage: str = "") -> Iterator[Trained]:
    """A project with a training service of its own; with a `branch` it is a repository.

    Without the URL of running `storage`, it has blob storage of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "calls.jsonl"
    own = (f"--blob-url={storage}",) if storage else ()
    options = ("--operation-seconds=0", "--job-seconds=0", f"--log={log}", *own)
    with spawn_emulator(*options) as emulator, open_nursery(folder / "said") as nursery:
        training = Training(folder / "project", emulator, log)
        training.write(gate=GATE)
        if branch:
            (training.folder / ".gitignore").write_text(".reconciler/\n")
            training.git("init", "-q", "-b", "main")
            training.git("config", "user.name", "t")
            training.git("config", "user.email", "t@t")
        yield Trained(training, nursery, branch)


def die_at_calls(trained: Trained, rounds: int, names: Sequence[str] = ()) -> Iterator[Story]:
    """Stories for each place where a kill matters, or for those with one of the names."""
    places = [one for one in trained.list_places() if not names or one[0] in names]
    for _ in range(rounds):
        for name, number in places:
            yield trained.die(name, number)
