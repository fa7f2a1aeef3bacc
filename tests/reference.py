"""`python -m tests.reference`: writes schemas/README.md from the schemas and the commands.

`tests/unit/test_reference.py` compares the page with what would be written.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
from prometheus_client.parser import text_string_to_metric_families

from reconciler.cli import reconciler
from reconciler.cli.exit_codes import list_exit_codes
from reconciler.document.schema import Field, walk_fields
from reconciler.kinds import find_kinds
from reconciler.manifests.project import find_guards
from reconciler.manifests.schema import bundle_schema, extend_project, list_schemas
from reconciler.model import CallEnded, Verdict
from reconciler.model.watch import CycleOutcome
from reconciler.package_data import read_schema
from reconciler.render.manifest_fields import (
    describe_value,
    list_manifest_fields,
    resolve,
)
from reconciler.render.schema_fields import HEAD, is_leaf, list_fields
from reconciler.telemetry.metrics import Metrics
from tests.cycles import cycle, report

PAGE: Final = Path(__file__).parents[1] / "schemas" / "README.md"
_OUTPUTS: Final = {
    "plan": "`plan --format json`, `show --format json`, and a plan saved by `--out`",
    "environments": "`plan --env all --format json` and `drift --env all --format json`",
    "events": "`apply --format json`: one JSON object a line",
    "drift": "`drift --format json`",
    "list": "`list --format json`",
    "history": "`history --format json`",
    "approval": "`approve --format json`",
    "ledger": "`ledger verify --format json`",
    "policy-test": "`policy test --format json`",
    "webhook": "what `watch` posts to a webhook with the format `generic`",
    "error": "a command with `--format json` that an error ended",
}
# The service's own words are in a table of their own.
_ENDS: Final = {
    "applied": "Every step is done and verified.",
    "no-changes": "Nothing has to be done.",
    "in-sync": "Live, ledger and manifests agree.",
    "error": "The command could not do its work.",
    "changes": "The plan has changes.",
    "drift": "Something was changed beside reconciler.",
    "refused": "A guard refuses the plan. Nothing was written.",
    "stale": "Live is not what the saved plan relies on. That step was not written.",
    "locked": "Another process holds the lock of the ledger.",
    "incomplete": "Some steps failed or were not started, or an old model answers.",
    "rolled-back": "A step failed, and the steps before it were undone.",
    "evidence-incomplete": "Something could not be read, so that nothing is proven of it.",
    "interrupted": "Ctrl-C or SIGTERM ended it.",
}
_VARIABLES: Final = {
    "RECONCILER_ENV": "The environment of the project, where `--env` does not name one.",
    "RECONCILER_LOG": "`debug`: print a line for each request, and where an unexpected error happened."
    " In `watch` each line has the id of its cycle in brackets.",
    "RECONCILER_INPUT": "`0`: never ask a question.",
    "RECONCILER_IN_AUTOMATION": "`1`: print no hint at the next command.",
    "RECONCILER_TIMEOUT": "The seconds to wait for an answer of a service. Default: `30`.",
    "RECONCILER_EMULATOR_TOKEN": "The token of an emulator on this machine. Default: `emulator`.",
    "AZURE_STORAGE_SAS_TOKEN": "The signature with which models and a ledger in storage are read.",
    "NO_COLOR": "Print without colour.",
    "OTEL_*": "The settings of OpenTelemetry. Spans of each cycle, plan, observation, step and call"
    " are recorded where its SDK is set up, such as by `opentelemetry-instrument reconciler watch`.",
}
_INTRODUCTION: Final = """\
# Reference

