"""Fleets: what is made of a template and its items, and how it is told what cannot be."""

import re
from pathlib import Path

import pytest

from reconciler.manifests import budget, load
from reconciler.model import Address, Finding, Member, Rollout, SourceLocation
from reconciler.render.findings import render_findings
from reconciler.render.words.colour import Paint
from tests.fleets import CSV, FLEET, KINDS, found, read, with_items
from tests.golden import check

AT = "manifests/bikes.yaml"
ROWS = "manifests/bikes.csv"
SERVICE = (
    "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: NAME}\nspec: {definition: {}}\n"
)


def change(old: str, new: str, fleet: str = FLEET) -> str:
    """The fleet with one text changed that it holds."""
    assert old in fleet
    return fleet.replace(old, new)


def test_each_row_becomes_an_ordinary_manifest(tmp_path: Path) -> None:
    loaded = read(tmp_path)
    assert loaded.findings == ()
    first, second, third = loaded.manifests
    assert [str(one.address) for one in loaded.manifests] == [
        "WebService/loc001", "WebService/loc002", "WebService/loc003",
    ]  # fmt: skip
    assert second.spec == {
        "trainedModels": {
            "Model 002": {"uri": "https://acct.blob.core.windows.net/m/002.ilearner"}
        },
        "definition": {
            "properties": {
                "description": "Location 002 of risk",
                "realtimeConfiguration": {"maxConcurrentCalls": 6},
            }
        },
    }
    fleet = Address("Fleet", "bikes")
    assert second.member == Member(fleet, 2, SourceLocation(ROWS, 3, 1))
    assert (first.labels, third.member) == (
        {"team": "growth"},
        Member(fleet, 3, SourceLocation(ROWS, 4, 1)),
    )
    assert second.file == AT
    assert second.digest == loaded.files[AT]
    assert set(loaded.files) == {"reconciler.yaml", AT, ROWS}


def test_places_are_those_of_the_template_and_shared(tmp_path: Path) -> None:
    one, other, _ = read(tmp_path).manifests
    assert one.places is other.places
    for pointer, line in {
        "/metadata/name": 8,
        "/spec/trainedModels/Model 002/uri": 11,
        "/spec/definition/properties/description": 14,
        "/spec/definition/properties/realtimeConfiguration/maxConcurrentCalls": 15,
        "/spec/nothing/of/the/kind": 9,
    }.items():
        assert (one.place(pointer).file, one.place(pointer).line) == (AT, line), pointer


def test_what_holds_no_variable_is_shared(tmp_path: Path) -> None:
    fleet = change("    spec:\n", "    spec:\n      resource: {resourceGroup: bikes}\n")
    one, other, _ = read(tmp_path, fleet).manifests
    assert one.spec["resource"] is other.spec["resource"]


def test_a_rollout_is_told_of_each_fleet(tmp_path: Path) -> None:
    said = "  waves: [1, 10%, 100%]\n  pause: 1m30s\n  maxFailures: 2\n"
    loaded = read(
        tmp_path, FLEET + said, a_yaml=change("name: bikes", "name: cars").replace("loc", "car")
    )
    assert loaded.findings == ()
    assert loaded.rollouts == (
        Rollout(Address("Fleet", "cars")),
        Rollout(Address("Fleet", "bikes"), (1, "10%", "100%"), 90.0, 2),
    )


def test_a_list_keeps_the_types_of_its_items(tmp_path: Path) -> None:
    fleet = change("of ${team}", "has ${calls}", with_items("[{code: 7, calls: 8, team: a}]"))
    (manifest,) = read(tmp_path, fleet).manifests
    assert manifest.address.name == "loc7"
    assert manifest.spec["definition"]["properties"] == {
        "description": "Location 7 has 8",
        "realtimeConfiguration": {"maxConcurrentCalls": 8},
    }
    assert manifest.member == Member(Address("Fleet", "bikes"), 1, SourceLocation(AT, 5, 18))


