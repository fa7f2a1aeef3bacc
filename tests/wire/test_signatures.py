"""Signatures in what a service shows: kept nowhere, planned never, sent back where nothing moved."""

import copy
import json
from typing import Any

import pytest

from reconciler.document.diff import diff
from reconciler.document.normalize import find_secrets, normalize, restore_texts
from reconciler.document.pointers import find, set_at, split_pointer
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Json, Live, Step
from reconciler.plans.step import Comparison, make_step
from reconciler.secrets.signatures import strip_signatures
from reconciler.secrets.suspicion import find_secret_names, is_secret_name
from reconciler.text.json_text import canonical
from tests.property.documents import recase
from tests.scripted import Answer, Call, answers
from tests.wire.test_provider import serving
from tests.wire.test_web_service import MODEL, NEW, OLD, RESOURCE, live, manifest

SAS = "sv=2024-01-01&se=2030-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=PLANTED%2Bsignature%3D"
BARE = "sv=2024-01-01&se=2030-01-01T00%3A00%3A00Z&sr=b&sp=r"
URL = "https://acct.blob.core.windows.net/c/file.csv"
MODULE = "https://acct.blob.core.windows.net/c/module.zip"

# Where a service might show one, and what is kept of it.
SIGNED = {
    "/properties/assets/asset3/locationInfo/uri": (f"{OLD}?{SAS}", OLD),
    "/properties/assets/asset1/locationInfo/uri": (f"{MODULE}?{SAS}#x", MODULE),
    "/properties/assets/asset1/metadata": ({"at": f"{URL}?{SAS}"}, {"at": f"{URL}?{BARE}"}),
    "/properties/description": (f"{URL}?{SAS}", f"{URL}?{BARE}"),
    "/properties/title": (f"see {URL}?{SAS} or ask", f"see {URL}?{BARE} or ask"),
    "/properties/swaggerLocation": (f"{URL}?{SAS}", f"{URL}?{BARE}"),
    "/properties/exampleRequest/inputs": (
        {"input1": [["a", f"{URL}?{SAS}"], [f"?{SAS}", None]]},
        {"input1": [["a", f"{URL}?{BARE}"], [f"?{BARE}", None]]},
    ),
    "/properties/unheardOf": ([{"x": [f"{URL}?{SAS}"]}], [{"x": [f"{URL}?{BARE}"]}]),
    "/tags": ({"data": f"{URL}?{SAS}"}, {"data": f"{URL}?{BARE}"}),
}


def signed(*pointers: str) -> Json:
    """The document that a service shows, with signatures at some places."""
    document = live()
    for pointer in pointers or SIGNED:
        set_at(document, split_pointer(pointer), copy.deepcopy(SIGNED[pointer][0]))
    return document


def read(document: Json) -> Live:
    with serving(answers(Answer(200, document))) as (provider, _):
        seen = provider.read(RESOURCE)
    assert seen is not ABSENT
    return seen


@pytest.mark.parametrize("pointer", SIGNED)
@pytest.mark.parametrize("cased", [False, True])
def test_no_signature_is_kept(pointer: str, cased: bool) -> None:
    document = signed(pointer)
    seen = read(recase(KIND.field, document) if cased else document)
    assert "sig=" not in json.dumps(seen.document)
    assert "PLANTED" not in json.dumps(seen.document)
    assert find(seen.document, split_pointer(pointer)) == SIGNED[pointer][1]
    assert "PLANTED" in json.dumps(seen.raw)
    assert "PLANTED" not in repr(seen)


