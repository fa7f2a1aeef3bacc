"""The copy of a source in another region: looked for, made, and waited for before a delete."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import Rejected, Unavailable
from reconciler.kinds.web_service import KIND
from reconciler.kinds.web_service.provider import WebServiceProvider
from reconciler.model import (
    ABSENT,
    CloneSource,
    Json,
    Step,
)
from reconciler.plans.step import Comparison, make_step
from tests.access import access
from tests.scripted import Answer, Call, run_scripted
from tests.unit.test_sources import KEY, THERE, password, sealed, source
from tests.wire.test_web_service import RESOURCE, SCOPE, live, manifest


class Regional:
    """A service that has a copy for another region, or makes one when it is asked to."""

    def __init__(self, copied: Json | None, made: Json | None = None) -> None:
        self.copied = copied
        self.made = made
        self.calls: list[str] = []
        self.bodies: list[Json] = []

    def script(self, call: Call, _number: int) -> Answer:
        path, _, query = call.target.partition("?")
        last = path.rpartition("/")[2]
        name = f"{call.method} {last}"
        own = {"id": path, "name": last}
        self.calls.append(f"{name} region" if "region=" in query else name)
        if "region=" in query:
            assert query.endswith("&region=westcentralus")
        if call.method == "GET" and "region=" in query:
            if not self.copied:
                return _missing("PerRegionPayloadNotFound")
            return Answer(200, {**self.copied, **own})
        if call.method == "GET":
            return Answer(200, {**source(), **own})
        if call.method == "POST":
            self.copied = self.made
        if call.method == "PUT":
            self.bodies.append(json.loads(call.body))
        return Answer(200, {})

    def write(self, step: Step, before: Json) -> None:
        with run_scripted(self.script) as server:
            provider = WebServiceProvider(access(server.url), KIND.field)
            read: Any = ABSENT if before is ABSENT else provider.read(RESOURCE)
            self.calls.clear()
            for _ in provider.write(step, read, lambda reference: f"secret of {reference.env}"):
                pass


def _missing(code: str) -> Answer:
    inner = {"code": code, "message": "none"}
    return Answer(404, {"error": {"code": "NotFound", "message": "none", "details": [inner]}})


def moving(before: Json) -> Step:
    """A step to West Central US: of a new service, or of the service itself."""
    definition = {
        "location": "West Central US",
        "properties": {"storageAccount": {"name": "west"}, "commitmentPlan": {"id": "/west"}},
    }
    said = manifest(definition=definition)
    new = before is ABSENT
    declared = KIND.bind_clone(said, source()) if new else KIND.bind(said, before)
    step = make_step(Comparison(RESOURCE, KIND.field, before, declared, KEY))
    assert step is not None
    origin = RESOURCE.id if before is not ABSENT else f"{SCOPE}/origin"
    return replace(step, source=CloneSource(origin, "WebService/origin", "westcentralus"))


def test_a_copy_that_is_there_is_used() -> None:
    service = Regional(source(THERE))
    service.write(moving(ABSENT), ABSENT)
    assert service.calls == ["GET origin", "GET origin region", "GET origin region", "PUT census"]
    (body,) = service.bodies
    assert password(body) == sealed(THERE)
    assert body["properties"]["storageAccount"] == {"name": "west", "key": "secret of KEY"}
    assert body["location"] == "West Central US"


def test_a_copy_that_is_missing_is_made_before_anything_else() -> None:
    service = Regional(None, source(THERE))
    service.write(moving(ABSENT), ABSENT)
    assert [one for one in service.calls if not one.startswith("GET")] == [
        "POST CreateRegionalBlob region",
        "PUT census",
    ]
    assert password(service.bodies[0]) == sealed(THERE)


def test_a_service_is_deleted_only_once_all_that_it_is_made_of_is_there() -> None:
    service = Regional(None, source(THERE))
    service.write(moving(source()), source())
    assert [one for one in service.calls if not one.startswith("GET")] == [
        "POST CreateRegionalBlob region",
        "DELETE census",
        "PUT census",
    ]
    assert password(service.bodies[0]) == sealed(THERE)


@pytest.mark.parametrize("made", [None, live()])
def test_nothing_is_deleted_where_the_copy_is_not_made_or_lacks_a_secret(made: Json | None) -> None:
    service = Regional(None, made)
    with pytest.raises((Rejected, Unavailable)) as caught:
        service.write(moving(source()), source())
    assert caught.value.subject == "WebService/census"
    assert not [one for one in service.calls if one.startswith(("DELETE", "PUT"))]
