"""Saved plans: an atomic write over no other file, and a read that refuses a wrong digest.

A saved plan is recognised by its content and never by its name.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from reconciler.errors import PlanInvalid, ReconcilerError
from reconciler.files import resolve_path
from reconciler.model import Plan, Project
from reconciler.plans.plan_file import read_plan
from reconciler.render.plan.text import render_plan_json
from reconciler.text.json_text import escape_json

# Ten thousand steps of 25 kB each.
_MOST_BYTES = 256 * 1024 * 1024
_START_BYTES = 4096
_PART_BYTES = 1 << 20
_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*\{")
_KEY = re.compile(rb'"(plan_digest|resource_changes)"\s*:')


def check_out(name: str, project: Project, inputs: Collection[str]) -> None:
    """Raise ReconcilerError if a plan must not be saved at a path: `--out` loses no other file.

    A saved plan, or a file without content, may be replaced. A new file must not become part of
    the project. `inputs` are the files that were read. A device or a pipe may always be written.
    """
    from reconciler.files import check_path, find_checkout, is_stream
    from reconciler.manifests.folder import Folder, find_reader

    path, root = Path(name), Path(project.root)
    check_path(path, find_checkout(root))
    if is_stream(path):
        return
    if path.is_file() and path.stat().st_size and not is_plan(name):
        raise _refuse_out(name, "is not a saved plan, and --out replaces nothing else")
    if resolve_path(path).is_relative_to(resolve_path(root / project.ledger)):
        raise _refuse_out(name, "is in the folder of the ledger")
    if Folder(root).name(path) in inputs or find_reader(path):
        raise _refuse_out(name, "is read as a part of the project")


def _refuse_out(name: str, why: str) -> ReconcilerError:
    step = "Name a new file, such as release.plan. Nothing was written."
    return ReconcilerError(why, subject=name, next_step=step)


def check_belongs(plan: Plan, project: Project, name: str) -> None:
    """Raise PlanInvalid for a plan of another project or environment, or of another cloud.

    `name` is the file of the plan.
    """
    made_for, environment = plan.inputs.project, plan.inputs.environment
    if made_for != project.name:
        raise PlanInvalid(
            f'was made for the project "{made_for}", and this is "{project.name}"',
            subject=name,
            next_step="Apply it in that project, or plan again here.",
        )
    if environment != project.environment:
        known = environment in project.environments
        raise PlanInvalid(
            f"was made for {_name_environment(environment)}, and this is"
            f" {_name_environment(project.environment)}",
            subject=name,
            next_step=f"Apply it with --env {environment}, or plan again here."
            if known
            else "Plan again.",
        )
    here = project.cloud.name
    if plan.inputs.cloud != here:
        raise PlanInvalid(
            f"was made for {plan.inputs.cloud}, and spec.cloud is now {here}",
            subject=name,
            next_step="Plan again.",
        )


def _name_environment(name: str) -> str:
    return f'the environment "{name}"' if name else "a project without environments"


def is_plan(name: str) -> bool:
    """Whether the content of a file is that of a saved plan, intact or not."""
    try:
        with Path(name).open("rb") as file:
            start = file.read(_START_BYTES)
            if not _OBJECT.match(start):
                return False
            file.seek(0)
            found = (key for part in _read_overlapping(file) for key in _KEY.findall(part))
            # A ledger has the first of the two keys, and a plan of Terraform the second.
            return len(set(found)) == 2
    except OSError:
        return False


def _read_overlapping(file: BinaryIO) -> Iterator[bytes]:
    """Yield the parts of a file; each begins with the end of the part before it."""
    end = b""
    while part := file.read(_PART_BYTES):
        yield end + part
        end = part[-_START_BYTES:]


def save(plan: Plan, name: str) -> None:
    """Write a plan to a file that only its owner can read; the write is atomic.

    The caller has called `check_out`. A device or a pipe is written to and never replaced. Raises
    OSError with the name of the file.
    """
    from reconciler.files import write_output

    target, text = Path(name), render_plan_json(plan)
    try:
        write_output(target, text.encode(), mode=0o600)
    except OSError as error:
        error.filename = name
        raise


def pick_patch(plan: Plan, part: str, target: str) -> str:
    """The `patch` or `inverse` of a plan's steps as JSON; raises PlanInvalid for a wrong target.

    A fleet as the target means all its members.
    """
    found = {
        str(step.resource.address): step.ops if part == "patch" else step.inverse
        for step in plan.steps
        if target in {"", str(step.resource.address), str(step.fleet)}
    }
    if target and not found:
        names = [str(step.resource.address) for step in plan.steps]
        raise PlanInvalid(
            "the plan does not change it",
            subject=target,
            next_step=f"It changes: {', '.join(names) or 'nothing'}.",
        )
    chosen = next(iter(found)) if len(found) == 1 else ""
    return escape_json(json.dumps(found[chosen] if chosen else found, indent=2, ensure_ascii=False))


def list_changed_files(plan: Plan, root: Path) -> list[str]:
    """The files that a plan was made from and that have changed since, or are gone."""
    files = sorted(plan.inputs.files.items())
    return [name for name, known in files if _digest(root, name) != known]


def _digest(root: Path, name: str) -> str:
    """The digest of a file of the project; empty for anything else that a plan may name."""
    try:
        path = resolve_path(root / name)
        if not path.is_relative_to(resolve_path(root)) or not path.is_file():
            return ""
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (OSError, ValueError):
        return ""


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    """A seekable file; raises PlanInvalid for one that is too long to be a plan."""
    with Path(name).open("rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_ISREG(state.st_mode):
            opened: BinaryIO = file
            size = state.st_size
        else:
            data = file.read(_MOST_BYTES + 1)
            size, opened = len(data), io.BytesIO(data)
        if size > _MOST_BYTES:
            raise PlanInvalid(
                f"is larger than {_MOST_BYTES >> 20} MB, the largest plan that is read",
                next_step="Make plans of fewer resources: --target.",
            )
        yield opened


def read_saved(name: str) -> tuple[Plan, str]:
    """A saved plan and its digest; raises PlanInvalid with the name of the file."""
    try:
        with _open(name) as file:
            return read_plan(file)
    except FileNotFoundError as error:
        raise PlanInvalid(
            "the plan file does not exist",
            subject=name,
            next_step=f"Make one: reconciler plan --out {name}",
        ) from error
    except OSError as error:
        raise PlanInvalid(f"cannot be read: {error.strerror}", subject=name) from error
    except PlanInvalid as error:
        error.subject = name
        raise
