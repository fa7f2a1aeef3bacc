"""No secret of Classic in any byte: endpoints and fleets, and what only there goes wrong."""

import pytest

from tests.e2e.classic_stage import CLASSIC, ClassicStage

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("stage", [CLASSIC], indirect=True, ids=[""])]
HEAD = "apiVersion: reconciler/v1\nkind: Endpoint\nmetadata: {name: wrong}\nspec:\n"
URI = "uri: 'https://a.test/b.ilearner'"
SLIPS = [
    ("looks like", "  resource: {workspace: S}"),
    ("must be a mapping", "  resource: {token: W}"),
    ("is not of the form", "  resource: {token: {env: S}}"),
    ("unknown field", "  resource: {token: {env: A, W: x}}"),
    ("looks like", "  resource: {token: {file: S}}"),
    ("must be one|must be South", "  resource: {region: W}"),
    ("must be a mapping", f"  trainedModels: {{m: {{{URI}, sas: W}}}}"),
    ("is not of the form", f"  trainedModels: {{m: {{{URI}, sas: {{env: S}}}}}}"),
    ("unknown field", f"  trainedModels: {{m: {{{URI}, SasBlobToken: S}}}}"),
    ("looks like", f"  trainedModels: {{S: {{{URI}}}}}"),
    ("looks like", "  trainedModels: {S: x}"),
    ("looks like", "  trainedModels: {S: {}}"),
    ("is not of the form", "  trainedModels: {m: {uri: 'https://a.test/b.ilearner?W'}}"),
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
    ("is not of the form", CSV, PLAIN + "\n  pause: W", ROWS),
    ("is not of the form", CSV, PLAIN + "\n  waves: [S]", ROWS),
    ("looks like", "{csv: S}", PLAIN, ROWS),
    ("looks like", "{list: [{code: 1, S: x}]}", PLAIN, ROWS),
    ("item has", "{list: [{code: 1, W: x}]}", PLAIN, ROWS),
    (
        "the item has no",
        "{list: [{code: 1}, {code: 2, W: x}]}",
        "{definition: {Description: '${W}'}}",
        ROWS,
    ),
    ("is no single value", "{list: [{code: [W], said: x}]}", PLAIN, ROWS),
]


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_endpoints_that_are_wrong_because_of_a_secret(stage: ClassicStage, command: str) -> None:
    for said, text in SLIPS:
        stage.misplace("wrong.yaml", HEAD + text)
        stage.refuse(command, *said.split("|"))


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_fleets_that_are_wrong_because_of_a_secret(stage: ClassicStage, command: str) -> None:
    for said, items, spec, rows in FLEET_SLIPS:
        stage.misplace("wrong.yaml", FLEET.replace("ITEMS", items).replace("SPEC", spec))
        stage.misplace("wrong.csv", rows)
        stage.refuse(command, said)