def test_what_has_no_signature_is_the_very_same_document() -> None:
    document = live()
    assert normalize(KIND.field, document) is document


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{URL}?{SAS}", f"{URL}?{BARE}"),
        (f"{URL}?sig=abc", URL),
        (f"{URL}?sig=abc&sv=1", f"{URL}?sv=1"),
        (f"{URL}?sv=1&SIG=abc&sp=r", f"{URL}?sv=1&sp=r"),
        (f"{URL}?sv=1&sig=a&sig=b&sig=c", f"{URL}?sv=1"),
        ("?sig=a&sig=b", ""),
        (f"<a href='{URL}?sv=1&amp;sig=abc&amp;sp=r'>", f"<a href='{URL}?sv=1&amp;sp=r'>"),
        (
            "go?to=https%3A%2F%2Fa%3Fsv%3D1%26sig%3Dx%252B%26sp%3Dr",
            "go?to=https%3A%2F%2Fa%3Fsv%3D1%26sp%3Dr",
        ),
        ("go?to=https%3a%2f%2fa%3fsig%3dx", "go?to=https%3a%2f%2fa"),
        ("SharedAccessSignature=sv=1&sig=abc;x=1", "SharedAccessSignature=sv=1;x=1"),
        ("AccountName=a;AccountKey=0123456789abcdef==;x=1", "AccountName=a;x=1"),
        ("AccountName=a;AccountKey=0123456789abcdef==", "AccountName=a"),
        ("accountkey=0123456789/bcdef+==;AccountName=a", "AccountName=a"),
        ("use 'SharedAccessKey=0123456789abcdef' there", "use '' there"),
        ("a=1;account_key=0123456789abcdef==;x=1", "a=1;x=1"),
        ("a=1;Account Key=0123456789abcdef", "a=1"),
        ("a=1;shared-access-key=0123456789abcdef;x=1", "a=1;x=1"),
        ("a=1;account.key=0123456789abcdef", "a=1"),
        (
            '{\\"at\\":\\"https://a?sv=1\\u0026sig=abc\\u0026sp=r\\"}',
            '{\\"at\\":\\"https://a?sv=1\\u0026sp=r\\"}',
        ),
        (
            "go?to=https%253A%252F%252Fa%253Fsv%253D1%2526sig%253Dx",
            "go?to=https%253A%252F%252Fa%253Fsv%253D1",
        ),
        ("https://a?sv=1&#38;sig=abc", "https://a?sv=1"),
        ("AccountName%3Da%3BAccountKey%3D0123456789abcdef%3D%3D", "AccountName%3Da"),
    ],
)
def test_a_signature_goes_and_the_rest_of_the_address_stays(text: str, left: str) -> None:
    assert strip_signatures(text) == left
    assert strip_signatures(left) == left


@pytest.mark.parametrize(
    "spelled", ["AccountKey=0123456789abcdef==", "accountkey=0123456789abcdef", "?SIG=abc"]
)
@pytest.mark.parametrize("before", ["", "é ", "\u20ac ", "\ud800 "])
def test_one_goes_where_it_is_all_that_there_is_to_take(spelled: str, before: str) -> None:
    document = {"tags": {"a": f"{before}{spelled}"}}
    assert normalize(KIND.field, document) == {"tags": {"a": before}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sig",
        "?\u017fig=abc",
        "Account\u212aey=0123456789abcdef",
        "f(x, sig=0.05)",
        "a &sig==1",
        f"{URL}?design=1&sig=",
        "?sigma=2",
        "100%",
        "AccountKey=…",
    ],
)
def test_what_is_no_signature_stays(text: str) -> None:
    assert strip_signatures(text) is text


# Nothing is planned because of one.


def planned(document: Json, **spec: Json) -> Step | None:
    declared = KIND.bind(manifest(**spec), document)
    assert declared.findings == ()
    return make_step(Comparison(RESOURCE, KIND.field, document, declared))


@pytest.mark.parametrize("pointer", SIGNED)
def test_a_signature_that_comes_or_goes_or_is_renewed_is_no_change(pointer: str) -> None:
    bare = live()
    set_at(bare, split_pointer(pointer), copy.deepcopy(SIGNED[pointer][1]))
    renewed = json.loads(json.dumps(signed(pointer)).replace("PLANTED", "RENEWED"))
    forms = [normalize(KIND.field, one) for one in (bare, signed(pointer), renewed)]
    assert [diff(KIND.field, forms[0], one) for one in forms] == [(), (), ()]


def test_no_plan_changes_because_of_one() -> None:
    document = read(signed()).document
    assert planned(document, trainedModels={MODEL: {"uri": OLD}}) is None
    whole = {"properties": {"description": f"{URL}?{BARE}"}}
    assert planned(document, definition=whole) is None
    step = planned(document, trainedModels={MODEL: {"uri": NEW}})
    assert step is not None
    assert len(step.changes) == 1
    assert "PLANTED" not in repr(step)


# What is sent whole has it still.


def sent(document: Json, **spec: Json) -> Json:
    """The body of the one write that makes what is shown as it is declared."""

    def script(call: Call, _: int) -> Answer:
        return Answer(200, document if call.method == "GET" else {})

    with serving(script) as (provider, server):
        seen = provider.read(RESOURCE)
        assert seen is not ABSENT
        step = planned(seen.document, **spec)
        assert step is not None
        list(provider.write(step, seen, lambda reference: f"secret of {reference.env}"))
        (write,) = [call for call in server.calls if call.method != "GET"]
    assert "PLANTED" not in repr(step)
    return json.loads(write.body)


@pytest.mark.parametrize("cased", [False, True])
def test_the_other_assets_keep_theirs_when_one_changes(cased: bool) -> None:
    document = signed()
    shown = recase(KIND.field, document) if cased else document
    body = sent(shown, trainedModels={MODEL: {"uri": NEW}})
    assets = copy.deepcopy(document["properties"]["assets"])
    assets["asset3"]["locationInfo"]["uri"] = NEW
    assert body["properties"]["assets"] == assets
    assert body["properties"].keys() == {"packageType", "assets"}


