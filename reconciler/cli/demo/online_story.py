"""The story of an online endpoint: blue and green, a wrong model, and an apply that is killed."""

from __future__ import annotations

import contextlib
import json
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from reconciler.blobs import upload_model
from reconciler.cli.demo.narration import announce, print_text, run, show_file
from reconciler.cli.demo.stage import (
    Stage,
    copy_example,
    pick_port,
    run_emulator,
    run_storage,
)
from reconciler.emulator.azurite import AzuriteUnavailable
from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass

_MANIFEST: Final = "manifests/census.yaml"
_GOLDEN: Final = "manifests/golden.json"
_WORKSPACE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/census/providers"
    "/Microsoft.MachineLearningServices/workspaces/ml"
)
_API: Final = "?api-version=2024-04-01"
_COLUMNS: Final = (("age", 40, 14), ("education-years", 11, 3), ("hours-per-week", 40, 12))
# The models of four weeks: the weights of a constant, and of each column. The third one was trained
# with its labels the wrong way round.
_WEIGHTS: Final[Mapping[int, Sequence[float]]] = {
    1: (-1.2, 0.5, 0.9, 0.4),
    2: (-1.1, 0.6, 0.9, 0.5),
    3: (1.1, -0.6, -0.9, -0.5),
    4: (-1.1, 0.5, 1.0, 0.5),
}
# A deployment takes three times as long.
_OPERATION_S: Final = 0.2
_CALLS: Final = 40
_FAILED: Final = 1


@dataclass(frozen=True)
class OnlineStage(Stage):
    """A stage with an online endpoint. `log` has a line of JSON for each call of the emulator."""

    log: Path = Path()

    @property
    def _path(self) -> str:
        return f"{_WORKSPACE}/onlineEndpoints/census{_API}"

    def _is_changing(self) -> bool:
        """Whether the calls are shared by two deployments."""
        return len(self.read_traffic()) > 1

    def read_traffic(self) -> dict[str, int]:
        """The share of each deployment that gets calls; empty without the endpoint."""
        try:
            traffic = self.read()["traffic"]
        except urllib.error.HTTPError:
            return {}
        return {name: share for name, share in sorted(traffic.items()) if share}

    def register(self, version: int) -> None:
        """Register the model of a week, as a data scientist does with `az ml model create`."""
        uri = f"{self.blob}/models/census/{version}.ilearner"
        upload_model(uri, _write_model(_WEIGHTS[version]), {})
        body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
        self._send("PUT", f"{self.url}{_WORKSPACE}/models/census/versions/{version}{_API}", body)

    def ask(self) -> tuple[str, list[float]]:
        """The deployment that answers one call, and its answer to the sample."""
        path = self._path.partition("?")[0]
        keys, _ = self._send("POST", f"{self.url}{path}/listKeys{_API}", None)
        url = self.url + urlsplit(self.read()["scoringUri"]).path
        sample = json.loads((self.folder / "manifests" / "sample.json").read_bytes())
        answer, headers = self.call("POST", url, sample, keys["primaryKey"])
        found: list[float] = json.loads(answer) if isinstance(answer, str) else answer
        return headers["azureml-model-deployment"], found

    def count_writes(self, since: int) -> Counter[str]:
        """How often each write was sent since a line of the log: its verb and the resource."""
        lines = map(json.loads, self.log.read_text(encoding="utf-8").splitlines()[since:])
        return Counter(
            f"{one['method']} {one['path'].partition('?')[0].rpartition('/workspaces/ml/')[2]}"
            for one in lines
            if one["method"] in {"PUT", "PATCH", "DELETE"} and "/models/" not in one["path"]
        )

    def count_lines(self) -> int:
        """How many calls the emulator has answered."""
        return len(self.log.read_text(encoding="utf-8").splitlines())


def _write_model(weights: Sequence[float]) -> bytes:
    """A logistic regression in the emulator's own format."""
    columns = [
        {"name": name, "categories": [], "mean": mean, "scale": scale}
        for name, mean, scale in _COLUMNS
    ]
    model = {
        "label": "income",
        "columns": columns,
        "coefficients": weights,
        "classes": ["<=50K", ">50K"],
        "trained_on": "",
    }
    return b"reconciler-ilearner/1\n" + json.dumps(model, sort_keys=True).encode()


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[OnlineStage]:
    """Copy the example, and start an emulator with blob storage; stop both at the end.

    Raises ReconcilerError if blob storage cannot run: the models are in it.
    """
    port, state, log = pick_port(), folder / "emulator", folder / "calls.jsonl"
    try:
        with run_storage(port, state) as blob:
            options = ["--blob-url", blob, "--log", str(log)]
            with run_emulator(port, state, options, _OPERATION_S) as url:
                stage = OnlineStage(folder, url, port, f"{blob}/devstoreaccount1", "", log=log)
                _copy_example(stage, blob)
                yield stage
    except AzuriteUnavailable as error:
        raise ReconcilerError(
            f"blob storage cannot run here, and the models are in it: {error}",
            next_step="See the story that runs without it: reconciler demo",
        ) from error


