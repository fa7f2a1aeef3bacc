"""The wheel, away from the checkout: schemas and the example travel inside it."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.render.plan.text import render_plan_json
from tests.e2e.pipelines import build_wheel
from tests.e2e.world import ROOT, clean_environment
from tests.plans import plan, step_of_every_shape
from tests.storage import need_storage

pytestmark = pytest.mark.e2e
EXAMPLES = ROOT / "manifests"


def environment(**more: str) -> dict[str, str]:
    """Without the folder of bytecode that tests share: what is installed here is soon removed."""
    kept = clean_environment(more)
    kept.pop("PYTHONPYCACHEPREFIX", None)
    return kept


@pytest.fixture(scope="module")
def wheel() -> Path:
    return build_wheel()


def install(wheel: Path, folder: Path) -> Callable[..., str]:
    """Unpack the wheel into a folder; returns what runs Python with it, away from the checkout.

    pip does no more for it, and takes a second. The jobs of `test_workflows` install it by pip.
    """
    target, work = folder / "installed", folder / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as unpacked:
        unpacked.extractall(target)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=work,
            env=environment(PYTHONPATH=str(target)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    run = install(wheel, tmp_path)
    saved = tmp_path / "saved.plan"
    saved.write_text(render_plan_json(plan(step_of_every_shape())))
    where = run("-c", "import reconciler; print(reconciler.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path / "installed")
    assert json.loads(run("-m", "reconciler", "schema", "WebService"))["title"]
    run("-m", "reconciler", "init")
    assert run("-m", "reconciler", "validate").startswith("Success!")
    assert ".gitlab/reconciler.yml" in run("-m", "reconciler", "init", "--ci", "gitlab")
    page = run("-m", "reconciler", "show", str(saved), "--format", "html")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")


@pytest.mark.slow
def test_the_story_of_retraining_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    need_storage()
    kept = tmp_path / "kept"
    run = install(wheel, tmp_path)
    said = run("-m", "reconciler", "demo", "--story", "retrain", "--keep", str(kept))
    assert "the guard gate was lifted  WebService/census" in said
    assert run("-m", "reconciler", "--chdir", str(kept), "validate").startswith("Success!")


def test_the_wheel_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    schemas = {
        f"reconciler/_schemas/{path.relative_to(ROOT / 'schemas')}"
        for path in (ROOT / "schemas").rglob("*.json")
    }
    assert schemas <= names
    listed = subprocess.run(["git", "ls-files"], cwd=EXAMPLES, check=True, capture_output=True)
    # The image is made from a checkout, and the guide's pictures are not for the program.
    tracked = {one for one in listed.stdout.decode().splitlines() if "/" in one}
    examples = {one for one in tracked if not one.startswith(("deploy/", "pictures/"))}
    assert examples < tracked
    assert not [one for one in names if {"deploy", "pictures"} & {*one.split("/")}]
    assert {one.partition("/")[0] for one in examples} == {
        "bike-rental",
        "census",
        "census-retraining",
        "online",
        "two-environments",
    }
    assert {f"reconciler/_examples/{one}" for one in examples} <= names
    assert "reconciler/py.typed" in names
    assert {f"reconciler/render/plan/plan.{end}" for end in ("html.j2", "css", "js")} <= names
    assert not [name for name in names if name.startswith("tests/") or ".pyc" in name]
