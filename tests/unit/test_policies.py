"""What the rules of a team say about a change, and who may lift it."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest

from reconciler.model import Finding, Json, SourceLocation
from reconciler.model.policies import (
    ChangeWindow,
    Freeze,
    Policy,
    PolicyContext,
    PolicyMatch,
    PolicyRule,
)
from reconciler.plans.change_windows import explain_closed
from reconciler.plans.policies import check_policies, compile_rule_schema, judge_changes

PLACE = SourceLocation("policies/p.yaml", 3, 5)
ADDRESS = "WebService/census"
NEW = "https://census.blob.core.windows.net/models/new.ilearner"


def rule(**more: Any) -> PolicyRule:
    given: dict[str, Any] = {"policy": "p", "name": "r", "place": PLACE, **more}
    return PolicyRule(**given)


def change(*actions: str, uri: str = "", gates: Any = None, **more: Json) -> Json:
    model = {"name": "m", "path": ["properties", "uri"], "before": "", "after": uri}
    if gates is not None:
        model["gates"] = gates
    return {
        "address": ADDRESS,
        "type": "WebService",
        "change": {"actions": list(actions or ("update",))},
        "model": [model] if uri else [],
        "because": [],
        "labels": {},
        **more,
    }


def judge(
    one: PolicyRule, changed: Json, given: PolicyContext | None = None
) -> tuple[Finding, ...]:
    policies = [Policy("p", "policies/p.yaml", (one,))]
    return check_policies(policies, [changed], given or PolicyContext())


def context(**more: Any) -> PolicyContext:
    return PolicyContext(**{"labels": {ADDRESS: {}}, **more})


@pytest.mark.parametrize(
    ("actions", "refused"),
    [
        (["delete"], True),
        (["delete", "create"], True),
        (["update"], False),
        (["create"], False),
        (["forget"], False),
    ],
)
def test_what_is_destroyed_or_replaced_is_refused(actions: list[str], refused: bool) -> None:
    assert bool(judge(rule(denies_deletes=True), change(*actions))) == refused


def test_a_refusal_names_policy_rule_place_and_who_may_lift_it() -> None:
    (found,) = judge(rule(denies_deletes=True), change("delete"))
    assert found == Finding(
        'policy "p", rule "r": the resource is destroyed',
        subject=ADDRESS,
        place=PLACE,
        next_step="An approval of a principal of the keyring lifts it: plan --out FILE,"
        " approve FILE --key KEY, apply --approvals DIR --keyring FILE",
        guard="policy",
    )
    said = rule(denies_deletes=True, message="Production is kept.")
    (found,) = judge(said, change("delete"))
    assert found.message == 'policy "p", rule "r": Production is kept.'
    assert found.detail == ("The resource is destroyed.",)


@pytest.mark.parametrize(
    ("uri", "account", "accepted"),
    [
        (NEW, "census", True),
        (NEW, "Census.Blob.core.windows.net", True),
        (NEW, "other", False),
        ("https://census.blob.core.windows.net.evil.example/m.ilearner", "census", False),
        ("https://census.blob.evil.example/models/m.ilearner", "census", False),
        ("https://census.blob.core.windows.net@evil.example/m.ilearner", "census", False),
        ("https://evil.example\\@census.blob.core.windows.net/m", "census", False),
        ("https://evil.example/census.blob.core.windows.net/m.ilearner", "census", False),
        ("http://127.0.0.1:10000/devstoreaccount1/models/m.ilearner", "127.0.0.1", True),
        (
            "http://127.0.0.1:10000/devstoreaccount1/../evil/m.ilearner",
            "127.0.0.1:10000/devstoreaccount1",
            False,
        ),
        (
            "http://127.0.0.1:10000/devstoreaccount1/%2E%2e/evil/m",
            "127.0.0.1:10000/devstoreaccount1",
            False,
        ),
        (
            "http://127.0.0.1:10000/devstoreaccount1%2f..%2fevil/m",
            "127.0.0.1:10000/devstoreaccount1",
            False,
        ),
        ("http://127.0.0.1:10000/devstoreaccount1/models/m.ilearner", "127.0.0.1:10000", True),
        ("http://127.0.0.1:10000/acct/models/m.ilearner", "127.0.0.1:10000/acct", True),
        ("http://127.0.0.1:10000/other/models/m.ilearner", "127.0.0.1:10000/acct", False),
        ("http://127.0.0.1:10001/acct/models/m.ilearner", "127.0.0.1:10000", False),
        ("https://[::1/models", "census", False),
        ("https://census.blob.core.windows.net:x/m", "census", False),
        ("/models/m.ilearner", "census", False),
        ("azureml:census:2", "azureml:census:2", True),
        ("azureml:census:2", "azureml:census:*", True),
        ("azureml:census:2", "azureml:census:20", False),
        ("azureml:census:20", "azureml:census:2", False),
        ("azureml:census-evil:2", "azureml:census:*", False),
        ("azureml:census:", "azureml:census:*", False),
        ("azureml:census:2", "census", False),
        ("azureml://registries/prod/models/m/versions/1", "azureml://registries/prod/*", True),
        ("azureml://registries/prod/models/m/versions/1", "registries", False),
        ("azureml://registries/prod/../evil/models/m", "azureml://registries/prod/*", False),
        ("azureml://registries/prod/%2e%2e/evil/m", "azureml://registries/prod/*", False),
        ("azureml://registries/prod-evil/models/m", "azureml://registries/prod/*", False),
    ],
)
def test_a_model_comes_from_storage_that_the_rule_names(
    uri: str, account: str, accepted: bool
) -> None:
    found = judge(rule(models_from=("else", account)), change(uri=uri))
    assert bool(found) != accepted


def test_a_model_of_other_storage_is_named() -> None:
    (found,) = judge(rule(models_from=("a", "b", "c")), change(uri=NEW))
    assert found.message.endswith("a model comes from other storage than a, b or c")
    assert found.detail == ('Trained model "m" comes from census.blob.core.windows.net.',)
    assert not judge(rule(models_from=("a",)), change("delete"))
    (registered,) = judge(rule(models_from=("azureml:a:*",)), change(uri="azureml:b:1"))
    assert registered.detail == ('Trained model "m" comes from azureml:b:1.',)


PASSED = {
    "retraining": "Retraining/census",
    "rule": "AUC min 0.85",
    "verdict": "pass",
    "refuses": False,
    "reason": "AUC 0.9",
}


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (None, "no gate has judged it."),
        ([PASSED], ""),
        (
            [PASSED, {**PASSED, "verdict": "fail", "refuses": True, "reason": "AUC 0.8"}],
            "Retraining/census: fail: AUC min 0.85: AUC 0.8",
        ),
        ([{**PASSED, "verdict": "no baseline"}], ""),
    ],
)
def test_a_new_model_needs_a_gate_that_accepts_it(gates: Any, said: str) -> None:
    found = judge(rule(requires_gate=True), change(uri=NEW, gates=gates))
    assert [one.detail for one in found] == ([(f'Trained model "m": {said}',)] if said else [])


def test_a_model_that_is_restored_is_not_new() -> None:
    one, new = rule(requires_gate=True), change(uri=NEW)
    assert not judge(one, new, context(restored=frozenset({(ADDRESS, "/properties/uri")})))
    assert judge(one, new, context(restored=frozenset({(ADDRESS, "/properties/other")})))
    # What a plan says about its reasons is not believed.
    because = [{"pointer": "/properties/uri", "cause": "drift", "note": ""}]
    assert judge(one, {**new, "because": because})


@pytest.mark.parametrize(
    ("approvers", "author", "refused"),
    [
        ((), "", True),
        (("ana@x", "cem@x"), "", False),
        (("cem@x",), "", True),
        (("ana@x",), "ana@x", True),
        (("ana@x", "bo@x"), "ana@x", False),
    ],
)
def test_an_owner_who_is_not_the_author_must_approve(
    approvers: tuple[str, ...], author: str, refused: bool
) -> None:
    given = context(approvers=frozenset(approvers), authors=frozenset({author}))
    found = judge(rule(owners=("ana@x", "bo@x")), change(), given)
    assert bool(found) == refused
    if refused:
        assert found[0].message.endswith("it needs the approval of ana@x or bo@x")
        own = "ana@x is an author of the commit, so this approval does not count."
        assert found[0].detail == ((own,) if author else ())


def test_the_author_is_recognised_in_any_case() -> None:
    given = context(approvers=frozenset({"Ana@X"}), authors=frozenset({"ana@x", "bo@x"}))
    assert judge(rule(owners=("Ana@X",)), change(), given)


def test_the_approval_of_another_person_does_not_lift_the_demand_for_owners() -> None:
    given = context(approvers=frozenset({"cem@x"}), allowed=["policy"])
    (found,) = judge(rule(owners=("ana@x",)), change(), given)
    assert found.severity == "error"


@pytest.mark.parametrize(
    ("lift", "approvers", "given", "lifted"),
    [
        ("approval", (), {}, False),
        ("approval", (), {"allowed": ["policy"]}, False),
        ("approval", (), {"approvers": frozenset({"ana@x"})}, True),
        ("approval", ("bo@x",), {"approvers": frozenset({"ana@x"})}, False),
        ("approval", ("bo@x", "ana@x"), {"approvers": frozenset({"ana@x"})}, True),
        ("allow", (), {"allowed": ["policy"]}, True),
        ("allow", (), {"allowed": [f"policy={ADDRESS}"]}, True),
        ("allow", (), {"allowed": ["policy=WebService/other", "gate"]}, False),
        ("allow", (), {"approvers": frozenset({"ana@x"})}, False),
        ("never", (), {"allowed": ["policy"], "approvers": frozenset({"ana@x"})}, False),
    ],
)
def test_a_refusal_is_lifted_as_its_policy_says(
    lift: Any, approvers: tuple[str, ...], given: Mapping[str, Any], lifted: bool
) -> None:
    one = rule(denies_deletes=True, lift=lift, approvers=approvers)
    (found,) = judge(one, change("delete"), context(**given))
    assert found.severity == ("warning" if lifted else "error")
    assert found.next_step.startswith(("Allowed by", "Lifted by the approval of ana@x")) == lifted


def test_a_rule_that_warns_refuses_nothing() -> None:
    (found,) = judge(rule(denies_deletes=True, severity="warn"), change("delete"))
    assert (found.severity, found.next_step, found.guard) == ("warning", "", "policy")


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (PolicyMatch(), True),
        (PolicyMatch(environments=("dev", "prod")), True),
        (PolicyMatch(environments=("dev",)), False),
        (PolicyMatch(kinds=("Endpoint",)), False),
        (PolicyMatch(kinds=("Endpoint", "WebService")), True),
        (PolicyMatch(labels={"tier": ("gold", "silver")}), True),
        (PolicyMatch(labels={"tier": ("silver",)}), False),
        (PolicyMatch(labels={"tier": ("gold",), "team": ("risk",)}), False),
        (PolicyMatch(environments=("prod",), kinds=("WebService",)), True),
    ],
)
def test_a_match_takes_environment_kind_and_labels(match: PolicyMatch, matches: bool) -> None:
    given = context(environment="prod", labels={ADDRESS: {"tier": "gold"}})
    one = rule(denies_deletes=True, matches=(match,))
    assert bool(judge(one, change("delete"), given)) == matches
    both = rule(denies_deletes=True, matches=(PolicyMatch(kinds=("WebService",)), match))
    assert bool(judge(both, change("delete"), given)) == matches


def test_labels_that_are_not_known_match() -> None:
    one = rule(denies_deletes=True, matches=(PolicyMatch(labels={"tier": ("gold",)}),))
    assert judge(one, change("delete"), PolicyContext())
    assert not judge(one, change("delete"), context())
    # Those of a saved plan are not believed.
    assert not judge(one, change("delete", labels={"tier": "gold"}), context())


def test_a_free_rule_is_about_the_item_of_the_plan() -> None:
    when = {
        "properties": {"change": {"properties": {"actions": {"contains": {"const": "update"}}}}}
    }
    require = {"properties": {"labels": {"required": ["team"]}}}
    one = rule(when=when, require=require, message="Each change has a team.")
    (found,) = judge(one, change("update"))
    assert found.message == 'policy "p", rule "r": Each change has a team.'
    assert found.detail == ("It fails at /labels.",)
    assert not judge(one, change("update", labels={"team": "risk"}))
    assert not judge(one, change("create"))


def test_when_limits_a_rule_of_another_form() -> None:
    one = rule(owners=("ana@x",), when={"properties": {"model": {"minItems": 1}}})
    assert judge(one, change(uri=NEW))
    assert not judge(one, change())


def test_many_places_are_counted() -> None:
    one = rule(require={"additionalProperties": False}, message="m")
    many = rule(require={"properties": {"labels": {"additionalProperties": False}}}, message="m")
    assert judge(one, change())[0].detail == ("It fails at the change.",)
    listed = {"type": "array", "items": {"const": 1}}
    many = rule(require={"properties": {"owns": listed}}, message="m")
    detail = judge(many, change(owns=[0] * 8))[0].detail
    assert len(detail) == 6
    assert detail[-1] == "It fails at 3 more places."


def test_text_with_half_of_a_character_is_refused() -> None:
    labels = {"properties": {"labels": {"additionalProperties": {"pattern": "a"}}}}
    half = change(labels={"a": "\ud800"})
    (found,) = judge(rule(require=labels, message="m"), half)
    assert found.severity == "error"
    assert judge(
        rule(when=labels, denies_deletes=True), {**half, "change": change("delete")["change"]}
    )


def test_the_rules_that_judge_a_change_are_listed() -> None:
    taken = rule(denies_deletes=True)
    other = rule(name="o", denies_deletes=True, matches=(PolicyMatch(kinds=("Endpoint",)),))
    policies = [Policy("p", "", (taken, other))]
    assert list(judge_changes(policies, [change()], context())) == [(taken, None)]
    ((judging, found),) = judge_changes(policies, [change("delete")], context())
    assert (judging, found is not None) == (taken, True)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(?=a)b"},
        {"pattern": "(a{1000}){1000}"},
        {"pattern": "["},
        {"type": "text"},
        {"required": "a"},
        {"$ref": "http://127.0.0.1:9/x.json"},
        {"$ref": "file:///etc/hostname"},
    ],
)
def test_a_schema_that_cannot_be_used_raises(schema: Json) -> None:
    with pytest.raises(ValueError):
        compile_rule_schema(schema)


def test_a_pattern_takes_linear_time() -> None:
    validator = compile_rule_schema({"pattern": "^(a+)+$"})
    assert not validator.is_valid("a" * 100_000 + "!")


WORKDAYS = frozenset(range(5))
OFFICE = ((8 * 60, 16 * 60 + 30),)
NIGHT = ((22 * 60, 4 * 60),)
BREAK = Freeze(date(2026, 12, 20), date(2027, 1, 3), "Year's end.")


@pytest.mark.parametrize(
    ("window", "now", "opens"),
    [
        (ChangeWindow(WORKDAYS, OFFICE), "2026-11-30T08:00", None),
        (ChangeWindow(WORKDAYS, OFFICE), "2026-11-30T16:29", None),
        (ChangeWindow(WORKDAYS, OFFICE), "2026-11-30T16:30", "Tue 2026-12-01 08:00"),
        (ChangeWindow(WORKDAYS, OFFICE), "2026-11-30T07:59", "Mon 2026-11-30 08:00"),
        (ChangeWindow(WORKDAYS, OFFICE), "2026-11-28T12:00", "Mon 2026-11-30 08:00"),
        (ChangeWindow(frozenset({4}), NIGHT), "2026-12-04T22:00", None),
        (ChangeWindow(frozenset({4}), NIGHT), "2026-12-05T03:59", None),
        (ChangeWindow(frozenset({4}), NIGHT), "2026-12-05T04:00", "Fri 2026-12-11 22:00"),
        (ChangeWindow(frozenset({4}), NIGHT), "2026-12-04T03:00", "Fri 2026-12-04 22:00"),
        (ChangeWindow(hours=((0, 24 * 60),)), "2026-12-04T23:59", None),
        (ChangeWindow(hours=((60, 120), (600, 660))), "2026-12-04T05:00", "Fri 2026-12-04 10:00"),
        (ChangeWindow(freezes=(BREAK,)), "2026-12-19T23:59", None),
        (ChangeWindow(freezes=(BREAK,)), "2026-12-20T00:00", "Mon 2027-01-04 00:00"),
        (ChangeWindow(freezes=(BREAK,)), "2027-01-03T23:59", "Mon 2027-01-04 00:00"),
        (ChangeWindow(freezes=(BREAK,)), "2027-01-04T00:00", None),
        # The night before a freeze ends with its first day.
        (ChangeWindow(hours=NIGHT, freezes=(BREAK,)), "2026-12-19T23:00", None),
        (ChangeWindow(hours=NIGHT, freezes=(BREAK,)), "2026-12-20T01:00", "Mon 2027-01-04 00:00"),
    ],
)
def test_a_window_is_open_or_says_when_it_opens(
    window: ChangeWindow, now: str, opens: str | None
) -> None:
    said = explain_closed(window, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (said[-1] if said else None) == (opens and f"It opens on {opens} UTC.")


def test_a_closed_window_names_the_time_and_the_freeze() -> None:
    now = datetime(2026, 12, 24, 12, 0, tzinfo=UTC)
    (found,) = judge(rule(window=ChangeWindow(freezes=(BREAK,))), change(), context(now=now))
    assert found.message.endswith("the change window is closed")
    assert found.detail == (
        "It is Thu 2026-12-24 12:00 UTC now.",
        "A freeze lasts from 2026-12-20 to 2027-01-03. Year's end.",
        "It opens on Mon 2027-01-04 00:00 UTC.",
    )


def test_a_window_that_never_opens_says_so() -> None:
    forever = ChangeWindow(freezes=(Freeze(date(2000, 1, 1)),))
    for year in (2026, 9999):
        said = explain_closed(forever, datetime(year, 12, 31, tzinfo=UTC))
        assert said[1] == "A freeze lasts from 2000-01-01 until further notice."
        assert said[-1] == "It does not open in the next 400 days."
