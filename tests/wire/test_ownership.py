"""How `ownership: exact` is sent: the whole by PUT where anything is removed."""

import copy

from reconciler.kinds.web_service import KIND
from reconciler.model import (
    Action,
)
from tests.unit.test_ownership import exact, step_for, whole
from tests.wire.test_web_service import MODEL, NEW, Sent, live


def test_a_removal_is_sent_as_a_put_of_the_whole_with_all_that_is_never_returned() -> None:
    before = live(newToUs={"a": 1})
    before["properties"]["package"]["nodes"]["node1"]["parameters"] = {
        "Password": {"value": "MIIC1", "certificateThumbprint": "AB5C39"}
    }
    before["tags"]["stray"] = "1"
    body = whole(package=before["properties"]["package"])
    del body["properties"]["title"]
    step = step_for(before, exact(body, trainedModels={MODEL: {"uri": NEW}}))
    assert tuple(KIND.check_step(exact(body), step)) == ()
    shown = copy.deepcopy(before)
    shown["properties"]["assets"]["asset1"]["locationInfo"]["credentials"] = "theirs"
    ((method, sent),) = Sent(shown).write(step)
    assert method == "PUT"
    assert sent["tags"] == {"owner": "growth"}
    wanted = copy.deepcopy(before["properties"])
    wanted["assets"]["asset3"]["locationInfo"]["uri"] = NEW
    wanted["assets"]["asset1"]["locationInfo"]["credentials"] = "theirs"
    wanted["storageAccount"]["key"] = "secret of KEY"
    wanted["keys"] = {"primary": "secret of PRIMARY", "secondary": "secret of SECONDARY"}
    wanted["commitmentPlan"] = body["properties"]["commitmentPlan"]
    for name in ("title", "modifiedOn"):
        del wanted[name]
    assert sent["properties"] == wanted
    assert sent["location"] == before["location"]


def test_a_change_that_removes_nothing_stays_an_update_of_its_parts() -> None:
    step = step_for(live(), exact(whole(title="New")))
    assert (step.action, step.body) == (Action.UPDATE, "parts")
    ((method, _),) = Sent(live()).write(step)
    assert method == "PATCH"
