"""The story of retraining: a better model is proposed, a worse one is refused and then lifted."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from reconciler.cli.demo.narration import print_text, run, show_file
from reconciler.cli.demo.repository import commit, make_repository, show_git
from reconciler.cli.demo.stage import (
    Stage,
    copy_example,
    pick_port,
    run_emulator,
    run_storage,
)
from reconciler.emulator.azurite import AzuriteUnavailable
from reconciler.errors import ReconcilerError

_USUAL_BLOB: Final = "http://127.0.0.1:10000"
_DATA: Final = "manifests/census.csv"
_GOLDEN: Final = "manifests/golden.csv"
_BRANCH: Final = "retrain/census"
_WORK: Final = ("Private", "Self-emp", "State-gov")
_SCHOOL: Final = ("HS-grad", "Some-college", "Bachelors", "Masters")
_HEADER: Final = "age,workclass,education,hours-per-week,income"
_REASON: Final = "the data of the old model must be deleted"
_ASKED: Final = (("21", "Private", "Some-college", "60"), ("69", "Private", "Masters", "25"))


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Copy the example into a repository of its own, and start an emulator and blob storage.

    Raises ReconcilerError if git or blob storage cannot run: models are trained in storage.
    """
    port, state = pick_port(), folder / "emulator"
    try:
        with run_storage(port, state) as blob:
            options = ["--blob-url", blob, "--job-seconds", "0.5"]
            with run_emulator(port, state, options) as url:
                stage = Stage(folder, url, port, f"{blob}/devstoreaccount1", "")
                _copy_example(stage, blob)
                yield stage
    except AzuriteUnavailable as error:
        raise ReconcilerError(
            f"blob storage cannot run here, and jobs train in it: {error}",
            next_step="See the story that runs without it: reconciler demo",
        ) from error


def _copy_example(stage: Stage, blob: str) -> None:
    copy_example("census-retraining", stage.folder)
    cloud = f'{{resourceManager: "{stage.url}", services: "{stage.url}", blob: "{stage.blob}"}}'
    _replace(stage.folder / "reconciler.yaml", "cloud: emulator ", f"cloud: {cloud} ")
    for name in ("census", "census-retraining"):
        _replace(stage.folder / "manifests" / f"{name}.yaml", _USUAL_BLOB, blob)
    make_repository(stage, "Demo", "Declare the services and how a model is made", "emulator/")


