"""Environments: what is laid over the project, tokens with their places, and every refusal."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded, load
from reconciler.manifests.environments import find_touched, list_environments
from reconciler.model import GuardLimits

HEAD = "apiVersion: reconciler/v1\nkind: "
SERVICE = f"{HEAD}WebService\nmetadata: {{name: census, labels: {{team: growth}}}}\nspec:\n"
MODEL = "  trainedModels: {M: {uri: 'https://a/b/${values.model}'}}\n"
KINDS = {"WebService": KIND}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with dev and prod."""
    (tmp_path / "manifests").mkdir()
    (tmp_path / "environments").mkdir()
    write_project(tmp_path, "  defaults: {subscription: s, resourceGroup: g}\n")
    write(tmp_path, "dev", "  values: {model: one}\n")
    write(tmp_path, "prod", "  values: {model: two}\n")
    (tmp_path / "manifests" / "census.yaml").write_text(SERVICE + MODEL)
    return tmp_path


def write_project(folder: Path, spec: str) -> None:
    text = f"{HEAD}Project\nmetadata: {{name: p}}\nspec:\n  guards: {{maxDeletes: 3}}\n{spec}"
    (folder / "reconciler.yaml").write_text(text)


def write(folder: Path, name: str, spec: str, *, file: str = "") -> None:
    text = f"{HEAD}Environment\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    (folder / "environments" / (file or f"{name}.yaml")).write_text(text)


def read(folder: Path, name: str = "dev", origin: str = "--env") -> Loaded:
    return load(folder, None, [], KINDS, name, origin)


def said(loaded: Loaded) -> list[str]:
    """Each finding with its place and its next step."""
    return [
        f"{one.place or one.subject}: {one.message} | {one.next_step}" for one in loaded.findings
    ]


def model(loaded: Loaded) -> str:
    assert said(loaded) == []
    return str(loaded.manifests[0].spec["trainedModels"]["M"]["uri"])


def test_each_environment_has_its_values(project: Path) -> None:
    assert list_environments(project) == ("dev", "prod")
    assert model(read(project, "dev")) == "https://a/b/one"
    assert model(read(project, "prod")) == "https://a/b/two"


def test_an_environment_is_laid_over_the_project(project: Path) -> None:
    write(
        project,
        "dev",
        "  cloud: emulator\n  defaults: {resourceGroup: other}\n"
        "  guards: {maxUpdates: 4}\n  values: {model: one}\n",
    )
    made = read(project).project
    assert made is not None
    assert (made.environment, made.environments) == ("dev", ("dev", "prod"))
    assert made.cloud.emulated
    assert made.defaults == {"subscription": "s", "resourceGroup": "other"}
    assert made.guards == GuardLimits(max_deletes=3, max_updates=4)
    assert made.ledger == ".reconciler/dev"


@pytest.mark.parametrize(
    ("project_ledger", "own", "expected"),
    [
        ("", "", (".reconciler/dev", "", "")),
        ("  ledger: {path: kept/}\n", "", ("kept/dev", "", "")),
        ("", "  ledger: {path: elsewhere}\n", ("elsewhere", "", "")),
        (
            "  ledger: {container: 'https://a.b/ledgers', prefix: team/}\n",
            "",
            (".reconciler/dev", "https://a.b/ledgers", "team/dev/"),
        ),
        (
            "  ledger: {container: 'https://a.b/ledgers'}\n",
            "  ledger: {prefix: own/}\n",
            (".reconciler/dev", "https://a.b/ledgers", "own/"),
        ),
        (
            "  ledger: {path: kept}\n",
            "  ledger: {container: 'https://a.b/ledgers'}\n",
            (".reconciler/dev", "https://a.b/ledgers", ""),
        ),
    ],
)
def test_each_environment_has_its_own_ledger(
    project: Path, project_ledger: str, own: str, expected: tuple[str, str, str]
) -> None:
    write_project(project, project_ledger)
    write(project, "dev", f"{own}  values: {{model: one}}\n")
    loaded = read(project)
    assert said(loaded) == []
    made = loaded.project
    assert made is not None
    assert (made.ledger, made.ledger_container, made.ledger_prefix) == expected