def test_the_model_keeps_its_own_when_something_beside_it_changes() -> None:
    document = signed()
    more = {"properties": {"assets": {"asset3": {"metadata": {"by": "ci"}}}}}
    body = sent(document, trainedModels={MODEL: {"uri": OLD}}, definition=more)
    assert body["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == f"{OLD}?{SAS}"


def test_an_example_keeps_its_own_whatever_moves_around_it() -> None:
    document = signed()
    rows = [["new"], ["a", f"{URL}?{BARE}"], [f"?{BARE}", None]]
    example = {"inputs": {"input1": rows}}
    body = sent(document, definition={"properties": {"exampleRequest": example}})
    (sent_rows,) = body["properties"]["exampleRequest"]["inputs"].values()
    assert sent_rows == [["new"], ["a", f"{URL}?{SAS}"], [f"?{SAS}", None]]


def test_what_is_declared_anew_is_sent_as_declared() -> None:
    body = sent(signed(), definition={"properties": {"description": URL}})
    assert body["properties"]["description"] == URL


def test_a_removal_sends_the_whole_with_every_signature_that_stays() -> None:
    document = signed()
    kept = normalize(KIND.field, document)["properties"]
    whole = {
        name: value
        for name, value in kept.items()
        if name not in {"description", "modifiedOn", "swaggerLocation", "unheardOf"}
    }
    definition: dict[str, Any] = {
        "location": document["location"],
        "tags": normalize(KIND.field, document)["tags"],
        "properties": whole,
    }
    definition["properties"]["commitmentPlan"] = {"id": "/plan"}
    body = sent(document, ownership="exact", definition=definition)
    assert "description" not in body["properties"]
    assert body["properties"]["assets"] == document["properties"]["assets"]
    assert body["properties"]["exampleRequest"] == document["properties"]["exampleRequest"]
    assert body["tags"] == document["tags"]


def test_restoring_needs_something_to_restore_from() -> None:
    document = normalize(KIND.field, signed())
    nothing: list[Json] = [None, [], "text", {}, {"properties": [1]}]
    for raw in nothing:
        assert restore_texts(KIND.field, document, raw) == document


def test_restoring_undoes_what_coming_in_took_away() -> None:
    raw = signed()
    assert restore_texts(KIND.field, normalize(KIND.field, raw), raw) == raw


# Properties that have the name of a secret.

NAMES = [
    "AccountKey",
    "account_key",
    "account-key",
    "Account Key",
    "ACCOUNT.KEY",
    "storageAccountKey",
    "sharedAccessSignature",
    "shared_access_key",
    "sasToken",
    "ConnectionString",
    "client_secret",
    "dbPassword",
    "apiKey",
    "primaryKey",
    "secondary_key",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_the_name_of_a_secret_is_kept_nowhere(name: str) -> None:
    document = live()
    document["properties"]["unheardOf"] = [{"x": {name: "planted-0123456789"}, "y": 1}]
    document["tags"] = {name: "planted-0123456789"}
    seen = read(document)
    assert "planted" not in json.dumps(seen.document)
    assert "planted" not in repr(seen)
    assert seen.document["properties"]["unheardOf"] == [{"x": {}, "y": 1}]
    assert restore_texts(KIND.field, seen.document, seen.raw)["tags"] == document["tags"]
    assert "planted-0123456789" in set(find_secrets(KIND.field, document))


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_the_name_of_a_secret_is_sent_back(name: str) -> None:
    document = live()
    document["properties"]["assets"]["asset1"]["metadata"] = {name: "planted-0123456789"}
    document["properties"]["assets"]["asset2"]["metadata"] = {name: ["a", {name: "x" * 20}]}
    body = sent(document, trainedModels={MODEL: {"uri": NEW}})
    for asset in ("asset1", "asset2"):
        kept = body["properties"]["assets"][asset]["metadata"]
        assert kept == document["properties"]["assets"][asset]["metadata"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AccountKey", ""),
        ("AccountKey", None),
        ("AccountKey", {"value": "sealed", "certificateThumbprint": "x"}),
        ("AccountKey", "<the key>"),
        ("password", "see the vault"),
        ("keyboard", "0123456789abcdef"),
        ("passwordPolicy", "0123456789abcdef"),
        ("monkey", "0123456789abcdef"),
        ("primaryKey", "customer_identifier"),
    ],
)
def test_what_is_no_value_of_a_secret_stays(name: str, value: Json) -> None:
    document = live()
    document["properties"]["unheardOf"] = {name: value}
    assert normalize(KIND.field, document) is document


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_search_finds_each_name_of_a_secret(name: str) -> None:
    for spelled in (name, name.upper(), name.lower(), f"my_{name}"):
        assert is_secret_name(spelled)
        assert find_secret_names(canonical({"a": {spelled: "x", "y": "z"}}).encode()) == {spelled}
