"""The file of --world: what may stand there, and what is told of one that is not right."""

import re
from pathlib import Path

import pytest

from reconciler.emulator.classic import world_file
from reconciler.emulator.classic.world_file import DEFAULT_WORLD
from tests.contract.classic import Classic, run_classic
from tests.e2e.world import run

pytestmark = pytest.mark.contract
ONE, TWO, THREE = (digit * 32 for digit in "123")


def refuse(file: Path) -> str:
    """What the command says of a file that it does not take; it starts nothing."""
    done = run(file.parent, "emulator", "--port=0", "--world", str(file), env={"NO_COLOR": "1"})
    assert (done.code, done.out) == (1, "")
    return done.err.replace(str(file), "FILE")


def test_a_file_may_be_written_as_people_write(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(
        f"""\
# Two regions, one of them on trial.
workspaces:
- id: '{ONE}'
  region: West Europe
  tier: free
  token: trial
  webServices:
  - id: '{THREE}'
    name: Census
    kind: predictive
    resources: [Census Model [trained model], "Scaling [transform]"]
- id: '{TWO}'
  webServices:
  - {{id: '{THREE}', name: Census training, kind: training}}
  - {{id: '{ONE}', name: Bare}}
""".replace("[Census Model [trained model], ", '["Census Model [trained model]", ')
    )
    with run_classic(f"--world={file}") as any_one:
        trial = Classic(any_one.url, THREE, ONE, "trial")
        shown = trial.get("default")
        assert shown["ApiLocation"].startswith("https://europewest.services.azureml.net/")
        assert [one["Name"] for one in shown["Resources"]] == [
            "Census Model [trained model]",
            "Scaling [transform]",
        ]
        listed = Classic(any_one.url, THREE, TWO).call("GET", f"/workspaces/{TWO}/webservices")
        assert [one["Name"] for one in listed.json()] == ["Bare", "Census training"]
        assert any_one.call("GET", "").status_code == 401  # the default world is not there


WRONG = f"""\
workspaces:
- id: 'abc'
  teir: free
  tier: fre
- region: ''
  token: [x]
  webServices:
  - {{id: '{ONE}', kind: predictiv, name: n}}
  - id: '{ONE}'
    kind: training
    resources: [a]
  - just text
  - {{id: '{TWO}', name: n, resources: [a, a], resourcs: 1}}
  - {{id: '{THREE}', name: n, resources: a}}
- {{id: '{ONE}', webServices: {{}}}}
- {{id: '{ONE}'}}
worlds: 1
"""


def test_every_finding_of_a_wrong_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(WRONG)
    said = refuse(file)
    found = re.findall(r"Error: (.*)\n\n  on FILE line (\d+), column \d+", said)
    assert [(message, int(line)) for message, line in found] == [
        ("id must be 32 hexadecimal digits in lower case", 2),
        ('unknown field "teir"', 3),
        ("tier must be free or standard", 4),
        ("region must be text", 5),
        ("the workspace has no id", 5),
        ("token must be text", 6),
        ("kind must be predictive or training", 8),
        ("the id occurs twice", 9),
        ("the web service has no name", 9),
        ("a training service has no updatable resources", 11),
        ("must be a mapping, like every entry of webServices", 12),
        ("resources contains a name twice", 13),
        ('unknown field "resourcs"', 13),
        ("resources must be a list of names", 14),
        ("webServices must be a list", 15),
        ("the id occurs twice", 16),
        ('unknown field "worlds"', 17),
    ]
    assert said.count("Error: ") == len(found)
    assert all(f'Did you mean "{name}"?' in said for name in ("tier", "free", "predictive"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no world"),
        (b"- 1\n", "must be a mapping with workspaces"),
        (b"{}\n", "the world has no workspaces"),
        (b"workspaces: 1\n", "workspaces must be a list"),
        (b"workspaces: []\n---\n{}\n", "a second document"),
        (b"workspaces: [\n", "is not YAML"),
        (b"\xff\xfe\xff", "is not text in UTF-8"),
        (b"workspaces: [" + b"{}," * 1001 + b"]", "at most 1,000 workspaces"),
        (b"workspaces: &a [*a]", "FILE"),
        (b" " * (1024 * 1024 + 1), "at most 1 MB"),
        (b"workspaces: [{id: 1}]", "id must be 32 hexadecimal digits"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "world.yaml"
    file.write_bytes(data)
    said = refuse(file)
    assert message in said
    assert "FILE" in said


def test_the_default_world_is_told_by_the_command() -> None:
    said = run(Path.cwd(), "emulator", "--help", env={"COLUMNS": "200"}).out
    for workspace in DEFAULT_WORLD:
        assert workspace.id in said
        for service in workspace.web_services:
            assert f"web service {service.id}: {service.name}" in said


def test_each_field_of_the_file_is_named_by_the_command() -> None:
    said = run(Path.cwd(), "emulator", "--help", env={"COLUMNS": "200"}).out
    fields = (*world_file._WORKSPACE_FIELDS, *world_file._SERVICE_FIELDS)
    for field in (*fields, *world_file._TRAINING_FIELDS):
        assert re.search(rf"^ +(- )?{field}:( |$)", said, re.MULTILINE), field
    (roles,) = re.findall(r"outputs: \{PORT: model\} +# (.*)", said)
    assert all(role in roles for role in world_file._ROLES)