def test_two_environments_with_one_ledger_are_refused(project: Path) -> None:
    write(project, "dev", "  ledger: {path: ./kept}\n  values: {model: one}\n")
    write(project, "prod", "  ledger: {path: kept/}\n  values: {model: two}\n")
    for name, other in (("dev", "prod"), ("prod", "dev")):
        assert said(read(project, name)) == [
            (
                f'environments/{name}.yaml:5:3: the environment "{other}" has the same ledger | Give each'
                f" a ledger of its own; see also environments/{other}.yaml."
            )
        ]


def test_a_fault_of_the_laid_project_is_where_it_was_written(project: Path) -> None:
    write(project, "dev", "  ledger: {prefix: own/}\n  values: {model: one}\n")
    faults = said(read(project))
    assert [one.partition(" | ")[0] for one in faults] == [
        "environments/dev.yaml:5:12: prefix needs container beside it"
    ]
    write_project(project, "  ledger: {path: ../out}\n")
    write(project, "dev", "  values: {model: one}\n")
    (fault,) = said(read(project))
    assert fault.startswith("reconciler.yaml:6:12: the ledger's folder is outside")


def test_labels_are_added_and_those_of_the_manifest_count_more(project: Path) -> None:
    write(project, "dev", "  values: {model: one}\n  labels: {team: none, tier: dev}\n")
    (manifest,) = read(project).manifests
    assert manifest.labels == {"team": "growth", "tier": "dev"}


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("${values.count}", 3),
        ("'${values.count}'", 3),
        ("n${values.count}", "n3"),
        ("${values.active}", True),
        ("x ${values.active}", "x true"),
        ("${values.share}", 0.5),
        ("${values.zip}", "012"),
        ("${env.name}-${env.labels.tier}-${env.defaults.resourceGroup}", "dev-d-g"),
        ("$${values.count}", "${values.count}"),
        ("$${values.count} of ${values.count}", "${values.count} of 3"),
        ("${run} ${other.thing}", "${run} ${other.thing}"),
    ],
)
def test_tokens_become_values(project: Path, written: str, becomes: object) -> None:
    write(
        project,
        "dev",
        "  labels: {tier: d}\n  values: {model: one, count: 3, active: true, share: 0.5, zip: '012'}\n",
    )
    text = f"{SERVICE}  definition:\n    tags:\n      t: {written}\n"
    (project / "manifests" / "census.yaml").write_text(text)
    loaded = read(project)
    if isinstance(becomes, str):
        assert said(loaded) == []
        assert loaded.manifests[0].spec["definition"]["tags"]["t"] == becomes
    else:
        assert ["must be text" in one for one in said(loaded)] == [True]


def test_a_token_can_be_in_a_name(project: Path) -> None:
    text = f"{HEAD}WebService\nmetadata: {{name: 'census-${{env.name}}'}}\nspec:\n"
    text += "  trainedModels:\n    ${values.model}: {uri: 'https://a/b/c'}\n"
    (project / "manifests" / "census.yaml").write_text(text)
    (manifest,) = read(project).manifests
    assert str(manifest.address) == "WebService/census-dev"
    assert str(manifest.place("/spec/trainedModels/one/uri")) == "manifests/census.yaml:6:23"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "'a${values.modle}'",
            (
                'census.yaml:7:12: environments/dev.yaml has no "values.modle" | Did you mean'
                " ${values.model}?"
            ),
        ),
        (
            "${value.model}",
            (
                'census.yaml:7:10: environments/dev.yaml has no "value.model" | Did you mean'
                " ${values.model}?"
            ),
        ),
        (
            "${env.nam}",
            'census.yaml:7:10: environments/dev.yaml has no "env.nam" | Did you mean ${env.name}?',
        ),
        (
            "${values.model",
            "census.yaml:7:10: a ${ has no } after the name | Add the }.",
        ),
        (
            "${values.size}",
            (
                'census.yaml:7:10: environments/dev.yaml has no "values.size" | Add it in'
                " environments/dev.yaml, or write $${ for a text. Known: ${values.model}."
            ),
        ),
    ],
)
def test_a_wrong_token_has_its_place(project: Path, written: str, expected: str) -> None:
    text = f"{SERVICE}  definition:\n    tags:\n      t: {written}\n"
    (project / "manifests" / "census.yaml").write_text(text)
    assert said(read(project)) == [f"manifests/{expected}"]


def test_a_wrong_token_in_a_long_text_has_the_place_of_the_text(project: Path) -> None:
    text = f"{SERVICE}  definition:\n    tags:\n      t: >\n        a\n        ${{values.no}}\n"
    (project / "manifests" / "census.yaml").write_text(text)
    (fault,) = said(read(project))
    assert fault.startswith("manifests/census.yaml:7:10: ")


