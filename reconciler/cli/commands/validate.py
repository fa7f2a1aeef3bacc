"""`reconciler validate`."""

from __future__ import annotations

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import format_options


@click.command(
    cls=Command,
    examples=(
        "# Check the whole project",
        "reconciler validate",
        "# Check one file, for a program",
        "reconciler validate manifests/census.yaml --format json",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete_files)
@format_options("text", "json", about="The format; json is that of terraform validate.")
@click.pass_obj
def validate(invocation: Invocation, paths: tuple[str, ...], *, form: str) -> int:
    """Check every manifest and report all findings; call no service.

    PATH is a manifest or a folder of manifests: manifests/ by default, or the project's folder.
    """
    from reconciler.cli.loading import load_all
    from reconciler.cli.streams import print_json
    from reconciler.render.findings import render_findings, render_findings_json
    from reconciler.text.counting import count

    loaded, _ = load_all(invocation, paths)
    wrong = any(found.severity == "error" for found in loaded.findings)
    if form == "json":
        print_json(render_findings_json(loaded.findings))
        return int(wrong)
    if loaded.findings:
        click.echo(render_findings(loaded.findings, paint=invocation.paint()), color=True)
    if not wrong:
        members = sum(one.member is not None for one in loaded.manifests)
        members += sum(one.fleet is not None for one in loaded.retrainings)
        fleets = f"{count(members, 'member')} of {count(len(loaded.rollouts), 'fleet')}"
        among = f", with {fleets} among them," if loaded.rollouts else ""
        resources = count(len(loaded.manifests), "resource")
        if loaded.retrainings:
            resources += f" and {count(len(loaded.retrainings), 'retraining')}"
        counted = f"{resources}{among} in {count(len(loaded.files), 'file')}"
        left = f", {count(len(loaded.foreign), 'other document')} ignored" if loaded.foreign else ""
        click.echo(f"Success! The configuration is valid: {counted}{left}.")
    return int(wrong)
