"""Output in encodings that cannot hold every character: the command works, and ends as always."""

import contextlib
import io
import json
import os
from unittest import mock

import pytest

from reconciler.cli import main
from tests.e2e.world import Project, clean_environment

ENCODINGS = ["latin-1", "cp1252", "ascii", "cp437", "koi8-r", "shift_jis", "utf-16"]
STRANGE = "modèle € 模型 𝄞"


def encoded(project: Project, encoding: str, *arguments: str) -> tuple[int, bytes]:
    """The exit code of a command and the bytes of its output, in an encoding."""
    raw = [io.BytesIO(), io.BytesIO()]
    out, err = (io.TextIOWrapper(one, encoding=encoding) for one in raw)
    with (
        contextlib.chdir(project.folder),
        mock.patch.dict(os.environ, clean_environment(), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(arguments)
        out.flush()
        err.flush()
    assert b"unexpected" not in raw[1].getvalue()
    return code, raw[0].getvalue()


@pytest.fixture
def changing(project: Project) -> Project:
    """A service whose model and description are to be changed, the latter to a strange text."""
    world = project.emulator
    world.deploy("one", world.model_uri("old"))
    project.manifest("one", world.model_uri("new"))
    text = (project.folder / "manifests" / "one.yaml").read_text()
    described = f"  definition: {{properties: {{description: '{STRANGE}'}}}}\n"
    (project.folder / "manifests" / "one.yaml").write_text(text + described)
    return project


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_command_works_in_each_encoding(changing: Project, encoding: str) -> None:
    for line in (
        "plan --detailed-exitcode",
        "plan --format markdown --detailed-exitcode",
        "drift --detailed-exitcode",
        "history",
        "validate",
        "schema WebService --fields",
    ):
        code, out = encoded(changing, encoding, *line.split())
        assert (line, code) == (line, 2 if "detailed" in line else 0)
        out.decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS[:-1])
def test_json_stays_json_with_every_value(changing: Project, encoding: str) -> None:
    code, out = encoded(changing, encoding, "plan", "--format", "json", "--detailed-exitcode")
    assert code == 2
    assert STRANGE in json.dumps(json.loads(out), ensure_ascii=False)
    assert out.isascii()
    (changing.folder / "x.plan").write_bytes(out)
    assert encoded(changing, encoding, "show", "x.plan")[0] == 0


def test_what_an_encoding_lacks_is_drawn_in_ascii(changing: Project) -> None:
    _, out = encoded(changing, "ascii", "plan")
    text = out.decode("ascii")
    assert "-" * 72 in text
    assert "mod\\u00e8le \\u20ac" in text
    _, out = encoded(changing, "latin-1", "plan")
    assert "modèle \\u20ac" in out.decode("latin-1")


def test_an_apply_ends_with_its_own_exit_code(changing: Project) -> None:
    code, out = encoded(changing, "cp437", "apply", "--auto-approve")
    assert (code, b"1 changed" in out) == (0, True)