def test_a_text_of_a_list_does_not_become_a_number(tmp_path: Path) -> None:
    loaded = read(tmp_path, with_items("[{code: 7, calls: '8', team: a}]"))
    assert found(loaded) == [
        (f"{AT}:15:35", "WebService/loc7: maxConcurrentCalls must be a whole number")
    ]


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("{a: b}", {"a": "b"}),
        ("{a: '${code}'}", {"a": "${code}"}),
        ("{}", {}),
    ],
)
def test_an_item_of_a_list_may_hold_a_whole_part(tmp_path: Path, item: str, value: object) -> None:
    """What an item holds is data: a variable in it is none."""
    fleet = with_items(f"[{{code: 1, calls: 5, team: x, tags: {item}}}]")
    fleet = change("      definition:\n", "      definition:\n        tags: '${tags}'\n", fleet)
    loaded = read(tmp_path, fleet)
    assert loaded.findings == ()
    assert loaded.manifests[0].spec["definition"]["tags"] == value


def test_what_an_item_brings_into_the_definition_is_checked_like_any_other(tmp_path: Path) -> None:
    fleet = with_items("[{code: 1, calls: 5, team: x, all: {keys: {primary: abc}, createdOn: x}}]")
    fleet = fleet[: fleet.index("        properties:")] + "        Properties: '${all}'\n"
    assert found(read(tmp_path, fleet)) == [
        (f"{AT}:13:9", "WebService/loc1: createdOn is owned by the service and cannot be declared"),
        (f"{AT}:13:9", "WebService/loc1: primary is a secret, and its value is in plain text here"),
    ]


def test_what_takes_no_variable_is_escaped(tmp_path: Path) -> None:
    fleet = change("Location ${code} of ${team}", "$ $${code} {code} $$${team}")
    loaded = read(tmp_path, fleet)
    assert loaded.findings == ()
    properties = loaded.manifests[0].spec["definition"]["properties"]
    assert properties["description"] == "$ ${code} {code} $${team}"


@pytest.mark.parametrize(
    ("old", "new", "column", "message", "hint"),
    [
        ("Location ${code}", "Location ${cod}", 11, 'no column is called "cod"', "Did you mean ${code}?"),
        ("Location ${code}", "Location ${zzz}", 11, 'no column is called "zzz"', ""),
        ("Location ${code}", "Location ${Code}", 11, 'no column is called "Code"', "Did you mean ${code}?"),
        ("Location ${code}", "Location ${code", 11, "a ${ has no } after the name", "To write a literal ${, use $${."),
        ("Location ${code}", "Location ${${code}}", 11, "a ${ has no } after the name", "To write a literal ${, use $${."),
        ("Location ${code}", "Location ${}", 11, "${} has no name", "To write a literal ${, use $${."),
        ("Location ${code}", "Location ${ code }", 11, 'no column is called " code "', 'Did you mean ${code}? They differ at character 1: a space here, "c" there.'),
    ],
)  # fmt: skip
def test_a_variable_that_leads_nowhere_is_found_once_in_the_template(
    tmp_path: Path, old: str, new: str, column: int, message: str, hint: str
) -> None:
    loaded = read(tmp_path, change(old, new))
    assert found(loaded) == [(f"{AT}:14:{column}", f"Fleet/bikes: {message}")]
    (finding,) = loaded.findings
    assert finding.next_step == hint
    assert loaded.manifests == ()
    if "column" in message:
        assert finding.detail == (f"The names on {ROWS}:1:1 are: code, calls, team.",)


def test_variables_of_every_part_are_checked(tmp_path: Path) -> None:
    fleet = change('"loc${code}"', '"loc${a}"').replace("${team}", "${b}")
    fleet = fleet.replace("Model ${code}", "Model ${c}").replace("${calls}", "${d}")
    loaded = read(tmp_path, fleet + "  overrides: {loc001: {definition: {tags: {x: '${e}'}}}}\n")
    named = [re.findall('"(.)"', message)[0] for _, message in found(loaded)]
    assert named == ["a", "b", "c", "b", "d", "e"]


def test_a_missing_value_names_the_template_and_the_item(tmp_path: Path) -> None:
    items = "[{code: 1, calls: 5, team: a}, {code: 2, calls: 5}, {code: 3, team: a}]"
    loaded = read(tmp_path, with_items(items))
    assert found(loaded) == [
        (f"{AT}:8:45", 'WebService/loc2: the item has no "team"'),
        (f"{AT}:15:35", 'WebService/loc3: the item has no "calls"'),
    ]
    assert [one.detail for one in loaded.findings] == [
        (f"Item 2 is on {AT}:5:48.",),
        (f"Item 3 is on {AT}:5:69.",),
    ]


