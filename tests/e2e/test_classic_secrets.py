"""No secret of Classic in any byte: endpoints and fleets, and what only there goes wrong."""

import json
from pathlib import Path

import pytest

from tests.e2e.classic_stage import (
    CLASSIC,
    FILE_SAS,
    MEMBER_TOKEN,
    MODEL,
    OTHER,
    WORKSPACE_TOKEN,
    ClassicStage,
)
from tests.e2e.markers import Evidence
from tests.e2e.planted import SAS, finish
from tests.e2e.world import run_emulator

pytestmark = pytest.mark.e2e
ONLY = pytest.mark.parametrize("stage", [CLASSIC], ids=["classic"], indirect=True)
HEAD = "apiVersion: reconciler/v1\nkind: Endpoint\nmetadata: {name: wrong}\nspec:\n"
URI = "uri: 'https://a.test/b.ilearner'"
SLIPS = [
    ("looks like", "  resource: {workspace: S}"),
    ("must be a mapping", "  resource: {token: W}"),
    ("does not match the required pattern", "  resource: {token: {env: S}}"),
    ("unknown field", "  resource: {token: {env: A, W: x}}"),
    ("looks like", "  resource: {token: {file: S}}"),
    ("must be one|must be South", "  resource: {region: W}"),
    ("must be a mapping", f"  trainedModels: {{m: {{{URI}, sas: W}}}}"),
    ("does not match the required pattern", f"  trainedModels: {{m: {{{URI}, sas: {{env: S}}}}}}"),
    ("unknown field", f"  trainedModels: {{m: {{{URI}, SasBlobToken: S}}}}"),
    ("looks like", f"  trainedModels: {{S: {{{URI}}}}}"),
    ("looks like", "  trainedModels: {S: x}"),
    ("looks like", "  trainedModels: {S: {}}"),
    (
        "does not match the required pattern",
        "  trainedModels: {m: {uri: 'https://a.test/b.ilearner?W'}}",
    ),
    ("looks like", "  trainedModels: {m: {uri: 'https://a.test/b.ilearner?x=1&sig=W'}}"),
    ("is a secret", "  definition: {Resources: {m: {SasBlobToken: W}}}"),
    ("is a secret", "  definition: {PrimaryKey: W}"),
    ("must be a mapping", "  definition: {Resources: [{Name: m, Location: {SasBlobToken: W}}]}"),
    ("must be text", "  definition: {Resources: {m: {Location: {SasBlobToken: W}}}}"),
    ("must be", "  definition: {ThrottleLevel: W}"),
    ("looks like", "  definition: {Description: 'https://a.test/b?sig=W'}"),
]
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: ITEMS
  template:
    kind: Endpoint
    metadata: {name: "rental${code}"}
    spec: SPEC
