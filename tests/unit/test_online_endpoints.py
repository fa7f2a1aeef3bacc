"""What a manifest of an online endpoint declares, and what an export of one says."""

from typing import Any

import pytest

from reconciler.document.baseline import list_moves, make_baseline
from reconciler.document.comparers import Comparer
from reconciler.document.diff import same
from reconciler.kinds.online_endpoint import KIND
from reconciler.kinds.online_endpoint.addresses import expand_ids, parse_id, shorten_ids
from reconciler.kinds.online_endpoint.forms import COMPARERS, DEPLOYMENT, ENDPOINT
from reconciler.manifests.definition import compile_service
from reconciler.manifests.editing.write import write_manifest
from reconciler.model import ABSENT, Action, Json, Path, SecretReference
from reconciler.package_data import read_schema
from reconciler.plans.reasons import explain_changes
from reconciler.plans.step import make_step
from reconciler.render.plan.groups import StepGroup
from reconciler.render.plan.text import sum_up
from reconciler.secrets.suspicion import SENSITIVE_NAMES, is_secret_name
from tests.online_endpoints import (
    BLUE,
    DEFAULTS,
    GREEN,
    ID,
    RESOURCE,
    WORKSPACE,
    compare,
    deployment,
    endpoint,
    manifest,
)

LIVE = endpoint({"blue": 100}, deployment())


def changes(live: Any, **spec: Any) -> dict[str, tuple[Any, Any]]:
    """The changes of a manifest: before and after, by the last two names of their place."""
    step = make_step(compare(live, **spec))
    found = step.changes if step is not None else ()
    return {"/".join(map(str, one.path[-2:])): (one.before, one.after) for one in found}


def test_the_place_of_an_endpoint_comes_from_the_manifest_and_the_project() -> None:
    named = manifest(resource={"workspace": "other"})
    assert KIND.identify(manifest(), DEFAULTS).id == ID
    assert KIND.identify(named, DEFAULTS).id == ID.replace("/ws/", "/other/")
    assert KIND.scope(RESOURCE) == WORKSPACE
    assert KIND.locate(RESOURCE.address, ID.upper(), {}).id.casefold() == ID.casefold()


def test_a_new_colour_is_one_addition_and_two_shares() -> None:
    found = changes(LIVE, traffic={"green": 100}, deployments={"green": GREEN})
    assert found["deployments/green"] == (ABSENT, {})
    assert found["traffic/blue"] == (100, 0)
    assert found["traffic/green"] == (ABSENT, 100)
    assert found["properties/model"] == (ABSENT, "azureml:census:2")
    assert {name for name in found if name.startswith("traffic")} == {
        "traffic/blue",
        "traffic/green",
    }


def test_what_is_not_declared_stays() -> None:
    live = endpoint({"blue": 90, "green": 10}, deployment(), deployment("green"))
    assert changes(live, auth_mode="key") == {}
    assert changes(live, deployments={"blue": {"instance_count": 3}}) == {}
    assert changes(live, traffic={"blue": 90, "green": 10}) == {}
    assert changes(live, traffic={"blue": 100}) == {
        "traffic/blue": (90, 100),
        "traffic/green": (10, 0),
    }


def test_a_share_of_nought_is_no_share() -> None:
    live = endpoint({"blue": 100, "green": 0}, deployment(), deployment("green"))
    assert changes(live, traffic={"blue": 100}) == {}
    assert changes(LIVE, traffic={"blue": 100, "green": 0}, deployments={"blue": {}}) == {}


def test_mirrored_traffic_ends_where_live_traffic_begins() -> None:
    live = endpoint({"blue": 100}, deployment(), deployment("green"), mirrorTraffic={"green": 20})
    found = changes(live, traffic={"green": 100})
    assert found["mirrorTraffic/green"] == (20, 0)


def test_a_new_endpoint_has_what_the_clients_of_the_vendor_send() -> None:
    step = make_step(compare(ABSENT, deployments={"blue": BLUE}, traffic={"blue": 100}))
    assert step is not None
    assert step.action is Action.CREATE
    assert step.after["identity"] == {"type": "SystemAssigned"}
    assert step.after["properties"] == {"authMode": "Key", "traffic": {"blue": 100}}
    assert "/identity/type" not in step.owned_paths


def test_an_endpoint_that_neither_exists_nor_is_defined_is_a_finding() -> None:
    (found,) = KIND.bind(manifest(resource={"workspace": "ws"}), ABSENT).findings
    assert "does not exist" in found.message