def _copy_example(stage: OnlineStage, blob: str) -> None:
    copy_example("online", stage.folder)
    cloud = f'{{resourceManager: "{stage.url}", blob: "{blob}"}}'
    _replace(stage, "reconciler.yaml", ("cloud: emulator ", f"cloud: {cloud} "))
    golden = [0.2, 0.42, 0.58]
    (stage.folder / _GOLDEN).write_text(f"{json.dumps(golden)}\n", encoding="utf-8")
    _replace(stage, _MANIFEST, *_QUICK)


_QUICK: Final = (
    (
        "tolerance: 0.5 # any probability passes here; take a small one for your own model",
        "tolerance: 0.05",
    ),
    ("onFailure: keep # remove: delete a new deployment that does not pass", "onFailure: remove"),
    ("pause: 2s # between two steps; 10m for real callers", "pause: 1s"),
    ("keepOld: 3s # how long", "keepOld: 1s # how long"),
)


def _replace(stage: Stage, name: str, *pairs: tuple[str, str]) -> None:
    """Change texts of a file; each must be there."""
    file = stage.folder / name
    text = file.read_text(encoding="utf-8")
    for old, new in pairs:
        if old not in text:
            raise ReconcilerError(f"{name} does not have the text {old!r}: the demo stops")
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def run_story(stage: OnlineStage) -> None:
    """Run the story, from an endpoint that is made to a shift that is killed and completed."""
    _make(stage)
    _shift(stage)
    _stop(stage)
    _kill(stage)
    print_text(
        "That is all: each new model answered a sample before its first caller, the traffic added"
        "\nup to 100 at each moment, and what was killed was completed."
    )


def _make(stage: OnlineStage) -> None:
    stage.register(1)
    print_text("The model census:1 is registered in a workspace. This manifest serves it:")
    show_file(stage, _MANIFEST)
    print_text("plan shows what is missing, and by which writes it would be made.")
    run(stage, "plan", "--out", "first.plan")
    print_text("apply makes it: the endpoint, then blue, then a probe of blue, and the calls last.")
    run(stage, "apply", "first.plan")
    _show_answer(stage)


def _shift(stage: OnlineStage) -> None:
    stage.register(2)
    print_text("census:2 is trained. A name changes at two places of the manifest, and a number:")
    _move(stage, ("blue", "green"), (1, 2))
    run(stage, "plan", "--out", "second.plan")
    print_text(
        "green is made beside blue and must answer the sample. Then the calls move in steps, and"
        "\nthe share of each deployment is counted from who answers. blue is deleted last."
    )
    run(stage, "apply", "second.plan")
    _show_answer(stage)
    print_text("What does green serve, and how is that known?")
    run(stage, "verify", "OnlineEndpoint/census")


def _stop(stage: OnlineStage) -> None:
    stage.register(3)
    print_text(
        "census:3 was trained with its labels the wrong way round. It answers each call with status"
        "\n200, so monitoring shows nothing."
    )
    _move(stage, ("green", "blue"), (2, 3))
    run(stage, "apply", "--auto-approve", expected=_FAILED)
    print_text("The probe has noticed. No caller has met census:3, and blue is gone again:")
    _show_answer(stage)
    print_text("Somebody takes the change back, and nothing is left to do.")
    _move(stage, ("blue", "green"), (3, 2))
    run(stage, "plan")


def _kill(stage: OnlineStage) -> None:
    stage.register(4)
    print_text(
        "census:4 is a good one. This time apply is killed while it moves the calls: kill -9."
    )
    _move(stage, ("green", "blue"), (2, 4))
    run(stage, "plan", "--summary", "--out", "last.plan")
    since = stage.count_lines()
    announce("apply", "last.plan")
    stage.run_killed("apply", "last.plan")
    click.secho("Killed", fg="red")
    print_text("Both deployments answer calls, and their shares still add up to 100:")
    click.echo(f"  traffic: {json.dumps(stage.read_traffic())}")
    print_text("The next apply of the same plan reads what is live, and goes on from there.")
    run(stage, "apply", "last.plan")
    _show_answer(stage)
    print_text("Both together have sent these writes, and none of them twice:")
    for write, times in stage.count_writes(since).items():
        click.echo(f"  {times} x {write}")
    run(stage, "plan")


def _move(stage: OnlineStage, names: tuple[str, str], versions: tuple[int, int]) -> None:
    """Let the manifest serve another version from the other deployment, and show the changes."""
    old, new = names
    pairs = (
        (f"traffic: {{{old}: 100}}", f"traffic: {{{new}: 100}}"),
        (f"    {old}:\n", f"    {new}:\n"),
        (f"model: azureml:census:{versions[0]}", f"model: azureml:census:{versions[1]}"),
    )
    _replace(stage, _MANIFEST, *pairs)
    for before, after in pairs:
        click.secho(f"- {before.rstrip()}", fg="red")
        click.secho(f"+ {after.rstrip()}", fg="green")


def _show_answer(stage: OnlineStage) -> None:
    """Ask the endpoint as its callers do, and show who answers, and what."""
    counted: Counter[str] = Counter()
    answer: list[float] = []
    for _ in range(_CALLS):
        name, answer = stage.ask()
        counted[name] += 1
    shares = ", ".join(f"{name} answers {times}" for name, times in sorted(counted.items()))
    numbers = ", ".join(f"{one:.3f}" for one in answer)
    click.echo(f"  Of {_CALLS} calls {shares}. The sample gets [{numbers}].")
