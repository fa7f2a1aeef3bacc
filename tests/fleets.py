"""Fleets written into a folder and loaded, for tests of what comes of them."""

from pathlib import Path

from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded, load

PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec: {cloud: emulator}\n"
KINDS = {KIND.name: KIND}
CSV = "code,calls,team\n001,5,growth\n002,6,risk\n003,7,growth\n"
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: {csv: bikes.csv}
  template:
    kind: WebService
    metadata: {name: "loc${code}", labels: {team: "${team}"}}
    spec:
      trainedModels:
        Model ${code}: {uri: "https://acct.blob.core.windows.net/m/${code}.ilearner"}
      definition:
        properties:
          description: Location ${code} of ${team}
          realtimeConfiguration: {maxConcurrentCalls: "${calls}"}
"""


def read(folder: Path, fleet: str = FLEET, csv: str | bytes | None = CSV, **files: str) -> Loaded:
    """A project with one fleet; other manifests by name, `_` stands for a dot."""
    manifests = folder / "manifests"
    manifests.mkdir(exist_ok=True)
    (folder / "reconciler.yaml").write_text(PROJECT)
    (manifests / "bikes.yaml").write_text(fleet)
    if csv is not None:
        (manifests / "bikes.csv").write_bytes(csv if isinstance(csv, bytes) else csv.encode())
    for name, text in files.items():
        (manifests / name.replace("_", ".")).write_text(text)
    return load(folder, None, [], KINDS)


def with_items(entries: str, fleet: str = FLEET) -> str:
    """The fleet with a list of items, in YAML."""
    return fleet.replace("{csv: bikes.csv}", f"{{list: {entries}}}")


def found(loaded: Loaded) -> list[tuple[str, str]]:
    """Where each finding is, and what it says, with its subject before it."""
    return [(str(one.place), f"{one.subject}: {one.message}") for one in loaded.findings]
