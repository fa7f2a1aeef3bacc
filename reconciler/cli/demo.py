"""`reconciler demo`."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.stage import Stage


@click.command()
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep the project and the service's state in DIR, and say how to go on by hand.",
)
def demo(keep: Path | None) -> int:
    """Show the whole story on an emulator: declare, plan, apply, prove, drift, be killed, recover.

    It starts the emulator and blob storage, and leaves nothing running. The first time, blob
    storage is fetched from npm.
    """
    from reconciler.cli.stage import empty_folder, remove_folder, set_stage

    # A demo that is told to end takes its processes and its folder along.
    signal.signal(signal.SIGTERM, _end)
    folder = empty_folder(keep) if keep else Path(tempfile.mkdtemp(prefix="reconciler-demo-"))
    try:
        _say("Starting the service's emulator, with blob storage beside it.")
        with set_stage(folder.resolve()) as stage:
            _tell(stage)
            port = stage.port
    finally:
        if keep is None:
            remove_folder(folder)
    if keep is not None:
        _say(
            f"The project is kept in {keep}. To go on by hand, in one terminal:\n\n"
            f"    reconciler emulator --port {port} --data {keep / 'emulator'}\n\n"
            f"and in another:\n\n    reconciler --chdir {keep} plan"
        )
    return 0


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    click.secho(f"\n{text}\n", bold=True)


def _tell(stage: Stage) -> None:
    from reconciler.cli.stage import upload_models

    if stage.why_no_blob:
        _say(
            f"Blob storage cannot be had here: {stage.why_no_blob}.\n"
            "The story goes on without: spec.guards.blobs is skip, so nobody looks whether the"
            " models are there."
        )
    else:
        upload_models(stage)
        _say("Two trained models are in storage: of 2026-10-02, and a new one of 2026-11-20.")
    old = f"{stage.blob}/models/census/2026-10-02.ilearner"
    stage.deploy(old)
    _say("A web service, census, serves the old one. This manifest says that it must serve the new")
    _show_file(stage, "manifests/census.yaml")
    _say("What would that change? plan reads the live definition and shows the difference.")
    _run(stage, "plan")
    _say("apply does exactly that, waits, reads the definition back and compares.")
    _run(stage, "apply", "--auto-approve")
    _say("Is it so? The next plan must be silent.")
    _run(stage, "plan")
    stage.change({"assets": _with_model(stage, old)})
    _say("Somebody, or a scheduled pipeline, now puts the old model back, past the manifest.")
    _run(stage, "plan")
    _say("plan tells it as drift: what it was when last applied, and by whom. apply settles it.")
    _run(stage, "apply", "--auto-approve")
    _run(stage, "plan")
    stage.change({"assets": _with_model(stage, old)})
    _say("Once more it is put back. This time the apply is killed as it writes: kill -9.")
    _run_killed(stage, "apply", "--auto-approve")
    _say("Nobody saw the end of it. But what was about to be sent stands in the ledger.")
    _run(stage, "plan", "--summary")
    _say("The next apply looks at what is live before it sends anything, and sends nothing twice.")
    _run(stage, "apply", "--auto-approve")
    _run(stage, "history", "WebService/census")
    _say("That is all: declared in a file, reviewed as a patch, applied, and proven.")


def _with_model(stage: Stage, uri: str) -> Any:
    assets = stage.read()["assets"]
    assets["asset3"]["locationInfo"]["uri"] = uri
    return assets


def _show_file(stage: Stage, name: str) -> None:
    click.secho(f"$ cat {name}", fg="cyan")
    click.echo((stage.folder / name).read_text(encoding="utf-8"), nl=False)


def _run_killed(stage: Stage, *arguments: str) -> None:
    click.secho(f"$ reconciler {' '.join(arguments)}", fg="cyan")
    stage.run_killed(*arguments)
    click.secho("Killed", fg="red")


def _run(stage: Stage, *arguments: str) -> None:
    from reconciler.errors import ReconcilerError

    click.secho(f"$ reconciler {' '.join(arguments)}", fg="cyan")
    code = stage.run(*arguments)
    if code:
        raise ReconcilerError(f"reconciler {arguments[0]} ended with {code}: the demo stops here")
