"""The story of one model: swapped, put back by somebody else, and an apply that is killed."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.demo.narration import announce, print_text, run, show_file
from reconciler.cli.demo.stage import Stage, upload_models


def run_story(stage: Stage) -> None:
    """From one manifest to a model that is proven to be served, whatever happens between."""
    if stage.why_no_blob:
        print_text(
            f"Blob storage cannot be had here: {stage.why_no_blob}.\n"
            "The story goes on without: spec.guards.blobs is skip, so nobody looks whether the"
            " models are there."
        )
    else:
        upload_models(stage)
        print_text("Two trained models are in storage: of 2026-10-02, and a new one of 2026-11-20.")
    old = f"{stage.blob}/models/census/2026-10-02.ilearner"
    stage.deploy(old)
    print_text(
        "A web service, census, serves the old one. This manifest says that it must serve the new"
    )
    show_file(stage, "manifests/census.yaml")
    print_text("What would that change? plan reads the live definition and shows the difference.")
    run(stage, "plan")
    print_text("apply does exactly that, waits, reads the definition back and compares.")
    run(stage, "apply", "--auto-approve")
    print_text("Is it so? The next plan must be silent.")
    run(stage, "plan")
    stage.change({"assets": _with_model(stage, old)})
    print_text("Somebody, or a scheduled pipeline, now puts the old model back, past the manifest.")
    run(stage, "plan")
    print_text(
        "plan tells it as drift: what it was when last applied, and by whom. apply settles it."
    )
    run(stage, "apply", "--auto-approve")
    run(stage, "plan")
    stage.change({"assets": _with_model(stage, old)})
    print_text("Once more it is put back. This time the apply is killed as it writes: kill -9.")
    _run_killed(stage, "apply", "--auto-approve")
    print_text("Nobody saw the end of it. But what was about to be sent stands in the ledger.")
    run(stage, "plan", "--summary")
    print_text(
        "The next apply looks at what is live before it sends anything, and sends nothing twice."
    )
    run(stage, "apply", "--auto-approve")
    run(stage, "history", "WebService/census")
    print_text("That is all: declared in a file, reviewed as a patch, applied, and proven.")


def _with_model(stage: Stage, uri: str) -> Any:
    assets = stage.read()["assets"]
    assets["asset3"]["locationInfo"]["uri"] = uri
    return assets


def _run_killed(stage: Stage, *arguments: str) -> None:
    announce(*arguments)
    stage.run_killed(*arguments)
    click.secho("Killed", fg="red")