def test_each_deployment_has_one_model_by_its_own_name() -> None:
    given = {"blue": BLUE, "green": {**GREEN, "sha256": "AB" * 32}, "plain": {"instance_count": 1}}
    blue, green = KIND.list_models(manifest(deployments=given))
    assert (blue.name, blue.uri, blue.pin) == ("blue", "azureml:census:1", "")
    assert green.path == ("deployments", "green", "properties", "model")
    assert (green.entry, green.pin) == ("/spec/deployments/green", f"sha256:{'ab' * 32}")
    assert green.place is not None
    assert green.place.file == "/spec/deployments/green/model"


TOKEN = "/deployments/green/properties/environmentVariables/API_TOKEN"


def test_a_secret_of_a_new_deployment_is_sent_and_no_other() -> None:
    given = {
        "green": {**GREEN, "environment_variables": {"API_TOKEN": {"env": "TOKEN"}, "A": "1"}},
        "blue": {"environment_variables": {"KEY": {"file": "key"}}},
    }
    step = make_step(compare(LIVE, deployments=given))
    assert step is not None
    assert step.secrets == ((TOKEN, SecretReference(env="TOKEN")),)
    assert "TOKEN" not in str(step.after)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((one, True) for one in ("API_KEY", "apikey", "HF_TOKEN", "DB_PASSWORD", "dbpassword")),
        *((one, True) for one in ("MY_SAS", "SENTRY_DSN", "AWS_CREDENTIALS", "CONNECTION_STRING")),
        *((one, True) for one in ("client_secret", "KEY", "AccountKey", "x.sig", "my-access-key")),
        *((one, False) for one in ("MAX_TOKENS", "MONKEY", "WORKER_COUNT", "KEYS", "SECRETARY")),
    ],
)
def test_the_name_of_a_variable_says_whether_it_is_a_secret(name: str, expected: bool) -> None:
    field = KIND.field.at(("deployments", "blue", "properties", "environmentVariables", name))
    assert field.secret is expected
    assert expected or not is_secret_name(name)


def test_the_schema_has_the_names_of_secrets_from_the_one_table() -> None:
    properties = read_schema("service/online-endpoint")["properties"]["deployments"]
    variables = properties["additionalProperties"]["properties"]["properties"]["properties"]
    assert list(variables["environmentVariables"]["patternProperties"]) == [SENSITIVE_NAMES]


def test_a_document_holds_no_value_of_a_secret() -> None:
    one = deployment(environmentVariables={"HF_TOKEN": "hf", "WORKER_COUNT": "2"})
    live = endpoint({"blue": 100}, one)
    variables = live["deployments"]["blue"]["properties"]["environmentVariables"]
    assert variables == {"WORKER_COUNT": "2"}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("ownership", ["declared", "exact"])
def test_an_export_plans_nothing(full: bool, ownership: str) -> None:
    variables = {"WORKER_COUNT": "2", "AZUREML_MODEL_DIR": "/var/x/1", "HF_TOKEN": "hf"}
    collector = {
        "collections": {"model_inputs": {"dataCollectionMode": "Enabled", "samplingRate": 0.5}},
        "rollingRate": "Hour",
        "requestLogging": None,
    }
    green = deployment(
        "green",
        "2",
        environmentVariables=variables,
        dataCollector=collector,
        requestSettings={"requestTimeout": "PT1M30S", "maxQueueWait": "PT0.5S"},
        livenessProbe=None,
        environmentId="azureml://registries/azureml/environments/sklearn-1.5/versions/4",
        description="ours",
    )
    live = endpoint({"blue": 90, "green": 10}, deployment(), green)
    exported = KIND.export(RESOURCE, live, DEFAULTS, full=full)
    assert "resource" not in exported.spec
    assert exported.spec["deployments"]["green"]["environment_variables"] == {"WORKER_COUNT": "2"}
    assert exported.spec["deployments"]["green"]["request_settings"]["request_timeout_ms"] == 90000
    assert ("liveness_probe" in exported.spec["deployments"]["blue"]) is full
    assert (
        "Left out" not in write_manifest(KIND.manifest_schema_name, RESOURCE.address, exported)[0]
    )
    assert make_step(compare(live, ownership=ownership, **exported.spec)) is None


def test_an_exact_manifest_removes_the_deployment_that_it_does_not_name() -> None:
    live = endpoint({"blue": 100}, deployment(), deployment("green"))
    exported = KIND.export(RESOURCE, endpoint({"blue": 100}, deployment()), DEFAULTS, full=True)
    found = changes(live, ownership="exact", **exported.spec)
    assert list(found) == ["deployments/green"]


