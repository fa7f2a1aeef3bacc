"""A project of many services, what it declares of them, and whether they are so."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.cli.wiring import assemble_project
from reconciler.model import StepResult
from reconciler.ports import Ledger
from tests.e2e.world import EXAMPLE, MODEL, SUBSCRIPTION, Emulator
from tests.survival.traffic import Traffic

HERE, THERE = "South Central US", "West Central US"
CALLS = 10
FLAGS = ("--auto-approve", "--prune", "--detailed-exitcode", "--patience", "0.2s")
_GUARDS = ("deletes", "updates", "replace", "irreversible")
ALLOWED = tuple(part for guard in _GUARDS for part in ("--allow", guard))
APPLY = ("apply", *FLAGS, *ALLOWED)


def model(name: str) -> str:
    """The address of a trained model."""
    return f"https://acct.blob.core.windows.net/models/{name}.ilearner"


@dataclass(frozen=True)
class DeclaredService:
    """What is declared of a service. Another `location` means another service in its place.

    Of one that others have made (not `whole`), the model alone is declared.
    """

    model: str
    location: str = HERE
    whole: bool = True

    def verbs_from(self, old: "DeclaredService | None") -> list[str]:
        """The writes that lead here."""
        if old is None:
            return ["PUT"]
        if old.location != self.location:
            return ["DELETE", "PUT"]
        return [] if old == self else ["PATCH"]


DeclaredServices = Mapping[str, DeclaredService]


def expect_verbs(old: DeclaredServices, new: DeclaredServices) -> dict[str, list[str]]:
    """The writes of each service that lead from one state to another, and no more."""
    expected = {
        name: declared_service.verbs_from(old.get(name)) for name, declared_service in new.items()
    }
    expected |= {name: ["DELETE"] for name in old if name not in new}
    # Before a service goes to another region, its copy for there is made.
    copies = [name for name, verbs in expected.items() if verbs == ["DELETE", "PUT"]]
    expected |= {f"{name}/CreateRegionalBlob": ["POST"] for name in copies}
    return {name: verbs for name, verbs in expected.items() if verbs}


@dataclass
class Fleet:
    """A project in a folder, with a resource group of its own at the emulator.

    `ledger` is where the project keeps its ledger, as it says it.
    """

    folder: Path
    emulator: Emulator
    log: Path
    ledger: str = ""
    declared_services: dict[str, DeclaredService] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "manifests").mkdir(parents=True)
        (self.folder / "key").write_text("a-storage-key")
        example = EXAMPLE / "manifests" / "census.definition.json"
        for number, place in enumerate((HERE, THERE)):
            document = json.loads(example.read_bytes()) | {"location": place}
            del document["properties"]["description"]  # for others to edit
            (self.folder / f"definition{number}.json").write_text(json.dumps(document))
        self.move(self.emulator)

    def move(self, emulator: Emulator) -> None:
        """From now on the services are found at this emulator."""
        self.emulator = emulator
        (self.folder / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: fleet}\nspec:\n"
            f'  cloud: {{resourceManager: "{self.emulator.url}", blob: "{self.emulator.url}"}}\n'
            f"  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: {self.group}}}\n"
            f"  guards: {{blobs: skip}}\n{self.ledger and f'  ledger: {self.ledger}'}\n"
        )

    @property
    def group(self) -> str:
        return self.emulator.group

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.log, self.group)

    def declare(self, declared_services: DeclaredServices) -> None:
        """Say in manifests what shall be, and nothing else."""
        shutil.rmtree(self.folder / "manifests")
        (self.folder / "manifests").mkdir()
        for name, declared_service in declared_services.items():
            (self.folder / "manifests" / f"{name}.yaml").write_text(_spell(name, declared_service))
        self.declared_services = dict(declared_services)

    @property
    def ledger_file(self) -> Path:
        return self.folder / ".reconciler" / "ledger.jsonl"

    def open_ledger(self) -> Ledger:
        """The ledger itself, as the product opens it."""
        invocation = Invocation()
        invocation.project_file = str(self.folder / "reconciler.yaml")
        return assemble_project(invocation).ledger

    def count_done(self) -> dict[str, int]:
        """How often the ledger tells of each service that something was done to it."""
        done = (one for one in self.open_ledger().entries() if one.result is StepResult.DONE)
        return dict(Counter(one.address.name for one in done))

    def tear_ledger(self) -> None:
        """Leave half of the line that was written last."""
        file = self.ledger_file
        data = file.read_bytes()
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        os.truncate(file, start + (len(data) - start) // 2)

    def compare(self) -> list[str]:
        """What is live otherwise than it is declared, in words; read past the project."""
        path = self.emulator.path("").rstrip("/")
        status, listed, _ = self.emulator.send("GET", path)
        assert status == 200, listed
        live = {item["name"] for item in listed["value"]}
        assert "nextLink" not in listed
        wrong = [f"{name} is there" for name in sorted(live - set(self.declared_services))]
        wrong += [f"{name} is not there" for name in sorted(set(self.declared_services) - live)]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(self._compare, sorted(live & set(self.declared_services)))
            return wrong + [text for texts in found for text in texts]

    def _compare(self, name: str) -> list[str]:
        declared_service, live = self.declared_services[name], self.emulator.get(name)
        state = live["properties"]["provisioningState"]
        if state != "Succeeded":
            return [f"{name} is {state}"]
        properties = live["properties"]
        shown = {
            "model": (
                properties["assets"]["asset3"]["locationInfo"]["uri"],
                declared_service.model,
            ),
            "location": (live["location"], declared_service.location),
            "calls": (properties["realtimeConfiguration"]["maxConcurrentCalls"], CALLS),
        }
        return [
            f"{name}: {part} is {is_now}, not {wanted}"
            for part, (is_now, wanted) in shown.items()
            if is_now != wanted
        ]


def _spell(name: str, declared_service: DeclaredService) -> str:
    number = (HERE, THERE).index(declared_service.location)
    rest = (
        f"  definition: {{file: ../definition{number}.json}}\n"
        "  secrets:\n    /properties/storageAccount/key: {file: ../key}\n"
    )
    return (
        f"apiVersion: reconciler/v1\nkind: WebService\nmetadata: {{name: {name}}}\nspec:\n"
        f"  trainedModels:\n    {MODEL}: {{uri: '{declared_service.model}'}}\n{rest if declared_service.whole else ''}"
    )