def test_an_alias_is_replaced_once(project: Path) -> None:
    text = f"{SERVICE}  definition:\n    tags: {{a: &x '$${{values.model}}', b: *x}}\n"
    (project / "manifests" / "census.yaml").write_text(text)
    loaded = read(project)
    assert loaded.manifests[0].spec["definition"]["tags"] == {
        "a": "${values.model}",
        "b": "${values.model}",
    }


def test_all_findings_are_reported_at_once(project: Path) -> None:
    write(project, "dev", "  valeus: {a: b}\n  values: {model: 1.2.3, day: 2026-11-20}\n")
    (project / "manifests" / "census.yaml").write_text(SERVICE + MODEL.replace("model", "day"))
    (project / "manifests" / "other.yaml").write_text(
        SERVICE.replace("census", "b") + "  wrong: 1\n"
    )
    found = [one.partition(" | ")[0] for one in said(read(project))]
    assert found == [
        'environments/dev.yaml:5:3: unknown field "valeus"',
        "environments/dev.yaml:6:26: day must be text or a number or true or false",
        'environments/dev.yaml:6:31: "2026-11-20" would be read as a date',
        'manifests/other.yaml:5:3: unknown field "wrong"',
    ]


@pytest.mark.parametrize(
    ("name", "origin", "expected"),
    [
        (
            "",
            "--env",
            (
                "the project has environments, and none is named | Name one with --env, or in"
                " RECONCILER_ENV: dev, prod."
            ),
        ),
        (
            "prd",
            "--env",
            (
                '--env "prd" is not an environment | Did you mean "prod"? The environments are dev,'
                " prod."
            ),
        ),
        (
            "x",
            "RECONCILER_ENV",
            'RECONCILER_ENV "x" is not an environment | The environments are dev, prod.',
        ),
    ],
)
def test_the_name_must_be_that_of_an_environment(
    project: Path, name: str, origin: str, expected: str
) -> None:
    assert said(read(project, name, origin)) == [f"reconciler.yaml: {expected}"]


def test_a_project_without_environments_has_none(project: Path) -> None:
    for file in (project / "environments").iterdir():
        file.unlink()
    assert said(read(project, "dev")) == [
        (
            'reconciler.yaml: --env is "dev", and the project has no environments | Write'
            " environments/dev.yaml, or leave out --env."
        )
    ]
    loaded = read(project, "")
    assert "values.model" in loaded.manifests[0].spec["trainedModels"]["M"]["uri"]
    assert loaded.project is not None
    assert (loaded.project.environment, loaded.project.ledger) == ("", ".reconciler")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{HEAD}Environment\nmetadata: {{name: prod}}\n",
            (
                "3:12: the name is not that of the file without its suffix | Write name: dev, or"
                " rename the file."
            ),
        ),
        (
            f"{HEAD}Enviroment\nmetadata: {{name: dev}}\n",
            '2:1: unknown kind "Enviroment" | Did you mean "Environment"?',
        ),
        (
            "kind: Environment\nmetadata: {name: dev}\n",
            "1:1: has no apiVersion | Begin it with: apiVersion: reconciler/v1",
        ),
        (
            f"{HEAD}Environment\nmetadata: {{name: dev}}\nspec: {{values: {{a: 'x${{values.b}}'}}}}\n",
            ("4:22: ${values.b} is replaced only in manifests | Write the value out."),
        ),
        (
            f"{HEAD}Environment\nmetadata: {{name: dev}}\nspec: {{manifests: [there, ../out]}}\n",
            "4:20: the folder there does not exist | ",
        ),
        (
            f"{HEAD}Environment\nmetadata: {{name: dev}}\n---\n{HEAD}Environment\n",
            "5:1: has a second document | Give each environment a file of its own.",
        ),
        (f"{HEAD}Environment\nmetadata: {{name: dev\n", "4:1: is not YAML: "),
    ],
)
def test_a_wrong_file_is_explained(project: Path, text: str, expected: str) -> None:
    (project / "environments" / "dev.yaml").write_text(text)
    faults = [one for one in said(read(project)) if not one.startswith("manifests/")]
    assert faults[0].startswith(f"environments/dev.yaml:{expected}")
    assert said(read(project, "prod")) == []  # it hides no other