def test_what_cannot_stand_within_a_text_is_found(tmp_path: Path) -> None:
    items = "[{code: [1], calls: 5, team: a}, {code: null, calls: 5, team: b}, {code: 1.5, calls: 5, team: c}]"
    loaded = read(tmp_path, with_items(items))
    assert found(loaded) == [
        (f"{AT}:8:16", 'Fleet/bikes: "code" is empty, and it is part of a text'),
        (f"{AT}:8:16", 'Fleet/bikes: "code" is not a single value, and it is part of a text'),
    ]
    assert [str(one.address) for one in loaded.manifests] == ["WebService/loc1.5"]


def test_truth_values_are_spelled_as_in_yaml(tmp_path: Path) -> None:
    (manifest,) = read(tmp_path, with_items("[{code: true, calls: 5, team: a}]")).manifests
    assert manifest.address.name == "loctrue"


def test_what_breaks_the_schema_of_the_kind_names_the_row(tmp_path: Path) -> None:
    loaded = read(tmp_path, csv=f"{CSV}004,201,growth\n")
    (finding,) = loaded.findings
    assert finding == Finding(
        "maxConcurrentCalls must be at most 200",
        subject="WebService/loc004",
        place=SourceLocation(AT, 15, 35),
        detail=(f"Item 4 is on {ROWS}:5:1.",),
    )
    assert len(loaded.manifests) == 3


def test_the_same_error_of_many_rows_is_told_once_and_each_other_beside_it(tmp_path: Path) -> None:
    wrong = "".join(f"{number}?,{number % 2 + 200},a\n" for number in range(4000))
    loaded = read(tmp_path, csv=CSV + wrong)
    said = {
        message: one.detail
        for (_, message), one in zip(found(loaded), loaded.findings, strict=True)
    }
    first, odd = (
        f"{ROWS}:{line}:1, {ROWS}:{line + step}:1, {ROWS}:{line + 2 * step}:1"
        for line, step in ((5, 1), (6, 2))
    )
    assert {message.partition(".")[0]: detail for message, detail in said.items()} == {
        "Fleet/bikes: 4,000 members: name does not match the required pattern": (
            f"Their items are on {first} and 3,997 more.",
        ),
        "Fleet/bikes: 4,000 members: uri does not match the required pattern": (
            f"Their items are on {first} and 3,997 more.",
        ),
        "Fleet/bikes: 2,000 members: maxConcurrentCalls must be at most 200": (
            f"Their items are on {odd} and 1,997 more.",
        ),
    }


def test_ten_thousand_equal_names_are_one_finding(tmp_path: Path) -> None:
    loaded = read(tmp_path, csv="code,calls,team\n" + "1,5,a\n" * 10_000)
    (finding,) = loaded.findings
    assert finding == Finding(
        "9,999 members: an earlier item has the same name",
        subject="Fleet/bikes",
        place=SourceLocation(AT, 8, 16),
        detail=(
            f"Their items are on {ROWS}:3:1, {ROWS}:4:1, {ROWS}:5:1 and 9,996 more.",
            f"The first is on {ROWS}:2:1.",
        ),
        next_step="Give each item its own name, or remove the duplicate.",
    )


def test_a_member_and_a_manifest_of_one_address(tmp_path: Path) -> None:
    before, after = SERVICE.replace("NAME", "loc001"), SERVICE.replace("NAME", "loc003")
    loaded = read(tmp_path, a_yaml=before, z_yaml=after)
    message = "two manifests have this address"
    assert found(loaded) == [
        (f"{AT}:8:16", f"WebService/loc001: {message}"),
        ("manifests/z.yaml:3:12", f"WebService/loc003: {message}"),
    ]
    assert [one.detail for one in loaded.findings] == [
        (f"Item 1 is on {ROWS}:2:1.", "The first is on manifests/a.yaml:3:12."),
        (f"The first is on {ROWS}:4:1.",),
    ]


