"""A new model of one member of a fleet of online endpoints: only that member changes."""

from pathlib import Path

import yaml

from reconciler.kinds import find_kinds
from reconciler.manifests import Loaded, load
from reconciler.manifests.editing.accept import Acceptance, apply_edits, place_in_items
from reconciler.model import Manifest
from reconciler.ports import AlternatesDeployments

FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: shops}
spec:
  items: {list: [{code: 'one'}, {code: 'two'}]}
  template:
    kind: OnlineEndpoint
    metadata: {name: 'shop-${code}'}
    spec:
      resource: {workspace: w}
      traffic: {blue: 100}
      deployments:
        blue: # in service
          model: azureml:shop-${code}:1
          environment: azureml:sklearn:3
          instance_type: Standard_DS3_v2
      rollout: {keepOld: 10m}
"""


def read(folder: Path) -> Loaded:
    loaded = load(folder, None, (), find_kinds())
    assert [one.message for one in loaded.findings] == []
    return loaded


def promote(folder: Path, name: str, version: str) -> None:
    """Let one member serve another version, as a retraining proposes it."""
    kind = find_kinds()["OnlineEndpoint"]
    assert isinstance(kind, AlternatesDeployments)
    member = find(read(folder), name)
    assert member.member is not None
    edits = tuple(kind.propose_model(member, (), f"azureml:{name}:{version}", "a" * 64))
    fleets = [(member.file, member.member.fleet)]
    placed = place_in_items(folder, [Acceptance(member, edits)], fleets)
    for path, text in apply_edits(folder, placed).items():
        path.write_text(text)


def find(loaded: Loaded, name: str) -> Manifest:
    return next(one for one in loaded.manifests if one.address.name == name)


def test_a_member_gets_an_override_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "reconciler.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\n"
        "spec: {cloud: emulator, defaults: {subscription: s, resourceGroup: g}}\n"
    )
    file = tmp_path / "manifests" / "shops.yaml"
    file.write_text(FLEET)
    other = find(read(tmp_path), "shop-two").spec
    promote(tmp_path, "shop-one", "2")
    assert file.read_text().startswith(FLEET)
    spec = find(read(tmp_path), "shop-one").spec
    assert (spec["traffic"], [*spec["deployments"]]) == ({"green": 100}, ["green"])
    assert spec["deployments"]["green"] == {
        "model": "azureml:shop-one:2",
        "environment": "azureml:sklearn:3",
        "instance_type": "Standard_DS3_v2",
        "sha256": "a" * 64,
    }
    promote(tmp_path, "shop-one", "3")
    spec = find(read(tmp_path), "shop-one").spec
    assert (spec["traffic"], [*spec["deployments"]]) == ({"blue": 100}, ["blue"])
    assert spec["deployments"]["blue"]["model"] == "azureml:shop-one:3"
    assert find(read(tmp_path), "shop-two").spec == other
    assert [*yaml.safe_load(file.read_text())["spec"]["overrides"]] == ["shop-one"]