def test_two_files_with_one_name_are_refused(project: Path) -> None:
    write(project, "dev", "  values: {model: one}\n", file="dev.yml")
    (fault,) = read(project).findings
    assert (fault.message, fault.detail) == (
        "two files have this name",
        ("The other one is environments/dev.yml.",),
    )


def test_the_name_all_is_taken(project: Path) -> None:
    write(project, "all", "  values: {model: one}\n")
    (fault,) = said(read(project, "all"))
    assert '"all" means all environments' in fault


def test_a_folder_with_other_files_is_no_set_of_environments(project: Path) -> None:
    """Other tools have such a folder too."""
    (project / "environments" / "dev.yaml").write_text("apiVersion: v1\nkind: ConfigMap\n")
    (project / "environments" / "prod.yaml").write_text("environments: [a, b]\n")
    (project / "environments" / "broken.yaml").write_text("a: [\n")
    (project / "manifests" / "census.yaml").write_text(SERVICE + "  definition: {}\n")
    assert list_environments(project) == ()
    assert [one.severity for one in read(project, "").findings if one.severity == "error"] == []


def test_an_environment_reads_its_own_folders(project: Path) -> None:
    for name in ("common", "only-dev", "only-prod", "nobody"):
        (project / name).mkdir()
        text = SERVICE.replace("census", name) + "  definition: {}\n"
        (project / name / "a.yaml").write_text(text)
    (project / "manifests" / "census.yaml").unlink()
    (project / "manifests").rmdir()
    write(project, "dev", "  manifests: [common, only-dev]\n")
    write(project, "prod", "  manifests: [common, only-prod]\n")
    loaded = read(project)
    assert [one.address.name for one in loaded.manifests] == ["common", "only-dev"]
    assert [(one.subject, one.message, one.severity) for one in loaded.findings] == [
        ("nobody/a.yaml", "is not read: no environment reads its folder", "warning")
    ]
    assert set(loaded.files) == {
        "reconciler.yaml",
        "environments/dev.yaml",
        "common/a.yaml",
        "only-dev/a.yaml",
    }


def test_environments_are_not_manifests(project: Path) -> None:
    (project / "manifests" / "census.yaml").rename(project / "census.yaml")
    (project / "manifests").rmdir()
    assert model(read(project)) == "https://a/b/one"


@pytest.mark.parametrize(
    ("changed", "touched"),
    [
        (["environments/dev.yaml"], ("dev",)),
        (["environments/old.yaml"], ("dev", "prod")),
        (["reconciler.yaml"], ("dev", "prod")),
        (["policies/a.yaml"], ("dev", "prod")),
        (["common/a.yaml"], ("dev", "prod")),
        (["only-dev/sub/a.json"], ("dev",)),
        (["only-dev/a.yaml", "only-prod/b.yaml"], ("dev", "prod")),
        (["README.md"], ("dev", "prod")),
        ([], ()),
    ],
)
def test_a_change_touches_the_environments_that_read_it(
    project: Path, changed: list[str], touched: tuple[str, ...]
) -> None:
    write(project, "dev", "  manifests: [common, only-dev]\n")
    write(project, "prod", "  manifests: [common, only-prod]\n")
    assert find_touched(project, changed) == touched


def test_a_link_to_a_file_outside_is_refused(project: Path) -> None:
    outside = project.parent / f"{project.name}-outside.yaml"
    outside.write_text(f"{HEAD}Environment\nmetadata: {{name: away}}\nspec: {{values: {{s: t}}}}\n")
    (project / "environments" / "away.yaml").symlink_to(outside)
    (fault,) = said(read(project, "away"))
    assert fault.startswith(
        "environments/away.yaml:1:1: the file of the environment is outside the project's folder"
    )


FLEET = f"""{HEAD}Fleet
metadata: {{name: bikes}}
spec:
  items: {{csv: "${{env.name}}.csv"}}
  template:
    kind: WebService
    metadata: {{name: "bike-${{code}}-${{env.name}}", labels: {{team: bikes}}}}
    spec:
      trainedModels: {{M: {{uri: 'https://a/b/${{code}}/${{values.model}}'}}}}
      definition: {{tags: {{a: '$${{values.model}}', b: '$${{code}}'}}}}
"""


