"""Kinds of other distributions are found, and nothing is asked where there are none."""

import sys
import zipfile
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from reconciler import kinds
from reconciler.kinds import find_kinds
from reconciler.kinds.endpoint import KIND

BUILT_IN = ["Endpoint", "OnlineEndpoint", "WebService"]
MODULE = "KIND = 'a kind of somebody else'\n"


def _write_plugin(folder: Path, name: str = "Job") -> None:
    (folder / "job_kind.py").write_text(MODULE)
    metadata = folder / "job_kind-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: job-kind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[reconciler.kinds]\n{name} = job_kind:KIND\n")


def test_the_kinds_that_are_built_in_are_those_that_the_distribution_names() -> None:
    assert sorted(entry.name for entry in entry_points(group=kinds.GROUP)) == BUILT_IN
    assert [one.name for one in find_kinds().values()] == BUILT_IN


@pytest.fixture(autouse=True)
def _forget_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "job_kind", raising=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whether importlib.metadata is asked."""
    found: list[str] = []

    def load() -> Mapping[str, object]:
        found.append("asked")
        return {}

    monkeypatch.setattr(kinds, "_load_entry_points", load)
    return found


def test_a_kind_of_another_distribution_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_plugin(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = find_kinds()
    assert list(found) == ["Endpoint", "Job", "OnlineEndpoint", "WebService"]
    assert found["Job"] == "a kind of somebody else"  # type: ignore[comparison-overlap]


def test_a_distribution_earlier_on_the_path_takes_no_built_in_kinds_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_plugin(tmp_path, "Endpoint")
    monkeypatch.syspath_prepend(tmp_path)
    found = find_kinds()
    assert list(found) == BUILT_IN
    assert found["Endpoint"] is KIND


def test_nothing_is_asked_where_no_other_distribution_names_a_kind(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "entry_points.txt").write_text("[console_scripts]\nother = other:main\n")
    (tmp_path / "broken-1.0.dist-info").write_text("no folder")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing")])
    assert list(find_kinds()) == BUILT_IN
    assert find_kinds()["Endpoint"] is KIND
    assert asked == []


def test_what_only_importlib_metadata_can_read_is_asked_of_it(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    archive = tmp_path / "library.zip"
    zipfile.ZipFile(archive, "w").close()
    for place in (archive, tmp_path):
        monkeypatch.setattr(sys, "path", [str(place)])
        find_kinds()
    assert asked == ["asked"]
    (tmp_path / "job-1.0-py3.11.egg").write_text("an archive")
    find_kinds()
    assert asked == ["asked"] * 2


def test_finders_of_distributions_are_asked(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder(PathFinder):
        pass

    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    find_kinds()
    assert asked == ["asked"]
