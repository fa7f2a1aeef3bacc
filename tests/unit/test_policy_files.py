"""Files of policies: what is read, and every finding with its place and its next step."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from reconciler.manifests.folder import Folder
from reconciler.manifests.policies import check_matches, load_policies
from reconciler.model import Cloud, GuardLimits, Project, SourceLocation
from reconciler.model.policies import ChangeWindow, Freeze, Policy, PolicyMatch

HEAD = "apiVersion: reconciler/v1\nkind: Policy\nmetadata: {name: production}\nspec:\n"
WHOLE = f"""{HEAD}  match: {{environment: prod, kind: [WebService, Endpoint]}}
  lift: approval
  approvers: [ana@example.com]
  rules:
  - name: keep
    denyDeletes: true
  - name: storage
    severity: warn
    match: {{labels: {{tier: gold, team: [risk, growth]}}}}
    modelsFrom: [census, "127.0.0.1:10000", "azureml:census:*"]
  - name: window
    changeWindow:
      days: [Mon, Fri]
      hours: ["08:00-16:30", "22:00-04:00"]
      freeze: ["2026-12-24", {{from: "2026-12-30", to: "2027-01-02", reason: New year}}, {{from: "2030-01-01"}}]
  - name: owners
    requireOwners: [ana@example.com]
    when: {{properties: {{model: {{minItems: 1}}}}}}
  - name: gates
    requireGate: true
  - name: teams
    message: Each change has a team.
    require: {{properties: {{labels: {{required: [team]}}}}}}