def test_two_fleets_of_one_name_and_two_of_the_same_members(tmp_path: Path) -> None:
    loaded = read(tmp_path, y_yaml=change("name: bikes", "name: cars"), z_yaml=FLEET)
    assert found(loaded) == [
        ("manifests/y.yaml:8:16", "Fleet/cars: 3 members: two manifests have this address"),
        ("manifests/z.yaml:3:12", "Fleet/bikes: two manifests have this address"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "hint"),
    [
        ("    kind: WebService\n", "", "6:3", "template lacks kind", ""),
        ("kind: WebService", "kind: Fleet", "7:5", "a template cannot make a Fleet", "Known: Retraining, WebService."),
        ("kind: WebService", "kind: Project", "7:5", "a template cannot make a Project", "Known: Retraining, WebService."),
        ("kind: WebService", "kind: WebServce", "7:5", 'unknown kind "WebServce"', 'Did you mean "WebService"?'),
        ("kind: WebService", "kind: '${code}'", "7:5", "unknown kind", "Known: Retraining, WebService."),
        ('name: "loc${code}", ', "", "8:5", "metadata lacks name", ""),
        ("{csv: bikes.csv}", "{}", "5:3", "needs exactly one of csv or list", ""),
        ("{csv: bikes.csv}", "{csv: a, list: []}", "5:3", "needs exactly one of csv or list", ""),
        ("{csv: bikes.csv}", "{list: [7]}", "5:18", "list[0] must be a mapping", ""),
        ("{csv: bikes.csv}", "{list: []}", "5:11", "the fleet has no items", "Add an item. If the fleet must be empty: --allow empty"),
        ("{csv: bikes.csv}", "{csv: gone.csv}", "5:11", "the file gone.csv does not exist", ""),
        ("{csv: bikes.csv}", "{csv: ../../b.csv}", "5:11", "the file of items is outside the project's folder", "Move it into the folder, next to the manifest."),
        ("{csv: bikes.csv}", '{csv: "b\\0.csv"}', "5:11", "the name of the file of items holds the character NUL, which no name of a file can hold", "Correct the name."),
        ("  template:", "  pause: 30\n  template:", "6:3", "pause must be text", ""),
        ("  template:", "  waves: []\n  template:", "6:3", "waves must not be empty", ""),
        ("  template:", "  waves: [0, 100%]\n  template:", "6:11", "waves[0] must be at least 1", ""),
        ("  template:", "  waves: [101%]\n  template:", "6:11", "waves[0] does not match the required pattern. A percentage from 1% to 100%.", ""),
        ("  template:", "  waves: [1, 10%]\n  template:", "6:3", "the waves do not include all members", "End them with 100%."),
        ("  template:", "  waves: [5, 5, 100%]\n  template:", "6:14", "wave 2 adds no members to the wave before it", "Give the total number of members at the end of each wave."),
        ("  template:", "  waves: [20%, 5%, 100%]\n  template:", "6:16", "wave 2 adds no members to the wave before it", "Give the total number of members at the end of each wave."),
        ("  template:", "  waves: [100%, 100%]\n  template:", "6:17", "wave 2 adds no members to the wave before it", "Give the total number of members at the end of each wave."),
        ("  template:", "  maxFailures: -1\n  template:", "6:3", "maxFailures must be at least 0", ""),
        ("  template:", "  maxFailure: 1\n  template:", "6:3", 'unknown field "maxFailure"', 'Did you mean "maxFailures"?'),
        ("{name: bikes}", "{name: bikes, labels: {}}", "3:25", 'unknown field "labels"', "Known fields: name."),
    ],
)  # fmt: skip
def test_each_refusal_of_a_fleet_has_its_place(
    tmp_path: Path, old: str, new: str, place: str, message: str, hint: str
) -> None:
    loaded = read(tmp_path, change(old, new))
    assert found(loaded) == [(f"{AT}:{place}", f"Fleet/bikes: {message}")]
    assert loaded.findings[0].next_step == hint
    assert loaded.manifests == ()


def test_an_empty_fleet_is_what_allow_empty_lifts(tmp_path: Path) -> None:
    (finding,) = read(tmp_path, with_items("[]")).findings
    assert (finding.guard, finding.subject) == ("empty", "Fleet/bikes")


OVERRIDES = (
    FLEET
    + """\
  overrides:
    loc002:
      definition:
        properties: {description: 'Own ${code}', realtimeConfiguration: {maxConcurrentCalls: 9}}
      trainedModels:
        Model 002: null
        Other: {uri: 'https://acct.blob.core.windows.net/o/${code}.ilearner'}
"""
)


