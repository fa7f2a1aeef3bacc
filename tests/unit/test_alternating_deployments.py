"""A new model goes to the other deployment of an online endpoint, in the manifest as it is written.

The edits are made in real texts, so that comments and layout are seen to stay.
"""

from __future__ import annotations

import pytest
import yaml

from reconciler.document.pointers import find, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.kinds.online_endpoint.promotion import (
    find_served,
    is_served,
    name_container,
    propose_model,
)
from reconciler.manifests.editing import edit_yaml
from reconciler.model import Address, Json, Manifest, ModelReference

KEPT = """\
# Who earns more than 50,000 a year.
kind: OnlineEndpoint
metadata: {name: census}
spec:
  traffic: {blue: 100}   # percent
  deployments:
    'blue':              # in service
      # the model of the week
      model: azureml:census:1   # retrained on Mondays
      environment: azureml:sklearn:3
      environment_variables: {TOKEN: {env: TOKEN}}  # see the vault
  rollout: {steps: [10, 100], keepOld: 10m}
"""
SHA = "a" * 64
W = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


def read(text: str) -> Manifest:
    spec = yaml.safe_load(text)["spec"]
    return Manifest(Address("OnlineEndpoint", "census"), spec, file="manifests/census.yaml")


def list_models(manifest: Manifest) -> list[ModelReference]:
    return [
        ModelReference(name, one["model"], ("deployments", name, "properties", "model"))
        for name, one in manifest.spec["deployments"].items()
    ]


def propose(text: str, *deployments: str, uri: str = "azureml:census:2", sha256: str = SHA) -> str:
    manifest = read(text)
    served = find_served(manifest, list_models(manifest), followed=True)
    edits = propose_model(manifest, served.name, deployments, uri, sha256)
    return edit_yaml("census.yaml", text, 0, edits)


def test_the_deployment_is_renamed_where_the_old_one_is_removed_later() -> None:
    wanted = (
        KEPT.replace("{blue: 100}", "{green: 100}")
        .replace("'blue':", "'green':")
        .replace("census:1", "census:2")
        .replace("# see the vault\n", f"# see the vault\n      sha256: {SHA}\n")
    )
    assert propose(KEPT) == wanted


def test_a_declared_other_deployment_gives_way_to_the_renamed_one() -> None:
    text = KEPT.replace("{blue: 100}", "{blue: 100, green: 0}").replace(
        "  rollout", "    green: {model: azureml:census:0}\n  rollout"
    )
    spec = yaml.safe_load(propose(text))["spec"]
    assert spec["traffic"] == {"green": 100}
    assert list(spec["deployments"]) == ["green"]
    assert spec["deployments"]["green"]["model"] == "azureml:census:2"
    assert spec["deployments"]["green"]["environment"] == "azureml:sklearn:3"


def test_the_old_deployment_stays_without_traffic_unless_keep_old_is_declared() -> None:
    text = KEPT.replace(", keepOld: 10m", "")
    made = propose(text)
    before, after = text.splitlines(), made.splitlines()
    assert [line for line in before if line not in after] == ["  traffic: {blue: 100}   # percent"]
    spec = yaml.safe_load(made)["spec"]
    assert spec["traffic"] == {"green": 100}
    assert spec["deployments"]["blue"]["model"] == "azureml:census:1"
    assert spec["deployments"]["green"] == {
        "model": "azureml:census:2",
        "environment": "azureml:sklearn:3",
        "environment_variables": {"TOKEN": {"env": "TOKEN"}},
        "sha256": SHA,
    }


def test_what_is_written_of_the_other_deployment_keeps_its_comments() -> None:
    text = KEPT.replace(", keepOld: 10m", "").replace("{blue: 100}", "{blue: 100, green: 0}")
    text = text.replace("  rollout", "    green:\n      model: azureml:census:0 # older\n  rollout")
    made = propose(text)
    assert "      model: azureml:census:2 # older\n      environment: azureml:sklearn:3\n" in made
    assert "{green: 100}" in made


def test_it_goes_there_and_back() -> None:
    there = propose(KEPT)
    back = propose(there, uri="azureml:census:3", sha256="b" * 64)
    assert back == there.replace("green", "blue").replace("census:2", "census:3").replace(
        SHA, "b" * 64
    )


