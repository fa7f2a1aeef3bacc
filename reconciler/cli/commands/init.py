"""`reconciler init`."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.emulator.tcp_ports import DEFAULT_BLOB_PORT, pick_new_blob_port

if TYPE_CHECKING:  # start-up: only --ci needs it
    from reconciler.gitops.workflows import ForgeName

_SCHEMAS = (
    "project",
    "environment",
    "fleet",
    "retraining",
    "policy",
    "policy-test",
    "drift-ignore",
    "web-service",
    "endpoint",
    "online-endpoint",
)
# The example that a project with a resource of this kind begins with.
_EXAMPLES = {"WebService": "census", "OnlineEndpoint": "online"}
_SCHEMA_FOLDER = ".schemas"
_SECRETS = "secrets/"
# Blob storage of the example. Storage of another project may have the port.
_STORAGE = f"127.0.0.1:{DEFAULT_BLOB_PORT}/".encode()
_MODELINE = re.compile(r"(?<=\$schema=)\S*?([a-z-]+\.schema\.json)")


@click.command(
    cls=Command,
    examples=(
        "# Write a project into the working directory",
        "reconciler init",
        "# Write a project into a new folder",
        "reconciler init bike-rental",
        "# Write a project with an online endpoint, blue and green",
        "reconciler init census --kind OnlineEndpoint",
        "# Add a pipeline to the project in the working directory",
        "reconciler init --ci github",
    ),
)
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice([*_EXAMPLES]),
    help="The kind of the resource in the project. Default: WebService.",
)
@click.option(
    "--ci",
    "forge",
    type=click.Choice(["github", "azure-pipelines", "gitlab"]),
    help="Write the files of a pipeline into the project that is in FOLDER, and a page about its"
    " set-up.",
)
@click.option(
    "--branch",
    default="",
    metavar="NAME",
    help="With --ci: the branch whose merges are applied. Default: that of the remote, or main.",
)
@click.pass_context
def init(
    context: click.Context, folder: Path, kind: str | None, forge: ForgeName | None, branch: str
) -> None:
    """Write a small, valid project into FOLDER, by default into the working directory.

    No existing file is overwritten. Editors with the YAML language server complete the manifests
    from the schemas that init writes beside them.

    With --ci, FOLDER has a project already, and init writes a pipeline for it: each pull request is
    planned into one comment, and each merge applies what was reviewed.
    """
    if forge is not None:
        if kind:
            raise click.UsageError("--ci writes no resource: leave out --kind", context)
        from reconciler.cli.pipeline import write_pipeline

        write_pipeline(context.obj, folder, forge, branch)
        return
    if branch:
        raise click.UsageError("--branch needs --ci", context)
    _write_project(folder, _EXAMPLES[kind or "WebService"])


def _write_project(folder: Path, example: str) -> None:
    from reconciler.errors import ReconcilerError
    from reconciler.files import check_path, find_checkout
    from reconciler.manifests.folder import check_new_project
    from reconciler.render.words.escape import escape

    files = _make_files(example)
    there = [name for name in files if os.path.lexists(folder / name)]
    if there:
        raise ReconcilerError(
            f"already exists: {', '.join(there)}",
            subject=str(folder),
            next_step="Nothing was written. Choose an empty folder: reconciler init FOLDER",
        )
    check_new_project(folder)
    for name, checkout in itertools.product(files, {folder, folder.parent}):
        check_path(folder / name, find_checkout(checkout))
    for name, data in files.items():
        _write(folder / name, data, secret=name.startswith(_SECRETS))
        click.echo(f"  {name}")
    enter = "" if folder == Path() else f"    cd {escape(str(folder))}\n"
    click.echo(
        "\nThe project is ready. It uses the emulator. Start it in one terminal:\n"
        f"{enter}    reconciler emulator\n"
        "Then plan in another one:\n"
        f"{enter}    reconciler validate\n    reconciler plan"
    )


def _write(file: Path, data: bytes, *, secret: bool) -> None:
    """Write a file and its folder; only the owner can read a secret, from its creation on."""
    from reconciler.files import write_new

    file.parent.mkdir(mode=0o700 if secret else 0o777, parents=True, exist_ok=True)
    write_new(file, data, mode=0o600 if secret else 0o666)


def _make_files(name: str) -> dict[str, bytes]:
    """The files of a project that begins with an example, by their relative names, in order."""
    import json

    from reconciler.manifests.schema import bundle_schema
    from reconciler.package_data import find_example, list_example

    example = find_example(name)
    files = {file.relative_to(example).as_posix(): file.read_bytes() for file in list_example(name)}
    for schema in _SCHEMAS:
        text = json.dumps(bundle_schema(f"manifest/{schema}"), indent=2, ensure_ascii=False)
        files[f"{_SCHEMA_FOLDER}/{schema}.schema.json"] = f"{text}\n".encode()
    storage = f"127.0.0.1:{pick_new_blob_port()}/".encode()
    return {one: _point_editor(one, files[one]).replace(_STORAGE, storage) for one in sorted(files)}


def _point_editor(name: str, data: bytes) -> bytes:
    """Let the first line of a manifest name its schema in the new project."""
    if not name.endswith(".yaml"):
        return data
    up = "../" * name.count("/")
    return _MODELINE.sub(rf"{up}{_SCHEMA_FOLDER}/\1", data.decode()).encode()