def test_an_override_is_laid_over_its_member_alone(tmp_path: Path) -> None:
    loaded = read(tmp_path, OVERRIDES)
    assert loaded.findings == ()
    _, own, other = loaded.manifests
    assert own.spec == {
        "trainedModels": {"Other": {"uri": "https://acct.blob.core.windows.net/o/002.ilearner"}},
        "definition": {
            "properties": {
                "description": "Own 002",
                "realtimeConfiguration": {"maxConcurrentCalls": 9},
            }
        },
    }
    assert own.place("/spec/definition/properties/description").line == 19
    assert own.place("/spec/trainedModels/Other/uri").line == 22
    assert (own.place("/metadata/name").line, own.place("/spec").line) == (8, 9)
    assert other.spec["definition"]["properties"]["description"] == "Location 003 of growth"


def test_what_an_override_breaks_is_found_in_it(tmp_path: Path) -> None:
    fleet = OVERRIDES.replace("maxConcurrentCalls: 9", "maxConcurrentCalls: 900, x: y")
    assert found(read(tmp_path, fleet.replace("Own ${code}", "Own ${cod}"))) == [
        (f"{AT}:19:22", 'Fleet/bikes: no column is called "cod"'),
    ]
    assert found(read(tmp_path, fleet)) == [
        (f"{AT}:19:74", "WebService/loc002: maxConcurrentCalls must be at most 200"),
        (f"{AT}:19:99", 'WebService/loc002: unknown field "x"'),
    ]


def test_an_override_of_no_member_says_who_is_near(tmp_path: Path) -> None:
    many = "".join(f"    nobody{number}: {{}}\n" for number in range(30))
    loaded = read(tmp_path, f"{FLEET}  overrides:\n    loc02: {{}}\n{many}")
    assert len(loaded.findings) == 31
    first = loaded.findings[0]
    assert (str(first.place), first.message) == (f"{AT}:17:5", 'no member is called "loc02"')
    assert first.next_step == 'Did you mean "loc002"?'


DEFINED = FLEET[: FLEET.index("      definition:")] + "      definition: {file: FILE}\n"


def test_a_definition_file_is_a_part_of_the_template(tmp_path: Path) -> None:
    document = '{"Tags": {"team": "${team}"},\n "Properties": {"Title": "${code}"}}'
    loaded = read(tmp_path, DEFINED.replace("FILE", "one.json"), one_json=document)
    assert loaded.findings == ()
    manifest = loaded.manifests[1]
    assert manifest.spec["definition"] == {"tags": {"team": "risk"}, "properties": {"title": "002"}}
    assert str(manifest.place("/spec/definition/properties/title")) == "manifests/one.json:2:17"
    assert "manifests/one.json" in loaded.files


def test_each_member_may_have_a_definition_file_of_its_own(tmp_path: Path) -> None:
    fleet = DEFINED.replace("FILE", "'${code}.yaml'")
    files = {"001_yaml": "tags: {a: '${team}'}\n", "002_yaml": "tags: {a: '${tea}'}\n"}
    loaded = read(tmp_path, fleet, **files)
    assert found(loaded) == [
        ("manifests/002.yaml:1:8", 'WebService/loc002: no column is called "tea"'),
        (f"{AT}:12:20", "WebService/loc003: the file 003.yaml does not exist"),
    ]
    (manifest,) = loaded.manifests
    assert manifest.spec["definition"] == {"tags": {"a": "growth"}}
    assert str(manifest.place("/spec/definition/tags/a")) == "manifests/001.yaml:1:8"


def test_a_definition_file_outside_the_folder_is_refused_for_each_row_that_names_it(
    tmp_path: Path,
) -> None:
    loaded = read(
        tmp_path, DEFINED.replace("FILE", "'${code}'"), csv="code,calls,team\n../../x,5,a\n"
    )
    said = [message for _, message in found(loaded)]
    assert any("the definition file is outside the project's folder" in one for one in said)
    assert any("uri contains the segment . or .." in one for one in said)
    assert loaded.manifests == ()


