"""What is refused of an online endpoint before the first write, each with its place."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from reconciler.kinds import find_kinds
from reconciler.kinds.online_endpoint import KIND
from reconciler.manifests.loading import load
from reconciler.model import ABSENT, Finding, Json, SecretReference
from reconciler.plans.step import make_step
from tests.online_endpoints import (
    BLUE,
    GREEN,
    WORKSPACE,
    compare,
    deployment,
    endpoint,
    manifest,
)

PROJECT = """\
apiVersion: reconciler/v1
kind: Project
metadata: {name: test}
spec:
  cloud: emulator
  defaults: {subscription: s, resourceGroup: rg, workspace: ws}
"""
HEAD = "apiVersion: reconciler/v1\nkind: OnlineEndpoint\nmetadata: {name: census}\nspec:\n"
LIVE = endpoint({"blue": 100}, deployment())


def check_text(folder: Path, spec: str, head: str = HEAD) -> list[str]:
    """The findings about a manifest that is read from a file: line, column, message."""
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "reconciler.yaml").write_text(PROJECT)
    text = head + textwrap.indent(spec, "  ")
    (folder / "manifests" / "census.yaml").write_text(text)
    found = load(folder, None, [], find_kinds()).findings
    assert all(one.subject for one in found), found
    return [f"{one.place.line}:{one.place.column} {one.message}" for one in found if one.place]


def test_a_manifest_in_the_words_of_az_ml_has_no_finding(tmp_path: Path) -> None:
    spec = """\
    resource: {workspace: ws}
    auth_mode: key
    traffic: {green: 100}
    tags: {env: prod, file: readme.md}
    deployments:
      green:
        model: azureml:census:2
        environment: azureml:sklearn:3
        code_configuration: {code: azureml:census-score:1, scoring_script: score.py}
        instance_type: Standard_DS3_v2
        instance_count: 3
        environment_variables: {WORKER_COUNT: "2", TOKEN: {env: TOKEN}}
        request_settings: {request_timeout_ms: 5000}
        data_collector: {collections: {model_inputs: {enabled: 'True'}}}
    rollout:
      steps: [10, 50, 100]
      pause: 60s
      keepOld: 10m
      probe: {request: {data: [1]}, expect: [3], tolerance: 1e-6, count: 20}
    """
    assert check_text(tmp_path, textwrap.dedent(spec)) == []


def test_all_that_is_wrong_is_found_in_one_run(tmp_path: Path) -> None:
    spec = """\
    traffic: {green: 50, Blue: 40}
    mirror_traffic: {green: 60, red: 5}
    identity: {type: user_assigned}
    properties: {AzureAsyncOperationUri: x}
    deployments:
      green:
        model: azureml:census@latest
        environment: ./env
        code_configuration: {code: "azureml:census-score", scoring_script: score.py}
        environment_variables: {API_TOKEN: abc, WORKER: {env: X}, AML_APP_ROOT: /x, "": x}
        properties: {createdBy: me}
        data_collector: {collections: {request: {enabled: true, data: "azureml:d"}}}
      Blue: {model: "azureml://registries/r/environments/a/versions/1"}
      red: {sha256: %s}
    rollout: {steps: [50, 10], keepOld: 1m, probe: {request: {data: [1, 2]}, expect: [1]}}
    """
    assert check_text(tmp_path, textwrap.dedent(spec) % ("ab" * 32)) == [
        "5:3 the traffic sums to 90, and it must sum to 100, or to 0 for none",
        "6:3 green and red get mirrored traffic, and only one deployment can",
        "6:20 green gets live and mirrored traffic, and the service allows only one of them",
        "6:20 the mirrored traffic of green is 60, and the limit is 50",
        "7:3 user_assigned needs its identities",
        '8:16 "AzureAsyncOperationUri" is owned by the service',
        "11:7 a label such as @latest can be another model tomorrow",
        "12:7 this is not a version of a registered environment, and reconciler uploads no files",
        "13:28 the code has no version",
        '14:31 "API_TOKEN" has the name of a secret, and its value is in plain text here',
        '14:47 "WORKER" refers to a secret, and its name does not say so',
        '14:65 "AML_APP_ROOT" is set by the service',
        "14:83 this cannot be the name of a variable",
        '15:20 "createdBy" is owned by the service',
        "16:63 the data asset has no version",
        '17:5 "Blue" cannot be the name of a deployment',
        "17:12 this is an asset of environments, and not a model",
        "18:11 sha256 is the digest of a model",
        "19:13 the steps do not rise",
        "19:76 expect has 1 row, and the request has 2 rows",
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("traffic: {green: 101}", "green must be at most 100"),
        ("auth_mode: Key", "auth_mode must be key or aml_token or aad_token"),
        ("deployments: {green: {model: {path: ./m}}}", "model must be text"),
        ("deployments: {green: {instance_count: 51}}", "instance_count must be at most 50"),
        (
            "deployments: {green: {request_settings: {request_timeout_ms: 180001}}}",
            "request_timeout_ms must be at most 180000",
        ),
        ("deployments: {green: {modell: x}}", 'unknown field "modell"'),
        ("rollout: {keepOld: 10m}", "keepOld has no effect without traffic"),
        ("rollout: {probe: {expect: [1]}}", "probe lacks request"),
        ("identity: {type: system_assigned, user_assigned_identities: [/s]}", "only type user_"),
        ("deployments: {green: {environment_variables: {A: 1}}}", "A must be text or a mapping"),
        (
            "resource: {name: ab}",
            "name does not match the required pattern. An endpoint's name has 3",
        ),
    ],
)
def test_one_wrong_word(tmp_path: Path, spec: str, expected: str) -> None:
    (found,) = check_text(tmp_path, spec)
    assert expected in found


def test_tags_and_variables_named_as_parts_of_a_reference_are_none(tmp_path: Path) -> None:
    spec = """\
    tags: {env: prod, file: a.txt}
    deployments:
      green:
        tags: {env: prod}
        environment_variables: {env: prod, file: b.txt, API_KEY: {file: key}}
    """
    assert check_text(tmp_path, textwrap.dedent(spec)) == []
    loaded = load(tmp_path, None, [], find_kinds())
    assert loaded.secrets == (SecretReference(file="manifests/key"),)
    (read,) = loaded.manifests
    assert read.spec["tags"] == {"env": "prod", "file": "a.txt"}
    assert read.spec["deployments"]["green"]["environment_variables"]["file"] == "b.txt"


def test_too_many_deployments(tmp_path: Path) -> None:
    names = ", ".join(f"green-{number}: {{}}" for number in range(21))
    (found,) = check_text(tmp_path, f"deployments: {{{names}}}")
    assert found == "5:3 an endpoint has at most 20 deployments, and it declares 21"


@pytest.mark.parametrize("name", ["ab", "1census", "census_1", "census--1", "c" * 33, "census-"])
def test_a_name_that_the_service_refuses(tmp_path: Path, name: str) -> None:
    head = HEAD.replace("census", name)
    (found,) = check_text(tmp_path, "auth_mode: key\n", head)
    assert "An endpoint's name has 3 to 32 letters" in found
    assert check_text(tmp_path, "resource: {name: other-1}\n", head) == []


def test_members_of_a_fleet_are_checked(tmp_path: Path) -> None:
    # `check_text` adds two blanks to each line.
    head = (
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: all}\nspec:\n"
        "  items: {list: [{name: one, share: 90}, {name: two, share: 100}]}\n"
        '  template:\n    kind: OnlineEndpoint\n    metadata: {name: "${name}"}\n    spec:\n'
    )
    spec = '    traffic: {green: "${share}"}\n'
    found = check_text(tmp_path, spec, head)
    assert len(found) == 1, found
    assert "the traffic sums to 90" in found[0]


def bound(live: Any, **spec: Any) -> list[str]:
    """What the live endpoint does not allow: place and message."""
    return [_show(one) for one in KIND.bind(manifest(**spec), live).findings]


def refused(live: Any, **spec: Any) -> list[Finding]:
    """What the kind refuses of the step."""
    step = make_step(compare(live, **spec))
    assert step is not None
    return list(KIND.check_step(manifest(**spec), step))


def _show(finding: Finding) -> str:
    assert finding.place is not None
    return f"{finding.place.file}: {finding.message}"


def test_traffic_is_for_deployments_that_are_declared_or_there() -> None:
    assert bound(LIVE, traffic={"blue": 100}) == []
    assert bound(LIVE, traffic={"blue": 100, "gone": 0}) == []
    (found,) = bound(LIVE, traffic={"bleu": 100})
    assert found == "/spec/traffic/bleu: traffic names bleu, which is neither declared nor there"
    assert (
        KIND.bind(manifest(traffic={"bleu": 100}), LIVE)
        .findings[0]
        .next_step.startswith('Did you mean "blue"?')
    )
    (found,) = bound(ABSENT, traffic={"blue": 100})
    assert "neither declared nor there" in found
    (found,) = bound(LIVE, mirror_traffic={"red": 10})
    assert (
        found
        == "/spec/mirror_traffic/red: mirror_traffic names red, which is neither declared nor there"
    )


def test_live_traffic_cannot_be_mirrored() -> None:
    (found,) = bound(LIVE, mirror_traffic={"blue": 10})
    assert "blue has 100 % of the traffic" in found


def test_a_new_deployment_needs_a_size_and_something_to_serve() -> None:
    at = "/spec/deployments/green"
    assert bound(LIVE, deployments={"green": {"instance_count": 1}}) == [
        f"{at}: green is a new deployment and has no instance_type",
        f"{at}: green is a new deployment and has neither a model nor an environment",
    ]
    assert bound(LIVE, deployments={"blue": {"instance_count": 1}}) == []


def test_an_exact_manifest_deletes_no_deployment_that_has_traffic() -> None:
    live = endpoint({"blue": 100}, deployment(), deployment("green", "2"))
    exact = {"ownership": "exact", "deployments": {"green": GREEN}}
    (found,) = bound(live, **exact)
    assert found.startswith("/spec/ownership: blue has 100 % of the traffic, and the manifest")
    (found,) = bound(live, traffic={"blue": 50, "green": 50}, **exact)
    assert found.startswith("/spec/traffic/blue: blue has 50 % of the traffic")
    assert bound(live, traffic={"green": 100}, **exact) == []


def test_an_endpoint_of_kubernetes_is_not_managed_here() -> None:
    (found,) = bound({**LIVE, "kind": "K8S"}, auth_mode="key")
    assert "is not a managed endpoint: its kind is K8S" in found


def test_a_model_of_a_deployment_with_traffic_goes_to_the_other_colour() -> None:
    (found,) = refused(LIVE, deployments={"blue": GREEN})
    assert found.guard == "in-place"
    assert found.message == "blue has 100 % of the traffic, and would get another model"
    assert found.place is not None
    assert found.place.file == "/spec/deployments/blue/model"
    assert found.next_step == "To change blue anyway: --allow in-place=OnlineEndpoint/census"
    text = "\n".join(found.detail)
    assert (
        "  traffic:\n    green: 100\n  deployments:\n    green:\n      model: azureml:census:2"
        in text
    )
    assert "green" in text
    assert "Write it to green" in text


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({**BLUE, "environment": "azureml:sklearn:4"}, "environment"),
        (
            {**BLUE, "code_configuration": {"code": "azureml:s:2", "scoring_script": "score.py"}},
            "code",
        ),
    ],
)
def test_neither_is_its_code_or_environment_changed(given: Json, word: str) -> None:
    (found,) = refused(LIVE, deployments={"blue": given})
    assert found.message.endswith(f"would get another {word}")


def test_a_deployment_without_traffic_takes_any_model() -> None:
    live = endpoint({"green": 100}, deployment(), deployment("green", "2"))
    assert refused(live, deployments={"blue": {**BLUE, "model": "azureml:census:3"}}) == []
    assert refused(LIVE, deployments={"blue": {"instance_count": 5}}) == []


def test_the_colour_that_is_proposed_is_free() -> None:
    live = endpoint({"blue": 50, "green": 50}, deployment(), deployment("green"))
    (found,) = refused(live, deployments={"blue": GREEN})
    assert "Write it to blue-2" in found.detail[1]
    (found,) = refused(
        live, deployments={"blue": GREEN}, rollout={"keepOld": "1m"}, traffic={"blue": 100}
    )
    assert "blue is deleted after keepOld" in found.detail[1]


def test_an_instance_type_is_for_another_deployment_too() -> None:
    found = refused(LIVE, deployments={"blue": {**BLUE, "instance_type": "Standard_F4s_v2"}})
    assert [one.guard for one in found] == [""]
    assert "cannot change from STANDARD_DS3_V2 to Standard_F4s_v2" in found[0].message
    assert "      instance_type: Standard_F4s_v2" in "\n".join(found[0].detail)


def test_a_failed_deployment_gets_no_traffic_unless_it_is_written_again() -> None:
    live = endpoint(
        {"blue": 100}, deployment(), deployment("green", "2", provisioningState="Failed")
    )
    (found,) = refused(live, traffic={"green": 100})
    assert found.message == "green would get 100 % of the traffic, and its last operation failed"
    given = {"green": {**GREEN, "instance_count": 5}}
    assert refused(live, traffic={"green": 100}, deployments=given) == []


@pytest.mark.parametrize(
    ("spec", "guard"),
    [
        ({"auth_mode": "aad_token"}, "auth-mode"),
        ({"identity": {"type": "user_assigned", "user_assigned_identities": ["/i"]}}, "identity"),
    ],
)
def test_what_the_service_may_not_change_has_a_guard(spec: Json, guard: str) -> None:
    (found,) = refused(LIVE, **spec)
    assert found.guard == guard
    assert guard in KIND.guards
    assert refused(ABSENT, **spec) == []


def test_a_property_is_added_and_never_changed() -> None:
    live = endpoint({"blue": 100}, deployment(properties={"team": "a"}), properties={"team": "a"})
    assert refused(live, properties={"team": "a", "more": "b"}) == []
    (found,) = refused(live, properties={"team": "b"})
    assert found.message == "the property team cannot be changed: the service only adds properties"
    (found,) = refused(live, deployments={"blue": {"properties": {"team": "b"}}})
    assert found.place is not None
    assert found.place.file == "/spec/deployments/blue/properties/team"


def test_an_asset_of_another_workspace_is_refused() -> None:
    other = f"{WORKSPACE}2/models/census/versions/2"
    (found,) = refused(LIVE, deployments={"green": {**GREEN, "model": other}})
    assert found.message == "green uses a version of models in another workspace"
    own = f"azureml:{WORKSPACE}/models/census/versions/2"
    assert refused(LIVE, deployments={"green": {**GREEN, "model": own}}) == []


def test_live_and_declared_deployments_count_together() -> None:
    live = endpoint({}, *(deployment(f"other-{number}") for number in range(20)))
    (found,) = refused(live, deployments={"green": GREEN})
    assert found.message == "the endpoint would have 21 deployments; the limit is 20"
