"""What a webhook gets: bounded, without values, and never a command for Slack."""

import json
import re
from typing import Any

import pytest

from reconciler.model import Address, Drift, Resource, SourceLocation, Verdict
from reconciler.telemetry.messages import MOST_EACH, Origin, make_messages
from tests.outputs import check_output

ORIGIN = Origin("bikes", "prod", "https://drift.example.org/report")
HOSTILE = [
    "<!channel>",
    "<@U012AB3CD>",
    "<https://evil.example.org|sign in>",
    "https://evil.example.org",
    "@here",
    "`*bold*`",
    "```\nx",
    "\u202egnp.exe",
    "a\nb\r\nc",
    "\x1b[31m\x00",
    "&lt;!channel&gt;",
    "\ud800",
    "_" * 5000,
]


def finding(name: str = "census", verdict: Verdict = Verdict.MODEL_SWAPPED, **more: Any) -> Drift:
    usual = {
        "pointer": "/properties/assets/a/uri",
        "remembered": "https://old/planted",
        "live": "https://new/planted",
        "declared": "https://old/planted",
        "since": "2026-11-30T03:00:00Z",
        "commands": ("reconciler apply --target WebService/census",),
        "place": SourceLocation("manifests/census.yaml", 9, 5),
        "key": f"{abs(hash(name)):024x}"[:24],
    }
    return Drift(Resource(Address("WebService", name), "/x"), verdict, **{**usual, **more})


def make(form: str, *findings: Drift, origin: Origin = ORIGIN) -> list[Any]:
    return [json.loads(one.body) for one in make_messages(form, findings, origin)]


def test_a_finding_in_the_generic_form() -> None:
    (message,) = make("generic", finding(key="k" * 24, note="by somebody"))
    check_output(message, "webhook")
    assert message == {
        "format_version": "1.0",
        "type": "finding",
        "text": "bikes prod: WebService/census: model-swapped",
        "project": "bikes",
        "environment": "prod",
        "report_url": "https://drift.example.org/report",
        "resource": "WebService/census",
        "finding": {
            "key": "k" * 24,
            "verdict": "model-swapped",
            "severity": "error",
            "pointer": "/properties/assets/a/uri",
            "note": "by somebody",
            "place": {"file": "manifests/census.yaml", "line": 9, "column": 5},
        },
        "since": "2026-11-30T03:00:00Z",
        "settle": ["reconciler apply --target WebService/census"],
    }


def test_a_finding_for_slack() -> None:
    (message,) = make("slack", finding())
    (block,) = message["blocks"]
    assert block["text"]["text"] == (
        "`bikes` `prod`: `WebService/census` is *model-swapped*\n"
        "at `/properties/assets/a/uri`\n"
        "first seen 2026-11-30 03:00:00 UTC\n"
        "resolve it: `reconciler apply --target WebService/census`\n"
        "<https://drift.example.org/report|Open the report>"
    )
    assert block["text"]["verbatim"] is True
    assert (message["unfurl_links"], message["unfurl_media"]) == (False, False)
    assert message["text"] == "`bikes` `prod`: `WebService/census` is *model-swapped*"


def test_a_project_without_environments_and_report() -> None:
    bare = finding(place=None, pointer="", since="", commands=())
    (message,) = make("generic", bare, origin=Origin("bikes", "", ""))
    check_output(message, "webhook")
    assert message["text"] == "bikes: WebService/census: model-swapped"
    (message,) = make("slack", bare, origin=Origin("bikes", "", ""))
    assert message["blocks"][0]["text"]["text"] == "`bikes`: `WebService/census` is *model-swapped*"


@pytest.mark.parametrize("form", ["generic", "slack"])
def test_no_value_of_a_service_is_sent(form: str) -> None:
    assert "planted" not in json.dumps(make(form, finding()))


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("form", ["generic", "slack"])
def test_hostile_text_stays_text(form: str, hostile: str) -> None:
    one = finding(hostile, pointer=f"/{hostile}", note=hostile, commands=(hostile,))
    (message,) = make(form, one, origin=Origin("bikes", "prod", ""))
    if form == "generic":
        check_output(message, "webhook")
        return
    for text in (message["text"], message["blocks"][0]["text"]["text"]):
        assert len(text) < 3000
        # Outside of code spans there is only our own text.
        outside = re.sub(r"`[^`\n]*`", "", text)
        assert re.fullmatch(r"[ -z\n]*", outside), outside
        assert not re.search(r"[<>&@#_]|http", outside), outside
        assert not re.search(r"<|>|&(?!amp;|lt;|gt;)", text)
        assert not re.search("[\u202e\x1b\x00\r]", text)


def test_a_report_address_cannot_end_its_link() -> None:
    origin = Origin("bikes", "prod", "https://a.example.org/r?x=<b>|c&d")
    (message,) = make("slack", finding(), origin=origin)
    last = message["blocks"][0]["text"]["text"].splitlines()[-1]
    assert last == "<https://a.example.org/r?x=&lt;b&gt;%7Cc&amp;d|Open the report>"


@pytest.mark.parametrize("form", ["generic", "slack"])
def test_many_findings_are_one_summary(form: str) -> None:
    many = [
        *(finding(f"pending-{number}", Verdict.PENDING) for number in range(400)),
        *(finding(f"swapped-{number}") for number in range(3)),
    ]
    (message,) = make_messages(form, many, ORIGIN)
    assert set(message.keys) == {one.key for one in many}
    assert len(message.body) < 4000
    document = json.loads(message.body)
    if form == "generic":
        check_output(document, "webhook")
        assert document["text"] == "bikes prod: 403 new findings"
        assert (document["findings"], document["counts"]) == (
            403,
            {"model-swapped": 3, "pending": 400},
        )
        assert document["gravest"][0]["resource"] == "WebService/swapped-0"
        assert len(document["gravest"]) == 10
    else:
        text = document["blocks"][0]["text"]["text"]
        assert text.startswith("`bikes` `prod`: *403 new findings*\n3 model-swapped, 400 pending\n")
        assert "and 393 more\n" in text
        assert len(text) < 3000


def test_a_text_for_slack_is_never_too_long() -> None:
    origin = Origin("&" * 260, "e" * 63, "https://a/" + "&" * 190)
    many = [finding("&" * 260 + str(number)) for number in range(400)]
    long = "&" * 9_000
    one = finding(long, pointer=long, note=long, commands=(long,) * 9)
    for findings in (many, [one]):
        (message,) = make("slack", *findings, origin=origin)
        assert 2_000 < len(message["blocks"][0]["text"]["text"]) <= 3_000


def test_ten_findings_are_ten_messages_the_gravest_first() -> None:
    few = [finding(f"p-{number}", Verdict.PENDING) for number in range(MOST_EACH - 1)]
    messages = make("generic", *few, finding("grave"))
    assert len(messages) == MOST_EACH
    assert messages[0]["resource"] == "WebService/grave"
    assert make("generic") == []
