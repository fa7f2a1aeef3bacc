"""A manifest of an online endpoint from end to end: secrets, guards, drift, rollback, old colours."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.online_world import Json, OnlineProject, deployment, open_online, read_requests

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]
TOKEN = "hf-5f3a9c1e7b2d4860"
ADDRESS = "OnlineEndpoint/census"
ROLLOUT = {"steps": [50, 100], "keepOld": "0s"}


@pytest.fixture
def online(tmp_path: Path) -> Iterator[OnlineProject]:
    with open_online(tmp_path) as project:
        project.environment["HF_TOKEN"] = TOKEN
        yield project


def count_writes(project: OnlineProject) -> dict[str, int]:
    """How often each resource was written, by the last two parts of its path."""
    found: dict[str, int] = {}
    for one in read_requests(project):
        if one["method"] in {"PUT", "PATCH", "DELETE"} and "onlineEndpoints" in one["path"]:
            name = "/".join(one["path"].partition("?")[0].split("/")[-2:])
            found[name] = found.get(name, 0) + 1
    return found


def live_token(project: OnlineProject, name: str) -> str:
    shown = project.workspace.deployments("census")[name]["properties"]["environmentVariables"]
    return str(shown.get("HF_TOKEN", ""))


def with_token(version: int = 1, label: str = "1") -> Json:
    secret = {"env": "HF_TOKEN", "version": label}
    return deployment(version, environment_variables={"HF_TOKEN": secret, "WORKERS": "2"})


def test_a_secret_reaches_the_container_and_no_file(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": with_token()})
    done = online.apply()
    assert live_token(online, "blue") == TOKEN
    assert online.changes() == []
    # Nothing is written for it until its label changes.
    online.declare(traffic={"blue": 100}, deployments={"blue": with_token(label="2")})
    planned = online.plan()
    done_again = online.apply()
    assert "(sensitive value, written from env HF_TOKEN, version 2)" in done_again.said
    assert count_writes(online)["deployments/blue"] == 2
    online.declare(traffic={"green": 100}, deployments={"green": with_token(2)}, rollout=ROLLOUT)
    before = count_writes(online)
    moved = online.apply()
    after = count_writes(online)
    assert live_token(online, "green") == TOKEN
    assert set(online.workspace.deployments("census")) == {"green"}
    # One creation, one deletion, two steps of traffic; blue is not written again.
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        "onlineEndpoints/census": 2,
        "deployments/green": 1,
        "deployments/blue": 1,
    }
    said = done.said + done_again.said + moved.said + json.dumps(planned)
    for text in ("history", "drift", "plan --json", "export"):
        said += online.run(*text.split()).said
    assert TOKEN not in said
    kept = [one for one in online.folder.rglob("*") if one.is_file()]
    assert any(one.name.startswith("ledger") for one in kept)
    assert [one for one in kept if TOKEN.encode() in one.read_bytes()] == []


def test_people_see_that_there_is_a_secret_where_they_do_not_see_its_value(
    online: OnlineProject,
) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": with_token()})
    online.apply()
    online.declare(traffic={"green": 100}, deployments={"green": deployment(2)})
    done = online.run("plan")
    assert "Warning: OnlineEndpoint/census: green lacks secrets of the deployment" in done.said
    assert "If it needs them: environment_variables: {HF_TOKEN: {env: NAME}}" in done.said
    online.declare(traffic={"green": 100}, deployments={"green": with_token(2)})
    assert "lacks secrets" not in online.run("plan").said
    (online.folder / "manifests" / "census.yaml").unlink()
    assert online.run("import", "OnlineEndpoint/census", "census").code == 0
    text = (online.folder / "manifests" / "census.yaml").read_text()
    assert "# blue has secrets in its variables, which stay: HF_TOKEN." in text
    assert TOKEN not in done.said + text
    assert online.changes() == []


def test_a_setting_that_the_service_ignores_is_a_warning_and_plans_empty(
    online: OnlineProject,
) -> None:
    settings = {"request_timeout_ms": 5000, "max_queue_wait_ms": 500}
    online.declare(
        traffic={"blue": 100}, deployments={"blue": deployment(request_settings=settings)}
    )
    done = online.apply()
    assert "Warning: OnlineEndpoint/census: max_queue_wait_ms has no effect any more" in done.said
    assert online.changes() == []


def test_a_missing_secret_is_found_at_its_place_before_the_first_write(
    online: OnlineProject,
) -> None:
    del online.environment["HF_TOKEN"]
    online.declare(traffic={"blue": 100}, deployments={"blue": with_token()})
    done = online.run("apply", "--auto-approve")
    assert done.code != 0
    assert "HF_TOKEN" in done.said
    line = next(
        number
        for number, text in enumerate(
            (online.folder / "manifests" / "census.yaml").read_text().splitlines(), 1
        )
        if "HF_TOKEN" in text
    )
    assert f"manifests/census.yaml line {line}" in done.said
    assert count_writes(online) == {}


def test_another_model_in_place_needs_leave(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    online.apply()
    before = count_writes(online)
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(2)})
    done = online.run("apply", "--auto-approve")
    assert done.code == 1
    assert "Write it to green, and move the traffic there" in done.said
    assert count_writes(online) == before
    assert online.apply("--allow", f"in-place={ADDRESS}").code == 0
    assert online.workspace.model("census", "blue") == "2"


def test_a_policy_names_the_registered_models_that_may_serve(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    (online.folder / "policies").mkdir()
    policy = online.folder / "policies" / "models.yaml"
    for sources, code in (("[census]", 1), ("['azureml:other:*']", 1), ("['azureml:census:*']", 0)):
        policy.write_text(
            "apiVersion: reconciler/v1\nkind: Policy\nmetadata: {name: models}\nspec:\n"
            f"  rules:\n  - {{name: known, modelsFrom: {sources}}}\n"
        )
        done = online.run("plan")
        assert done.code == code, done.said
        assert ("comes from azureml:census:1." in done.said) == bool(code)


def test_all_that_live_does_not_allow_is_said_at_once(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    online.apply()
    before = count_writes(online)
    online.declare(
        traffic={"gren": 100},
        mirror_traffic={"red": 10},
        deployments={"green": {"instance_count": 1}},
    )
    done = online.run("plan")
    for said in (
        "traffic names gren, which is neither declared nor there",
        'Did you mean "green"?',
        "mirror_traffic names red",
        "green is a new deployment and has no instance_type",
        "green is a new deployment and has neither a model nor an environment",
    ):
        assert said in done.said, done.said
    assert count_writes(online) == before


def test_drift_is_accepted_in_the_words_of_the_manifest(online: OnlineProject) -> None:
    file = online.declare(
        traffic={"blue": 100},
        auth_mode="key",
        deployments={"blue": deployment(1, request_settings={"request_timeout_ms": 5000})},
    )
    online.apply()
    live = online.workspace.deployments("census")["blue"]["properties"]
    online.workspace.put_deployment(
        "census",
        "blue",
        2,
        environmentVariables=live["environmentVariables"],
        requestSettings={"requestTimeout": "PT1M", "maxConcurrentRequestsPerInstance": 1},
    )
    found = online.run("drift")
    line = next(
        number
        for number, text in enumerate(file.read_text().splitlines(), 1)
        if "request_timeout_ms" in text
    )
    assert f'declared   "PT5S"   # manifests/census.yaml:{line}' in found.said
    assert online.run("drift", "--accept", ADDRESS).code == 0
    spec = json.loads(file.read_text())["spec"]["deployments"]["blue"]
    assert spec["model"] == "azureml:census:2"
    assert spec["request_settings"] == {"request_timeout_ms": 60000}
    assert online.changes() == []


def test_a_rollback_brings_the_old_colour_back(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    online.apply()
    online.declare(traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=ROLLOUT)
    online.apply()
    assert set(online.workspace.deployments("census")) == {"green"}
    done = online.run("rollback", ADDRESS, "--auto-approve")
    assert done.code == 0, done.said
    assert online.workspace.traffic("census") == {"blue": 100}
    assert set(online.workspace.deployments("census")) == {"blue"}
    assert online.workspace.model("census", "blue") == "1"


def test_a_rollback_does_not_create_a_deployment_without_its_secrets(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": with_token()})
    online.apply()
    online.declare(traffic={"green": 100}, deployments={"green": with_token(2)}, rollout=ROLLOUT)
    online.apply()
    before = count_writes(online)
    done = online.run("rollback", ADDRESS, "--auto-approve")
    assert done.code == 1
    assert "deployments.blue would be created again without its secret" in done.err
    assert "Declare it in the manifest again, with its secrets, and apply." in done.err
    assert count_writes(online) == before


def test_a_rollback_says_nothing_of_a_secret_that_goes(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment()})
    online.apply()
    online.declare(traffic={"green": 100}, deployments={"green": with_token(2)}, rollout=ROLLOUT)
    online.apply()
    done = online.run("rollback", ADDRESS, "--out", "back.plan")
    assert (done.code, "HF_TOKEN is not restored" in done.said) == (0, False), done.said


def test_without_keep_old_a_rollback_is_one_write(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    online.apply()
    both = {"blue": deployment(1), "green": deployment(2)}
    online.declare(traffic={"green": 100}, deployments=both)
    online.apply()
    before = count_writes(online)
    online.declare(traffic={"blue": 100}, deployments=both)
    online.apply()
    after = count_writes(online)
    assert sum(after.values()) - sum(before.values()) == 1
    assert online.workspace.traffic("census") == {"blue": 100}


def test_what_somebody_added_since_is_not_an_old_colour(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)}, rollout=ROLLOUT)
    online.apply()
    online.workspace.put_deployment("census", "shadow", 3)
    assert online.changes() == []
    online.declare(traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=ROLLOUT)
    online.apply()
    assert set(online.workspace.deployments("census")) >= {"green", "shadow"}
    assert "blue" not in online.workspace.deployments("census")


def test_an_interrupted_rollout_still_deletes_the_old_colour(online: OnlineProject) -> None:
    online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
    online.apply()
    kept = {"steps": [100]}
    online.declare(traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=kept)
    online.apply()
    assert set(online.workspace.deployments("census")) == {"blue", "green"}
    online.declare(traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=ROLLOUT)
    online.apply()
    assert set(online.workspace.deployments("census")) == {"green"}


def test_everything_that_is_wrong_is_reported_in_one_run(tmp_path: Path) -> None:
    with open_online(tmp_path) as online:
        online.workspace.put_endpoint("live")
        online.workspace.put_deployment("live", "blue")
        online.workspace.put_endpoint("live", {"blue": 100})
        known = {"environment": "azureml:sklearn:3", "instance_type": "Standard_DS3_v2"}
        green = {**known, "model": "azureml:census:99"}
        online.declare(
            "live",
            traffic={"grene": 100},
            mirror_traffic={"blue": 10},
            deployments={"blue": {"instance_type": "Standard_F2s_v2"}, "green": green},
        )
        golden = {"request": {"data": [[1]]}, "expect": "golden.json"}
        online.declare(
            "text",
            traffic={"blue": 90},
            deployments={"Bad_Name": {**green, "environment_variables": {"API_KEY": "hunter2"}}},
            rollout={"probe": golden},
        )
        (online.folder / "manifests/golden.json").write_text("[1, 2")
        key = {"STORAGE": f"AccountKey={'ab3D' * 21}A="}
        online.declare(
            "keyed", traffic={"red": 100}, deployments={"blue": {"environment_variables": key}}
        )
        online.declare("exact", ownership="exact", traffic={"blue": 60})
        before = len(read_requests(online))
        done = online.run("plan", "--json")
        sent = {one["method"] for one in read_requests(online)[before:]}
    found = json.loads(done.out)["diagnostics"]
    placed = {(one["summary"], one["range"]["filename"]) for one in found}
    said = "\n".join(one["summary"] for one in found)
    assert done.code == 1
    assert sent == {"GET"}
    for text in (
        "the traffic sums to 90",
        "the traffic sums to 60",
        '"Bad_Name" cannot be the name of a deployment',
        '"API_KEY" has the name of a secret',
        "is not JSON",
        "holds what looks like a key",
        "traffic names grene, which is neither declared nor there",
        "traffic names red, which is neither declared nor there",
        "the instance type of blue cannot change",
        "the model azureml:census:99 does not exist",
    ):
        assert text in said, (text, placed)
    assert all(one["range"]["start"]["line"] for one in found)
    assert "Correct it here: Expecting" in done.out  # the file that is not JSON
    assert "hunter2" not in done.said
