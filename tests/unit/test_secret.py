"""Secrets, read where they are referred to; no byte of them in a message."""

import os
from pathlib import Path

import pytest

from reconciler.errors import SecretMissing
from reconciler.manifests.secrets import secret_resolver
from reconciler.model import SecretReference


def test_a_variable_is_read_at_the_moment_of_the_call(tmp_path: Path) -> None:
    environment = {"KEY": "first"}
    resolve = secret_resolver(tmp_path, environment)
    assert resolve(SecretReference(env="KEY")) == "first"
    environment["KEY"] = "second"
    assert resolve(SecretReference(env="KEY")) == "second"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"key\n", "key"),
        (b"key\r\n", "key"),
        (b"key\n\n", "key\n"),
        (b" k y ", " k y "),
        ("ü".encode(), "ü"),
    ],
)
def test_one_line_end_is_no_part_of_a_secret(tmp_path: Path, content: bytes, secret: str) -> None:
    (tmp_path / "k").write_bytes(content)
    assert secret_resolver(tmp_path, {})(SecretReference(file="k")) == secret


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        ("gone", None, "cannot be read"),
        ("k", b"", "is empty"),
        ("k", b"\n", "is empty"),
        ("k", b"planted\xff", "is not text"),
        ("k", b"planted\0", "is not text"),
        ("k", b"planted" * 20_000, "is larger than 64 kB"),
        (".", None, "is not a regular file"),
        ("../outside", None, "is outside"),
        ("link", None, "is outside"),
        ("pipe", None, "is not a regular file"),
        ("/etc/hostname", None, "is outside"),
    ],
)
def test_what_is_no_secret_is_said_and_never_quoted(
    tmp_path: Path, name: str, content: bytes | None, state: str
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "outside").write_text("planted")
    (root / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "pipe")
    if content is not None:
        (root / name).write_bytes(content)
    with pytest.raises(SecretMissing) as caught:
        secret_resolver(root, {})(SecretReference(file=name))
    assert state in caught.value.message
    assert caught.value.subject == f"file {name}"
    assert "planted" not in str(caught.value.findings())
    assert "planted" not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("environment", "state"),
    [({}, "is not set"), ({"K": ""}, "is empty"), ({"K": "\udcff"}, "not text")],
)
def test_a_variable_that_is_none_is_named(
    tmp_path: Path, environment: dict[str, str], state: str
) -> None:
    with pytest.raises(SecretMissing, match=state) as caught:
        secret_resolver(tmp_path, environment)(SecretReference(env="K"))
    assert caught.value.__cause__ is None