def _replace(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def run_story(stage: Stage) -> None:
    """Run the story, from the first model to a better one, and to a worse one."""
    _train_first(stage)
    _shift(stage)
    _propose(stage)
    _serve(stage)
    _refuse(stage)
    _lift(stage)
    print_text(
        "That is all: a model is trained by one command, judged with numbers, reviewed as a commit,"
        "\napplied, and proven by its answers."
    )


def _train_first(stage: Stage) -> None:
    print_text("This manifest declares how a model is made, and what it must prove:")
    show_file(stage, "manifests/census-retraining.yaml")
    print_text("The training service is deployed as any other service.")
    run(stage, "apply", "--auto-approve", "--target", "WebService/census-training")
    print_text(
        "retrain runs it on the data of the project. This is the first model: nothing is in service"
        "\nthat it could be compared with, and the gate accepts that."
    )
    run(stage, "retrain", "census", "--commit")
    print_text("The manifest names the model now. apply creates the service with it.")
    run(stage, "apply", "--auto-approve")
    print_text("The service answers two people who are not in the data:")
    _ask(stage)


def _shift(stage: Stage) -> None:
    print_text(
        "The data shifts: what counts is no longer the age but the education and the hours.\n"
        "New people are in the training data, and in the rows that compare two models:"
    )
    _write_people(stage, _count_work)
    show_file(stage, _GOLDEN, 4)
    commit(stage, "Use the data of this year")


def _propose(stage: Stage) -> None:
    print_text(
        "retrain uploads the data, runs one job, and judges the model by the gate: by its own"
        " numbers,\nby those of the model in service, and by both models on the same rows."
    )
    run(stage, "retrain", "census", "--branch", _BRANCH)
    print_text("No service and no file has changed. The proposal is a commit for a reviewer:")
    show_git(stage, "show", _BRANCH)


def _serve(stage: Stage) -> None:
    print_text("The reviewer merges it. From here on, all is as with every change.")
    show_git(stage, "merge", "--ff-only", _BRANCH)
    run(stage, "plan", "--out", "release.plan")
    run(stage, "apply", "release.plan")
    print_text(
        "apply has compared the answers of the service with those of the job. verify does it again"
        " at any time."
    )
    run(stage, "verify", "--all")
    print_text("The same two people get other answers:")
    _ask(stage)


def _refuse(stage: Stage) -> None:
    print_text("Somebody mixes up the labels of the training data, and the timer runs retrain.")
    _mix_labels(stage)
    commit(stage, "Use the data of this week")
    run(stage, "retrain", "census", "--branch", _BRANCH, "--detailed-exitcode", expected=3)
    print_text("The gate refuses the model with numbers. Nothing is proposed, and nothing changes.")


def _lift(stage: Stage) -> None:
    print_text(
        "Now the data of the model in service must be deleted, so somebody declares the refused"
        " model:"
    )
    _declare_refused(stage)
    show_git(stage, "diff", "--unified=0")
    show_git(stage, "commit", "--quiet", "--all", "--message", "Serve the newest model")
    print_text("plan judges it again, by the evaluation that the ledger holds, and refuses it too.")
    run(stage, "plan", "--detailed-exitcode", expected=3)
    print_text("Who lifts the guard gives a reason. The plan and the ledger keep it.")
    gate = ("--allow", "gate=WebService/census", "--reason", _REASON)
    run(stage, "plan", *gate, "--out", "lifted.plan")
    run(stage, "apply", "lifted.plan")
    run(stage, "history", "WebService/census")


def _declare_refused(stage: Stage) -> None:
    """Write the model that was judged last into the manifest, as a person does."""
    ledger = stage.folder / ".reconciler" / "ledger.jsonl"
    lines = map(json.loads, ledger.read_text(encoding="utf-8").splitlines())
    *_, last = (one for one in lines if one.get("topic") == "evaluation")
    file = stage.folder / "manifests" / "census.yaml"
    text = file.read_text(encoding="utf-8")
    # The annotations are the lineage of the model before.
    text = re.sub(r"^  annotations:\n(    lineage/.*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"uri: .*", f"uri: {last['data']['uri']}", text)
    digest = last["subject"].removeprefix("sha256:")
    file.write_text(re.sub(r"sha256: .*", f"sha256: {digest}", text), encoding="utf-8")


def _ask(stage: Stage) -> None:
    columns = _HEADER.split(",")[:-1]
    for row in stage.score(columns, _ASKED):
        age, work, school, hours, label, probability = row[:4] + row[-2:]
        who = f"{age} years, {work}, {school}, {hours} hours a week"
        click.echo(f"  {who:<55} {label:<6} probability of >50K {float(probability):.3f}")


def _write_people(stage: Stage, count: Callable[[int, int, int], float]) -> None:
    """Write training data and rows to compare on, in which `count` decides about the income."""
    for name, rows, seed in ((_DATA, 400, 11), (_GOLDEN, 120, 12)):
        chance = random.Random(seed)  # noqa: S311 - not a secret
        lines = [_invent(chance, count) for _ in range(rows)]
        text = "\n".join([_HEADER, *lines]) + "\n"
        (stage.folder / name).write_text(text, encoding="utf-8")


def _invent(chance: random.Random, count: Callable[[int, int, int], float]) -> str:
    age, hours = chance.randint(19, 70), chance.randint(20, 60)
    school = chance.randrange(len(_SCHOOL))
    rich = count(age, school, hours) + chance.gauss(0, 0.6) > 0
    income = ">50K" if rich else "<=50K"
    return f"{age},{chance.choice(_WORK)},{_SCHOOL[school]},{hours},{income}"


def _count_work(_age: int, school: int, hours: int) -> float:
    return (school - 1.5) + (hours - 40) / 8


def _mix_labels(stage: Stage) -> None:
    chance = random.Random(13)  # noqa: S311 - not a secret
    file = stage.folder / _DATA
    header, *rows = file.read_text(encoding="utf-8").splitlines()
    people, labels = zip(*(row.rsplit(",", 1) for row in rows), strict=True)
    mixed = chance.sample(labels, len(labels))
    lines = [f"{one},{label}" for one, label in zip(people, mixed, strict=True)]
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