"""
CSV, PLAIN = "{csv: wrong.csv}", "{definition: {Description: '${said}'}}"
ROWS = "code,said\n001,one\n"
# The items, the spec, what the file of items holds.
FLEET_SLIPS = [
    ("looks like", CSV, PLAIN, "code,said\n001,S\n"),
    ("looks like", CSV, PLAIN, 'code,said\n001,"https://a.test/b?sig=W"\n'),
    ("looks like", CSV, PLAIN, "code,S\n001,one\n"),
    ("looks like", CSV, PLAIN, "S,said\n001,S\n"),
    ("no column is called", CSV, PLAIN, "001,W\n002,W\n"),
    ("columns are called", CSV, PLAIN, "W,W\n001,one\n"),
    ("blanks around", CSV, PLAIN, "code, W \n001,one\n"),
    ("looks like", CSV, PLAIN, 'W,said\n"x?sig=W x x x x x x x",one\n'),
    (
        "formula",
        CSV,
        "{definition: {Description: '${W}${said}${code}'}}",
        "code,said,W\n1,one,=1\n",
    ),
    ("cells, and there are", CSV, PLAIN, "code,said\n001,one,W\n"),
    ("is not CSV", CSV, PLAIN, 'code,said\n001,"W\n'),
    ("no column is called", CSV, "{definition: {Description: '${W}'}}", ROWS),
    ("looks like", CSV, "{definition: {Description: '${S}'}}".replace("S", "x?sig=W"), ROWS),
    ("has no }", CSV, "{definition: {Description: '${W'}}", ROWS),
    (
        "must be a whole number",
        CSV,
        "{definition: {MaxConcurrentCalls: '${said}'}}",
        "code,said\n1,W\n",
    ),
    ("must be a mapping", CSV, "{resource: {token: '${said}'}}", "code,said\n001,W\n"),
    (
        "looks like",
        CSV,
        f"{{trainedModels: {{m: {{{URI}, sas: {{env: '${{said}}'}}}}}}}}",
        "code,said\n1,S\n",
    ),
    (
        "is a secret",
        CSV,
        "{definition: {Resources: {m: {SasBlobToken: '${said}'}}}}",
        "code,said\n1,W\n",
    ),
    (
        "looks like",
        CSV,
        "{trainedModels: {m: {uri: 'https://a.test/b${code}${said}'}}}",
        "code,said\n?s,ig=W\n",
    ),
    ("no member is called", CSV, PLAIN + "\n  overrides: {W: {}}", ROWS),
    ("looks like", CSV, PLAIN + "\n  overrides: {S: {}}", ROWS),
    ("looks like", CSV, PLAIN + "\n  overrides: {rental001: {definition: {Description: S}}}", ROWS),
    ("does not match the required pattern", CSV, PLAIN + "\n  pause: W", ROWS),
    ("does not match the required pattern", CSV, PLAIN + "\n  waves: [S]", ROWS),
    ("looks like", "{csv: S}", PLAIN, ROWS),
    ("looks like", "{list: [{code: 1, S: x}]}", PLAIN, ROWS),
    ("item has", "{list: [{code: 1, W: x}]}", PLAIN, ROWS),
    (
        "the item has no",
        "{list: [{code: 1}, {code: 2, W: x}]}",
        "{definition: {Description: '${W}'}}",
        ROWS,
    ),
    ("is not a single value", "{list: [{code: [W], said: x}]}", PLAIN, ROWS),
]


@ONLY
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_endpoints_that_are_wrong_because_of_a_secret(stage: ClassicStage, command: str) -> None:
    for said, text in SLIPS:
        stage.misplace("wrong.yaml", HEAD + text)
        stage.refuse(command, *said.split("|"))


@ONLY
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_fleets_that_are_wrong_because_of_a_secret(stage: ClassicStage, command: str) -> None:
    for said, items, spec, rows in FLEET_SLIPS:
        stage.misplace("wrong.yaml", FLEET.replace("ITEMS", items).replace("SPEC", spec))
        stage.misplace("wrong.csv", rows)
        stage.refuse(command, said)


MEMBERS = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: {csv: bikes.csv}
  waves: [1, 100%]
  template:
    kind: Endpoint
    metadata: {name: "rental${code}"}
    spec:
      resource: {token: {file: "../secrets/${token}.token"}}
      trainedModels:
        MODEL: {uri: "BLOBS/${code}.ilearner", sas: {env: "${opens}"}}
        OTHER: {uri: "BLOBS/${code}.ilearner", sas: {file: "../secrets/${opens}.sas"}}
"""


def declare_fleet(stage: ClassicStage, version: str) -> None:
    """Members whose rows name where their secrets are."""
    stage.hide("MODELS_SAS.sas", FILE_SAS)
    folder = stage.folder / "manifests"
    (folder / "bikes.csv").write_text(
        "code,token,opens\n" + "".join(f"00{one},workspace,MODELS_SAS\n" for one in (1, 2, 3))
    )
    blobs = f"{stage.server.url}/account/{version}"
    text = MEMBERS.replace("MODEL:", f"{MODEL}:").replace("OTHER:", f"{OTHER}:")
    (folder / "bikes.yaml").write_text(text.replace("BLOBS", blobs))


