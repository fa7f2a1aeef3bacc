"""`reconciler demo`."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from reconciler.cli.command import Command
from reconciler.cli.signals import SignalReceived
from reconciler.files import resolve_path

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.demo.stage import Stage

    _Story: TypeAlias = tuple[
        Callable[[Path], AbstractContextManager[Stage]], Callable[[Any], None]
    ]


_WITHOUT_STORAGE = ("fleet", "night")


@click.command(
    cls=Command,
    examples=(
        "# Run the story of one service",
        "reconciler demo",
        "# Run the story of a fleet, and keep its files",
        "reconciler demo --story fleet --keep fleet",
        "# Run the story of a model that is trained, judged and proposed",
        "reconciler demo --story retrain",
        "# Run the story of pull requests: plan, comment, rule, approval, apply",
        "reconciler demo --story gitops",
        "# Run the story of an online endpoint: steps, a probe, a kill",
        "reconciler demo --story online",
        "# Run the story of a night: a loop, drift, a report, and what people decide",
        "reconciler demo --story night",
    ),
)
@click.option(
    "--story",
    type=click.Choice(["model", "fleet", "retrain", "gitops", "night", "online"]),
    default="model",
    show_default=True,
    help="model: one service, its drift and a killed apply. fleet: a thousand endpoints in waves."
    " retrain: a model is trained, judged, proposed in a commit, and served. gitops: pull requests"
    " with dev, prod, a rule and an approval, on a local forge. night: a loop watches three"
    " services while other people change them. online: a new model goes into service in"
    " steps, a wrong one is stopped by its probe, and a killed apply is completed.",
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep the project and the service's state in DIR, and print the commands to continue.",
)
def demo(story: str, keep: Path | None) -> int:
    """Run a whole story on an emulator: declare, plan, apply, verify, drift, kill, recover.

    It starts the emulator, and blob storage and a local forge where the story needs them, and stops
    them at the end.
    The first run downloads blob storage from npm.
    """
    from reconciler.cli.installation import check_emulator_installed

    check_emulator_installed()
    from reconciler.cli.demo.narration import print_text
    from reconciler.cli.demo.stage import empty_folder, remove_folder

    # A signal must run the clean-up: it stops the processes and removes the folder.
    before = {
        number: signal.signal(number, _end)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    set_stage, tell = _find_story(story)
    folder = empty_folder(keep) if keep else Path(tempfile.mkdtemp(prefix="reconciler-demo-"))
    try:
        storage = "" if story in _WITHOUT_STORAGE else ", with blob storage beside it"
        print_text(f"Starting the service's emulator{storage}.")
        with set_stage(resolve_path(folder)) as stage:
            tell(stage)
    finally:
        if keep is None:
            remove_folder(folder)
        for number, handler in before.items():
            signal.signal(number, handler)
    if keep is not None:
        options = f" {stage.options}" if stage.options else ""
        project = keep / stage.folder.relative_to(resolve_path(folder))
        print_text(
            f"The project is kept in {keep}. To continue, run in one terminal:\n\n"
            f"    reconciler emulator --port {stage.port} --data {keep / 'emulator'}{options}\n\n"
            f"and in another:\n\n    reconciler --chdir {project} {stage.plan}"
        )
    return 0


def _find_story(name: str) -> _Story:
    if name == "fleet":
        from reconciler.cli.demo import fleet_story

        return fleet_story.set_stage, fleet_story.run_story
    if name == "retrain":
        from reconciler.cli.demo import retrain_story

        return retrain_story.set_stage, retrain_story.run_story
    if name == "night":
        from reconciler.cli.demo import night_story

        return night_story.set_stage, night_story.run_story
    if name == "online":
        from reconciler.cli.demo import online_story

        return online_story.set_stage, online_story.run_story
    if name == "gitops":
        from reconciler.cli.demo import gitops_story, team

        return team.gather_team, gitops_story.run_story
    from reconciler.cli.demo import model_story, stage

    return stage.set_stage, model_story.run_story


def _end(*_: Any) -> None:
    raise SignalReceived
