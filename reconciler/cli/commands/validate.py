"""`reconciler validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, format_options
from reconciler.cli.policy_options import POLICIES

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.manifests import Loaded


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
@ENV
@POLICIES
@click.pass_obj
def validate(invocation: Invocation, paths: tuple[str, ...], *, form: str) -> int:
    """Check every manifest and .driftignore, and report all findings; call no service.

    PATH is a manifest or a folder of manifests: manifests/ by default, or the project's folder.
    Without --env, a project is checked with each of its environments.
    """
    from reconciler.cli.loading import join_findings, load_each
    from reconciler.cli.streams import print_json
    from reconciler.render.findings import render_findings, render_findings_json

    invocation.reads_drift_ignore = True
    checked = load_each(invocation, paths)
    findings = join_findings(checked)
    wrong = any(found.severity == "error" for found in findings)
    if form == "json":
        print_json(render_findings_json(findings))
        return int(wrong)
    if findings:
        click.echo(render_findings(findings, paint=invocation.paint()), color=True)
    if not wrong:
        for loaded in checked:
            name = f"{loaded.environment.name}: " if loaded.environment else ""
            said = "the configuration is valid" if name else "The configuration is valid"
            click.echo(f"Success! {name}{said}: {_count(loaded)}.")
    return int(wrong)


def _count(loaded: Loaded) -> str:
    from reconciler.text.counting import count

    members = sum(one.member is not None for one in loaded.manifests)
    members += sum(one.fleet is not None for one in loaded.retrainings)
    fleets = f"{count(members, 'member')} of {count(len(loaded.rollouts), 'fleet')}"
    among = f", with {fleets} among them," if loaded.rollouts else ""
    counted = [count(len(loaded.manifests), "resource")]
    if loaded.retrainings:
        counted.append(count(len(loaded.retrainings), "retraining"))
    if loaded.policies:
        counted.append(count(len(loaded.policies), "policy", "policies"))
    if loaded.ignored:
        counted.append(count(len(loaded.ignored), "drift ignore rule"))
    resources = ", ".join(counted[:-1]) + (" and " if counted[1:] else "") + counted[-1]
    left = f", {count(len(loaded.foreign), 'other document')} ignored" if loaded.foreign else ""
    return f"{resources}{among} in {count(len(loaded.files), 'file')}{left}"
