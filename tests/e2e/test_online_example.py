"""The example of an online endpoint: it is valid, it applies, and a model goes from blue to green."""

import json
import re
import secrets
import shutil
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, Done, Emulator, run

pytestmark = pytest.mark.e2e
EXAMPLE = ROOT / "manifests" / "online"


@pytest.fixture
def example(emulator: Emulator, tmp_path: Path) -> Path:
    """The example on the emulator of the tests, without waits."""
    folder = tmp_path / "online"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".reconciler"))
    file = folder / "reconciler.yaml"
    cloud = f'{{resourceManager: "{emulator.url}"}}'
    text = re.sub(r"cloud: emulator.*", f"cloud: {cloud}", file.read_text())
    file.write_text(text.replace("blobs: warn", "blobs: skip"))
    # Names of endpoints are unique in the region, and other tests have the same emulator.
    own = f"spec:\n  resource: {{name: e{secrets.token_hex(4)}}}\n"
    edit(folder, ("spec:\n", own), ("pause: 2s", "pause: 0s"), ("keepOld: 3s", "keepOld: 0s"))
    return folder


def edit(folder: Path, *pairs: tuple[str, str]) -> None:
    file = folder / "manifests" / "census.yaml"
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)


def apply(folder: Path) -> Done:
    done = run(folder, "apply", "--auto-approve")
    assert done.code == 0, done.said
    return done


def test_the_example_is_valid() -> None:
    done = run(EXAMPLE, "validate")
    assert (done.code, done.err) == (0, "")
    assert done.out == "Success! The configuration is valid: 1 resource in 4 files.\n"


def test_each_line_of_the_example_that_a_newcomer_must_know_has_a_comment() -> None:
    lines = (EXAMPLE / "manifests" / "census.yaml").read_text().splitlines()
    spec = lines[lines.index("spec:") + 1 :]
    plain = {"deployments:", "blue:"}
    bare = [line.strip() for line in spec if "#" not in line and line.strip() not in plain]
    assert [one.partition(":")[0] for one in bare] == [
        "code_configuration",
        "instance_type",
        "request_settings",
        "rollout",
    ]


def test_a_new_model_goes_to_green_in_steps_and_blue_is_removed(example: Path) -> None:
    made = apply(example)
    assert "blue answered 20 calls as manifests/golden.json" in made.said
    edit(
        example,
        ("{blue: 100}", "{green: 100}"),
        ("    blue:", "    green:"),
        ("census:1", "census:2"),
    )
    planned = run(example, "plan", "--json")
    (change,) = json.loads(planned.out)["resource_changes"]
    assert change["change"]["actions"] == ["update"]
    moved = apply(example)
    said = [
        "create deployment green (census:2)",
        "green answered 20 calls as manifests/golden.json",
        "traffic: green 10 %, blue 90 %",
        "traffic: green 50 %, blue 50 %",
        "traffic: green 100 %",
        "delete deployment blue",
    ]
    places: list[int] = []
    for sentence in said:
        places.append(moved.err.index(sentence, places[-1] if places else 0))
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in moved.out
    silent = run(example, "plan", "--detailed-exitcode")
    assert silent.code == 0, silent.said


def test_a_model_that_answers_otherwise_gets_no_calls(example: Path) -> None:
    apply(example)
    golden = example / "manifests" / "golden.json"
    golden.write_text("[7, 7, 7]\n")
    edit(
        example,
        ("{blue: 100}", "{green: 100}"),
        ("    blue:", "    green:"),
        ("census:1", "census:2"),
    )
    done = run(example, "apply", "--auto-approve", "--detailed-exitcode")
    assert done.code == 6, done.said
    assert "green does not answer as manifests/golden.json: /0 is 0." in done.err
    assert "traffic: green" not in done.err
    assert "log of green: " in done.said
    # The deployment is kept for those who look for the reason, and has no calls.
    edit(
        example,
        ("{green: 100}", "{blue: 100}"),
        ("    green:", "    blue:"),
        ("census:2", "census:1"),
    )
    silent = run(example, "plan", "--detailed-exitcode")
    assert silent.code == 0, silent.said
