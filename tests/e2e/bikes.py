"""A project whose endpoints are of one Classic web service, on an emulator of its own."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.casework.classic import MODEL, Classic
from tests.casework.record import Recorder
from tests.e2e.world import Done, Emulator, run_emulator

Json = Any
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# Whether the service shows which model an endpoint has.
HIDDEN: Mapping[str, str] = {}
SHOWN = {"classic-resource-location": "without-signature"}


def sign(account: str = "devstoreaccount1") -> str:
    ends = datetime.now(UTC) + timedelta(days=30)
    read = ContainerSasPermissions(read=True)
    return generate_container_sas(account, "bikes", account_key=KEY, permission=read, expiry=ends)


@dataclass
class Bikes:
    """A project whose endpoints are of one web service. `world` is what others do there."""

    folder: Path
    emulator: Emulator
    classic: Classic
    env: Mapping[str, str]

    def declare(self, model: str, *names: str, **more: Json) -> None:
        """Manifests for these endpoints, each with a model of its own kind."""
        for old in (self.folder / "manifests").glob("*.yaml"):
            old.unlink()
        for name in names:
            uri = {"uri": self.uri(model), "sas": {"env": "MODELS_SAS"}}
            spec = {"trainedModels": {MODEL: uri}, **more}
            self.write(f"manifests/{name}.yaml", "Endpoint", name, spec)

    def uri(self, model: str) -> str:
        return f"{self.emulator.blob}/devstoreaccount1/bikes/{model}.ilearner"

    def write(self, file: str, kind: str, name: str, spec: Json) -> None:
        document = {"apiVersion": "reconciler/v1", "kind": kind, "metadata": {"name": name}}
        path = self.folder / file
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(yaml.safe_dump({**document, "spec": spec}))

    def run(self, *arguments: str) -> Done:
        """One command, in this process: most of the time would go into starting others."""
        return Recorder(self.folder, self.env, lambda _, document: document).run(*arguments)

    def expect(self, said: str, *arguments: str) -> Done:
        done = self.run(*arguments)
        assert said in done.out, done.said
        return done

    def expect_silence(self) -> None:
        assert self.run("plan", "--detailed-exitcode").code == 0, self.run("plan").said

    def requests(self) -> list[Json]:
        lines = (self.folder / "requests.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def open_bikes(
    folder: Path, emulator: Emulator, signature: str, switches: Mapping[str, str], *options: str
) -> Iterator[Bikes]:
    chosen = [f"--switch={name}={value}" for name, value in switches.items()]
    folder.mkdir(exist_ok=True)
    log = f"--log={folder / 'requests.log'}"
    seconds = (
        [] if any("operation-seconds" in one for one in options) else ["--operation-seconds=0.1"]
    )
    with run_emulator(f"--blob-url={emulator.blob}", log, *seconds, *chosen, *options) as world:
        known = Emulator(world.url, emulator.blob)
        classic = Classic(known, folder.name, {"published": ""})
        classic.set()
        bikes = Bikes(folder, known, classic, {"MODELS_SAS": signature})
        _, _, workspace, _, service = classic.path.split("/")
        bikes.write(
            "reconciler.yaml",
            "Project",
            "bikes",
            {
                "cloud": {"resourceManager": world.url, "blob": known.blob},
                "defaults": {"workspace": workspace, "webService": service},
                "guards": {"maxDeletes": 100},
            },
        )
        yield bikes
