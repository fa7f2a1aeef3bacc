"""Reads the project file and the manifests with every installed kind.

`validate` imports no more than this. It reads files and calls no service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.cli.context import Invocation
from reconciler.files import find_checkout, resolve_path
from reconciler.kinds import find_kinds
from reconciler.manifests import Loaded, load
from reconciler.manifests.folder import DRIFT_IGNORE, ENVIRONMENTS, POLICIES, Folder
from reconciler.model import Finding, Plan
from reconciler.ports import Kind
from reconciler.render.words.names import list_names
from reconciler.text.counting import count

if TYPE_CHECKING:  # start-up: only commands that edit manifests need it
    from reconciler.manifests.editing.environments import EnvironmentScope

_MOST_NAMED: Final = 5


def list_notes(loaded: Loaded) -> tuple[Finding, ...]:
    """The warnings about files, and a warning that counts the documents of other tools."""
    notes = tuple(found for found in loaded.findings if found.severity == "warning")
    if not loaded.foreign:
        return notes
    ignored = f"{count(len(loaded.foreign), 'document')} of other tools ignored"
    files = list_names(dict.fromkeys(place.file for place in loaded.foreign), _MOST_NAMED)
    return (*notes, Finding(ignored, detail=(files,), severity="warning"))


def take_environment(invocation: Invocation, plan: Plan) -> None:
    """Choose the environment of a saved plan, if none is named and the project has it."""
    made_for = plan.inputs.environment
    if made_for and not invocation.environment:
        from reconciler.manifests.environments import list_environments

        known = made_for in list_environments(find_root(invocation))
        invocation.environment = made_for if known else ""


def load_each(invocation: Invocation, paths: Sequence[str]) -> list[Loaded]:
    """The project with each of its environments, or with the one that `--env` names."""
    names: tuple[str, ...] = ()
    if not invocation.environment and (find_root(invocation) / ENVIRONMENTS).is_dir():
        from reconciler.manifests.environments import list_environments

        names = list_environments(find_root(invocation))
    kinds = find_kinds()
    return [load_one(invocation, name, paths, kinds) for name in names or [invocation.environment]]


def join_findings(checked: Sequence[Loaded]) -> tuple[Finding, ...]:
    """The findings of a project with each of its environments, each once.

    One that not all of them have names the environments that have it.
    """
    found: dict[Finding, list[str]] = {}
    for loaded in checked:
        name = loaded.environment.name if loaded.environment is not None else ""
        for finding in loaded.findings:
            found.setdefault(finding, []).append(name)
    return tuple(
        finding if len(names) == len(checked) else _name_environments(finding, names)
        for finding, names in found.items()
    )


def _name_environments(finding: Finding, names: Sequence[str]) -> Finding:
    said = [name for name in names if name]
    if not said or finding.subject == f"Environment/{said[0]}":
        return finding
    return replace(finding, detail=(*finding.detail, f"In the environment {' and '.join(said)}."))


def find_root(invocation: Invocation) -> Path:
    """The folder of the project."""
    return Path(invocation.project_file).parent if invocation.project_file else Path()


def find_folder(folder: Path) -> str:
    """A folder of the project, relative to the top of the repository."""
    top, found = find_checkout(folder), resolve_path(folder)
    return "" if found == top else found.relative_to(top).as_posix()


def load_one(
    invocation: Invocation, environment: str, paths: Sequence[str], kinds: Mapping[str, Kind]
) -> Loaded:
    """The project with one environment, with every finding; an empty name means none.

    A command that judges by policies gets them too.
    """
    project = Path(invocation.project_file) if invocation.project_file else None
    given = [Path(path) for path in paths]
    origin = invocation.environment_origin
    root = find_root(invocation)
    loaded = load(root, project, given, kinds, environment, origin)
    if invocation.reads_drift_ignore:
        loaded = _add_ignored(loaded, root, kinds)
    if invocation.policies is None:
        return loaded
    return _add_policies(loaded, root, invocation.policies, kinds, whole=not paths)


def find_scope(invocation: Invocation, loaded: Loaded) -> EnvironmentScope | None:
    """What the environment and the others read; None for a project without environments."""
    if loaded.environment is None or loaded.project is None:
        return None
    from reconciler.manifests.editing.environments import EnvironmentScope
    from reconciler.manifests.environments import list_in_folders

    kinds, others = find_kinds(), {}
    for name in loaded.project.environments:
        if name != loaded.environment.name:
            other = load_one(invocation, name, (), kinds)
            # What cannot be read may name any file in its folders.
            broken = other.environment is None or other.project is None
            inside = list_in_folders(find_root(invocation), other.environment, loaded.files)
            others[name] = {*other.files, *(loaded.files if broken else inside)}
    return EnvironmentScope(loaded.environment, loaded.tokens, loaded.files, others)


def load_all(invocation: Invocation, paths: Sequence[str]) -> tuple[Loaded, Mapping[str, Kind]]:
    """The project and the manifests with every finding, and the kinds.

    An error in a file is a finding; it does not raise.
    """
    kinds = find_kinds()
    return load_one(invocation, invocation.environment, paths, kinds), kinds


def _add_ignored(loaded: Loaded, root: Path, kinds: Mapping[str, Kind]) -> Loaded:
    """The project with the rules of its `.driftignore`."""
    project = loaded.project
    if project is None or not os.path.lexists(root / DRIFT_IGNORE):
        return loaded
    from reconciler.manifests.drift_ignore import load_drift_ignore

    folder = Folder(root)
    rules, found = load_drift_ignore(folder, kinds, project.environments, project.environment)
    return replace(
        loaded,
        ignored=rules,
        findings=(*loaded.findings, *found),
        files={**loaded.files, **folder.files},
    )


def _add_policies(
    loaded: Loaded, root: Path, named: str, kinds: Mapping[str, Kind], *, whole: bool
) -> Loaded:
    """The project with the policies of the folder `named`; if that is empty, of its own folder.

    `whole` says that all manifests were read, so that the labels of the project are known.
    """
    project = loaded.project
    if project is None or not (named or os.path.lexists(root / POLICIES)):
        return loaded
    from reconciler.manifests.policies import check_matches, load_policies

    folder = Folder(Path(named) if named else root)
    policies, found = load_policies(folder, named)
    errors = tuple(one for one in found if one.severity == "error")
    resources = [(one.address.kind, one.labels) for one in loaded.manifests] if whole else None
    never = check_matches(policies, project, kinds, resources)
    # The cases of `policy test` are in the folder too, and no plan depends on them.
    used = {one.file for one in policies}
    own = {name: digest for name, digest in folder.files.items() if name in used}
    return replace(
        loaded,
        policies=policies,
        policy_errors=errors,
        findings=(*loaded.findings, *found, *never),
        files=loaded.files if named else {**loaded.files, **own},
    )
