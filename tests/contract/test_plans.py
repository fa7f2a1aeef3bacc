"""Commitment plans, as recorded (2016, 2017) and described: plans, SKUs, associations, `move`."""

from pathlib import Path

import pytest

from tests.contract.world import (
    PREVIEW,
    PROVIDER,
    SKU,
    VERSION,
    Json,
    Service,
    code_of,
    run_service,
    switched,
)
from tests.e2e.world import SUBSCRIPTION, pass_time

pytestmark = pytest.mark.contract
# The reply to the PUT of an S1 plan: recorded in azure-powershell TestUpdateCommitmentPlan.
RECORDED = {
    "chargeForOverage": True,
    "chargeForPlan": True,
    "includedQuantities": {
        "machineLearningWebServiceComputeHours": {
            "allowance": 25.0,
            "amount": 25.0,
            "includedQuantityMeter": "29187de1-b4a1-4503-a6f6-078271b3fc9d",
            "overageMeter": "842f92f7-a46b-4522-ac62-8134271dc591",
        },
        "machineLearningWebServiceTransactions": {
            "allowance": 100000.0,
            "amount": 100000.0,
            "includedQuantityMeter": "303743b6-4cd0-44df-8ec2-a93c8f14943b",
            "overageMeter": "c906e161-98b8-41b1-81e2-b59e0b263740",
        },
    },
    "maxAssociationLimit": 10000,
    "maxCapacityLimit": 10,
    "minCapacityLimit": 1,
    "planMeter": "4a5a4b83-6216-47c5-b3db-fe430fa6e2c3",
    "refillFrequencyInDays": 30,
    "suspendPlanOnOverage": False,
}
S2 = {"capacity": 2, "name": "S2", "tier": "Standard"}


