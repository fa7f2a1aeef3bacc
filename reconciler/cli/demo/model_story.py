"""The story of one model: an update, drift by another person, and an apply that is killed."""

from __future__ import annotations

import click

from reconciler.cli.demo.narration import announce, print_text, run, show_file
from reconciler.cli.demo.stage import Stage, upload_models


def run_story(stage: Stage) -> None:
    """Run the story, from one manifest to a model that is verified to be served."""
    if stage.why_no_blob:
        print_text(
            f"Blob storage cannot run here: {stage.why_no_blob}.\n"
            "The story continues without it: spec.guards.blobs is skip, so no check reads the"
            " models."
        )
    else:
        upload_models(stage)
        print_text("Two trained models are in storage: one of 2026-10-02, a new one of 2026-11-20.")
    old = f"{stage.blob}/models/census/2026-10-02.ilearner"
    stage.deploy(old)
    print_text("A web service, census, serves the old model. This manifest declares the new one:")
    show_file(stage, "manifests/census.yaml")
    print_text("What would that change? plan reads the live definition and shows the difference.")
    run(stage, "plan")
    print_text("apply does exactly that, waits, reads the definition back and compares.")
    run(stage, "apply", "--auto-approve")
    print_text("Is it done? The next plan must have no changes.")
    run(stage, "plan")
    stage.set_model(old)
    print_text("A person or a scheduled pipeline now restores the old model without the manifest.")
    run(stage, "plan")
    print_text(
        "plan reports it as drift, with the value and the author of the last apply. apply fixes it."
    )
    run(stage, "apply", "--auto-approve")
    run(stage, "plan")
    stage.set_model(old)
    print_text("The old model is restored once more. Now apply is killed while it writes: kill -9.")
    _run_killed(stage, "apply", "--auto-approve")
    print_text("The result of that write is unknown. But the ledger has an intent for it.")
    run(stage, "plan", "--summary")
    print_text(
        "The next apply reads the live definition before it writes, and sends no write twice."
    )
    run(stage, "apply", "--auto-approve")
    run(stage, "history", "WebService/census")
    print_text("That is all: declared in a file, reviewed as a patch, applied, and verified.")


def _run_killed(stage: Stage, *arguments: str) -> None:
    announce(*arguments)
    stage.run_killed(*arguments)
    click.secho("Killed", fg="red")
