"""A Classic web service that manifests give by its name: what is found, refused and confirmed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.casework.classic import WORKSPACE, Classic
from tests.e2e.bikes import HIDDEN, Bikes, open_bikes
from tests.e2e.world import Emulator

pytestmark = pytest.mark.e2e
Json = Any
NAME = "Bike Rental"


def give(bikes: Bikes, **defaults: str) -> None:
    """Write these defaults of the project beside the workspace."""
    file = bikes.folder / "reconciler.yaml"
    project = yaml.safe_load(file.read_text())
    project["spec"]["defaults"] = {"workspace": WORKSPACE, **defaults}
    file.write_text(yaml.safe_dump(project))


def publish(bikes: Bikes, folder: str, name: str) -> Classic:
    """Publish another web service of the workspace."""
    other = Classic(bikes.emulator, folder, {"name": name})
    other.set()
    return other


def resource(**parts: str) -> Mapping[str, Json]:
    return {"resource": {"workspace": WORKSPACE, **parts}}


def test_an_endpoint_lives_its_life_with_the_web_service_given_by_name(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes)
        publish(bikes, "trains", "Train Rental")
        bikes.declare("one", "rentalloc001", "rentalloc002", **resource(webServiceName=NAME))
        planned = bikes.expect("2 to add", "plan", "--out", "one.plan")
        assert f"/webservices/{bikes.classic.id}/endpoints/rentalloc001" in planned.out
        bikes.expect("2 added", "apply", "one.plan")
        bikes.expect_silence()
        bikes.expect("No drift. 2 services in sync.", "drift")
        bikes.expect(bikes.classic.id, "list", "--format", "json")
        bikes.expect("+ create  Endpoint/rentalloc001", "history", "Endpoint/rentalloc001")
        bikes.declare("two", "rentalloc001", "rentalloc002", **resource(webServiceName=NAME))
        bikes.expect("2 changed", "apply", "--auto-approve")
        bikes.expect("/bikes/one.ilearner", "rollback", "Endpoint/rentalloc001", "--out", "back")
        bikes.expect("0 added, 1 changed", "apply", "back")
        bikes.expect("2 destroyed", "apply", "--auto-approve", "--destroy")
        assert set(bikes.classic.read()) == {"default"}


def test_a_thousand_endpoints_need_one_list_of_web_services(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes, webServiceName=NAME)
        bikes.declare("one", *(f"rentalloc{number:03}" for number in range(20)))
        reported = json.loads(bikes.run("plan", "--format", "json").out)
        assert len(reported["resource_changes"]) == 20
        asked = [one["path"] for one in bikes.requests() if one["path"].endswith("webservices")]
        assert len(asked) == 1
        gets = [one for one in bikes.requests() if one["method"] == "GET"]
        # The world was made with PUTs and one look; all other reads are those of the plan.
        assert reported["refresh"]["calls"] == len(gets)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"webServiceName": "Bike Rentl"}, 'no web service is named "Bike Rentl"'),
        ({"webServiceName": "Twin"}, '2 web services are named "Twin"'),
        (
            {"webServiceName": NAME, "webService": "{trains}"},
            'is named "Train Rental" and not "Bike Rental"',
        ),
        ({"webServiceName": NAME, "webService": "0" * 32}, "does not exist"),
    ],
    ids=["unknown", "ambiguous", "another id", "no such id"],
)
def test_a_name_that_is_not_exactly_one_web_service_is_refused_with_its_place(
    parts: Mapping[str, str], said: str, emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes)
        trains, twins = (
            publish(bikes, "trains", "Train Rental"),
            sorted(publish(bikes, folder, "Twin").id for folder in ("twin", "other twin")),
        )
        given = {part: text.replace("{trains}", trains.id) for part, text in parts.items()}
        bikes.declare("one", "rentalloc001", **resource(**given))
        lines = (bikes.folder / "manifests" / "rentalloc001.yaml").read_text().splitlines()
        line = 1 + next(at for at, text in enumerate(lines) if "webServiceName" in text)
        sent = len(bikes.requests())
        for command in (["drift"], ["plan"], ["apply", "--auto-approve"]):
            done = bikes.run(*command)
            assert done.code == 1, done.said
            assert said in done.err
            assert f"on manifests/rentalloc001.yaml line {line}, column 5" in done.err
            assert ('Did you mean "Bike Rental"?' in done.err) is ("Bike Rentl" in said)
            assert (f"Their ids: {', '.join(twins)}." in done.err) is ("Twin" in said)
        assert {one["method"] for one in bikes.requests()[sent:]} == {"GET"}


def test_a_name_beside_the_id_chooses_between_two_of_that_name(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes, webService="0" * 32)
        publish(bikes, "twin", NAME)
        bikes.declare(
            "one", "rentalloc001", **resource(webServiceName=NAME, webService=bikes.classic.id)
        )
        bikes.expect("1 added", "apply", "--auto-approve")
        assert "rentalloc001" in bikes.classic.read()


def test_an_id_in_a_manifest_is_not_held_to_the_name_in_the_defaults(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes, webServiceName="Train Rental")
        bikes.declare("one", "rentalloc001", **resource(webService=bikes.classic.id))
        bikes.expect("1 to add", "plan")
        assert not any(one["path"].endswith("webservices") for one in bikes.requests())


def test_a_saved_plan_is_stale_once_the_name_means_another_web_service(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes)
        bikes.declare("one", "rentalloc001", **resource(webServiceName=NAME))
        bikes.expect("1 added", "apply", "--auto-approve")
        bikes.declare("two", "rentalloc001", **resource(webServiceName=NAME))
        bikes.expect("1 to change", "plan", "--out", "two.plan")
        bikes.classic.send("PUT", "", {"Name": "Bike Rental, old"})
        renamed = bikes.run("apply", "two.plan", "--detailed-exitcode")
        assert (renamed.code, f'no web service is named "{NAME}"' in renamed.err) == (1, True)
        other = publish(bikes, "another", NAME)
        sent = len(bikes.requests())
        done = bikes.run("apply", "two.plan", "--detailed-exitcode")
        assert done.code == 4, done.said
        assert f'the web service "{NAME}" is another one now' in done.err
        assert f"The name means:   /southcentralus/workspaces/{WORKSPACE}" in done.err
        assert other.id in done.err
        assert {one["method"] for one in bikes.requests()[sent:]} == {"GET"}


def test_a_service_is_exported_and_imported_where_the_defaults_name_the_web_service(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes, webServiceName=NAME)
        settings = {"Description": "by hand", "ThrottleLevel": "High", "MaxConcurrentCalls": 6}
        bikes.classic.send("PUT", "/endpoints/byhand", settings)
        bikes.classic.send("PUT", "/endpoints/second", settings)
        bikes.expect("1 service exported", "import", "Endpoint/second", "second")
        bikes.expect("2 services exported", "export", "--all")
        text = (bikes.folder / "manifests" / "byhand.yaml").read_text()
        assert "webService" not in text
        bikes.expect_silence()
        bikes.classic.send("PUT", "/endpoints/third", settings)
        bikes.expect("Endpoint/third", "drift", "--unmanaged")


def test_a_wrong_name_in_a_fleet_is_one_error(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        give(bikes)
        template = {
            "kind": "Endpoint",
            "metadata": {"name": "rental${code}"},
            "spec": resource(webServiceName="Bike Rentl"),
        }
        items = {"list": [{"code": f"{number:03}"} for number in range(300)]}
        bikes.write("manifests/f.yaml", "Fleet", "bikes", {"items": items, "template": template})
        done = bikes.run("plan")
        assert done.code == 1, done.said
        assert done.err.count("no web service is named") < 5, done.err
        assert "webServiceName" not in done.out
