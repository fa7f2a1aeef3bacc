"""Writes files of a project, and restores all of them if the project then means anything else.

Commands that write manifests call it: a single new file can change what others declare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.cli.loading import load_all
from reconciler.cli.wiring import Assembly
from reconciler.engine.planning.selection import identify_resources
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid
from reconciler.files import writing
from reconciler.manifests import Loaded
from reconciler.model import Address, Finding

_STEP = "Nothing was written. Give each manifest and each definition a file of its own."


def rewrite(
    invocation: Invocation,
    assembly: Assembly,
    runtime: Runtime,
    texts: Mapping[Path, str],
    written: Collection[Address],
    paths: Sequence[str] = (),
) -> None:
    """Write the files, which may change only the manifests of the `written` addresses.

    `paths` are those from which the assembly was loaded. Raises ManifestInvalid, with every file
    restored, if the project no longer loads, or if any other manifest changes.
    """
    with rewriting(invocation, assembly, runtime, texts, written, paths):
        pass


@contextmanager
def rewriting(
    invocation: Invocation,
    assembly: Assembly,
    runtime: Runtime,
    texts: Mapping[Path, str],
    written: Collection[Address],
    paths: Sequence[str] = (),
) -> Iterator[None]:
    """Write the files like `rewrite`, and restore every one also if the block raises."""
    with rewriting_offline(invocation, assembly, texts, written, paths) as loaded:
        identify_resources(runtime, loaded.manifests, assembly.project.defaults)
        yield


@contextmanager
def rewriting_offline(
    invocation: Invocation,
    assembly: Assembly,
    texts: Mapping[Path, str],
    written: Collection[Address],
    paths: Sequence[str] = (),
) -> Iterator[Loaded]:
    """Write the files like `rewriting`, and call no service; gives the project as it is then."""
    with writing(texts):
        loaded, _ = load_all(invocation, paths)
        errors = [one for one in loaded.findings if one.severity == "error" and not one.guard]
        wrong = errors or list(_find_changed(assembly.loaded, loaded, written))
        if wrong:
            raise ManifestInvalid(tuple(wrong))
        yield loaded


def _find_changed(before: Loaded, after: Loaded, written: Collection[Address]) -> Iterator[Finding]:
    specs = {one.address: one.spec for one in after.manifests}
    for manifest in before.manifests:
        address = manifest.address
        if address in written or specs.get(address) == manifest.spec:
            continue
        kept = address in specs
        said = "would be declared with other values" if kept else "would no longer be declared"
        yield Finding(said, subject=str(address), place=manifest.place(""), next_step=_STEP)
