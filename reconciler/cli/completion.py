"""What a shell offers for a value of the command line: addresses, labels, guards, kinds, files.

A completion never prints an error: what cannot be read is not offered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.cli.context import Invocation

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from reconciler.manifests import Loaded
    from reconciler.ports import Kind


# Where the context of a command keeps the value of --env.
ENVIRONMENT_KEY: Final = "reconciler.environment"


def complete_addresses(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The addresses of resources and fleets in the manifests and in the ledger."""
    with contextlib.suppress(Exception):
        return _pick(_list_addresses(ctx), incomplete)
    return []


def complete_source_addresses(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """The addresses in the environment of --from."""
    ctx.meta[ENVIRONMENT_KEY] = ctx.params.get("source") or ""
    return complete_addresses(ctx, param, incomplete)


def complete_environments(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of the environments of the project."""
    with contextlib.suppress(Exception):
        from reconciler.manifests.environments import list_environments
        from reconciler.manifests.folder import ALL_ENVIRONMENTS

        given = ctx.find_root().params
        folder = Path(given.get("chdir") or "", given.get("project") or "reconciler.yaml").parent
        every = [ALL_ENVIRONMENTS] if ctx.info_name in {"plan", "drift"} else []
        return _pick([*list_environments(folder), *every], incomplete)
    return []


def complete_labels(ctx: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The labels in the manifests, after the conditions that are there already."""
    with contextlib.suppress(Exception):
        from reconciler.manifests.labels import list_labels

        with _loading(ctx) as (_, loaded, _kinds):
            before, comma, _term = incomplete.rpartition(",")
            labels = list_labels(loaded.manifests)
            return _pick((f"{before}{comma}{one}" for one in labels), incomplete)
    return []


def complete_retrainings(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of the retrainings in the manifests."""
    with contextlib.suppress(Exception), _loading(ctx) as (_invocation, loaded, _kinds):
        return _pick((one.address.name for one in loaded.retrainings), incomplete)
    return []


def complete_guards(ctx: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The names of the guards of every kind; the addresses after `GUARD=`."""
    with contextlib.suppress(Exception):
        from reconciler.kinds import find_kinds
        from reconciler.manifests.project import find_guards

        guard, is_limited, _ = incomplete.partition("=")
        if is_limited:
            return _pick((f"{guard}={one}" for one in _list_addresses(ctx)), incomplete)
        return _pick(find_guards(find_kinds()), incomplete)
    return []


def complete_files(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Files and folders, which the shell itself lists."""
    return _leave_to_shell(incomplete, "file")


def complete_folders(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Folders, which the shell itself lists."""
    return _leave_to_shell(incomplete, "dir")


def _leave_to_shell(incomplete: str, what: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=what)]


def complete_kinds(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The kinds of documents of which a schema exists."""
    with contextlib.suppress(Exception):
        from reconciler.kinds import find_kinds
        from reconciler.manifests.schema import list_schemas

        return _pick(list_schemas(find_kinds()), incomplete)
    return []


def _pick(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


@contextlib.contextmanager
def _loading(ctx: click.Context) -> Iterator[tuple[Invocation, Loaded, Mapping[str, Kind]]]:
    """Load the project of the command line. The working directory stays the shell's afterwards."""
    from reconciler.cli.loading import load_all

    given = ctx.find_root().params
    invocation = Invocation()
    with contextlib.chdir(given.get("chdir") or Path()):
        invocation.project_file = given.get("project") or ""
        invocation.environment = ctx.meta.get(ENVIRONMENT_KEY, "")
        yield invocation, *load_all(invocation, [])


def _list_addresses(ctx: click.Context) -> set[str]:
    from reconciler.cli.wiring import Assembly

    with _loading(ctx) as (invocation, loaded, kinds):
        found = {one.address for one in loaded.manifests} | {one.fleet for one in loaded.rollouts}
        with contextlib.suppress(Exception):
            found |= set(Assembly(invocation, loaded, kinds).ledger.load().last_applied_by_address)
    return set(map(str, found))
