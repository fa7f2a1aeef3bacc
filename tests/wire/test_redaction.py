"""Secrets that a service repeats: hidden from whoever reads, and sent back as they were."""

import base64
import copy
import json

import pytest

from reconciler.document.pointers import find
from reconciler.model import ABSENT, Json, SecretReference
from reconciler.secrets.redaction import HIDDEN
from tests.scripted import Answer, Call
from tests.unit.test_redaction import KEY
from tests.wire.test_provider import serving
from tests.wire.test_web_service import MODEL, NEW, OLD, RESOURCE, live, step_for


def sent(shown: Json, **spec: Json) -> tuple[Json, Json]:
    """The body of the one write, and what was read before it; KEY is known to both."""

    def script(call: Call, _: int) -> Answer:
        return Answer(200, shown if call.method == "GET" else {})

    with serving(script) as (provider, server):
        provider._client.redaction.know(KEY)
        seen = provider.read(RESOURCE)
        assert seen is not ABSENT
        step = step_for(seen.document, **spec)
        list(provider.write(step, seen, lambda _: "unused"))
        (write,) = [call for call in server.calls if call.method != "GET"]
    assert KEY not in json.dumps(seen.document, ensure_ascii=False)
    return json.loads(write.body), seen.document


def test_what_a_service_repeats_goes_back_as_it_was() -> None:
    shown = live()
    module = shown["properties"]["assets"]["asset1"]
    module["metadata"] = {"note": f"{KEY} and https://a/b?sv=1&sig=abc"}
    module["locationInfo"]["credentials"] = KEY
    shown["properties"]["exampleRequest"] = {"inputs": {"input1": [[KEY], ["a"]]}}
    body, seen = sent(copy.deepcopy(shown), trainedModels={MODEL: {"uri": NEW}})
    note = find(seen, ("properties", "assets", "asset1", "metadata", "note"))
    assert note == f"{HIDDEN} and https://a/b?sv=1"
    assert body["properties"]["assets"]["asset1"] == module
    rows = {"input1": [["new"], [HIDDEN], ["a"]]}
    example = {"properties": {"exampleRequest": {"inputs": rows}}}
    body, _ = sent(shown, trainedModels={MODEL: {"uri": OLD}}, definition=example)
    assert body["properties"]["exampleRequest"]["inputs"] == {"input1": [["new"], [KEY], ["a"]]}


def test_what_was_sent_is_known_from_then_on() -> None:
    credentials = "AccountName=a;AccountKey=the+key+of+somebody=="
    shown = live()
    shown["properties"]["assets"]["asset1"]["locationInfo"]["credentials"] = credentials
    shown["properties"]["assets"]["asset2"]["locationInfo"]["uri"] = "https://a/b?sig=a-signature-x"
    refusal = f"No: {credentials} {base64.b64encode(b'a-signature-x').decode()} the new key of it"

    def script(call: Call, _: int) -> Answer:
        no = Answer(400, {"error": {"code": "No", "message": refusal}})
        return Answer(200, shown) if call.method == "GET" else no

    with serving(script) as (provider, _):
        seen = provider.read(RESOURCE)
        assert seen is not ABSENT
        reference = {"/properties/keys/primary": SecretReference(env="KEY")}
        step = step_for(seen.document, reference, trainedModels={MODEL: {"uri": NEW}})
        with pytest.raises(Exception, match="No: ") as caught:
            list(provider.write(step, seen, lambda _: "the new key of it"))
    assert str(caught.value) == f"No: {HIDDEN} {HIDDEN} {HIDDEN}"
