"""What a shell offers for a value of the command line: addresses, guards and kinds.

A completion never prints an error: what cannot be read is not offered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.context import Invocation

if TYPE_CHECKING:
    import click


def complete_addresses(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The addresses of resources and fleets in the manifests and in the ledger."""
    with contextlib.suppress(Exception):
        return _pick(_list_addresses(ctx), incomplete)
    return []


def complete_guards(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The names of the guards of every kind."""
    with contextlib.suppress(Exception):
        from reconciler.cli.wiring import find_guards
        from reconciler.kinds import find_kinds

        return _pick(find_guards(find_kinds()), incomplete)
    return []


def complete_kinds(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The kinds of documents of which a schema exists."""
    with contextlib.suppress(Exception):
        from reconciler.kinds import find_kinds
        from reconciler.manifests.schema import list_schemas

        return _pick(list_schemas(find_kinds()), incomplete)
    return []


def _pick(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _list_addresses(ctx: click.Context) -> set[str]:
    from reconciler.cli.loading import load_all
    from reconciler.cli.wiring import Assembly

    given = ctx.find_root().params
    invocation = Invocation()
    # The working directory is not changed: the shell may complete other words with it.
    with contextlib.chdir(given.get("chdir") or Path()):
        invocation.project_file = given.get("project") or ""
        loaded, kinds = load_all(invocation, [])
        found = {one.address for one in loaded.manifests} | {one.fleet for one in loaded.rollouts}
        with contextlib.suppress(Exception):
            found |= set(Assembly(invocation, loaded, kinds).ledger.load().last_applied_by_address)
    return set(map(str, found))