Every kind and field, every command and flag, every output and exit code. The page is made from
the schemas and the commands by `python -m tests.reference`, and a test holds it to them. The
[guide](../manifests/README.md) explains by examples; `reconciler schema KIND` prints the JSON
Schema of a kind, with which editors complete a manifest.
"""


def render_reference() -> str:
    """The whole page."""
    sections = (
        _INTRODUCTION,
        *_render_manifests(),
        *_render_services(),
        *_render_commands(),
        *_render_outputs(),
        *_render_metrics(),
        *_render_ends(),
    )
    return "\n".join(sections)


def _render_manifests() -> Iterator[str]:
    yield "## Manifests\n"
    kinds = find_kinds()
    for name, schema in list_schemas(kinds).items():
        extension = extend_project(kinds.values()) if name in {"Project", "Environment"} else ""
        bundled = bundle_schema(schema, extension)
        yield f"### {name}\n\n{bundled['description']}\n"
        rows = (
            (f"`{one.name}`{' (required)' if one.required else ''}", one.value, one.meaning)
            for one in list_manifest_fields(bundled)
        )
        yield _table(("field", "value", "meaning"), rows)


def _render_services() -> Iterator[str]:
    yield "## Service definitions\n"
    yield (
        "The fields below `spec.definition`, in the service's own words. `*` is any name or item."
        " A field of the owner `service` is never declared. An `OnlineEndpoint` has no"
        " `spec.definition`: its manifest has the words of `az ml` for them.\n"
    )
    for name, kind in find_kinds().items():
        meanings = [
            below.description or _find_meaning(kind.field, path)
            for path, below in walk_fields(kind.field)
            if is_leaf(below)
        ]
        rows = [
            (f"`{field}`", meaning, owner, default and f"`{default}`", *rest)
            for meaning, (field, owner, default, *rest) in zip(
                meanings, list_fields(kind.field), strict=True
            )
        ]
        field, *others = map(str.lower, HEAD)
        yield f"### Definition of {name}\n"
        yield _table((field, "meaning", *others), rows)


def _find_meaning(root: Field, path: tuple[str, ...]) -> str:
    """The description of the nearest field above a path that has one."""
    above = (root.at(path[:length]).description for length in range(len(path) - 1, 0, -1))
    return next(filter(None, above), "")


def _render_commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Flags of every command, given before it:\n"
    yield _table(("flag", "meaning"), _list_flags(reconciler, click.Context(reconciler)))
    yield from _render_group(reconciler, ("reconciler",))


def _render_group(group: click.Group, words: tuple[str, ...]) -> Iterator[str]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _render_group(command, (*words, name))
        else:
            yield from _render_command(command, (*words, name))


def _render_command(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
    ctx = click.Context(command, info_name=" ".join(words))
    arguments = [one.make_metavar(ctx) for one in command.params if isinstance(one, click.Argument)]
    yield f"### {' '.join(words)}\n"
    yield f"```\n{' '.join([*words, '[OPTIONS]', *arguments])}\n```\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    flags = list(_list_flags(command, ctx))
    if flags:
        yield _table(("flag", "meaning"), flags)
    examples = getattr(command, "examples", ())
    if examples:
        yield "\n".join(("```sh", *examples, "```")) + "\n"


def _list_flags(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, ...]]:
    for option in command.params:
        record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
        if record is not None:
            yield f"`{record[0]}`", record[1]


def _render_outputs() -> Iterator[str]:
    yield "## Outputs\n"
    for name, command in _OUTPUTS.items():
        schema = read_schema(f"output/{name}")
        yield f"### {name}\n\nOf {command}: [output/{name}.schema.json](output/{name}.schema.json).\n"
        rows = [
            (
                f"`{field}`",
                describe_value(resolve(node, schema), schema),
                node.get("description", ""),
            )
            for field, node in schema.get("properties", {}).items()
        ]
        if rows:
            yield _table(("field", "value", "meaning"), rows)


def _render_metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield (
        "`watch` shows them at `/metrics`, and `--metrics-file` writes them into a file. The names"
        " of the states are the verdicts of a drift report. No label has the name of a resource.\n"
    )
    metrics = Metrics("")
    metrics.note_cycle(cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC)))
    metrics.note_event(CallEnded("GET", "ok"))
    yield _table(("metric", "type", "labels", "meaning"), _list_metrics(metrics.render().decode()))


def _list_metrics(text: str) -> Iterator[tuple[str, ...]]:
    for family in text_string_to_metric_families(text):
        # The parser takes the suffix of a counter off.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label: None for one in family.samples for label in one.labels if label != "le"}
        named = ", ".join(f"`{label}`" for label in labels)
        yield f"`{name}`", family.type, named, family.documentation


def _render_ends() -> Iterator[str]:
    yield "## Exit codes\n"
    yield (
        "Codes above 1 need `--detailed-exitcode`; without it they are 0 for changes and drift, and"
        " 1 for the rest. JSON results hold the word as `outcome`.\n"
    )
    rows = [(str(code), f"`{word}`", _ENDS[word]) for word, code in list_exit_codes()]
    yield _table(("code", "outcome", "meaning"), sorted(rows, key=lambda row: int(row[0])))
    yield "## Environment variables\n"
    yield _table(("variable", "meaning"), [(f"`{one}`", said) for one, said in _VARIABLES.items()])
    yield "## Guards\n"
    yield "A plan that breaks a guard is refused. `--allow GUARD[=ADDRESS]` lifts it.\n"
    guards = find_guards(find_kinds())
    yield _table(
        ("guard", "protects against"), [(f"`{one}`", said) for one, said in guards.items()]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = (" | ".join(_cell(one) for one in row) for row in lines)
    return "".join(f"| {line} |\n" for line in cells)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(render_reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
