"""A file is replaced whole, and stays what it was in all but its text."""

from pathlib import Path

import pytest

from reconciler.files import (
    LinkRefused,
    check_path,
    find_checkout,
    is_stream,
    read_whole,
    write_new,
    write_whole,
    writing,
)


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


def test_files_are_restored_after_an_error(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_bytes(b"old \xff")
    texts = {old: "new", tmp_path / "a" / "b" / "c.yaml": "c", tmp_path / "a" / "d.yaml": "d"}

    def write_and_fail() -> None:
        with writing(texts):
            assert {path: path.read_text() for path in texts} == texts
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"old \xff"


def test_a_write_that_fails_restores_the_writes_before_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    texts = {tmp_path / "a.yaml": "a", tmp_path / "link": "b"}
    with pytest.raises(FileExistsError), writing(texts):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["link"]


def test_a_new_file_follows_no_link_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    (tmp_path / "link").symlink_to("gone")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"x")
    assert (tmp_path / "there").read_text() == "precious"
    assert not (tmp_path / "gone").exists()
    write_new(tmp_path / "new", b"x", mode=0o600)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_links_that_a_checkout_may_contain_are_refused(tmp_path: Path) -> None:
    checkout, outside = tmp_path / "checkout", tmp_path / "outside"
    for folder in (checkout / ".git", checkout / "project" / "real", outside):
        folder.mkdir(parents=True)
    project = checkout / "project"
    for link, target in {"inside": "real", "out": str(outside), "file": "real/x"}.items():
        (project / link).symlink_to(target)
    (checkout / "up").symlink_to(outside)
    (tmp_path / "own").symlink_to(outside)
    assert find_checkout(project) == checkout
    for path in ("project/inside/x", "project/new/x", "../own/x", "../outside/x"):
        check_path(checkout / path, checkout)
    for path in ("project/out/x", "project/out/new/x", "up/x", "project/file"):
        with pytest.raises(LinkRefused):
            check_path(checkout / path, checkout)


def test_a_link_to_a_device_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    check_path(tmp_path / "null", tmp_path)
    assert is_stream(tmp_path / "null")
    assert not is_stream(tmp_path)
