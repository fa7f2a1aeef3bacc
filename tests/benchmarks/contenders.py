"""Those who plan and apply the same services side by side, and how each is set up and run.

A contender makes a folder ready once; then `plan` and `apply` each begin from nothing that an
earlier run has left. What is not measured (a plan that is only there to be applied) comes before.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from tests.benchmarks.documents import (
    CALLS,
    GROUP,
    NEW,
    SERVICES,
    WORKSPACE,
    endpoint_of,
    name_of,
    web_service_of,
)
from tests.benchmarks.gauge import Usage, gauge, measured_environment
from tests.benchmarks.static_server import count_calls
from tests.e2e.world import MODEL, SUBSCRIPTION

RECONCILER: Final = str(Path(sys.executable).with_name("reconciler"))


class Planner(Protocol):
    """One tool in a folder of its own. Its commands print to nowhere."""

    @property
    def name(self) -> str:
        """The tool and its version."""

    def prepare(self, folder: Path, url: str, services: int) -> None:
        """Write what the tool needs to know of so many services behind an address."""

    def plan(self) -> Usage:
        """A plan from nothing: every service is read, and compared with what is declared."""


class Applier(Planner, Protocol):
    """A tool that can do what it plans too."""

    def apply(self) -> Usage:
        """Give every service its new model."""


@dataclass
class _Folder:
    folder: Path = Path()
    url: str = ""

    def _gauge(self, command: Sequence[str], codes: Sequence[int] = (0,)) -> Usage:
        count_calls(self.url)
        usage = gauge(command, self.folder, self._environment(), codes)
        return replace(usage, calls=count_calls(self.url))

    def _environment(self) -> dict[str, str]:
        return measured_environment()


class Reconciler(_Folder):
    """This product: one manifest a service, in a file of its own."""

    name = "reconciler"

    def prepare(self, folder: Path, url: str, services: int) -> None:
        self.folder, self.url = folder, url
        write_project(folder, url, services)

    def plan(self) -> Usage:
        shutil.rmtree(self.folder / ".reconciler", ignore_errors=True)
        return self._gauge([RECONCILER, "plan"])

    def apply(self) -> Usage:
        shutil.rmtree(self.folder / ".reconciler", ignore_errors=True)
        self._gauge([RECONCILER, "plan", "--out", "plan.json"])
        return self._gauge([RECONCILER, "apply", "plan.json"])


def write_project(folder: Path, url: str, services: int, model: str = NEW) -> None:
    """A project with one manifest a service, each of which is to have the same model."""
    (folder / "manifests").mkdir(parents=True)
    (folder / "reconciler.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: census}\nspec:\n"
        f'  cloud: {{resourceManager: "{url}", blob: "{url}"}}\n'
        f"  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: {GROUP}}}\n"
        "  guards: {blobs: skip, maxUpdates: 100%}\n"
    )
    for number in range(services):
        name = name_of(number)
        (folder / "manifests" / f"{name}.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: {name}, labels: {{team: growth}}}}\n"
            f"spec:\n  trainedModels:\n    {MODEL}:\n      uri: {model}\n"
        )


class Fleet(_Folder):
    """This product again: a fleet of Classic endpoints, whose items are the rows of a file.

    Every hundredth endpoint differs from what the fleet declares.
    """

    name = "reconciler"

    def prepare(self, folder: Path, url: str, members: int) -> None:
        self.folder, self.url = folder, url
        (folder / "manifests").mkdir(parents=True)
        (folder / "reconciler.yaml").write_text(
            _FLEET_PROJECT.format(url=url, workspace=WORKSPACE, service=web_service_of(members))
        )
        (folder / "manifests" / "fleet.yaml").write_text(_FLEET.format(calls=CALLS))
        rows = "".join(f"{endpoint_of(one)},Location {one}\n" for one in range(members))
        (folder / "manifests" / "locations.csv").write_text("name,title\n" + rows)

    def plan(self) -> Usage:
        shutil.rmtree(self.folder / ".reconciler", ignore_errors=True)
        return self._gauge([RECONCILER, "plan"])


_FLEET_PROJECT: Final = """\
apiVersion: reconciler/v1
kind: Project
metadata: {{name: bike-rental}}
spec:
  cloud: {{resourceManager: "{url}", studioManagement: "{url}", blob: "{url}"}}
  defaults: {{workspace: {workspace}, webService: "{service}"}}
