"""`.driftignore`: what is accepted of it, what a rule ignores, and how each form shows it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.drift import report_drift
from reconciler.errors import Unavailable
from reconciler.manifests.drift_ignore import load_drift_ignore
from reconciler.manifests.folder import Folder
from reconciler.model import (
    Address,
    DriftReport,
    IgnoreRule,
    Member,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_file import drift_document
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.outputs import check_output
from tests.unit.test_drift import applied, move, swap, verdicts
from tests.unit.test_engine import NEW, OLD, World, make_request, world_of

__all__ = ["applied"]  # a fixture
HEAD = "- address: WebService/a\n  reason: r\n  until: 2027-01-31\n  owner: ana\n"
KINDS = ("Endpoint", "WebService")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[list[IgnoreRule], list[str]]]:
    def read(text: str | bytes, *environments: str, of: str = "") -> Any:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / ".driftignore").write_bytes(data)
        rules, found = load_drift_ignore(Folder(tmp_path), KINDS, environments, of)
        return list(rules), [
            " | ".join(filter(None, [str(one.place), one.message, *one.detail, one.next_step]))
            for one in found
        ]

    return read


Read = Callable[..., tuple[list[IgnoreRule], list[str]]]


def test_a_rule_has_all_that_is_written(read: Read) -> None:
    text = """\
# yaml-language-server: $schema=.schemas/drift-ignore.schema.json
- address: "WebService/*"
  pointer: /properties/description
  verdict: drifted
  reason: >
    The vendor writes it
    each night.
  until: 2027-01-31
  owner: ana