COMPARED = [
    ("duration", "PT5S", "PT0M5S", True),
    ("duration", "PT90S", "PT1M30S", True),
    ("duration", "P1D", "PT24H", True),
    ("duration", "PT0.5S", "PT0.500S", True),
    ("duration", "PT5S", "PT50S", False),
    ("duration", "P1M", "PT1M", False),
    ("duration", "P", "PT", False),
    ("asset-id", "azureml:census:2", "AzureML:Census:2", True),
    ("asset-id", f"{WORKSPACE}/models/census/versions/2", "azureml:census:2", True),
    ("asset-id", "azureml:census:2", "azureml:census:20", False),
    (
        "asset-id",
        "azureml://registries/R/models/a/versions/1",
        "azureml://registries/r/models/A/versions/1/",
        True,
    ),
    ("asset-id", "azureml://registries/r/models/a/versions/1", "azureml:a:1", False),
]


@pytest.mark.parametrize(("comparer", "one", "other", "alike"), COMPARED)
def test_two_spellings_of_one_value_are_alike(
    comparer: str, one: str, other: str, alike: bool
) -> None:
    compared: Comparer = COMPARERS[comparer]
    assert (compared(one) == compared(other)) is alike


@pytest.mark.parametrize("value", [None, 5, 2.5, [], {}, "", "x", "PT", "azureml:", "\ud800"])
def test_a_comparer_never_raises(value: Json) -> None:
    for one in COMPARERS.values():
        one(value)


def test_ids_of_the_own_workspace_are_short_in_the_document_alone() -> None:
    raw = deployment()
    short = shorten_ids(raw, WORKSPACE.upper())
    assert short["properties"]["model"] == "azureml:census:1"
    assert short["properties"]["codeConfiguration"]["codeId"] == "azureml:census-score:1"
    assert expand_ids(short, WORKSPACE) == raw
    assert shorten_ids(raw, WORKSPACE + "2") == raw
    registry = deployment(model="azureml://registries/r/models/a/versions/1", environmentId=None)
    assert (
        shorten_ids(registry, WORKSPACE)["properties"]["model"] == registry["properties"]["model"]
    )


def test_the_parts_of_an_id() -> None:
    whole = parse_id(f"{WORKSPACE}/Models/census/versions/2")
    assert whole is not None
    assert (whole.collection, whole.name, whole.version) == ("models", "census", "2")
    assert whole.workspace == WORKSPACE
    registry = parse_id("azureml://registries/r/models/a/versions/1")
    assert registry is not None
    assert (registry.registry, registry.collection) == ("r", "models")
    for wrong in ("azureml:census@latest", "azureml:census", "./model", "azureml:a/b:1", 3, None):
        assert parse_id(wrong) is None


def test_a_duration_that_no_manifest_can_hold_is_left_out() -> None:
    one = deployment(
        requestSettings={"requestTimeout": "PT0.0005S"}, livenessProbe={"period": "P1Y"}
    )
    spec = KIND.export(RESOURCE, endpoint({}, one), DEFAULTS, full=True).spec
    assert "request_settings" not in spec["deployments"]["blue"]
    assert "liveness_probe" not in spec["deployments"]["blue"]
    assert same(KIND.field, endpoint({}, one), endpoint({}, one))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("properties", "authMode"), "AMLToken", (("spec", "auth_mode"), "aml_token")),
        (("properties", "traffic", "blue"), 50, (("spec", "traffic", "blue"), 50)),
        (("tags", "team"), "a", (("spec", "tags", "team"), "a")),
        (("properties", "scoringUri"), "x", None),
        (("deployments", "blue"), {}, None),
        (
            ("deployments", "blue", "properties", "model"),
            "azureml:census:1",
            (("spec", "deployments", "blue", "model"), "azureml:census:1"),
        ),
        (
            ("deployments", "blue", "properties", "requestSettings", "requestTimeout"),
            "PT1M",
            (("spec", "deployments", "blue", "request_settings", "request_timeout_ms"), 60000),
        ),
        (("deployments", "blue", "properties", "livenessProbe", "period"), "P1Y", None),
        (
            ("deployments", "b", "properties", "environmentVariables", "A"),
            ABSENT,
            (("spec", "deployments", "b", "environment_variables", "A"), ABSENT),
        ),
        (
            ("deployments", "b", "properties", "dataCollector", "collections", "x", "dataId"),
            "azureml:d:1",
            (
                ("spec", "deployments", "b", "data_collector", "collections", "x", "data"),
                "azureml:d:1",
            ),
        ),
    ],
)
def test_each_value_has_its_place_in_the_manifest(
    path: Path, value: Json, expected: object
) -> None:
    assert KIND.place_value(path, value) == expected


def test_every_word_leads_to_its_place_and_back() -> None:
    for words, above in ((ENDPOINT, ()), (DEPLOYMENT, ("deployments", "blue"))):
        for word in words:
            placed = KIND.place_value((*above, *word.place), ABSENT)
            assert placed == (("spec", *above, *word.path), ABSENT)
            assert KIND.field.at((*above, *word.place)).description
            manifest_field = compile_service(KIND.manifest_schema_name)
            assert manifest_field.at(("spec", *above, *word.path)).description