"""
_FLEET: Final = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {{name: bike-rental}}
spec:
  items: {{csv: locations.csv}}
  waves: [1, 10%, 100%]
  template:
    kind: Endpoint
    metadata: {{name: "${{name}}"}}
    spec:
      definition:
        Description: "${{title}}"
        ThrottleLevel: High
        MaxConcurrentCalls: {calls}
"""


class BareClient(_Folder):
    """The same calls one after another with requests, and nothing else: no plan and no record."""

    name = "bare client"

    def prepare(self, folder: Path, url: str, services: int) -> None:
        self.folder, self.url = folder, url
        paths = (f"{url}{SERVICES}/{name_of(number)}" for number in range(services))
        folder.mkdir(parents=True)
        (folder / "urls").write_text("\n".join(paths))

    def plan(self) -> Usage:
        return self._gauge([sys.executable, "-c", _READ, NEW])

    def apply(self) -> Usage:
        return self._gauge([sys.executable, "-c", _READ + _WRITE, NEW])


_READ: Final = """
import pathlib, requests, sys
new = sys.argv[1]
session = requests.Session()
session.headers["Authorization"] = "Bearer emulator"
urls = pathlib.Path("urls").read_text().split()
query = "?api-version=2017-01-01"
def get(url):
    reply = session.get(url + query, timeout=120)
    assert reply.status_code == 200
    return reply.json()
def uri_of(live):
    return live["properties"]["assets"]["asset3"]["locationInfo"]["uri"]
differ = [url for url in urls if uri_of(get(url)) != new]
assert differ == urls
"""
_WRITE: Final = """
for url in urls:
    assets = get(url)["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = new
    body = {"properties": {"packageType": "Graph", "assets": assets}}
    reply = session.patch(url + query, json=body, timeout=120)
    assert reply.status_code == 200
    assert uri_of(get(url)) == new
"""


class Terraform(_Folder):
    """Terraform, as far as it comes without a provider.

    A plan reads each definition with a data source (`terraform_remote_state` over HTTP), and
    compares one value of it, or, where it only reads, none. An apply creates a `terraform_data`
    each, which calls nobody: its state is all that it writes. No plugin takes part in either.
    """

    def __init__(self, program: str, *, compares: bool) -> None:
        self._program, self._compares = program, compares
        said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
        version = said.stdout.splitlines()[0].replace(" v", " ")
        self.name = version if compares else f"{version}, reading alone"

    def prepare(self, folder: Path, url: str, services: int) -> None:
        self.folder, self.url = folder, url
        names = [name_of(number) for number in range(services)]
        compared = _TERRAFORM_COMPARE if self._compares else ""
        # A block each: it reads instances of one block in a time that grows with their square.
        read = "".join(
            _fill(_TERRAFORM_READ.replace("@COMPARE@", compared), url, one) for one in names
        )
        write = "".join(_fill(_TERRAFORM_WRITE, url, one) for one in names)
        for module, text in (("read", read), ("write", write)):
            (folder / module).mkdir(parents=True)
            (folder / module / "main.tf").write_text(text)
            self._run(module, "init")

    def plan(self) -> Usage:
        return self._gauge([self._program, "-chdir=read", "plan", *_QUIET])

    def apply(self) -> Usage:
        for file in (self.folder / "write").glob("terraform.tfstate*"):
            file.unlink()
        self._run("write", "plan", *_QUIET, "-out=saved.plan")
        return self._gauge([self._program, "-chdir=write", "apply", *_QUIET, "saved.plan"])

    def _run(self, module: str, *arguments: str) -> None:
        command = [self._program, f"-chdir={module}", *arguments]
        subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, check=True
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}


_QUIET: Final = ("-input=false", "-no-color")
_TERRAFORM_READ: Final = """
data "terraform_remote_state" "@NAME@" {
  backend = "http"
  config  = { address = "@URL@/states/@NAME@" }
@COMPARE@}
"""
_TERRAFORM_COMPARE: Final = """
  lifecycle {
    postcondition {
      condition = (
        jsondecode(self.outputs.definition).properties.assets.asset3.locationInfo.uri != "@NEW@"
      )
      error_message = "It has the new model."
    }
  }
"""
_TERRAFORM_WRITE: Final = """
resource "terraform_data" "@NAME@" {
  input = { name = "@NAME@", uri = "@NEW@" }
}
"""


def _fill(text: str, url: str, name: str) -> str:
    return text.replace("@NAME@", name).replace("@URL@", url).replace("@NEW@", NEW)


def find_terraform(*, compares: bool = True) -> Terraform | None:
    """Terraform, where it is on the path."""
    program = shutil.which("terraform")
    return Terraform(program, compares=compares) if program else None
