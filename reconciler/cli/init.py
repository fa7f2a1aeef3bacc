"""`reconciler init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a small project that validates and plans at once, into FOLDER (here by default).

    Nothing that is there already is overwritten.
    """
    from reconciler.catalog import find_example
    from reconciler.errors import ReconcilerError

    example = find_example("census")
    files = sorted(file.relative_to(example) for file in example.rglob("*") if file.is_file())
    there = [str(name) for name in files if (folder / name).exists()]
    if there:
        raise ReconcilerError(
            f"there is already {', '.join(there)}",
            subject=str(folder),
            next_step="Nothing was written. Choose an empty folder: reconciler init FOLDER",
        )
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((example / name).read_bytes())
        click.echo(f"  {name}")
    enter = "" if folder == Path() else f"cd {folder}\n    "
    click.echo(
        "\nThe project is ready. It plans against the emulator; in another terminal run\n"
        f"    reconciler emulator\nand then\n    {enter}reconciler validate\n    reconciler plan"
    )
