"""Drift reports in their formats and files: what is written, what is refused, and when."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import junitparser
import pytest

from reconciler.cli.drift_formats import FORMATS, name_suffix
from tests.e2e.test_environments import environments as environments  # noqa: PLC0414 - a fixture
from tests.e2e.test_environments import write
from tests.e2e.world import Done, Emulator, Project, run_with_limit
from tests.outputs import check_output
from tests.unit.test_sarif import SCHEMA

pytestmark = pytest.mark.e2e
OUTS = ("drift.txt", "drift.json", "drift.md", "drift.sarif", "drift.junit.xml", "drift.html")


@pytest.fixture
def moved(project: Project) -> Project:
    """A service that was applied, and whose description somebody has changed since."""
    project.emulator.deploy("a", project.emulator.model_uri("old"))
    project.manifest("a", project.emulator.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    project.emulator.patch("a", description="<img src=x onerror=alert(1)> @all ]]>")
    return project


@pytest.fixture
def unread(tmp_path: Path) -> Project:
    """A project whose services cannot be asked: a report of it would be incomplete evidence."""
    nowhere = Emulator("http://127.0.0.1:1", "", "emulator", "group")
    project = Project(tmp_path / "project", nowhere)
    project.manifest("a", "http://127.0.0.1:1/account/m/old.ilearner")
    return project


def save(project: Project, *names: str, **more: str) -> Done:
    flags = [flag for name in names for flag in ("--out", name)]
    return project.run("drift", "--refresh=full", "--detailed-exitcode", *flags, env=more or None)


def test_one_run_saves_the_report_in_each_format(moved: Project) -> None:
    done = save(moved, *OUTS)
    assert done.code == 2, done.said
    assert "# WebService/a: drifted" in done.out
    assert f"Saved the report to: {', '.join(OUTS)}" in done.err
    text, document, markdown, sarif, junit, page = (
        (moved.folder / one).read_text() for one in OUTS
    )
    assert text == done.out
    check_output(json.loads(document), "drift")
    assert markdown.startswith("<!-- reconciler drift census -->\n")
    SCHEMA.validate(json.loads(sarif))
    (result,) = json.loads(sarif)["runs"][0]["results"]
    assert result["ruleId"] == "drifted"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "manifests/a.yaml"
    tests = junitparser.JUnitXml.fromstring(junit.encode())
    assert (tests.tests, tests.failures) == (1, 1)
    assert tests.time > 0
    assert page.startswith("<!doctype html>")
    assert "onerror=alert(1)" in page
    assert "<img" not in page
    for name in OUTS:
        assert stat.S_IMODE((moved.folder / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"text"}))
def test_each_format_is_printed_as_it_is_saved(form: str, moved: Project) -> None:
    name = "drift" + name_suffix(form)
    printed = moved.run("drift", "--refresh=full", "--format", form, "--out", name)
    assert printed.code == 0, printed.said
    assert printed.out == (moved.folder / name).read_text()


def test_a_report_is_replaced_by_the_next_one_and_nothing_else_is(moved: Project) -> None:
    assert save(moved, *OUTS).code == 2
    first = (moved.folder / "drift.json").read_text()
    assert save(moved, *OUTS).code == 2
    assert (moved.folder / "drift.json").read_text() != "" != first
    (moved.folder / "README.md").write_text("# Models\n")
    (moved.folder / "drift.sarif").write_text('{"version": "2.1.0", "runs": []}')
    done = save(moved, "README.md", "drift.sarif")
    assert done.code == 1
    assert "README.md: is not a drift report in markdown, and --out replaces nothing" in done.err
    assert "drift.sarif: is not a drift report in sarif" in done.err
    assert (moved.folder / "README.md").read_text() == "# Models\n"


def test_a_place_in_a_repository_is_relative_to_its_top(moved: Project) -> None:
    (moved.folder.parent / ".git").mkdir()
    assert save(moved, "drift.sarif", "drift.xml").code == 2
    sarif = (moved.folder / "drift.sarif").read_text()
    assert '"project/manifests/a.yaml"' in sarif
    assert 'file="project/manifests/a.yaml"' in (moved.folder / "drift.xml").read_text()


def test_a_place_behind_a_link_is_that_of_the_real_file(moved: Project) -> None:
    (moved.folder / "manifests").rename(moved.folder / "shared")
    (moved.folder / "manifests").symlink_to("shared")
    (moved.folder.parent / ".git").mkdir()
    assert save(moved, "drift.sarif", "drift.xml").code == 2
    assert moved.run("ci", "drift").code == 0
    for folder in (moved.folder, moved.folder / ".reconciler-ci"):
        assert '"uri": "project/shared/a.yaml"' in (folder / "drift.sarif").read_text()
        assert 'file="project/shared/a.yaml"' in (folder / "drift.xml").read_text()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("nowhere/drift.sarif",), "nowhere: the folder does not exist"),
        (("reconciler.yaml/drift.sarif",), "reconciler.yaml: is not a folder"),
        (("d.sarif", "./d.sarif"), "./d.sarif: is the same file as d.sarif"),
        (("d.sarif", "d.sarif"), "d.sarif: is the same file as d.sarif"),
        ((".reconciler/drift.sarif",), "is in the folder of the ledger"),
        (("folder.json",), "folder.json: is a folder"),
        (("link.json",), "is a symbolic link, and nothing is written through it"),
        (("one/d.json", "two/d.md"), "two: the folder does not exist"),
        (("n" * 300 + ".json",), "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    unread: Project, names: tuple[str, ...], said: str
) -> None:
    (unread.folder / "folder.json").mkdir()
    (unread.folder / ".reconciler").mkdir()
    (unread.folder / "link.json").symlink_to("reconciler.yaml")
    before = sorted(unread.folder.rglob("*"))
    done = save(unread, *names)
    assert done.code == 1
    assert said in done.err
    assert "Nothing was read, and nothing was written." in done.err
    assert "Coverage" not in done.said
    assert sorted(unread.folder.rglob("*")) == before


def test_the_command_that_makes_a_folder_can_be_copied(unread: Project) -> None:
    done = save(unread, "new reports/drift.json")
    assert done.code == 1
    assert "\n  Make it: mkdir -p 'new reports'\n" in done.err


def test_a_folder_that_may_not_be_written_is_refused(unread: Project) -> None:
    closed = unread.folder / "closed"
    closed.mkdir(mode=0o555)
    arguments = ("drift", "--out", "closed/drift.sarif")
    done = run_with_limit(unread.folder, *arguments, unprivileged=True)
    assert done.code == 1
    assert "closed: nothing may be written to this folder" in done.err


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("drift.htm", "Did you mean .html?"),
        ("drift.jsn", "Did you mean .json?"),
        ("drift.sarf", "Did you mean .sarif?"),
        ("drift.pdf", ""),
        ("drift", ""),
        (".json", ""),
    ],
)
def test_an_unknown_suffix_lists_what_exists(unread: Project, name: str, question: str) -> None:
    done = save(unread, name)
    assert done.code == 1
    assert question in done.err
    assert f"'{name}' does not end as a file of a format does" in done.err
    for suffix in (".txt", ".json", ".md", ".html", ".sarif", ".sarif.json", ".junit.xml", ".xml"):
        assert suffix in done.err


def test_an_unknown_format_asks_for_the_similar_one(unread: Project) -> None:
    done = unread.run("drift", "--format", "sarf")
    assert done.code == 1
    assert "'sarf' is not one of 'text', 'json', 'markdown'" in done.err
    assert "Did you mean 'sarif'?" in done.err


def test_a_full_disk_costs_one_file_and_no_other(moved: Project) -> None:
    (moved.folder / "full.sarif").symlink_to("/dev/full")
    done = save(moved, "full.sarif", "drift.json")
    assert done.code == 1
    assert "full.sarif: the report cannot be written: No space left on device" in done.err
    assert "Make room on the disk" in done.err
    assert json.loads((moved.folder / "drift.json").read_text())["outcome"] == "drift"
    assert "# WebService/a: drifted" in done.out
    assert "Saved the report" not in done.err


def test_a_write_that_fails_leaves_the_older_report(moved: Project) -> None:
    assert save(moved, "drift.sarif").code == 2
    before = (moved.folder / "drift.sarif").read_bytes()
    arguments = ("drift", "--refresh=full", "--out", "drift.sarif")
    done = run_with_limit(moved.folder, *arguments, file_bytes=len(before) // 2)
    assert done.code == 1
    assert "drift.sarif: the report cannot be written" in done.err
    assert (moved.folder / "drift.sarif").read_bytes() == before
    assert not list(moved.folder.glob(".drift.sarif.*"))


def test_a_pipe_is_written_and_not_replaced(moved: Project) -> None:
    pipe = moved.folder / "pipe.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert save(moved, "pipe.json").code == 2
        assert json.loads(os.read(reader, 1 << 20))["outcome"] == "drift"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_reader_that_ends_early_costs_no_file(moved: Project) -> None:
    command = f"{sys.executable} -m reconciler drift --out drift.sarif --format json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=moved.folder, check=True, capture_output=True, text=True
    )
    assert done.stdout == "{"
    SCHEMA.validate(json.loads((moved.folder / "drift.sarif").read_text()))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--accept", "WebService/a", "--out", "drift.json"), "give --accept or --out"),
        (("--accept", "WebService/a", "--env", "all"), "--accept needs one environment"),
    ],
)
def test_accept_makes_no_report(unread: Project, flags: tuple[str, ...], said: str) -> None:
    done = unread.run("drift", *flags)
    assert (done.code, said in done.err) == (1, True), done.said


# All environments.


def apply_all(project: Project) -> None:
    for name in ("dev", "prod"):
        assert project.run("apply", "--env", name, "--auto-approve").code == 0


def test_all_environments_are_one_report_in_each_format(environments: Project) -> None:
    apply_all(environments)
    environments.emulator.patch("census-prod", description="somebody")
    arguments = ("drift", "--env", "all", "--detailed-exitcode", "--refresh=full")
    files = [flag for name in OUTS for flag in ("--out", name)]
    done = environments.run(*arguments, *files)
    assert done.code == 2, done.said
    assert done.out.splitlines()[-2:] == [
        "dev    No drift. 1 service in sync.",
        "prod   Drift: 1 drifted; 0 of 1 in sync.",
    ]
    text, document, markdown, sarif, junit, page = (
        (environments.folder / one).read_text() for one in OUTS
    )
    assert text == done.out
    assert "1 of 2 services" in page
    found = json.loads(document)
    check_output(found, "environments")
    assert found["outcome"] == "drift"
    outcomes = {one["environment"]: one["outcome"] for one in found["environments"]}
    assert outcomes == {"dev": "in-sync", "prod": "drift"}
    assert markdown.startswith("<!-- reconciler drift census all -->\n| environment | |")
    assert markdown.count("<!-- reconciler") == 1
    SCHEMA.validate(json.loads(sarif))
    runs = json.loads(sarif)["runs"]
    categories = [one["automationDetails"]["id"] for one in runs]
    assert categories == ["reconciler/drift/census/dev/", "reconciler/drift/census/prod/"]
    assert [len(one["results"]) for one in runs] == [0, 1]
    suites = junitparser.JUnitXml.fromstring(junit.encode())
    assert [(one.name, one.failures) for one in suites] == [
        ("drift census dev", 0),
        ("drift census prod", 1),
    ]


def test_the_commands_of_a_finding_name_its_environment(environments: Project) -> None:
    apply_all(environments)
    environments.emulator.deploy("census-prod", environments.emulator.model_uri("third"))
    done = environments.run("drift", "--env", "all", "--json", "--refresh=full")
    (found,) = json.loads(done.out)["environments"][1]["drift"]["findings"]
    assert found["settle"] == [
        "reconciler apply --target WebService/census-prod --env prod",
        "reconciler drift --accept WebService/census-prod --env prod",
    ]
    settled = environments.run(*found["settle"][0].split()[1:], "--auto-approve")
    assert settled.code == 0, settled.said
    done = environments.run("drift", "--env", "prod", "--refresh=full", "--detailed-exitcode")
    assert done.code == 0, done.said


def test_a_report_of_all_environments_is_a_baseline_and_a_rule_holds_in_one(
    environments: Project,
) -> None:
    apply_all(environments)
    for name in ("census-dev", "census-prod"):
        environments.emulator.patch(name, description="somebody")
    arguments = ("drift", "--env", "all", "--detailed-exitcode", "--refresh=full")
    assert environments.run(*arguments, "--out", "base.json").code == 2
    new_only = (*arguments, "--new-only", "--baseline", "base.json")
    done = environments.run(*new_only)
    assert (done.code, done.out.count("No new drift.")) == (0, 4), done.said
    environments.emulator.patch("census-prod", title="another")
    done = environments.run(*new_only)
    assert (done.code, done.out.count("No new drift.")) == (2, 2), done.said
    rule = environments.folder / ".driftignore"
    rule.write_text(
        "- {address: '*/*', environment: prod, reason: r, until: 2099-01-01, owner: o}\n"
    )
    done = environments.run(*new_only)
    assert (done.code, done.out.count("Ignored: 2 findings by 1 rule")) == (0, 1), done.said
    done = environments.run("drift", "--env", "dev", "--baseline", "base.json")
    assert "Findings: 0 new, 1 known" in done.out
    assert environments.run("drift", "--env", "dev", "--out", "dev.json").code == 0
    done = environments.run("drift", "--env", "prod", "--baseline", "dev.json")
    assert (done.code, 'is of the environment "dev"' in done.err) == (1, True), done.said
    assert environments.run("validate").code == 0
    rule.write_text(rule.read_text().replace("prod", "prd"))
    done = environments.run("validate")
    assert done.said.count('no environment is named "prd"') == 1, done.said
    assert 'Did you mean "prod"?' in done.said


def test_an_environment_without_a_report_hides_no_other(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    write(environments, "prod", "  cloud: {resourceManager: 7}\n")
    files = [flag for name in OUTS for flag in ("--out", name)]
    done = environments.run("drift", "--env", "all", "--detailed-exitcode", *files)
    assert done.code == 1, done.said
    assert "No drift. 1 service in sync." in done.out
    assert "prod   No drift report" in done.out
    document = json.loads((environments.folder / "drift.json").read_text())
    check_output(document, "environments")
    assert document["outcome"] == "error"
    assert document["environments"][1]["diagnostics"][0]["severity"] == "error"
    sarif = json.loads((environments.folder / "drift.sarif").read_text())
    done_well = [one["invocations"][0]["executionSuccessful"] for one in sarif["runs"]]
    assert done_well == [True, False]
    page = (environments.folder / "drift.html").read_text()
    assert "No report of prod. No drift: 1 service in sync</h1>" in page
    assert 'class="light calm"' not in page
    assert "<strong>no report</strong>" in page
    assert "on environments/prod.yaml line" in page
    junit = junitparser.JUnitXml.fromfile(str(environments.folder / "drift.junit.xml"))
    assert [(one.name, one.failures > 0) for one in junit] == [
        ("drift census dev", False),
        ("drift census prod", True),
    ]


def test_a_file_of_an_environment_is_no_output(environments: Project) -> None:
    before = (environments.folder / "environments" / "prod.yaml").read_text()
    flags = ("--out", "environments/drift.md", "--out", ".reconciler/prod/x.json")
    (environments.folder / ".reconciler" / "prod").mkdir(parents=True)
    done = environments.run("drift", "--env", "all", *flags)
    assert done.code == 1
    assert ".reconciler/prod/x.json: is in the folder of the ledger" in done.err
    assert (environments.folder / "environments" / "prod.yaml").read_text() == before


def test_a_project_without_environments_has_no_all(unread: Project) -> None:
    done = unread.run("drift", "--env", "all")
    assert done.code == 1
    assert "environment" in done.err


def test_what_is_ignored_and_what_has_expired_is_in_each_format(moved: Project) -> None:
    moved.emulator.patch("a", title="somebody")
    rule = "- address: WebService/a\n  pointer: {}\n  reason: {}\n  until: {}\n  owner: ml-team\n"
    (moved.folder / ".driftignore").write_text(
        rule.format("/properties/description", "a load test <b>runs</b>", "2999-01-31")
        + rule.format("/properties/title", "it was renamed", "2026-01-31")
    )
    done = save(moved, *OUTS)
    assert done.code == 2, done.said
    text, document, markdown, sarif, junit, page = (
        (moved.folder / one).read_text() for one in OUTS
    )
    for shown in (text, document, markdown, sarif, junit, page):
        assert "a load test" in shown
        assert "it was renamed" in shown
    (run,) = json.loads(sarif)["runs"]
    found = {one["ruleId"]: one for one in run["results"] if "suppressions" not in one}
    assert sorted(found) == ["drifted", "ignore-expired"]
    expired = found["ignore-expired"]["locations"][0]["physicalLocation"]
    assert expired["artifactLocation"]["uri"] == ".driftignore"
    assert expired["region"]["startLine"] == 6
    (ignored,) = (one for one in run["results"] if "suppressions" in one)
    assert ignored["properties"]["pointer"] == "/properties/description"


def test_a_finding_is_new_once(moved: Project) -> None:
    states = []
    for _ in range(2):
        assert save(moved, "drift.sarif").code == 2
        document = json.loads((moved.folder / "drift.sarif").read_text())
        states += [one["baselineState"] for one in document["runs"][0]["results"]]
    assert states == ["new", "unchanged"]


def test_ci_drift_keeps_each_format(moved: Project) -> None:
    done = moved.run("ci", "drift", "--detailed-exitcode")
    assert done.code == 2, done.said
    folder = moved.folder / ".reconciler-ci"
    names = {one.name for one in folder.iterdir()}
    assert {"drift.json", "drift.md", "drift.html", "drift.sarif", "drift.xml"} <= names
    SCHEMA.validate(json.loads((folder / "drift.sarif").read_text()))
    assert moved.run("ci", "drift").code == 0  # its own files are no other files
