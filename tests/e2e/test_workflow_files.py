"""The files of `init --ci`: what it writes and refuses, and what the forges' own linters say.

Each linter must also find a fault that is put into the file, so that a linter that checks nothing
fails here.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from reconciler.gitops.workflows import FORGES, ForgeName, Pipeline, render_files
from tests.e2e.pipelines import (
    find_gitlab_ci_local,
    find_node,
    keep_linters,
    make_environment,
    need_rsync,
)
from tests.e2e.world import Done, run

pytestmark = pytest.mark.e2e

SHAPES: dict[str, dict[str, Any]] = {
    "one": {"paths": ("manifests/", "reconciler.yaml")},
    "all-paths": {"branch": "release/2026.11"},
    "two": {"environments": ("prod", "dev"), "folder": "services/ml", "branch": "trunk"},
    "similar": {"environments": ("eu-1", "eu_1", "EU_1", "2026", "prod")},
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ForgeName], list[Path]]:
    """What writes the workflow files of a forge, in each shape, as a repository each."""
    top = tmp_path_factory.mktemp("shapes")

    def write(forge: ForgeName) -> list[Path]:
        written = []
        for shape, more in SHAPES.items():
            pipeline = Pipeline(forge=forge, project="census", version="0.1.0", **more)
            for name, text in render_files(pipeline).items():
                file = top / shape / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                written += [file] if name.endswith(".yml") else []
        return written

    return write


Rendered = Callable[[ForgeName], list[Path]]


def call(*command: str | Path, folder: Path | None = None) -> Done:
    """A command that ends by itself, with an empty home, so that no settings of a person count."""
    done = subprocess.run(
        [str(one) for one in command],
        cwd=folder,
        env=make_environment({}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def actionlint(paths: Sequence[Path]) -> Done:
    return call(tool("actionlint"), "-no-color", "-shellcheck=", "-pyflakes=", *paths)


def zizmor(paths: Sequence[Path]) -> Done:
    flags = ("--offline", "--persona=pedantic", "--no-progress", "--color=never")
    return call(tool("zizmor"), *flags, *paths)


def check_jsonschema(*arguments: str | Path) -> Done:
    """The command within this process: most of its time is its start."""
    main = importlib.import_module("check_jsonschema").main  # few tests need it
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return Done(done.exit_code, done.output, "")


def github_schema(paths: Sequence[Path]) -> Done:
    return check_jsonschema("--builtin-schema", "vendor.github-workflows", *paths)


def gitlab_schema(paths: Sequence[Path]) -> Done:
    flags = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    return check_jsonschema(*flags, *paths)


def azure_schema(paths: Sequence[Path]) -> Done:
    """The schema that check-jsonschema ships cannot be used with its own validators.

    In the schema each scalar is a text, so the file is read without types.
    """
    shipped = files("check_jsonschema") / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    validator = jsonschema_rs.Draft7Validator(json.loads(shipped.read_bytes()))
    found = [
        f"{path.name}: {error.message}"
        for path in paths
        for error in validator.iter_errors(yaml.load(path.read_text(), yaml.BaseLoader))  # noqa: S506
    ]
    return Done(bool(found), "\n".join(found), "")


def node_actionlint(paths: Sequence[Path]) -> Done:
    """actionlint itself, of a time when `queue` did not exist: its one message is left out."""
    script = keep_linters() / "node_modules" / "@tktco" / "node-actionlint" / "bin"
    top = os.path.commonpath(paths) if len(paths) > 1 else paths[0].parent
    done = call(find_node(), script / "node-actionlint.js", f"{top}/**/*.yml")
    assert f"Checking {len(paths)} workflow file(s)" in done.out, done.said
    lines = [line for line in done.out.splitlines() if line.endswith(" ]")]
    known = 'unexpected key "queue" for "concurrency" section'
    found = [line for line in lines if known not in line]
    assert bool(lines) == bool(done.code), done.said
    return Done(bool(found), "\n".join(found), "")


LINTERS: dict[str, tuple[ForgeName, Callable[[Sequence[Path]], Done]]] = {
    "actionlint": ("github", actionlint),
    "node-actionlint": ("github", node_actionlint),
    "zizmor": ("github", zizmor),
    "github-schema": ("github", github_schema),
    "azure-schema": ("azure-pipelines", azure_schema),
    "gitlab-schema": ("gitlab", gitlab_schema),
}


@pytest.mark.parametrize(
    "linter",
    # A second opinion takes seconds to compile; actionlint holds the same in every run.
    [pytest.param(one, marks=[pytest.mark.slow] * one.startswith("node")) for one in LINTERS],
)
def test_a_linter_finds_nothing(linter: str, rendered: Rendered) -> None:
    forge, lint = LINTERS[linter]
    written = rendered(forge)
    assert len(written) >= len(SHAPES)
    done = lint(written)
    assert done.code == 0, done.said


@pytest.mark.parametrize(
    ("linter", "old", "new", "said"),
    [
        ("actionlint", "statuses: write", "status: write", "unknown permission scope"),
        ("actionlint", "ci plan", "ci plan ${{ github.head_ref }}", "untrusted"),
        ("actionlint", "queue: max", "queue: most", "queue"),
        pytest.param(
            *("node-actionlint", "statuses: write", "status: write", "unknown permission scope"),
            marks=pytest.mark.slow,
        ),
        (
            "zizmor",
            "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
            "checkout@v7",
            "unpinned",
        ),
        ("zizmor", "ci plan", "ci plan ${{ github.head_ref }}", "template-injection"),
        ("zizmor", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("github-schema", "runs-on:", "run-on:", "run-on"),
        ("azure-schema", "deployment:", "deploymentt:", ""),
        ("azure-schema", "AzureCLI@2", "AzureCLI@9", ""),
        ("azure-schema", "dependsOn:", "dependOn:", ""),
        ("azure-schema", "inlineScript:", "inline:", ""),
        ("gitlab-schema", "resource_group:", "resource_groups:", "resource_groups"),
        ("gitlab-schema", "junit:", "junitt:", "junitt"),
    ],
)
def test_a_linter_finds_a_fault(
    linter: str, old: str, new: str, said: str, rendered: Rendered, tmp_path: Path
) -> None:
    forge, lint = LINTERS[linter]
    source = next(path for path in rendered(forge) if path.name == "reconciler.yml")
    broken = tmp_path / source.parent.name / source.name
    broken.parent.mkdir()
    text = source.read_text()
    assert old in text
    broken.write_text(text.replace(old, new))
    done = lint([broken])
    assert done.code != 0
    assert said in done.said


# The golden files of unit/test_workflows.py hold each rule in every run. What the rules mean to GitLab
# is tried in every run for a push, whose rules are the most.
@pytest.mark.parametrize(
    ("source", "token", "jobs"),
    [
        pytest.param(
            "merge_request_event", "", ["reconciler-plan on_success"], marks=pytest.mark.slow
        ),
        ("push", "t", ["reconciler-apply-dev on_success", "reconciler-apply-prod on_success"]),
        # Without a token for comments, a person gives the digest that was reviewed.
        ("push", "", ["reconciler-apply-dev manual", "reconciler-apply-prod manual"]),
        pytest.param("schedule", "", ["reconciler-drift on_success"], marks=pytest.mark.slow),
        pytest.param("web", "t", ["reconciler-drift on_success"], marks=pytest.mark.slow),
    ],
)
def test_gitlab_starts_these_jobs(source: str, token: str, jobs: list[str], tmp_path: Path) -> None:
    """gitlab-ci-local reads both files and decides by their rules."""
    need_rsync()
    pipeline = Pipeline(forge="gitlab", project="x", version="1", environments=("prod", "dev"))
    for name, text in render_files(pipeline).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "remote", "add", "origin", "git@h:a/b.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    # It warns where a variable of GitLab itself is given.
    flags = ("--ignore-predefined-vars", "CI_PIPELINE_SOURCE", "--list-csv", "--variable")
    given = (f"CI_PIPELINE_SOURCE={source}", "--variable", f"RECONCILER_GITLAB_TOKEN={token}")
    done = call(*find_gitlab_ci_local(), *flags, *given, folder=tmp_path)
    assert done.code == 0, done.said
    head, *rows = done.out.strip().splitlines()
    assert head.startswith("name;stage;when;")
    columns = [row.split(";") for row in rows]
    assert [f"{row[0]} {row[2]}" for row in columns] == jobs


def test_a_job_of_gitlab_trusts_a_checkout_of_another_user(tmp_path: Path) -> None:
    pipeline = Pipeline(forge="gitlab", project="x", version="1")
    document = yaml.safe_load(render_files(pipeline)[pipeline.workflow])
    git(tmp_path, "init", "-q")
    other = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    given: list[dict[str, str]] = [{}, document[".reconciler"]["variables"]]
    codes = [
        subprocess.run(
            ["git", "rev-parse", "--show-toplevel"],
            cwd=tmp_path,
            env=make_environment({**other, **variables}),
            capture_output=True,
            check=False,
        ).returncode
        for variables in given
    ]
    assert codes == [128, 0]


def test_a_machine_without_rsync_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a skip here, and a failure where all checks are demanded."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    left_out = (pytest.skip.Exception, pytest.fail.Exception)
    with pytest.raises(left_out, match="NOT CHECKED: jobs of GitLab"):
        need_rsync()


# What init does with a project that exists.


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git/" not in path.as_posix()
    }


def git(folder: Path, *arguments: str) -> None:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def census(tmp_path: Path) -> Path:
    """A project in a repository whose remote is on a forge."""
    folder = tmp_path / "census"
    assert run(tmp_path, "init", "census").code == 0
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", "https://user:t0ken@forge.example/acme/models.git")
    return folder


WORKFLOWS = {
    "github": ".github/workflows/reconciler.yml",
    "azure-pipelines": ".azure-pipelines/reconciler.yml",
    "gitlab": ".gitlab/reconciler.yml",
}


@pytest.mark.parametrize("forge", FORGES)
def test_it_writes_only_new_files_and_says_what_is_next(census: Path, forge: str) -> None:
    before = read_tree(census)
    done = run(census, "init", "--ci", forge)
    after = read_tree(census)
    assert done.code == 0, done.said
    assert {name: after[name] for name in before} == before
    new = [name for name in after if name not in before]
    first = [".gitlab-ci.yml"] if forge == "gitlab" else []
    assert sorted(new) == sorted([*first, WORKFLOWS[forge], "ci/reconciler.in", f"ci/{forge}.md"])
    assert [line[2:] for line in done.out.splitlines()[: len(new)]] != []
    assert {line[2:] for line in done.out.splitlines()[: len(new)]} == set(new)
    assert "A merge into main is applied." in done.out
    assert f"ci/{forge}.md" in done.out.partition("Next steps")[2]
    # What works on this machine alone is named before the first pull request shows it.
    assert "the project uses the emulator of this machine" in done.err
    assert "the ledger is in a folder" in done.err
    said = done.err.partition("the manifests refer to secrets, which a job does not have")[2]
    assert said.splitlines()[2] == "  file secrets/storage-account.key"
    assert run(census, "validate").out.startswith("Success!")


@pytest.mark.parametrize("forge", FORGES)
def test_again_it_changes_nothing(census: Path, forge: str) -> None:
    assert run(census, "init", "--ci", forge).code == 0
    before = read_tree(census)
    done = run(census, "init", "--ci", forge)
    assert done.code == 0
    assert done.out.count("(exists: unchanged)") == len(before.keys() & set(done.out.split()))
    assert read_tree(census) == before


def test_the_page_names_the_repository_and_both_forms_of_the_subject(census: Path) -> None:
    assert run(census, "init", "--ci", "github").code == 0
    page = (census / "ci" / "github.md").read_text()
    for end in ("pull_request", "ref:refs/heads/main", "environment:production"):
        assert f"`repo:acme/models:{end}`" in page
        assert f"`repo:acme@OWNER_ID/models@REPOSITORY_ID:{end}`" in page
    assert "t0ken" not in "".join(map(str, read_tree(census).values()))


@pytest.mark.parametrize(
    "remote", ["https://forge.example/one", "/srv/git/models", "ext::sh -c id", "git@h:a/b c.git"]
)
def test_a_remote_that_is_not_a_repository_of_a_forge_is_not_named(
    census: Path, remote: str
) -> None:
    git(census, "remote", "set-url", "origin", remote)
    assert run(census, "init", "--ci", "github").code == 0
    assert "`repo:OWNER/REPOSITORY:pull_request`" in (census / "ci" / "github.md").read_text()


def test_a_file_of_an_earlier_init_is_not_overwritten(census: Path) -> None:
    """All files are named at once, with the lines to merge."""
    assert run(census, "init", "--ci", "gitlab").code == 0
    workflow, page = census / WORKFLOWS["gitlab"], census / "ci" / "gitlab.md"
    workflow.write_text(workflow.read_text().replace("20 minutes", "90 minutes"))
    page.write_text(page.read_text().replace("# Set up", "# Setting up"))
    (census / ".gitlab-ci.yml").unlink()
    before = read_tree(census)
    done = run(census, "init", "--ci", "gitlab")
    assert done.code == 1
    assert f"{WORKFLOWS['gitlab']}: the file exists, with other content" in done.err
    assert "ci/gitlab.md: the file exists, with other content" in done.err
    assert "  -  timeout: 90 minutes\n  +  timeout: 20 minutes\n" in done.err
    assert "Nothing was written. Merge these lines by hand" in done.err
    assert read_tree(census) == before


def test_a_file_of_another_purpose_is_not_shown(census: Path) -> None:
    file = census / WORKFLOWS["github"]
    file.parent.mkdir(parents=True)
    file.write_text("on: push\n")
    done = run(census, "init", "--ci", "github")
    assert done.code == 1
    assert "on: push" not in done.err
    assert "Nothing was written. Rename it, run the command again" in done.err
    assert file.read_text() == "on: push\n"
    assert not (census / "ci").exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("stages: [build]\n", 1),
        ("# include: .gitlab/reconciler.yml\n", 1),
        ("include: .gitlab/reconciler.yml.old\n", 1),
        ("include:\n  - local: /.gitlab/reconciler.yml\nstages: [build]\n", 0),
        ("include: '.gitlab/reconciler.yml'\n", 0),
    ],
)
def test_the_first_file_of_gitlab_may_include_ours(census: Path, text: str, code: int) -> None:
    (census / ".gitlab-ci.yml").write_text(text)
    done = run(census, "init", "--ci", "gitlab")
    assert done.code == code, done.said
    assert (census / ".gitlab-ci.yml").read_text() == text
    assert (census / WORKFLOWS["gitlab"]).exists() == (code == 0)
    if code:
        assert "  +  - local: /.gitlab/reconciler.yml" in done.err
        assert "Add the lines of include to .gitlab-ci.yml" in done.err


def test_what_the_pipeline_installs_belongs_to_the_user(census: Path) -> None:
    pinned = census / "ci" / "reconciler.in"
    pinned.parent.mkdir()
    pinned.write_text("--index-url https://index.example/simple\nreconciler==0.1.0\n")
    done = run(census, "init", "--ci", "github")
    assert done.code == 0
    assert "  ci/reconciler.in (exists: unchanged)\n" in done.out
    assert pinned.read_text().endswith("reconciler==0.1.0\n")


def test_a_project_below_the_top_of_the_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "master")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    for name in ("services/one", "services/two"):
        assert run(tmp_path, "init", name).code == 0
        done = run(tmp_path, "init", name, "--ci", "github")
        assert done.code == 0, done.said
        assert "A merge into master is applied." in done.out
    folder = tmp_path / ".github" / "workflows"
    assert [file.name for file in sorted(folder.iterdir())] == [
        "reconciler-services-one.yml",
        "reconciler-services-two.yml",
    ]
    text = (folder / "reconciler-services-two.yml").read_text()
    document = yaml.safe_load(text)
    assert document[True]["push"]["paths"] == [
        "services/two/environments/**",
        "services/two/manifests/**",
        "services/two/policies/**",
        "services/two/reconciler.yaml",
    ]
    assert "run: reconciler --chdir services/two ci plan\n" in text
    assert "path: services/two/.reconciler-ci/\n" in text
    links = [
        line.partition("](")[2]
        for line in (tmp_path / "services/two/ci/github.md").read_text().splitlines()
        if "](" in line
    ]
    for link in links:
        target = link.partition(")")[0]
        made_later = target == "reconciler.txt"
        assert made_later or (tmp_path / "services/two/ci" / target).exists(), target


@pytest.mark.parametrize(
    ("branches", "head", "flags", "found"),
    [
        (["main"], "", (), "main"),
        (["master"], "", (), "master"),
        (["master", "main"], "", (), "main"),
        (["add-ci"], "", (), "main"),
        (["main"], "develop", (), "develop"),
        (["main"], "develop", ("--branch", "release/1"), "release/1"),
    ],
)
def test_the_branch_that_is_applied(
    census: Path, branches: list[str], head: str, flags: tuple[str, ...], found: str
) -> None:
    git(census, "checkout", "-q", "-b", "first")
    git(census, "commit", "-q", "--allow-empty", "-m", "first")
    for name in branches:
        git(census, "branch", name)
    if head:
        git(census, "symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{head}")
    done = run(census, "init", "--ci", "github", *flags)
    assert f"A merge into {found} is applied." in done.out
    assert f'branches: ["{found}"]' in (census / WORKFLOWS["github"]).read_text()


def test_without_git_it_works_too(tmp_path: Path) -> None:
    assert run(tmp_path, "init").code == 0
    done = run(tmp_path, "init", "--ci", "github", env={"PATH": "/nonexistent"})
    assert done.code == 0, done.said


def test_what_a_project_reads_elsewhere_starts_an_apply_too(census: Path) -> None:
    manifest = census / "manifests" / "census.yaml"
    (census / "definitions").mkdir()
    moved = census / "definitions" / "census.json"
    shutil.move(census / "manifests" / "census.definition.json", moved)
    manifest.write_text(
        manifest.read_text().replace(
            "file: census.definition.json", "file: ../definitions/census.json"
        )
    )
    assert run(census, "init", "--ci", "github").code == 0
    document = yaml.safe_load((census / WORKFLOWS["github"]).read_text())
    assert "definitions/**" in document[True]["push"]["paths"]


def add_environment(folder: Path, name: str, spec: str = "{}") -> None:
    file = folder / "environments" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    head = "apiVersion: reconciler/v1\nkind: Environment\n"
    file.write_text(f"{head}metadata: {{name: {name}}}\nspec: {spec}\n")


@pytest.mark.parametrize("forge", FORGES)
def test_each_environment_has_an_apply_of_its_own(census: Path, forge: str) -> None:
    add_environment(census, "prod", "{ledger: {container: 'https://s.example/ledger'}}")
    add_environment(census, "dev")
    # The environment of the shell is not that of the pipeline.
    done = run(census, "init", "--ci", forge, env={"RECONCILER_ENV": "dev"})
    assert done.code == 0, done.said
    assert "Environments, in the order of their applies: dev, prod." in done.out
    text = (census / WORKFLOWS[forge]).read_text()
    assert text.index('RECONCILER_ENV: "dev"') < text.index('RECONCILER_ENV: "prod"')
    assert text.count("RECONCILER_ENV") == 2
    # Each warning names the environments that it is about.
    ledgers = done.err.partition("the ledger is in a folder")[2]
    assert ledgers.splitlines()[2] == "  For: dev"
    page = (census / "ci" / f"{forge}.md").read_text()
    assert "apply-dev" in page
    assert "apply-prod" in page


def test_errors_of_each_environment_are_said_at_once(census: Path) -> None:
    add_environment(census, "dev", "{clod: azure}")
    add_environment(census, "prod", "{defalts: {}}")
    before = read_tree(census)
    done = run(census, "init", "--ci", "github")
    assert done.code == 1
    assert "environments/dev.yaml line 4" in done.err
    assert "environments/prod.yaml line 4" in done.err
    assert read_tree(census) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ci", "jenkins"), "'jenkins' is not one of 'github', 'azure-pipelines', 'gitlab'"),
        (("--branch", "main"), "--branch needs --ci"),
        (("--ci", "github", "--branch", "a'b"), "the branch has characters"),
        (("--ci", "github", "--branch", ""), "'--branch' is empty"),
        (("nowhere", "--ci", "github"), "the project file reconciler.yaml does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    census: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = read_tree(census)
    done = run(census, "init", *arguments)
    assert done.code == 1
    assert said in done.err
    assert read_tree(census) == before


def test_a_project_that_is_not_valid_gets_no_pipeline(census: Path) -> None:
    (census / "manifests" / "census.yaml").write_text(
        "kind: WebServic\napiVersion: reconciler/v1\n"
    )
    before = read_tree(census)
    done = run(census, "init", "--ci", "github")
    assert done.code == 1
    assert "manifests/census.yaml line 1" in done.err
    assert read_tree(census) == before


def test_nothing_is_written_through_a_link(census: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (census / ".github").symlink_to(outside)
    done = run(census, "init", "--ci", "github")
    assert done.code == 1
    assert "symbolic link" in done.err
    assert list(outside.iterdir()) == []
    assert not (census / "ci").exists()