@ONLY
def test_a_fleet_whose_rows_name_secrets(stage: ClassicStage) -> None:
    declare_fleet(stage, "v1")
    for arguments in (
        ("validate", "--json"),
        *(("plan", "--format", form) for form in ("json", "markdown", "html")),
        ("plan", "--out", "first.plan"),
        ("show", "first.plan", "--patch"),
        ("apply", "first.plan", "--json"),
        ("plan", "--detailed-exitcode"),
    ):
        finish(stage.run(*arguments), 0)
    assert {MEMBER_TOKEN.place, SAS.place, FILE_SAS.place} <= {*stage.service.heard}
    declare_fleet(stage, "v2")
    stage.service.faults = {"PATCH": "403"}
    finish(stage.run("apply", "--auto-approve"), 1, "2 not started")
    finish(stage.run("apply", "--auto-approve", "--json"), 1, "fleet_stopped")
    stage.service.faults = {}
    for arguments in (
        ("apply", "--auto-approve"),
        ("drift", "--format", "json"),
        ("history", "Fleet/bikes"),
        ("rollback", "Endpoint/rental001", "--out", "back.plan"),
        ("apply", "back.plan"),
        ("export", "Fleet/bikes", "--folder", "elsewhere"),
        ("ledger", "rebuild", "--auto-approve"),
        ("apply", "--auto-approve", "--destroy"),
    ):
        finish(stage.run(*arguments), 0)
    assert not stage.service.services


@ONLY
def test_what_moved_on_a_member_is_accepted_without_its_signature(stage: ClassicStage) -> None:
    declare_fleet(stage, "v1")
    finish(stage.run("apply", "--auto-approve"), 0)
    stage.deploy("rental001")
    done = stage.run("drift", "--accept", "Endpoint/rental001")
    finish(done, 0, "values accepted into 1 file")
    assert "old.ilearner" in (stage.folder / "manifests" / "bikes.yaml").read_text()


# Every run has a reply that is not an object, a list that is not one of endpoints, and an endpoint
# of which parts are something else.
@ONLY
@pytest.mark.parametrize(
    "body",
    [
        *("text", "resources", "parts"),
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("list of texts", "strangers", "keys")
        ),
    ],
)
def test_a_service_that_answers_what_is_no_endpoint(stage: ClassicStage, body: str) -> None:
    stage.deploy()
    stage.declare()
    finish(stage.run("apply", "--auto-approve"), 0)
    stage.service.faults = {"BODY": body}
    stage.declare(model="newer")
    for arguments in (
        ("plan", "--format", "html"),
        ("plan", "--out", "a.plan"),
        ("apply", "--auto-approve", "--json", "--patience", "0s"),
        ("drift", "--unmanaged", "--format", "json"),
        ("export", "--all", "--full", "--folder", "elsewhere"),
        ("import", "Endpoint/found", "found"),
        ("ledger", "rebuild", "--auto-approve"),
    ):
        done = stage.run(*arguments, RECONCILER_TIMEOUT="0.1")
        finish(done, done.code)
        assert "unexpected" not in done.said, done.said


@ONLY
@pytest.mark.parametrize("odd", ["\n{}", "{}\r\nX: y", "{} x", "é{}", "{}\x7f"])
def test_a_token_that_no_header_can_hold(stage: ClassicStage, odd: str) -> None:
    stage.declare()
    token = odd.format(WORKSPACE_TOKEN.core)
    for arguments in (("plan",), ("apply", "--auto-approve", "--json"), ("export", "--all")):
        finish(stage.run(*arguments, STUDIO_TOKEN=token), 1, "STUDIO_TOKEN", "cannot be sent")


@ONLY
@pytest.mark.parametrize("signature", ["{}", "sr=b&sp=w&sig={}", "ss=f&srt=o&sp=r&sig={}", "\"{}'"])
def test_a_signature_that_cannot_read_a_model(stage: ClassicStage, signature: str) -> None:
    stage.deploy()
    stage.declare()
    given = {"MODELS_SAS": signature.format(SAS.core)}
    for arguments in (
        ("plan",),
        ("apply", "--auto-approve"),
        ("apply", "--auto-approve", "--json"),
    ):
        finish(stage.run(*arguments, **given), 1, "the signature in env MODELS_SAS")