def test_a_file_name_that_no_file_system_takes_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    name = "x" * 5000
    loaded = read(
        tmp_path, DEFINED.replace("FILE", "'${code}'"), csv=f"code,calls,team\n{name},5,a\n"
    )
    assert [one.message for one in loaded.findings] == [f"the file {name} does not exist"]
    loaded = read(tmp_path, change("bikes.csv", name))
    assert [one.message for one in loaded.findings] == [f"the file {name} does not exist"]


def test_an_override_may_have_a_definition_file_of_a_plain_name(tmp_path: Path) -> None:
    override = "  overrides: {loc002: {definition: {file: NAME}}}\n"
    own = '{"tags": {"own": "${team}"}}'
    loaded = read(tmp_path, FLEET + override.replace("NAME", "own.json"), own_json=own)
    assert loaded.findings == ()
    definition = loaded.manifests[1].spec["definition"]
    assert definition["tags"] == {"own": "risk"}
    assert definition["properties"]["description"] == "Location 002 of risk"
    loaded = read(tmp_path, FLEET + override.replace("NAME", "'${team}.json'"))
    message = "the definition file of an override cannot have variables"
    assert found(loaded) == [(f"{AT}:16:37", f"Fleet/bikes: {message}")]


def test_a_thousand_overrides_are_found_by_their_names(tmp_path: Path) -> None:
    rows = "".join(f"{number},5,x\n" for number in range(1000))
    overrides = "".join(
        f"    loc{number}: {{definition: {{properties: {{title: '{number} of ${{code}}'}}}}}}\n"
        for number in range(1000)
    )
    loaded = read(tmp_path, f"{FLEET}  overrides:\n{overrides}", f"code,calls,team\n{rows}")
    assert loaded.findings == ()
    for one in loaded.manifests:
        title = one.spec["definition"]["properties"]["title"]
        assert title == f"{one.address.name[3:]} of {one.address.name[3:]}"


SECRETS = (
    FLEET
    + """\
      secrets:
        /properties/keys/primary: {file: '../secrets/${code}.key', version: '${team}'}
        /properties/keys/secondary: {file: ../secrets/all.key}
"""
)


def test_secret_files_are_named_from_the_fleet_and_kept_from_the_folder(tmp_path: Path) -> None:
    loaded = read(tmp_path, SECRETS)
    assert loaded.findings == ()
    assert [one.spec["secrets"] for one in loaded.manifests[1:]] == [
        {
            "/properties/keys/primary": {"file": f"secrets/{code}.key", "version": team},
            "/properties/keys/secondary": {"file": "secrets/all.key"},
        }
        for code, team in (("002", "risk"), ("003", "growth"))
    ]


def test_a_secret_file_outside_the_folder_names_the_row(tmp_path: Path) -> None:
    message = "the secret's file is outside the project's folder"
    fleet = change("../secrets/${code}.key", "../${team}", SECRETS)
    loaded = read(tmp_path, fleet, csv=f"{CSV}004,8,../../key\n")
    assert found(loaded) == [(f"{AT}:17:36", f"WebService/loc004: {message}")]
    loaded = read(tmp_path, change("../secrets/all.key", "../../all.key", SECRETS))
    assert found(loaded) == [(f"{AT}:18:38", f"Fleet/bikes: {message}")]


def test_secrets_must_lead_to_where_one_is_written_in_every_row(tmp_path: Path) -> None:
    message = "the service has no secret at this pointer"
    fleet = change("/properties/keys/primary", "/properties/keys/${team}", SECRETS)
    loaded = read(tmp_path, fleet, csv="code,calls,team\n1,5,primary\n2,5,third\n")
    assert found(loaded) == [(f"{AT}:17:9", f"WebService/loc2: {message}")]
    fleet = change("/properties/keys/secondary", "/properties/keys/third", SECRETS)
    assert found(read(tmp_path, fleet)) == [(f"{AT}:18:9", f"Fleet/bikes: {message}")]