def test_a_fleet_has_the_values_of_the_environment_and_of_its_items(project: Path) -> None:
    write(project, "dev", "  values: {model: one}\n  labels: {tier: dev, team: none}\n")
    (project / "manifests" / "census.yaml").write_text(FLEET)
    (project / "manifests" / "dev.csv").write_text("code\n1\n2\n")
    loaded = read(project)
    assert said(loaded) == []
    first, second = loaded.manifests
    assert [str(one.address) for one in loaded.manifests] == [
        "WebService/bike-1-dev",
        "WebService/bike-2-dev",
    ]
    assert first.labels == second.labels == {"tier": "dev", "team": "bikes"}
    assert first.spec["trainedModels"]["M"]["uri"] == "https://a/b/1/one"
    assert first.spec["definition"]["tags"] == {"a": "${values.model}", "b": "${code}"}
    (fault,) = said(read(project, "prod"))
    assert "prod.csv does not exist" in fault


def test_a_retraining_keeps_its_own_variable(project: Path) -> None:
    (project / "manifests" / "t.yaml").write_text(
        f"{HEAD}Retraining\nmetadata: {{name: t}}\nspec:\n  service: {{address: WebService/census}}\n"
        "  outputs:\n    model: {port: a, uri: 'https://a/b/${env.name}/${run}.ilearner'}\n"
        "    evaluation: {port: b, uri: 'https://a/b/${env.name}/${run}.csv'}\n"
        "  gate: [{metric: AUC, min: 0.8}]\n"
    )
    loaded = read(project)
    assert said(loaded) == []
    (retraining,) = loaded.retrainings
    assert retraining.model.uri == "https://a/b/dev/${run}.ilearner"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda file: file.symlink_to("nowhere"), "cannot be read: No such file or directory"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "is not text in UTF-8"),
        (os.mkfifo, "is not a regular file"),
    ],
)
def test_an_environment_whose_file_cannot_be_read_is_not_passed_over(
    project: Path, make: Callable[[Path], object], why: str
) -> None:
    make(project / "environments" / "odd.yaml")
    assert "odd" in list_environments(project)
    found = [one for one in read(project, "odd").findings if one.severity == "error"]
    assert [one.subject or str(one.place) for one in found] == ["environments/odd.yaml"]
    assert why in found[0].message


def test_a_file_beside_the_environments_is_not_passed_over_in_silence(project: Path) -> None:
    (project / "environments" / "odd.yaml").write_text("values: {a: b}\n")
    (project / "environments" / "folder.yaml").mkdir()
    found = [(one.severity, one.subject, one.message) for one in read(project).findings]
    assert found == [
        ("warning", f"environments/{name}.yaml", "is not read: it is not an Environment")
        for name in ("folder", "odd")
    ]


@pytest.mark.parametrize("spec", ["[1]", "{values: [1]}", "{values: x}"])
def test_without_its_values_no_token_is_called_unknown(project: Path, spec: str) -> None:
    text = f"{HEAD}Environment\nmetadata: {{name: dev}}\nspec: {spec}\n"
    (project / "environments" / "dev.yaml").write_text(text)
    (fault,) = said(read(project))
    assert fault.startswith("environments/dev.yaml:4:")
    assert "must be a mapping" in fault


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("  ledger: {path: 'a/${env.name}'}\n", "5:21"),
        ("  cloud: {blob: 'https://${values.model}'}\n", "5:26"),
        ("  labels: {tier: '${env.name}'}\n", "5:19"),
        ("  manifests: ['${env.name}']\n", "5:16"),
        ("  values: {'${env.name}': a}\n", "5:13"),
    ],
)
def test_no_token_is_replaced_in_the_file_of_an_environment(
    project: Path, spec: str, place: str
) -> None:
    write(project, "dev", spec)
    faults = [one for one in said(read(project)) if "is replaced only in manifests" in one]
    assert [one.partition(": ")[0] for one in faults] == [f"environments/dev.yaml:{place}"]


def test_a_value_with_another_variable_is_refused(project: Path) -> None:
    """It would become a variable of a fleet."""
    write(project, "dev", "  values: {model: '${code}'}\n")
    (fault,) = said(read(project))
    assert fault == (
        "environments/dev.yaml:5:12: model holds ${, which a manifest would read as a variable |"
        " Write the value out."
    )


def test_no_token_is_replaced_in_the_project_file(project: Path) -> None:
    write_project(project, "  ledger: {path: '.reconciler/${env.name}'}\n")
    loaded = read(project)
    assert said(loaded) == [
        (
            "reconciler.yaml:6:31: ${env.name} is replaced only in manifests | Write the value in"
            " environments/dev.yaml."
        )
    ]
    assert loaded.project is None