def test_a_pin_of_another_model_does_not_stay() -> None:
    pinned = KEPT.replace("      environment:", f"      sha256: {SHA} # pinned\n      environment:")
    assert "sha256" not in propose(pinned, sha256="")


def test_a_model_of_a_registry_is_served_and_has_no_next_version_in_the_workspace() -> None:
    manifest = read(KEPT.replace("azureml:census:1", "azureml://registries/r/models/c/versions/1"))
    served = find_served(manifest, list_models(manifest), followed=False)
    assert served.uri == "azureml://registries/r/models/c/versions/1"


@pytest.mark.parametrize(
    ("model", "traffic", "served"),
    [
        ("azureml:census:1", {"blue": 100}, True),
        ("azureml:Census:1", {"blue": 100, "green": 0}, True),
        ("azureml:census:2", {"blue": 100}, False),
        ("azureml:census:1", {"blue": 50, "green": 50}, False),
        ("azureml:census:1", {}, False),
        (None, {"blue": 100}, False),
    ],
)
def test_only_the_end_of_a_rollout_proves_which_model_serves(
    model: str | None, traffic: dict[str, int], *, served: bool
) -> None:
    manifest = read(KEPT)
    owned: dict[str, Json] = {f"/properties/traffic/{one}": at for one, at in traffic.items()}
    owned |= {"/deployments/blue/properties/model": model} if model else {}
    found = find_served(manifest, list_models(manifest), followed=False)
    assert is_served(manifest, found, owned) is served


def test_the_names_may_be_others() -> None:
    text = KEPT.replace("blue", "main")
    spec = yaml.safe_load(propose(text, "main", "next"))["spec"]
    assert (spec["traffic"], list(spec["deployments"])) == ({"next": 100}, ["next"])


@pytest.mark.parametrize(
    ("old", "new", "said", "step"),
    [
        ("traffic: {blue: 100}", "tags: {a: b}", "declares no traffic", "traffic: {blue: 100}"),
        ("{blue: 100}", "{blue: 0}", "declares no traffic", "traffic: {blue: 100}"),
        ("{blue: 100}", "{blue: 90, green: 10}", "to more than one deployment", "blue: 100"),
        ("{blue: 100}", "{other: 100}", 'traffic to "other", whose model it does not', "other: {"),
        ("azureml:census:1", "azureml://registries/r/models/c/versions/1", "registries", "next"),
        ("azureml:census:1", "azureml:census@latest", "not a version in its workspace", "NAME:V"),
        ("blue", "main", '"main", which is neither of blue and green', "deployments: [main, NAME]"),
        (
            "  rollout",
            "  mirror_traffic: {green: 10}\n  rollout",
            'mirrors traffic to "green"',
            "mirror_traffic",
        ),
    ],
)
def test_what_cannot_take_a_model_is_refused_with_the_next_step(
    old: str, new: str, said: str, step: str
) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        propose(KEPT.replace(old, new))
    (finding,) = refused.value.findings()
    assert said in finding.message
    assert step in finding.next_step
    assert finding.subject == "OnlineEndpoint/census"
    assert finding.place is not None


@pytest.mark.parametrize("model", ["azureml:census:7", f"{W}/models/census/versions/7"])
def test_the_name_of_a_model_is_known_by_any_id_of_a_version(model: str) -> None:
    assert name_container(model) == "census"
    with pytest.raises(ValueError, match="not a version"):
        name_container("census")


def test_the_edits_name_places_that_the_manifest_has() -> None:
    document = yaml.safe_load(KEPT)
    for edit in propose_model(read(KEPT), "blue", (), "azureml:census:2", SHA):
        parent = split_pointer(edit.pointer)[:-1]
        assert isinstance(find(document, parent), dict), edit


@pytest.mark.parametrize("name", ["Green", "x", "green\n", "${values.a}", "a" * 33])
def test_a_name_that_the_service_refuses_is_not_written(name: str) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        propose(KEPT, "blue", name)
    (finding,) = refused.value.findings()
    assert "which is not a valid name" in finding.message
