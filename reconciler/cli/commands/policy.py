"""`reconciler policy`: test the policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command, Group
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import format_options
from reconciler.cli.policy_options import POLICIES

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.manifests.policy_tests import PolicyTest
    from reconciler.model import Finding
    from reconciler.model.policies import Policy
    from reconciler.plans.policy_tests import PolicyCase


@click.group(cls=Group)
def policy() -> None:
    """Test the policies."""


@policy.command(
    cls=Command,
    examples=(
        "# Run the cases of a file",
        "reconciler policy test policies/tests.yaml",
        "# Run them with the policies of another folder, for a program",
        "reconciler policy test tests.yaml --policies ../central --format json",
    ),
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE [FILE]...", shell_complete=complete_files
)
@format_options("text", "json", about="The format of the results.")
@POLICIES
@click.pass_obj
def test(invocation: Invocation, files: tuple[str, ...], *, form: str) -> int:
    """Run cases that show what the policies refuse; call no service.

    FILE has documents of the kind PolicyTest. Each case has changes, as the JSON of a plan has
    them, or names a saved plan; and every finding that the policies must have about them. The exit
    code is 1 if a case has other findings.
    """
    import json

    from reconciler.cli.streams import print_json
    from reconciler.plans.policy_tests import list_not_judging, run_case
    from reconciler.render.policy_tests import policy_tests_document, render_policy_tests
    from reconciler.text.json_text import escape_json

    tests = _load_tests(files)
    folders = _load_policies(invocation, tests)
    results = [
        run_case(folders[_find_folder(invocation, one)], _read_plan(case))
        for one in tests
        for case in one.cases
    ]
    every = [policy for policies in folders.values() for policy in policies]
    not_judging = list(list_not_judging(every, results))
    if form == "json":
        document = policy_tests_document(results, not_judging)
        print_json(escape_json(json.dumps(document, indent=2, ensure_ascii=False)))
    else:
        text = render_policy_tests(results, not_judging, invocation.paint())
        click.echo(text, color=True)
    return int(not all(one.passed for one in results))


def _load_tests(files: Sequence[str]) -> list[PolicyTest]:
    """The tests of all files; raises ManifestInvalid with everything that is wrong with them."""
    from pathlib import Path

    from reconciler.errors import ManifestInvalid
    from reconciler.manifests.policy_tests import load_policy_tests

    tests: list[PolicyTest] = []
    wrong: list[Finding] = []
    for file in dict.fromkeys(files):
        made, found = load_policy_tests(Path(file))
        tests += made
        wrong += found
    if wrong:
        raise ManifestInvalid(tuple(wrong))
    return tests


def _find_folder(invocation: Invocation, one: PolicyTest) -> str:
    """The folder of the policies that a test is about; empty for that of the project."""
    return invocation.policies or one.policies


def _load_policies(
    invocation: Invocation, tests: Sequence[PolicyTest]
) -> dict[str, tuple[Policy, ...]]:
    """The policies of each folder; raises ManifestInvalid with everything that is wrong."""
    from pathlib import Path

    from reconciler.cli.loading import find_root
    from reconciler.errors import ManifestInvalid
    from reconciler.manifests.folder import Folder
    from reconciler.manifests.policies import load_policies
    from reconciler.model import Finding

    folders: dict[str, tuple[Policy, ...]] = {}
    wrong: list[Finding] = []
    for named in dict.fromkeys(_find_folder(invocation, one) for one in tests):
        folder = Folder(Path(named) if named else find_root(invocation))
        folders[named], found = load_policies(folder, named)
        wrong += found
        if not (found or folders[named]):
            step = "Name the folder of the policies in spec.policies, or with --policies."
            wrong.append(Finding("the project has no policies", next_step=step))
    if wrong:
        raise ManifestInvalid(tuple(wrong))
    return folders


def _read_plan(case: PolicyCase) -> PolicyCase:
    """The case with the changes of the saved plan that it names; raises PlanInvalid."""
    if not case.plan:
        return case
    from dataclasses import replace

    from reconciler.cli.plan_files import read_saved
    from reconciler.model import Action
    from reconciler.plans.plan_file import describe_steps

    steps = read_saved(case.plan)[0].steps
    kept = [one for one in steps if one.action is not Action.DELETE]
    return replace(
        case,
        changes=list(describe_steps(steps)),
        context=replace(
            case.context, labels={str(one.resource.address): one.labels for one in kept}
        ),
    )