def call(service: Service, method: str, path: str, body: Json = None) -> Json:
    """The body of a call that succeeds with 200."""
    answer = service.call(method, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.content else None


def associations(service: Service, name: str = "plan") -> Json:
    return call(service, "GET", f"{service.plan(name)}/commitmentAssociations")["value"]


def put_with_plan(service: Service, plan: str, name: str = "census") -> None:
    service.put(name, commitmentPlan={"id": service.plan(plan)})


def move(service: Service, source: str, association: str, destination: str) -> Json:
    path = f"{service.plan(source)}/commitmentAssociations/{association}/move"
    return service.call("POST", path, {"destinationPlanId": service.plan(destination)})


def test_a_plan_is_made_at_once_with_the_recorded_body() -> None:
    with switched(plan_amount="allowance") as service:
        answer = service.call("PUT", service.plan(), {"location": "southcentralus", "sku": SKU})
        assert answer.status_code == 200
        assert "Azure-AsyncOperation" not in answer.headers
        assert "x-ms-request-duration" not in answer.headers
        assert answer.headers["Server"] == "Microsoft-HTTPAPI/2.0"
        plan = answer.json()
        assert list(plan) == sorted(plan)
        assert list(plan["properties"]) == sorted(plan["properties"])
        assert plan["properties"].pop("creationDate").endswith("Z")
        assert plan["properties"] == RECORDED
        assert plan["location"] == "southcentralus"
        assert (plan["sku"], plan["tags"]) == (SKU, {})
        assert plan["type"] == "Microsoft.MachineLearning/commitmentPlans"
        assert b'"allowance": 25.0' in answer.content


def test_a_new_plan_has_its_quantities_or_none_yet(service: Service) -> None:
    quantities = service.put_plan()["properties"]["includedQuantities"]
    assert {one["amount"] for one in quantities.values()} == {0.0}
    assert {one["allowance"] for one in quantities.values()} == {25.0, 100000.0}


@pytest.mark.parametrize("place", ["southcentralus", "South Central US", "westeurope"])
def test_the_location_of_a_plan_comes_back_as_it_was_sent(service: Service, place: str) -> None:
    assert service.put_plan(location=place)["location"] == place
    assert call(service, "GET", service.plan())["location"] == place


def test_the_segment_of_plans_matches_in_any_case(service: Service) -> None:
    made = service.put_plan()
    for spelling in ("CommitmentPlans", "commitmentplans"):
        path = service.plan().replace("commitmentPlans", spelling)
        assert call(service, "GET", path) == made


def test_a_plan_may_have_spaces_in_its_name(service: Service) -> None:
    """Recorded: `kshoop plan 6.22.3`."""
    made = service.put_plan("a plan 6.22.3")
    assert made["name"] == "a plan 6.22.3"
    assert call(service, "GET", service.plan("a plan 6.22.3")) == made


def test_a_patch_changes_sku_and_tags_and_keeps_the_creation_date(service: Service) -> None:
    made = service.put_plan()
    changed = call(service, "PATCH", service.plan(), {"tags": {"tag1": "value1"}, "sku": S2})
    assert (changed["sku"], changed["tags"]) == (S2, {"tag1": "value1"})
    assert changed["etag"] != made["etag"]
    assert changed["properties"]["creationDate"] == made["properties"]["creationDate"]
    assert changed["properties"]["planMeter"] == "0242cdc7-456a-4024-a1d5-f00b54f37b76"
    quantities = changed["properties"]["includedQuantities"]
    assert {one["allowance"] for one in quantities.values()} == {500.0, 2_000_000.0}
    assert call(service, "GET", service.plan()) == changed
    assert call(service, "PATCH", service.plan(), {"tags": {"b": "c"}})["sku"] == S2


def test_tags_of_a_plan_are_replaced_unless_merged() -> None:
    with switched(patch_tags="merge") as service:
        service.put_plan(tags={"a": "1"})
        changed = call(service, "PATCH", service.plan(), {"tags": {"b": "2"}})
        assert changed["tags"] == {"a": "1", "b": "2"}


def test_a_put_over_a_plan_keeps_its_creation_date(service: Service) -> None:
    made = service.put_plan()
    again = service.put_plan(sku=S2)
    assert again["etag"] != made["etag"]
    assert again["properties"]["creationDate"] == made["properties"]["creationDate"]


def test_resource_manager_itself_answers_for_a_missing_plan(service: Service) -> None:
    answer = service.call("GET", service.plan("none"))
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "code": "ResourceNotFound",
            "message": "The Resource 'Microsoft.MachineLearning/commitmentPlans/none' under"
            f" resource group '{service.group}' was not found.",
        }
    }
    headers = answer.headers
    assert headers["x-ms-failure-cause"] == "gateway"
    assert headers["x-ms-request-id"] == headers["x-ms-correlation-request-id"]
    assert not {"Server", "x-ms-request-duration"} & set(headers)