- {address: Fleet/rental, reason: r, until: "2026-12-01", owner: bo}
"""
    rules, found = read(text)
    assert found == []
    assert rules == [
        IgnoreRule(
            "WebService/*",
            "/properties/description",
            Verdict.DRIFTED,
            "The vendor writes it each night.",
            "2027-01-31",
            "ana",
            SourceLocation(".driftignore", 2, 3),
        ),
        IgnoreRule(
            "Fleet/rental",
            "",
            None,
            "r",
            "2026-12-01",
            "bo",
            SourceLocation(".driftignore", 10, 3),
        ),
    ]


def test_a_rule_of_another_environment_is_checked_and_does_not_hold(read: Read) -> None:
    text = HEAD + "  environment: prod\n"
    assert len(read(text, "dev", "prod", of="prod")[0]) == 1
    assert read(text, "dev", "prod", of="dev") == ([], [])
    _, found = read(text.replace("prod", "prodd"), "dev", "prod", of="dev")
    assert found == ['.driftignore:5:3 | no environment is named "prodd" | Did you mean "prod"?']
    _, found = read(text)
    assert "Name an environment of the project." in found[0]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]", "\ufeff# a mark\n---\n"])
def test_no_rules_are_no_error(read: Read, text: str) -> None:
    assert read(text) == ([], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {address: WebService/a}\n", "the rule lacks reason"),
        (HEAD.replace("  reason: r\n", ""), "the rule lacks reason | Add reason: Why the findings"),
        (HEAD.replace("  until: 2027-01-31\n", ""), "lacks until | Add until: The last day of the rule"),
        (HEAD.replace("  owner: ana\n", ""), "the rule lacks owner"),
        (HEAD.replace("reason: r", 'reason: " "'), "3"),
        (HEAD.replace("2027-01-31", "31.1.2027"), "until"),
        (HEAD.replace("2027-01-31", "2027-02-30"), "until is not a date"),
        (HEAD.replace("2027-01-31", '"2027-02-30"'), "until is not a date"),
        (HEAD.replace("2027-01-31", "2027-01-31T00:00:00Z"), "The last day of the rule"),
        (HEAD.replace("2027-01-31", "2027"), "until"),
        (HEAD.replace("2027-01-31", "next Friday"), "until"),
        (HEAD + "  verdict: drift\n", 'Did you mean "drifted"?'),
        (HEAD + "  verdict: in sync\n", "verdict"),
        (HEAD + "  verdict: evidence incomplete\n", "verdict"),
        (HEAD + "  pointr: /properties/a\n", 'Did you mean "pointer"?'),
        (HEAD + "  pointer: properties.description\n", "/properties/description"),
        (HEAD.replace("WebService/a", "WebServce/a"), 'Did you mean "WebService"?'),
        (HEAD.replace("WebService/a", "census"), "Kind/name"),
        (HEAD + HEAD, "The first is on .driftignore:1:3."),
        (HEAD + "---\n" + HEAD, "more than one document"),
        ("rules:\n" + HEAD, "list"),
        ("- WebService/a\n", "mapping"),
        (HEAD + "  reason: again\n", "duplicate key"),
        ("- [", "is not YAML"),
        ("\t- x", "tab"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        ("- &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"- &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
        ), "aliases are expanded"),
        ("[" * 5000, "nested"),
        ("".join(HEAD.replace("/a", f"/a{n}") for n in range(1001)), "1000"),
        (HEAD.replace("reason: r", "reason: ?sv=2024-01-01&sig=" + "a" * 44 + "%3D"), "looks like a key"),
    ],
    ids=range(30),
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_nothing_is_ignored(
    read: Read, text: str | bytes, said: str
) -> None:
    rules, found = read(text)
    assert rules == []
    assert said in "\n".join(found), found
    assert all(one.startswith(".driftignore") or "UTF-8" in one for one in found), found


def test_every_error_is_reported_at_once(read: Read) -> None:
    text = HEAD.replace("  owner: ana\n", "") + HEAD.replace("2027-01-31", "soon") + "  x: 1\n"
    _, found = read(text + HEAD.replace("2027-01-31", "2027-01-31 10:00:00"))
    places = [one.partition(" ")[0] for one in found]
    lines = {".driftignore:1:3", ".driftignore:6:3", ".driftignore:8:3", ".driftignore:11:3"}
    assert len(places) == len(lines), found
    assert set(places) == lines, found


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
def test_only_a_file_of_the_project_is_read(tmp_path: Path, what: str) -> None:
    root, path = tmp_path / "project", tmp_path / "project" / ".driftignore"
    root.mkdir()
    if what == "folder":
        path.mkdir()
        (path / "rules.yaml").write_text(HEAD)
    elif what == "link":
        (tmp_path / "outside").write_text(HEAD)
        path.symlink_to(tmp_path / "outside")
    else:
        os.mkfifo(path)
    rules, found = load_drift_ignore(Folder(root), KINDS, (), "")
    assert (rules, len(found)) == ((), 1)


RULE = IgnoreRule(
    "WebService/a",
    "/properties/title",
    None,
    "agreed with the vendor",
    "2026-11-20",
    "ana",
    SourceLocation(".driftignore", 3, 3),
)


def report(world: World, *rules: IgnoreRule, day: int = 20, **more: Any) -> DriftReport:
    runtime = replace(world.runtime(), clock=lambda: datetime(2026, 11, day, 23, 59, tzinfo=UTC))
    asked = make_request("a", "b", uri=NEW, refresh="full", ignored=rules, **more)
    return report_drift(runtime, asked)


def test_an_ignored_finding_does_not_count_and_is_listed(applied: World) -> None:
    move(applied, "a", title="another")
    reported = report(applied, RULE)
    assert (reported.outcome, verdicts(reported)) == ("in-sync", ["a in sync", "b in sync"])
    (ignored,) = reported.ignored
    assert (ignored.rule, ignored.since[:10], len(ignored.key)) == (RULE, "2026-11-20", 24)
    document = json.loads(canonical(drift_document(reported)))
    check_output(document, "drift")
    assert document["ignored"][0]["rule"]["reason"] == "agreed with the vendor"
    text = render_drift(reported, paint=Paint())
    assert "No drift. 2 services in sync." in text
    assert "Ignored: 1 finding by 1 rule of .driftignore.\n" in text
    line = "WebService/a drifted properties.title: agreed with the vendor (until 2026-11-20, ana)"
    assert f"  {line}\n" in text
    assert f"- `{line}`" in render_drift_markdown(reported)


def test_what_a_rule_does_not_name_counts(applied: World) -> None:
    move(applied, "a", title="another", description="somebody")
    move(applied, "b", title="another")
    reported = report(applied, RULE)
    assert verdicts(reported) == ["a drifted", "b drifted"]
    assert [one.pointer for one in reported.findings] == [
        "/properties/description",
        "/properties/title",
    ]
    assert len(reported.ignored) == 1


def test_a_rule_that_is_over_ignores_nothing_and_is_reported(applied: World) -> None:
    move(applied, "a", title="another")
    reported = report(applied, RULE, day=21)
    assert verdicts(reported) == ["a drifted", "b in sync"]
    assert (reported.ignored, reported.expired) == ((), (RULE,))
    document = json.loads(canonical(drift_document(reported)))
    check_output(document, "drift")
    assert document["ignore_expired"][0]["until"] == "2026-11-20"
    line = (
        ".driftignore:3:3 WebService/a /properties/title: agreed with the vendor"
        " (until 2026-11-20, ana)"
    )
    text = render_drift(reported, paint=Paint())
    assert f"Expired: 1 rule of .driftignore. Renew or remove it.\n  {line}\n" in text
    assert f"- `{line}`" in render_drift_markdown(reported)


@pytest.mark.parametrize(
    ("change", "hit"),
    [
        ({}, True),
        ({"pointer": ""}, True),
        ({"pointer": "/properties/*"}, True),
        ({"pointer": "/properties/t?tle"}, True),
        ({"pointer": "/properties"}, False),
        ({"pointer": "/properties/Title"}, False),
        ({"address": "WebService/*"}, True),
        ({"address": "*/a"}, True),
        ({"address": "WebService/[ab]"}, True),
        ({"address": "WebService/b"}, False),
        ({"address": "Fleet/f"}, True),
        ({"address": "Fleet/g"}, False),
        ({"verdict": Verdict.DRIFTED}, True),
        ({"verdict": Verdict.PENDING}, False),
    ],
    ids=str,
)
def test_which_findings_a_rule_ignores(applied: World, change: dict[str, Any], hit: bool) -> None:
    move(applied, "a", title="another")
    asked = make_request("a", uri=NEW, refresh="full", ignored=[replace(RULE, **change)])
    member = Member(Address("Fleet", "f"), 1, SourceLocation("rows.csv", 2, 1))
    asked = replace(asked, manifests=[replace(asked.manifests[0], member=member)])
    assert bool(report_drift(applied.runtime(), asked).ignored) is hit


def test_a_pattern_that_is_the_text_itself_matches_with_brackets(applied: World) -> None:
    swap(applied, "a", OLD)
    odd = replace(RULE, pointer="/properties/assets/[asset3]/locationInfo/uri")
    assert report(applied, odd).ignored == ()
    whole = replace(RULE, pointer="/properties/assets/[a]sset3/locationInfo/uri")
    assert len(report(applied, whole).ignored) == 1


def test_incomplete_evidence_is_never_ignored(applied: World) -> None:
    applied.fails["a"] = Unavailable("no answer", status=500)
    reported = report(applied, replace(RULE, address="*/*", pointer=""))
    assert (reported.outcome, reported.ignored) == ("evidence-incomplete", ())


def test_a_rule_for_a_whole_resource_ignores_that_it_is_missing(applied: World) -> None:
    del applied.documents["a"]
    reported = report(applied, replace(RULE, pointer=""))
    assert (reported.outcome, len(reported.ignored)) == ("in-sync", 1)
    assert report(applied, RULE).outcome == "drift"


def test_an_ignored_finding_keeps_its_date_and_is_not_new_afterwards(applied: World) -> None:
    move(applied, "a", title="another")
    report(applied, RULE)
    (found,) = report(applied, RULE, day=22).findings
    assert (found.since[:10], found.is_new) == ("2026-11-20", False)


def test_many_ignored_findings_are_counted_and_the_first_are_listed() -> None:
    names = [f"s{number:03}" for number in range(60)]
    world = world_of(*names)
    everything = replace(RULE, address="*/*", pointer="")
    asked = make_request(*names, uri=NEW, ignored=[everything])
    reported = report_drift(world.runtime(), asked)
    text = render_drift(reported, paint=Paint())
    assert "Ignored: 60 findings by 1 rule of .driftignore." in text
    assert "  and 10 more findings, which --format json lists" in text


def test_names_in_rules_move_no_terminal_and_no_comment(applied: World) -> None:
    move(applied, "a", title="another")
    evil = "\x1b[31m<img src=x onerror=alert(1)>`|@everyone"
    for day in (20, 21):
        reported = report(applied, replace(RULE, reason=evil, owner=evil), day=day)
        text, markdown = render_drift(reported, paint=Paint()), render_drift_markdown(reported)
        assert "\x1b" not in text + markdown
        assert "<img" in markdown
        for line in markdown.splitlines():
            span = line[line.find("`") : line.rfind("`") + 1]
            assert "<img" not in line.replace(span, "")
