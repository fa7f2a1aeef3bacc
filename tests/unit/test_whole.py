"""A file is replaced whole, and stays what it was in all but its text."""

from pathlib import Path

import pytest

from reconciler.files import read_whole, write_whole


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o664, 0o400])
def test_the_permissions_stay(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "census.yaml"
    file.write_bytes(b"a: 1\n")
    file.chmod(mode)
    write_whole(file, "a: 2\n")
    assert file.read_bytes() == b"a: 2\n"
    assert file.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["\ufeffa: 1\r\nb: 2", "a: \u2028é\U0001f600\r", ""])
def test_every_character_is_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "census.yaml"
    write_whole(file, text)
    assert file.read_bytes() == text.encode()
    assert read_whole(file) == text


def test_a_new_file_is_its_owners_alone_unless_told(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "x")
    write_whole(tmp_path / "b", "x", mode=0o644)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "census.yaml", tmp_path / "link.yaml"
    file.write_text("old")
    link.symlink_to(file)
    write_whole(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "census.yaml"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "\ud800")
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, "x")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))