def test_plans_are_listed_whole_and_the_newest_first() -> None:
    with run_service() as service:
        first = service.put_plan("b")
        pass_time(service.url, 1)
        second = service.put_plan("c")
        pass_time(service.url, 1)
        far = service.put_plan("a", location="West Europe")
        group = service.plan("").rstrip("/")
        assert call(service, "GET", group)["value"] == [far, second, first]
        answer = service.call("GET", f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/commitmentPlans")
        assert answer.json() == {"value": [second, first, far]}
        assert "x-ms-original-request-ids" in answer.headers
        assert "Server" not in answer.headers


def test_pages_of_plans_are_linked() -> None:
    with switched(list_page_size="1") as service:
        for name in ("a", "b", "c"):
            service.put_plan(name)
        seen, url = [], service.plan("").rstrip("/")
        while url:
            page = service.call("GET", url).json()
            seen += [plan["name"] for plan in page["value"]]
            url = page.get("nextLink", "")
            assert not url or f"api-version={PREVIEW}&%24skiptoken=" in url
        assert sorted(seen) == ["a", "b", "c"]


def test_only_the_version_that_describes_plans_is_known(service: Service) -> None:
    answer = service.call("GET", service.plan(), version="2017-01-01")
    assert code_of(answer)[:2] == (400, "InvalidApiVersionParameter")
    assert answer.text.count("2016-05-01-preview") == 1


def test_deleting_a_plan_is_200(service: Service) -> None:
    service.put_plan()
    assert call(service, "DELETE", service.plan()) is None
    assert service.call("GET", service.plan()).status_code == 404


@pytest.mark.parametrize("status", ["204", "404", "200"])
def test_deleting_a_missing_plan(status: str) -> None:
    with switched(plan_delete_missing=status) as service:
        answer = service.call("DELETE", service.plan(), described=False)
        assert answer.status_code == int(status)


@pytest.mark.parametrize("reading", ["reject", "accept"])
def test_deleting_a_plan_that_a_service_uses(reading: str) -> None:
    with switched(plan_in_use=reading) as service:
        service.put_plan()
        put_with_plan(service, "plan")
        answer = service.call("DELETE", service.plan())
        assert answer.status_code == {"reject": 409, "accept": 200}[reading]


@pytest.mark.parametrize(
    "sku",
    [
        None,
        {"name": "S9"},
        {**SKU, "capacity": 0},
        {**SKU, "capacity": 11},
        {**SKU, "capacity": True},
        {**SKU, "capacity": "1"},
        {**SKU, "tier": "Premium"},
    ],
)
def test_a_sku_that_was_never_recorded(service: Service, sku: Json) -> None:
    body = {"location": "southcentralus", "sku": sku}
    answer = service.call("PUT", service.plan(), body)
    assert code_of(answer) == (400, "BadRequest", "RequestBodyInvalid")
    assert "sku" in answer.text
    with switched(plan_sku="trust") as trusting:
        answer = trusting.call("PUT", trusting.plan(), body, described=False)
        assert answer.status_code == 200


def test_an_old_etag_is_refused_unless_ignored(service: Service) -> None:
    def write_twice(of: Service) -> int:
        old = of.put_plan()
        assert of.call("PUT", of.plan(), old).status_code == 200
        return of.call("PUT", of.plan(), old).status_code

    assert write_twice(service) == 412
    with switched(plan_etag="ignore") as ignoring:
        assert write_twice(ignoring) == 200


def test_the_skus_are_those_that_plans_were_recorded_with(service: Service) -> None:
    skus = call(service, "GET", f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/skus")["value"]
    assert [sku["name"] for sku in skus] == ["S1", "S2", "DevTest", "PAYG"]
    for sku in skus:
        members = {"capacity": sku["capacity"]["default"], "name": sku["name"], "tier": sku["tier"]}
        made = service.put_plan(sku["name"], sku=members)
        assert made["properties"]["planMeter"] == sku["costs"][0]["meterID"]


def test_a_service_is_an_association_of_its_plan(service: Service) -> None:
    plan = service.put_plan()
    assert associations(service) == []
    put_with_plan(service, "plan")
    (association,) = associations(service)
    assert association["properties"]["associatedResourceId"] == service.path()
    assert association["properties"]["commitmentPlanId"] == plan["id"]
    path = f"{service.plan()}/commitmentAssociations/{association['name']}"
    assert association["id"] == path
    assert call(service, "GET", path) == association
    assert list(association) == sorted(association)
    service.finish(service.call("DELETE", service.path()))
    assert associations(service) == []


def test_a_move_gives_a_service_another_plan(service: Service) -> None:
    for name in ("plan", "premium"):
        service.put_plan(name)
    put_with_plan(service, "plan")
    (association,) = associations(service)
    answer = move(service, "plan", association["name"], "premium")
    assert answer.status_code == 200, answer.text
    assert associations(service) == []
    (moved,) = associations(service, "premium")
    assert moved == answer.json()
    assert moved["name"] == association["name"]
    assert moved["properties"]["commitmentPlanId"] == service.plan("premium")


def test_a_move_is_shown_at_once_where_reads_show_the_plan() -> None:
    with switched(commitment_plan_returned="yes") as service:
        for name in ("plan", "premium"):
            service.put_plan(name)
        put_with_plan(service, "plan")
        assert service.properties()["commitmentPlan"]["id"] == service.plan("plan")
        (association,) = associations(service)
        assert move(service, "plan", association["name"], "premium").status_code == 200
        assert service.properties()["commitmentPlan"]["id"] == service.plan("premium")


def test_a_move_while_the_service_is_written_is_kept(slow: Service) -> None:
    for name in ("plan", "premium"):
        slow.put_plan(name)
    put_with_plan(slow, "plan")
    (association,) = associations(slow)
    patched = slow.call("PATCH", slow.path(), {"properties": {"packageType": "Graph"}})
    assert move(slow, "plan", association["name"], "premium").status_code == 200
    slow.finish(patched)
    assert associations(slow, "plan") == []
    assert len(associations(slow, "premium")) == 1


@pytest.mark.parametrize("destination", ["", None, 1, "/plan", "/subscriptions/s"])
def test_a_move_without_a_destination_is_refused(service: Service, destination: Json) -> None:
    service.put_plan()
    put_with_plan(service, "plan")
    (association,) = associations(service)
    path = f"{service.plan()}/commitmentAssociations/{association['name']}/move"
    body = {"destinationPlanId": destination}
    assert service.call("POST", path, body).status_code == 400
    assert associations(service) == [association]


def test_a_move_of_or_to_what_does_not_exist_is_404(service: Service) -> None:
    service.put_plan()
    put_with_plan(service, "plan")
    (association,) = associations(service)
    assert move(service, "plan", association["name"], "none").status_code == 404
    assert move(service, "plan", "nobody", "plan").status_code == 404
    assert move(service, "none", association["name"], "plan").status_code == 404


def test_the_usage_of_a_plan_is_a_list(service: Service) -> None:
    service.put_plan()
    assert call(service, "GET", f"{service.plan()}/usageHistory") == {"value": []}
    answer = service.call("GET", f"{service.plan('none')}/usageHistory")
    assert answer.status_code == 404


def test_the_actions_of_the_provider_are_listed(service: Service) -> None:
    for version in (PREVIEW, VERSION):
        answer = service.call("GET", f"{PROVIDER}/operations", version=version)
        names = [action["name"] for action in answer.json()["value"]]
        assert f"{PROVIDER[11:]}/commitmentPlans/commitmentAssociations/move/action" in names
        assert len(names) == len(set(names))
    assert service.call("POST", f"{PROVIDER}/operations").status_code == 405


def test_every_described_operation_on_plans_is_reached(service: Service) -> None:
    for name in ("plan", "premium"):
        service.put_plan(name)
    put_with_plan(service, "plan")
    (association,) = associations(service)
    path = f"{service.plan()}/commitmentAssociations/{association['name']}"
    call(service, "GET", path)
    call(service, "POST", f"{path}/move", {"destinationPlanId": service.plan("premium")})
    call(service, "GET", f"{service.plan()}/usageHistory")
    call(service, "PATCH", service.plan(), {"tags": {}})
    call(service, "GET", service.plan())
    call(service, "GET", service.plan("").rstrip("/"))
    for word in ("commitmentPlans", "skus"):
        call(service, "GET", f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/{word}")
    call(service, "GET", f"{PROVIDER}/operations")
    call(service, "DELETE", service.plan())
    plans = ["CreateOrUpdate", "Get", "Patch", "Remove", "List", "ListInResourceGroup"]
    wanted = {f"CommitmentPlans_{word}" for word in plans}
    wanted |= {f"CommitmentAssociations_{word}" for word in ("List", "Get", "Move")}
    wanted |= {"Skus_List", "UsageHistory_List", "Operations_List"}
    assert {name for name in service.reached if not name.startswith("WebServices")} == wanted


def test_plans_survive_a_restart(tmp_path: Path) -> None:
    with run_service(f"--data={tmp_path}") as service:
        made = service.put_plan()
    with run_service(f"--data={tmp_path}") as service:
        assert call(service, "GET", service.plan()) == made