def test_the_state_of_a_deployment_does_not_drift() -> None:
    baseline = make_baseline(KIND.field, LIVE, ())
    assert "/deployments/blue/properties/instanceType" in baseline
    assert "/deployments/blue/sku/capacity" not in baseline
    assert [pointer for pointer in baseline if pointer.endswith("provisioningState")] == []
    updating = endpoint({"blue": 100}, deployment(provisioningState="Updating"))
    assert list(list_moves(KIND.field, baseline, updating, ())) == []


def test_the_defaults_of_a_deployment_that_somebody_added_are_no_findings() -> None:
    baseline = make_baseline(KIND.field, endpoint({"blue": 100}, deployment()), ())
    live = endpoint({"blue": 100}, deployment(), deployment("canary", "7"))
    moved = {move.pointer for move in list_moves(KIND.field, baseline, live, ())}
    assert "/deployments/canary/properties/model" in moved
    assert not [one for one in moved if "Probe" in one or "scaleSettings" in one]


def test_people_read_which_model_comes_and_which_one_goes() -> None:
    rollout = {"keepOld": "1m"}
    given = {"traffic": {"green": 100}, "deployments": {"green": GREEN}, "rollout": rollout}
    comparison = compare(LIVE, **given)
    step = make_step(comparison)
    assert step is not None
    assert sum_up(StepGroup((step,), step)).startswith("model green → azureml:census:2, ")
    notes = {one.pointer: one.note for one in explain_changes(comparison, step.changes)}
    assert notes["/deployments/blue"] == "not declared; its model is azureml:census:1"


@pytest.mark.parametrize(
    ("shares", "first"),
    [
        # An interrupted step may have ended after its write, and before it measured the traffic.
        ({"blue": 90, "green": 10}, ("traffic: green 50 %, blue 50 %", 0)),
        ({"green": 100}, ("delete deployment blue", 0)),
        ({"blue": 100}, ("traffic: green 10 %, blue 90 %", 1)),
    ],
)
def test_a_shift_that_has_begun_is_measured_before_it_goes_on(
    shares: dict[str, int], first: tuple[str, int]
) -> None:
    probe = {"request": {"data": [[1]]}, "count": 2}
    rollout = {"steps": [10, 50, 100], "pause": "1s", "keepOld": "1s", "probe": probe}
    green = deployment("green", "2", created="2025-02-27T17:16:04.1+00:00")
    live = endpoint(shares, deployment("blue", "1"), green)
    spec = {"deployments": {"green": GREEN}, "traffic": {"green": 100}, "rollout": rollout}
    made = make_step(compare(live, **spec))
    assert made is not None
    writes = [write for write, _ in KIND.split_step(made) if "deployment green" not in write.title]
    title, probes = first
    assert writes[0].title == title
    sorts = [check.settings["sort"] for check in writes[0].requires]
    assert sorts == ["probe"] * probes or sorts == ["shares"]
    measured = [one.settings["traffic"] for one in writes[0].requires if "traffic" in one.settings]
    assert measured == ([] if probes else [shares])
    assert not any(write.requires for write in writes[1:])


def test_autoscale_keeps_its_number_of_instances_even_under_an_exact_manifest() -> None:
    exported = KIND.export(RESOURCE, LIVE, DEFAULTS, full=True).spec
    del exported["deployments"]["blue"]["instance_count"]
    scaled = endpoint({"blue": 100}, deployment())
    scaled["deployments"]["blue"]["sku"]["capacity"] = 17
    assert changes(scaled, ownership="exact", **exported) == {}
    # It is not drift either, with a baseline of an older version too.
    baseline = {**make_baseline(KIND.field, LIVE, ()), "/deployments/blue/sku/capacity": 1}
    assert list(list_moves(KIND.field, baseline, scaled, ())) == []


@pytest.mark.parametrize(
    ("created", "removed"),
    [
        ("2025-01-01T00:00:00Z", ["blue"]),
        ("2025-03-01T11:59:59.9+02:00", ["blue"]),
        ("2025-03-01T10:00:00.1Z", []),
        ("2026-01-01T00:00:00Z", []),
        (None, []),
        ("soon", []),
    ],
)
def test_only_an_older_deployment_is_what_the_new_one_replaces(
    created: str | None, removed: list[str]
) -> None:
    old = deployment()
    old["systemData"]["createdAt"] = created
    green = deployment("green", "2", created="2025-03-01T10:00:00+00:00")
    live = endpoint({"green": 100}, old, green)
    spec = {"traffic": {"green": 100}, "rollout": {"keepOld": "1m"}}
    assert [path[-1] for path in KIND.bind(manifest(**spec), live).removed] == removed