@pytest.mark.parametrize(
    ("old", "new", "subject"),
    [
        ("description: Location", "keys: {primary: '${team}'}\n          description: Location", "primary is a secret"),
        ("description: Location", "createdOn: '${team}'\n          description: Location", "createdOn is owned by the service"),
        ("description: Location", "descripton: Location", 'unknown field "descripton"'),
    ],
)  # fmt: skip
def test_what_may_not_be_declared_may_not_be_in_a_template(
    tmp_path: Path, old: str, new: str, subject: str
) -> None:
    loaded = read(tmp_path, change(old, new))
    assert any(subject in message for _, message in found(loaded)), loaded.findings
    assert len(loaded.findings) == 1
    assert loaded.manifests == ()


def test_what_becomes_a_signature_only_when_filled_in_is_refused(tmp_path: Path) -> None:
    planted = "cGxhbnRlZC1zZWNyZXQ"
    fleet = change("Location ${code} of ${team}", f"https://acct/m?${{team}}g={planted}")
    loaded = read(tmp_path, fleet, csv=f"{CSV}004,5,si\n")
    assert found(loaded) == [
        (
            f"{AT}:14:11",
            "WebService/loc004: holds what looks like a key or a shared access signature",
        ),
    ]
    assert planted not in str(loaded.findings)
    assert "loc004" not in str(loaded.manifests)


def test_two_keys_that_become_the_same_lose_nothing(tmp_path: Path) -> None:
    fleet = change(
        "        Model ${code}:", "        Model 002: {uri: 'https://a/b'}\n        Model ${code}:"
    )
    loaded = read(tmp_path, fleet)
    assert found(loaded) == [(f"{AT}:12:9", "WebService/loc002: two keys become the same")]


@pytest.mark.parametrize("source", ["nope", "n${code}", "loc001"])
def test_sources_of_members_are_looked_for_among_manifests_and_members(
    tmp_path: Path, source: str
) -> None:
    fleet = change(
        "      definition:\n",
        f"      definition:\n        from: {{address: 'WebService/{source}'}}\n",
    )
    messages = {
        "nope": ["Fleet/bikes: 3 members: starts from WebService/nope, which no manifest declares"],
        "n${code}": [
            f"WebService/loc00{n}: starts from WebService/n00{n}, which no manifest declares"
            for n in (1, 2, 3)
        ],
        "loc001": ["WebService/loc001: starts from itself"],
    }
    assert [message for _, message in found(read(tmp_path, fleet))] == messages[source]


def test_a_source_in_a_fleet_that_has_errors_is_no_second_error(tmp_path: Path) -> None:
    other = SERVICE.replace("NAME", "west").replace("{}", "{from: {address: WebService/loc009}}")
    loaded = read(tmp_path, change("${calls}", "${call}"), west_yaml=other)
    assert [one.message for one in loaded.findings] == ['no column is called "call"']
    assert "declares" in found(read(tmp_path, west_yaml=other))[0][1]


def test_a_fleet_that_would_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sixteenth of the limit: each text is searched for secrets, and that takes longest.
    assert budget._MOST_MEMBER_BYTES == 256 * 1024 * 1024
    monkeypatch.setattr(budget, "_MOST_MEMBER_BYTES", 16 * 1024 * 1024)
    rows = "".join(f"{number},5,{'x' * 1000}\n" for number in range(300))
    fleet = change("Location ${code}", "${team}" * 300 + "${code}")
    assert found(read(tmp_path, fleet, csv="code,calls,team\n" + rows)) == [
        (
            f"{AT}:6:3",
            "Fleet/bikes: the members of the project's fleets together would take more than 256 MB",
        )
    ]


def test_a_fleet_is_loaded_by_the_path_of_its_file(tmp_path: Path) -> None:
    read(tmp_path)
    loaded = load(tmp_path, None, [tmp_path / "manifests" / "bikes.yaml"], KINDS)
    assert len(loaded.manifests) == len(CSV.splitlines()) - 1


def test_findings_read_as_people_read_them(tmp_path: Path) -> None:
    rows = "".join(f"{number},eight,a\n" for number in range(10, 40))
    fleet = f"{FLEET}  overrides:\n    loc02: {{}}\n"
    wrong = read(tmp_path, csv=f"{CSV}003,5,b\n007,300,a\n{rows}\n,9,b\n")
    unknown = read(tmp_path, change("Location ${code}", "Location ${cod}"))
    misnamed = read(tmp_path, fleet)
    said = [*wrong.findings, *unknown.findings, *misnamed.findings]
    check("fleet-findings", render_findings(said, paint=Paint()))
