"""README and the guide: every command in them is run in its order, and prints what is there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from reconciler.cli.demo.stage import copy_example
from tests.e2e.world import ROOT, Done, begin_command, clean_environment, run
from tests.fork_server import Process
from tests.storage import need_storage

pytestmark = pytest.mark.e2e
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "manifests" / "census-retraining" / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (
        ROOT / "README.md",
        *ROOT.glob("[a-z]*/README.md"),
        *ROOT.glob("tests/*/README.md"),
        *ROOT.glob("manifests/*/README.md"),
    )
)
LEFT_OUT = "…"
# init gives a project the first free port for blob storage.
STORAGE = re.compile(r"http://127\.0\.0\.1:\d+(?=/devstoreaccount1/)")


def read_commands(page: str) -> list[tuple[str, list[str]]]:
    """The commands of all console blocks with the lines that they print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shows(printed: list[str], wanted: list[str]) -> bool:
    """Whether the wanted lines are the printed ones, `…` standing for any that are left out."""
    pattern = "".join("(.*\n)*?" if line == LEFT_OUT else re.escape(line) + "\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


@dataclass
class Addresses:
    """Where the emulator and its storage are, on free ports, and where README has them."""

    found: dict[str, str] = field(default_factory=dict)

    def take(self, ready: str, project: Path) -> None:
        """Learn the addresses from the line that says so; the project uses them by itself."""
        planes = json.loads(ready)
        usual = {"resourceManager": "http://127.0.0.1:8470", "blob": "http://127.0.0.1:10000"}
        self.found |= {planes[name]: address for name, address in usual.items()}
        # Another process may have taken the port of the manifests meanwhile.
        for manifest in (project / "manifests").glob("*.yaml"):
            manifest.write_text(STORAGE.sub(planes["blob"], manifest.read_text()))

    def mask(self, text: str) -> str:
        """A text as README has it."""
        for address, usual in self.found.items():
            text = text.replace(address, usual)
        return STORAGE.sub("http://127.0.0.1:10000", text)


def test_every_command_prints_what_stands_there(tmp_path: Path) -> None:
    printed = run_commands(tmp_path, README + GUIDE, 12)
    # The picture at the top is the plan of the first change.
    picture = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    change = printed.index("$ sed -i 's/blue/green/; s/census:1/census:2/' manifests/census.yaml")
    wanted = [LEFT_OUT, *picture.splitlines(), LEFT_OUT]
    assert shows(printed[change:], wanted), "\n".join(printed[change:])


@pytest.mark.slow
def test_every_command_of_the_example_prints_what_stands_there(tmp_path: Path) -> None:
    copy_example("census-retraining", tmp_path / "manifests" / "census-retraining")
    run_commands(tmp_path, EXAMPLE, 10)


def run_commands(folder: Path, page: str, least: int) -> list[str]:
    """Run the commands of a page in their order; each must print what the page shows.

    Returns the commands with all lines that they printed.
    """
    need_storage()
    addresses, everything = Addresses(), list[str]()
    emulators: list[Process] = []
    commands = read_commands(page)
    assert len(commands) >= least
    try:
        for command, wanted in commands:
            if command.startswith("cd "):
                folder = (folder / command.removeprefix("cd ")).resolve()
                continue
            if command.endswith(" &"):
                _, *words = shlex.split(command.removesuffix(" &"))
                background = begin_command(folder, *words, "--port=0", stderr=None)
                emulators.append(background)
                assert background.stdout is not None
                ready = background.stdout.readline()
                addresses.take(ready, folder)
                assert addresses.mask(ready).splitlines() == wanted
                continue
            done = type_command(folder, command)
            printed = addresses.mask(done.out).rstrip("\n").splitlines()
            assert done.code == 0, (command, done.out)
            assert shows(printed, wanted), f"{command}\n{done.out}"
            everything += [f"$ {command}", *printed]
    finally:
        for emulator in emulators:
            emulator.terminate()
        for emulator in emulators:
            emulator.communicate(timeout=60)
    return everything


def type_command(folder: Path, command: str) -> Done:
    """Run a command as a shell does; one of reconciler alone needs no shell for that."""
    if re.fullmatch(r"reconciler [\w ./-]+", command):
        _, *words = shlex.split(command)
        with begin_command(folder, *words, stderr=subprocess.STDOUT) as process:
            out, err = process.communicate()
        return Done(process.wait(), out, err)
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, "")


def test_the_two_commands_stand_there_as_they_are_meant_to_be_typed() -> None:
    venv = "python3 -m venv .venv && .venv/bin/pip install -q -e"
    assert f"{venv} '.[emulator,watch]' && .venv/bin/reconciler demo\n" in README
    assert f"{venv} '.[dev]' && .venv/bin/pytest\n" in README


def test_a_stranger_reads_the_readme_on_two_screens() -> None:
    assert README.count("\n") < 150


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link
    assert links or page != "README.md"


def test_the_manifests_of_the_guide_are_valid(tmp_path: Path) -> None:
    """Each document of a page is one that validate accepts, up to what it refers to.

    A block without a kind is a part of a manifest.
    """
    blocks = re.findall(r"^```yaml\n(.*?)^```", README + GUIDE, re.MULTILINE | re.DOTALL)
    assert blocks
    (tmp_path / "reconciler.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec: {defaults:"
        " {subscription: s, resourceGroup: g, workspace: w, webService: v, region: West Europe,"
        " token: {env: TOKEN}}}\n"
    )
    project = yaml.safe_load((tmp_path / "reconciler.yaml").read_text())
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "locations.csv").write_text("code,name\n030,Here\n")
    # The guide names the training service, and only the example declares it.
    example = ROOT / "manifests" / "census-retraining" / "manifests"
    for name in ("census.definition.json", "census-training.definition.json"):
        shutil.copy(example / name, folder)
    shutil.copy(example / "census-training.yaml", folder)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "storage-account.key").write_text("a-key-of-storage")
    for number, block in enumerate(blocks):
        document = yaml.safe_load(block)
        if isinstance(document, list):
            (tmp_path / ".driftignore").write_text(block)
            continue
        if "watch" in document.get("spec", {}) and "kind" not in document:
            spec = {**project["spec"], **document["spec"]}
            (tmp_path / "reconciler.yaml").write_text(yaml.safe_dump({**project, "spec": spec}))
        beside = {"Environment": "environments", "Policy": "policies"}.get(document.get("kind"))
        if beside:
            (tmp_path / beside).mkdir(exist_ok=True)
            (tmp_path / beside / f"{document['metadata']['name']}.yaml").write_text(block)
        elif "kind" in document:
            (folder / f"block-{number}.yaml").write_text(block)
    done = run(tmp_path, "validate")
    assert done.code == 0, done.said