@ONLY
def test_a_signature_that_has_expired(stage: ClassicStage) -> None:
    stage.deploy()
    stage.declare()
    given = {"MODELS_SAS": f"sr=b&se=2020-01-01&sp=r&sig={SAS.core}"}
    finish(stage.run("plan", **given), 1, "Error: Endpoint/census: trained model")
    for more in ((), ("--json",)):
        finish(stage.run("apply", "--auto-approve", *more, **given), 1, "in env MODELS_SAS")
        lifted = stage.run("apply", "--auto-approve", "--allow=blob", *more, **given)
        finish(lifted, 1, "where sas refers to")


WORLD = f"""\
workspaces:
  - id: '{1:032}'
    token: '{WORKSPACE_TOKEN.value}'
    webServices: [{{id: '{2:032}', name: Bikes, resources: ["{MODEL}"]}}]
"""


def test_the_emulator_tells_nobody_what_it_hears_of_classic(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evidence = Evidence(tmp_path, ClassicStage.markers)
    log, data, world = tmp_path / "log.jsonl", tmp_path / "data", tmp_path / "world.yaml"
    world.write_text(WORLD)
    options = (f"--world={world}", f"--log={log}", f"--data={data}", "--operation-seconds=0")
    shown = "--switch=classic-resource-location=without-signature"
    with run_emulator("--no-blob", shown, *options) as running:
        running.token = WORKSPACE_TOKEN.value
        service = f"{running.url}/workspaces/{1:032}/webservices/{2:032}"
        endpoint = f"{service}/endpoints/rental001"
        where = {"BaseLocation": "https://a.test/", "RelativeLocation": "m/x.ilearner"}
        signed = {"Name": MODEL, "Location": {**where, "SasBlobToken": f"?{SAS.value}"}}
        wrong = {"Name": MODEL, "Location": {**where, "RelativeLocation": SAS.value}}
        for method, url, sent, expected in (
            ("PUT", endpoint, {"ThrottleLevel": "High"}, 2),
            ("PATCH", endpoint, {"Resources": [signed]}, 2),
            ("GET", endpoint, None, 2),
            ("GET", f"{service}/endpoints?{SAS.value}", None, 2),
            ("PATCH", endpoint, {"Resources": [wrong]}, 4),
            ("PATCH", endpoint, {"Resources": [{**signed, "Name": "another"}]}, 4),
            ("PATCH", endpoint, {"ThrottleLevel": SAS.value}, 4),
            ("PATCH", endpoint, {"SasBlobToken": SAS.value}, 4),
            ("PATCH", endpoint, [SAS.value], 4),
            ("POST", f"{endpoint}/refresh", {"OverwriteResources": SAS.value}, 4),
        ):
            status, reported, headers = running.send(method, url, sent)
            assert status // 100 == expected, (method, url, sent, reported)
            evidence.add(f"the reply to {method} {url}", json.dumps([reported, dict(headers)]))
        running.token = running.send("GET", endpoint)[1]["PrimaryKey"]
        assert running.send("GET", endpoint)[0] == 200
        for url in (f"{service}/endpoints", f"{running.url}/workspaces/{2:032}/webservices"):
            status, reported, _ = running.send("GET", url)
            evidence.add("the reply to a stranger", json.dumps(reported))
            assert status == 401
    said = log.read_text() + "".join(capfd.readouterr())
    assert running.token not in said
    evidence.add("what the emulator said", said)
    evidence.allowed = {world, *(file for file in data.rglob("*") if file.is_file())}
    found = evidence.find()
    assert not found, "\n".join(found)


@ONLY
def test_a_world_that_is_wrong_because_of_a_secret(stage: ClassicStage) -> None:
    for said, text in (
        ("unknown field", "workspaces: []\nW: x"),
        ("looks like", "workspaces: [{id: S}]"),
        ("32 hexadecimal digits", "workspaces: [{id: W}]"),
        ("must be text", f"workspaces: [{{id: '{1:032}', token: [W]}}]"),
        ("must be a mapping", "workspaces: [W]"),
        ("tier must be", f"workspaces: [{{id: '{1:032}', tier: W}}]"),
        ("would be read as a number", f"workspaces: [{{id: '{1:032}', token: 0xN}}]"),
    ):
        stage.misplace("world.txt", text)
        finish(stage.run("emulator", "--world", "manifests/world.txt"), 1, said)