"""


def load(tmp_path: Path, **files: str) -> tuple[tuple[Policy, ...], list[str]]:
    """The policies, and the findings as `place subject: message | next step`."""
    (tmp_path / "policies").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "policies" / f"{name}.yaml").write_text(text)
    made, found = load_policies(Folder(tmp_path))
    return made, [f"{one.place} {one.subject}: {one.message} | {one.next_step}" for one in found]


def findings(tmp_path: Path, rules: str) -> list[str]:
    return load(tmp_path, p=f"{HEAD}  rules:\n{rules}")[1]


def test_a_policy_is_read(tmp_path: Path) -> None:
    (policy,), found = load(tmp_path, p=WHOLE)
    assert found == []
    assert (policy.name, policy.file) == ("production", "policies/p.yaml")
    keep, storage, window, owners, gates, teams = policy.rules
    of_policy = PolicyMatch(
        ("prod",), ("WebService", "Endpoint"), {}, SourceLocation("policies/p.yaml", 5, 3)
    )
    assert keep.matches == (of_policy,)
    assert keep.place == SourceLocation("policies/p.yaml", 9, 5)
    assert (keep.denies_deletes, keep.severity, keep.lift) == (True, "error", "approval")
    assert {one.approvers for one in policy.rules} == {("ana@example.com",)}
    assert storage.severity == "warn"
    assert storage.models_from == ("census", "127.0.0.1:10000", "azureml:census:*")
    assert storage.matches[1].labels == {"tier": ("gold",), "team": ("risk", "growth")}
    assert window.window == ChangeWindow(
        frozenset({0, 4}),
        ((480, 990), (1320, 240)),
        (
            Freeze(date(2026, 12, 24), date(2026, 12, 24)),
            Freeze(date(2026, 12, 30), date(2027, 1, 2), "New year"),
            Freeze(date(2030, 1, 1), date.max),
        ),
    )
    assert owners.owners == ("ana@example.com",)
    assert owners.when == {"properties": {"model": {"minItems": 1}}}
    assert gates.requires_gate
    assert teams.require == {"properties": {"labels": {"required": ["team"]}}}


AT = "policies/p.yaml:"
PROJECT = Project(
    "p",
    "/p",
    "reconciler.yaml",
    Cloud("azure", {}),
    {},
    GuardLimits(),
    ".reconciler",
    "",
    environment="prod",
    environments=("dev", "prod"),
)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            "  - {name: a, denyDelete: true}\n",
            [f'{AT}6:15 unknown field "denyDelete" | Did you mean "denyDeletes"?'],
        ),
        ("  - {name: a, denyDeletes: false}\n", [f"{AT}6:15 denyDeletes must be true"]),
        (
            "  - {name: a}\n",
            [f"{AT}6:5 needs exactly one of denyDeletes, modelsFrom, requireGate, changeWindow"],
        ),
        ("  - {name: a, denyDeletes: true, requireGate: true}\n", [f"{AT}6:5 needs exactly one of"]),
        ("  - {name: a, require: {}}\n", [f"{AT}6:15 require needs message beside it"]),
        ("  - {denyDeletes: true}\n", [f"{AT}6:5 rules[0] lacks name"]),
        (
            "  - {name: a, denyDeletes: true}\n  - {name: a, requireGate: true}\n",
            [f"{AT}7:6 two rules have this name | Rename one of them."],
        ),
        ("  - {name: a, modelsFrom: []}\n", [f"{AT}6:15 modelsFrom must not be empty"]),
        ('  - {name: a, modelsFrom: ["https://x/y"]}\n', [f"{AT}6:28 modelsFrom[0] does not match"]),
        ('  - {name: a, modelsFrom: ["azureml:m*"]}\n', [f"{AT}6:28 modelsFrom[0] does not match"]),
        ('  - {name: a, modelsFrom: ["azureml:*"]}\n', [f"{AT}6:28 modelsFrom[0] does not match"]),
        ("  - {name: a, requireOwners: ['*@x']}\n", [f"{AT}6:31 requireOwners[0] does not match"]),
        ("  - {name: a, severity: fatal, denyDeletes: true}\n", [f"{AT}6:15 severity must be error or warn"]),
        ("  - {name: a, changeWindow: {}}\n", [f"{AT}6:15 changeWindow must not be empty"]),
        ("  - {name: a, changeWindow: {days: [Monday]}}\n", [f"{AT}6:37 days[0] must be Mon or"]),
        ("  - {name: a, changeWindow: {hours: 8-16}}\n", [f"{AT}6:30 hours does not match"]),
        ("  - {name: a, changeWindow: {hours: '08:00-08:00'}}\n", [f"{AT}6:30 the window ends when it begins"]),
        ("  - {name: a, changeWindow: {hours: ['01:00-02:00', '25:00-26:00']}}\n", [f"{AT}6:53 hours[1] does not match"]),
        ("  - {name: a, changeWindow: {freeze: ['2026-02-30']}}\n", [f"{AT}6:39 is not a date | Write year-month-day"]),
        (
            "  - {name: a, changeWindow: {freeze: [{from: '2026-12-24', to: '2026-12-20'}]}}\n",
            [f"{AT}6:39 ends before it begins | Exchange from and to."],
        ),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_at_its_place(tmp_path: Path, rules: str, said: list[str]) -> None:
    found = findings(tmp_path, rules)
    assert found
    for one, expected in zip(found, said, strict=False):
        place, _, rest = expected.partition(" ")
        assert one.startswith(f"{place} Policy/production: {rest}"), found


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{^propertes: {}}", 'unknown keyword of JSON Schema "propertes" | Did you mean "properties"?'),
        ("{properties: {^chnage: {}}}", 'unknown property of a plan "chnage" | Did you mean "change"?'),
        ("{properties: {change: {properties: {^action: {}}}}}", 'unknown property of a plan "action" | Did you mean "actions"?'),
        ("{required: [^adress]}", 'unknown property of a plan "adress" | Did you mean "address"?'),
        ("{not: {required: [^adress]}}", 'unknown property of a plan "adress"'),
        ("{allOf: [{properties: {model: {contains: {properties: {^nam: {}}}}}}]}", 'unknown property of a plan "nam" | Did you mean "name"?'),
        ("{properties: {model: {items: {properties: {gates: {items: {required: [^rul]}}}}}}}", 'unknown property of a plan "rul" | Did you mean "rule"?'),
        ("{if: {properties: {^fleets: {}}}}", 'unknown property of a plan "fleets" | Did you mean "fleet"?'),
        ("{properties: {change: {properties: {actions: {contains: {^const: destroy}}}}}}", 'unknown value in a plan "destroy" | Known: create, update, delete, forget, adopt.'),
        ("{properties: {change: {properties: {actions: {items: {enum: [create, ^updates]}}}}}}", 'unknown value in a plan "updates" | Did you mean "update"?'),
        ("{properties: {model: {items: {properties: {gates: {items: {properties: {verdict: {^const: passed}}}}}}}}}", 'unknown value in a plan "passed" | Did you mean "pass"?'),
        ("{^$ref: '#/x'}", 'a rule cannot have the keyword "$ref" | Write the schema out'),
        ("{anyOf: [{^$ref: 'http://127.0.0.1/x'}]}", 'a rule cannot have the keyword "$ref"'),
        ("{^$defs: {}}", 'a rule cannot have the keyword "$defs"'),
        ("{properties: {name: {^pattern: '(?=a)b'}}}", "the pattern cannot be used | Write a regular expression"),
        ("{properties: {name: {^pattern: '(a{1000}){1000}'}}}", "the pattern cannot be used"),
        ("{properties: {name: {^type: text}}}", "is not a value that JSON Schema allows here | Write what draft 2020-12 of JSON Schema allows"),
        ("{^required: address}", "is not a value that JSON Schema allows here"),
        ("{^properties: 3}", "is not a value that JSON Schema allows here"),
        ("{^allOf: []}", "is not a value that JSON Schema allows here"),
        ("{allOf: [^3]}", "is not a value that JSON Schema allows here"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", ["require", "when"])
def test_a_schema_with_a_mistake_is_refused_at_its_place(
    tmp_path: Path, word: str, schema: str, said: str
) -> None:
    """The mark ^ is where the finding must be."""
    other = {"require": "when", "when": "require"}[word]
    rule = f"  - {{name: a, message: m, {word}: {schema}, {other}: {{}}}}\n"
    found = findings(tmp_path, rule.replace("^", ""))
    expected = f"{AT}6:{rule.index('^') + 1} Policy/production: {said}"
    assert [one for one in found if one.startswith(expected)], found


def test_every_finding_of_every_file_is_reported(tmp_path: Path) -> None:
    wrong = "  - {name: a, denyDelete: true}\n  - {name: b, requireGates: true}\n"
    text = f"{HEAD}  rules:\n{wrong}"
    _, found = load(tmp_path, a=text, b=f"{text}---\n{text}")
    assert sum("unknown field" in one for one in found) == 6


def test_an_open_part_of_a_plan_has_any_property(tmp_path: Path) -> None:
    schema = "{properties: {change: {properties: {after: {properties: {properties: {}}}}}, labels: {required: [x]}}}"
    assert findings(tmp_path, f"  - {{name: a, message: m, require: {schema}}}\n") == []


def test_a_value_that_a_plan_can_have_is_accepted(tmp_path: Path) -> None:
    change = (
        "{properties: {actions: {enum: [[delete], [delete, create]], contains: {const: delete}}}}"
    )
    schema = f"{{properties: {{type: {{const: Other}}, name: {{enum: [a, 3]}}, change: {change}}}}}"
    assert findings(tmp_path, f"  - {{name: a, message: m, require: {schema}}}\n") == []


def test_a_schema_of_endless_size_is_refused(tmp_path: Path) -> None:
    aliases = "&a [{minimum: 1}, {minimum: 1}, {minimum: 1}, {minimum: 1}, {minimum: 1}]"
    lines = [f"    x0: {aliases}"]
    for number, name in enumerate("bcdef"):
        before = chr(ord(name) - 1)
        item = f"{{allOf: *{before}}}"
        lines.append(f"    x{number + 1}: &{name} [{', '.join([item] * 5)}]")
    properties = "\n".join(lines)
    one = f"  - name: a\n    message: m\n    require:\n      allOf: *f\n      properties:\n{properties}"
    anchored = one.replace("allOf: *f\n      ", "").replace("    x", "        x")
    found = findings(tmp_path, f"{anchored}\n      allOf: *f\n")
    assert any("holds more than 5,000 keywords | Split the rule." in one for one in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Policy\n", "policies/p.yaml:1:1 Policy: has no apiVersion | Begin it with"),
        ("apiVersion: reconciler/v2\nkind: Policy\n", 'policies/p.yaml:1:1 Policy: unknown apiVersion "reconciler/v2"'),
        ("apiVersion: reconciler/v1\nkind: Polcy\n", 'policies/p.yaml:2:1 Policy: unknown kind of policy "Polcy" | Did you mean "Policy"?'),
        ("apiVersion: kyverno.io/v1\nkind: Policy\n", "unknown apiVersion"),
        ("a: [\n", "is not YAML"),
        (f"{HEAD}  rules: [{{name: a, changeWindow: {{freeze: [2026-12-24]}}}}]\n", 'policies/p.yaml:5:45 : "2026-12-24" would be read as a date | Put quotes'),
    ],
)  # fmt: skip
def test_a_document_that_is_nearly_a_policy_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    policies, found = load(tmp_path, p=text)
    assert policies == ()
    assert any(said in one for one in found), found


def test_documents_of_other_tools_and_test_cases_are_left_alone(tmp_path: Path) -> None:
    other = "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\n"
    cases = "apiVersion: reconciler/v1\nkind: PolicyTest\ncases: 3\n"
    policies, found = load(tmp_path, a=other, b=cases, c=WHOLE)
    assert len(policies) == 1
    assert found == []


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    _, found = load(tmp_path, a=WHOLE, b=WHOLE)
    assert found == [
        "policies/b.yaml:3:12 Policy/production: two policies have this name | Rename one."
    ]


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    os.mkfifo(folder / "a.yaml")
    (folder / "b.yaml").symlink_to("/etc/hostname")
    _, found = load(tmp_path)
    assert [one.partition(" ")[2] for one in found] == [
        "policies/a.yaml: is not a regular file | ",
        "policies/b.yaml: is outside the project's folder | Move it into the folder.",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rules.json", "its name does not end in .yaml or .yml"),
        ("production.yaml.off", "its name does not end in .yaml or .yml"),
        (".production.yaml", "its name is hidden"),
        ("team/.old/production.yaml", "its folder is hidden"),
    ],
)
@pytest.mark.parametrize("named", ["", "rules/"])
def test_a_policy_that_is_not_read_is_a_warning(
    tmp_path: Path, named: str, name: str, why: str
) -> None:
    folder = tmp_path / (named or "policies")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(WHOLE)
    (folder / "notes.txt").write_text("Who wrote these rules.")
    (folder / "read.yaml").write_text(WHOLE)
    policies, found = load_policies(Folder(folder if named else tmp_path), named and str(folder))
    assert len(policies) == 1
    said = [(one.severity, one.subject, one.message) for one in found]
    assert said == [
        ("warning", str(folder / name) if named else f"policies/{name}", f"is not read: {why}")
    ]


def test_a_named_folder_that_does_not_exist_is_refused_with_the_next_step(tmp_path: Path) -> None:
    named = str(tmp_path / "nope")
    _, (finding,) = load_policies(Folder(Path(named)), named)
    assert (finding.subject, finding.message) == (named, "the folder of policies does not exist")
    assert finding.next_step.startswith("Name the folder with the files of kind: Policy.")


def test_a_named_folder_whose_only_policy_is_not_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(WHOLE)
    policies, found = load_policies(Folder(tmp_path), str(tmp_path))
    assert policies == ()
    assert [(one.severity, one.message) for one in found] == [
        ("warning", "is not read: its name does not end in .yaml or .yml"),
        ("error", "holds no policy"),
    ]


def test_a_match_that_never_matches_is_a_warning(tmp_path: Path) -> None:
    policies, _ = load(tmp_path, p=WHOLE)
    resources = [("WebService", {"tier": "gold", "team": "risk"})]
    known = PROJECT, ("WebService", "Endpoint", "Fleet")
    assert list(check_matches(policies, *known, resources)) == []
    wrong = replace(PROJECT, environment="prod", environments=("dev", "prdo"))
    found = list(check_matches(policies, wrong, ["WebServer"], [("WebServer", {"tier": "golden"})]))
    assert [(str(one.place), one.severity, one.message, one.next_step) for one in found] == [
        ("policies/p.yaml:5:3", "warning", 'a rule never matches: the project has no environment "prod"', 'Did you mean "prdo"?'),
        ("policies/p.yaml:5:3", "warning", 'a rule never matches: the project has no kind "WebService"', 'Did you mean "WebServer"?'),
        ("policies/p.yaml:13:5", "warning", "a rule never matches: no manifest has the label tier=gold", 'Did you mean "golden"?'),
        ("policies/p.yaml:13:5", "warning", "a rule never matches: no manifest has the label team=risk", ""),
    ]  # fmt: skip
    # The labels of another environment say nothing about this one.
    assert list(check_matches(policies, replace(PROJECT, environment="dev"), known[1], [])) == []
    without = replace(PROJECT, environment="", environments=())
    assert [one.message for one in check_matches(policies, without, known[1], None)] == [
        'a rule never matches: the project has no environment "prod"'
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "said"),
    [
        ("environment: prod", "environment: dev", "its match and the match of its policy have no environment in common"),
        ("environment: [dev, prod]", "environment: prod", ""),
        ("kind: WebService", "kind: [Endpoint]", "its match and the match of its policy have no kind in common"),
        ("kind: WebService", "labels: {tier: gold}", ""),
        ("kind: Endpoint", "labels: {tier: gold}", "no manifest has the kind and all the labels that it asks for"),
        ("labels: {team: growth}", "labels: {tier: gold}", "no manifest has the kind and all the labels that it asks for"),
        ("labels: {team: risk, tier: gold}", "environment: prod", ""),
    ],
)  # fmt: skip
def test_two_matches_that_exclude_each_other_are_a_warning(
    tmp_path: Path, outer: str, inner: str, said: str
) -> None:
    rule = f"  - {{name: a, denyDeletes: true, match: {{{inner}}}}}\n"
    policies, found = load(tmp_path, p=f"{HEAD}  match: {{{outer}}}\n  rules:\n{rule}")
    assert found == []
    resources = [("WebService", {"tier": "gold", "team": "risk"}), ("Endpoint", {"team": "growth"})]
    warned = check_matches(policies, PROJECT, ("WebService", "Endpoint"), resources)
    step = "Change the match, or remove the rule."
    expected = [("policies/p.yaml:7:34", f"a rule never matches: {said}", step)] if said else []
    assert [(str(one.place), one.message, one.next_step) for one in warned] == expected


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("environment: [prod, prdo]", 'the project has no environment "prdo"'),
        ("kind: [WebService, Endpont]", 'the project has no kind "Endpont"'),
        ("environment: [prod, other-cloud]", ""),
    ],
)
def test_a_name_in_a_list_that_is_nearly_a_known_one_is_a_warning(
    tmp_path: Path, match: str, said: str
) -> None:
    rule = f"  - {{name: a, denyDeletes: true, match: {{{match}}}}}\n"
    policies, _ = load(tmp_path, p=f"{HEAD}  rules:\n{rule}")
    project = replace(PROJECT, environments=("prod", "prod-2"))
    warned = list(check_matches(policies, project, ("WebService", "Endpoint"), []))
    expected = [("warning", f"a name never matches: {said}")] if said else []
    assert [(one.severity, one.message) for one in warned] == expected
