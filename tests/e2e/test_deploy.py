"""The image and the manifests of Kubernetes: linted, held to a schema, and played without a cluster.

Nothing here builds an image or talks to a cluster: what the containers run is run on this machine.
"""

import contextlib
import copy
import http.client
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import kubernetes_validate
import pytest
from packaging.requirements import Requirement

from reconciler.cli.context import Invocation
from reconciler.cli.watching import ProjectSource, WatchFlags
from reconciler.cli.wiring import PlanFlags
from reconciler.kinds import find_kinds
from reconciler.manifests import load
from reconciler.manifests.folder import Folder
from tests.e2e.pods import (
    DEPLOY,
    KUSTOMIZATION,
    MANIFESTS,
    Pod,
    Repository,
    find_pods,
    list_containers,
    make_read_only,
    read_documents,
)
from tests.e2e.test_ledger_container import Shared
from tests.e2e.world import MODEL, ROOT, Emulator, Project, run
from tests.tree import find_tracked

pytestmark = pytest.mark.e2e
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PODS = [pod for document in read_documents(*MANIFESTS) for pod in find_pods(document)]
# The oldest release that has each field, and the newest that the schemas know.
RELEASES = ("1.31", kubernetes_validate.latest_version())


def lint(text: str) -> str:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("hadolint"),
            "--no-color",
            "--failure-threshold=style",
            "-",
        ],
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert bool(done.stdout) == bool(done.returncode), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("", "", ""),
        ("--no-install-recommends ", "", "DL3015"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        ("COPY schemas schemas", "ADD schemas schemas", "DL3020"),
        ("USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_the_linter_finds_nothing_in_the_dockerfile(old: str, new: str, finding: str) -> None:
    assert old in DOCKERFILE
    said = lint(DOCKERFILE.replace(old, new) if old else DOCKERFILE)
    assert finding in said
    assert finding or not said


def test_the_bases_are_pinned_by_version_and_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    (base,) = set(bases)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base)


def find_last_stage() -> list[str]:
    return DOCKERFILE.rpartition("\nFROM ")[2].splitlines()


def test_the_image_has_a_user_a_health_check_and_no_secret() -> None:
    lines = find_last_stage()
    for line in ("USER 10001:10001", 'VOLUME ["/work"]', "STOPSIGNAL SIGTERM"):
        assert line in lines
    assert any("/healthz" in line for line in lines)
    assert not re.search(r"^(ARG|ADD) ", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^ *\w*(TOKEN|SECRET|PASSWORD|KEY)\w*=", DOCKERFILE, re.MULTILINE)
    copied = re.findall(r"^COPY (?:--\S+ )*(.*)$", DOCKERFILE, re.MULTILINE)
    assert {one for line in copied for one in line.split()[:-1]} == {
        "manifests/deploy/build-requirements.txt",
        "manifests/deploy/requirements.txt",
        *("pyproject.toml", "README.md", "LICENSE", "reconciler", "schemas", "manifests"),
        *("/opt/reconciler", "manifests/deploy/fetch-project"),
    }


def test_the_build_reads_all_of_a_checkout_that_the_wheel_needs() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    ignored = [one.removeprefix("**/") for one in lines if one and one[0] not in "#!"]
    assert ignored.pop(0) == "*"
    read = [line[1:] for line in lines if line.startswith("!")]
    left_out = {
        str(file.relative_to(ROOT))
        for file in find_tracked(*read, *(f"{one}/*" for one in read))
        for pattern in ignored
        if file.match(pattern) or any(one.match(pattern) for one in file.parents)
    }
    assert not left_out
    copied = re.findall(r"^COPY (?!--)(?:--\S+ )*(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert {one.split("/")[0] for line in copied for one in line.split()} == set(read)


@pytest.mark.parametrize(
    ("name", "extra", "wanted"),
    [("requirements", "watch", "dependencies"), ("build-requirements", "", "build")],
)
def test_what_is_installed_is_pinned_by_digest(name: str, extra: str, wanted: str) -> None:
    """Each requirement of the project has a version that fits, and each version a digest."""
    text = (DEPLOY / f"{name}.txt").read_text()
    pinned = {
        found[1].lower(): (found[2], found[3])
        for found in re.finditer(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", text, re.MULTILINE)
    }
    assert all("--hash=sha256:" in digests for _, digests in pinned.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if wanted == "build":
        needed = project["build-system"]["requires"]
    else:
        needed = project["project"]["dependencies"]
        needed += project["project"]["optional-dependencies"][extra]
    for one in map(Requirement, needed):
        version, _ = pinned[one.name.lower()]
        assert one.specifier.contains(version), one
    assert not re.search(r"://|--index|--find", text)


def check(document: dict[str, Any], release: str) -> None:
    kubernetes_validate.validate(document, release, strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_the_manifests_fit_the_schemas_of_kubernetes(release: str) -> None:
    for document in read_documents(*MANIFESTS):
        check(document, release)


def test_the_kustomization_names_the_manifests_and_their_image() -> None:
    (found,) = read_documents(KUSTOMIZATION)
    assert set(found["resources"]) <= set(MANIFESTS)
    (image,) = found["images"]
    assert {one["image"] for pod in PODS for one in list_containers(pod)} == {image["name"]}


def _misspell(document: Any) -> None:
    document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["arg"] = []


def _mistype(document: Any) -> None:
    document["spec"]["jobTemplate"]["spec"]["backoffLimit"] = "two"


@pytest.mark.parametrize("spoil", [_misspell, _mistype])
def test_a_mistake_does_not_fit_the_schemas(spoil: Callable[[Any], None]) -> None:
    (document,) = read_documents("cronjob.yaml")
    broken = copy.deepcopy(document)
    spoil(broken)
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken, RELEASES[-1])


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["metadata"]["labels"].popitem()[1])
def test_a_pod_has_the_rights_that_it_needs_and_no_other(pod: dict[str, Any]) -> None:
    """What Kubernetes calls the restricted profile, and more: it would run in such a namespace."""
    spec = pod["spec"]
    user = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    assert [str(spec["securityContext"]["runAsUser"])] == user
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in volumes.values())
    for container in list_containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert {one["name"]: one["mountPath"] for one in container["volumeMounts"]} == {
            "work": "/work",
            "tmp": "/tmp",  # noqa: S108 - a path in the container
        }
        assert set(volumes) == {"work", "tmp"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        for one in container.get("env", []):
            secret = re.search(r"TOKEN|SECRET|KEY|HOOK", one["name"])
            assert not secret or "secretKeyRef" in one["valueFrom"], one


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["spec"]["containers"][0]["name"])
def test_the_commands_of_a_pod_are_those_of_the_image(pod: dict[str, Any], tmp_path: Path) -> None:
    """An option that a command does not know fails before --help is printed."""
    for container in list_containers(pod):
        command = container.get("command", ["reconciler"])
        if command[0] != "reconciler":
            assert f"/usr/local/bin/{command[0]}" in DOCKERFILE
        else:
            done = run(tmp_path, *container["args"], "--help")
            assert done.code == 0, done.said


def test_a_project_leaves_the_files_alone_that_kubernetes_reads(tmp_path: Path) -> None:
    assert run(tmp_path, "init").code == 0
    folder = tmp_path / "manifests" / "deploy"
    folder.mkdir()
    for file in find_tracked("manifests/deploy/*"):
        (folder / file.name).write_bytes(file.read_bytes())
    loaded = load(tmp_path, None, [], find_kinds())
    assert [str(one.address) for one in loaded.manifests] == ["WebService/census"]
    assert not [one for one in loaded.findings if one.severity == "error"]
    read = {place.file for place in loaded.foreign}
    assert read == {f"manifests/deploy/{name}" for name in (*MANIFESTS, KUSTOMIZATION)}


@pytest.fixture
def repository(project: Project, tmp_path: Path) -> Repository:
    """The project of a service; nobody has applied it yet."""
    project.emulator.deploy("a", project.emulator.model_uri("old"))
    project.manifest("a", project.emulator.model_uri("new"))
    return Repository(tmp_path / "models.git", project.folder)


@pytest.fixture
def pod(repository: Repository, tmp_path: Path) -> Pod:
    """The Pod of the nightly report, with this repository."""
    (job,) = read_documents("cronjob.yaml")
    (found,) = find_pods(job)
    return Pod(found["spec"], tmp_path / "pod", {"PROJECT_REPOSITORY": repository.url})


def test_the_job_of_the_night_fetches_the_project_and_reports(project: Project, pod: Pod) -> None:
    fetched = pod.run("fetch")
    assert fetched.returncode == 0, fetched.stderr
    assert run(pod.work / "current", "apply", "--auto-approve").code == 0
    reported = pod.run("drift")
    assert (reported.returncode, "in sync" in reported.stdout) == (0, True), reported.stdout
    project.emulator.deploy("a", project.emulator.model_uri("old"))
    reported = pod.run("drift")
    assert (reported.returncode, "model-swapped" in reported.stdout) == (2, True), reported.stdout


def test_the_containers_write_to_their_volumes_alone(pod: Pod) -> None:
    before = make_read_only(pod)
    for name, code in (("fetch", 0), ("drift", 2)):
        done = pod.run(name, *before)
        assert done.returncode == code, done.stderr
    assert (pod.work / "current" / ".reconciler").is_dir()
    assert not list(pod.tmp.iterdir())
    spec = copy.deepcopy(dict(pod.spec))
    spec["initContainers"][0]["env"].append({"name": "PROJECT_FOLDER"})
    elsewhere = {**pod.more, "PROJECT_FOLDER": str(pod.folder / "elsewhere")}
    refused = Pod(spec, pod.folder, elsewhere).run("fetch", *before)
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr


def trees(pod: Pod) -> set[str]:
    return {one.name for one in (pod.work / "trees").iterdir()}


def current(pod: Pod) -> str:
    return (pod.work / "current").readlink().name


def test_a_fetch_keeps_the_newest_commit_and_the_one_before(
    repository: Repository, pod: Pod
) -> None:
    commits = []
    for number in range(3):
        (repository.clone / "manifests" / "x.yaml").write_text(f"# {number}\n")
        commits.append(repository.push(f"Commit {number}"))
        for _ in range(2):  # the second one has nothing to do
            done = pod.run("fetch")
            assert done.returncode == 0, done.stderr
            assert current(pod) == commits[-1]
    assert trees(pod) == set(commits[1:])
    assert (pod.work / "current/manifests/x.yaml").read_text() == "# 2\n"
    # A git that was killed leaves its lock, and half a folder.
    (pod.work / "repository" / "shallow.lock").touch()
    (pod.work / "trees" / "new").mkdir()
    commits.append(repository.push("Commit 3"))
    assert pod.run("fetch").returncode == 0
    assert trees(pod) == set(commits[2:])
    # A branch that was set back is followed, and a folder that is gone is made again.
    repository.git("reset", "-q", "--hard", commits[0])
    repository.push("Commit 4")
    shutil.rmtree((pod.work / "current").resolve())
    assert pod.run("fetch").returncode == 0
    assert (pod.work / "current/manifests/x.yaml").read_text() == "# 0\n"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROJECT_REPOSITORY", "", "PROJECT_REPOSITORY is not set"),
        ("PROJECT_REPOSITORY", "file:///nonexistent.git", "nonexistent.git"),
        ("PROJECT_BRANCH", "--upload-pack=touch x", "is not the name of a branch"),
        ("PROJECT_BRANCH", "no-such-branch", "no-such-branch"),
    ],
)
def test_a_fetch_that_cannot_be_done_fails(pod: Pod, name: str, value: str, said: str) -> None:
    done = Pod(pod.spec, pod.folder, {**pod.more, name: value}).run("fetch")
    assert (done.returncode != 0, said in done.stderr) == (True, True), done.stderr
    assert not (pod.work / "current").exists()


def test_a_token_is_given_to_git_alone(pod: Pod, tmp_path: Path) -> None:
    """git asks the helper for a host by https; no file and no output has the token."""
    token = "a-token-that-must-not-leak"
    traced = tmp_path / "trace"
    more = {
        "PROJECT_REPOSITORY": "https://127.0.0.1:1/acme/models.git",
        "PROJECT_TOKEN": token,
        "GIT_TRACE": str(traced),
    }
    spec = copy.deepcopy(dict(pod.spec))
    spec["initContainers"][0]["env"].append({"name": "GIT_TRACE"})
    done = Pod(spec, pod.folder, more).run("fetch")
    assert done.returncode != 0
    written = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert traced in written
    assert not any(token.encode() in one.read_bytes() for one in written)
    assert token not in done.stdout + done.stderr
    helper = re.search(
        r"credential\.helper='(!f\(\).*)' \\$", (DEPLOY / "fetch-project").read_text(), re.MULTILINE
    )
    assert helper
    filled = subprocess.run(
        [
            "git",
            "-c",
            "credential.helper=",
            "-c",
            f"credential.helper={helper[1]}",
            "credential",
            "fill",
        ],
        input="protocol=https\nhost=git.example.com\n\n",
        env={"PATH": "/usr/bin:/bin", "PROJECT_TOKEN": token, "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"password={token}\n" in filled.stdout


def test_a_fetch_goes_on_after_a_failure_and_ends_at_a_signal(
    repository: Repository, pod: Pod
) -> None:
    spec = copy.deepcopy(dict(pod.spec))
    spec["initContainers"][0]["args"] = ["1"]
    going_on = Pod(spec, pod.folder, pod.more)
    hidden = repository.folder.with_name("hidden.git")
    repository.folder.rename(hidden)
    with going_on.start("fetch", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the fetch failed" in line:
                break
        hidden.rename(repository.folder)
        for line in process.stderr:
            if "main is at" in line:
                break
        assert current(pod) == repository.git("rev-parse", "HEAD")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_the_page_names_files_that_exist() -> None:
    page = (DEPLOY / "README.md").read_text()
    for name in re.findall(r"`((?:[\w-]+\.)?(?:yaml|txt|Dockerfile|fetch-project))`", page):
        assert (DEPLOY / name).exists(), name
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            shlex.split(line)


WATCH = WatchFlags(
    interval=60.0,
    mode="report",
    once=True,
    unmanaged=False,
    listen="",
    step_timeout=60.0,
    patience=1.0,
)


def test_a_cycle_reads_the_files_of_one_commit(project: Project, tmp_path: Path) -> None:
    """The link is replaced while the files are read: the read begins again."""
    folders = []
    for commit in ("old", "new"):
        for name in ("a", "b"):
            project.manifest(name, project.emulator.model_uri(commit))
        folders.append(shutil.copytree(project.folder, tmp_path / "trees" / commit))
    current = tmp_path / "current"
    current.symlink_to(folders[0])
    invocation = Invocation()
    invocation.project_file = str(current / "reconciler.yaml")
    source = ProjectSource(invocation, "", PlanFlags(), WATCH)
    read = Folder.read

    def read_and_replace(self: Folder, path: Path, *more: Any) -> str | None:
        text = read(self, path, *more)
        if path.name == "a.yaml" and current.resolve() == folders[0]:
            current.unlink()
            current.symlink_to(folders[1])
        return text

    with mock.patch.object(Folder, "read", read_and_replace):
        assert source.check() is None
    models = {
        manifest.spec["trainedModels"][MODEL]["uri"]
        for manifest in source.prepare().request.manifests
    }
    assert models == {project.emulator.model_uri("new")}


@dataclass
class Replica:
    """A Pod of the Deployment that runs, on a free port and with a cycle each second."""

    pod: Pod
    repository: Repository
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        """The port that its log names; 0 before."""
        named = re.search(
            r"The report is at http://127\.0\.0\.1:(\d+)/", (self.pod.folder / "log").read_text()
        )
        return int(named[1]) if named else 0

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of a page; a status of 0 if nothing answers."""
        if not self.port:
            return 0, ""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def leads(self) -> bool:
        return (
            re.search(r"^reconciler_leader\S* 1", self.get("/metrics")[1], re.MULTILINE) is not None
        )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def replicas(
    request: pytest.FixtureRequest, own_group: Emulator, tmp_path: Path
) -> Iterator[list[Replica]]:
    """As many Pods of the Deployment as asked for, started, on a ledger in blob storage."""
    project = Shared(tmp_path / "project", own_group)
    own_group.deploy("a", own_group.model_uri("old"))
    project.manifest("a", own_group.model_uri("new"))
    repository = Repository(tmp_path / "models.git", project.folder)
    assert project.run("apply", "--auto-approve").code == 0
    (deployment, _) = read_documents("deployment.yaml")
    assert deployment["spec"]["replicas"] == 2
    (template,) = find_pods(deployment)
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(request.param):
            spec = copy.deepcopy(template["spec"])
            arguments = spec["containers"][0]["args"]
            arguments[arguments.index("--interval=10m")] = "--interval=1s"
            arguments[arguments.index("--listen=0.0.0.0:9464")] = "--listen=127.0.0.1:0"
            pod = Pod(spec, tmp_path / str(number), {"PROJECT_REPOSITORY": repository.url})
            assert pod.run("fetch-first").returncode == 0
            log = stack.enter_context((pod.folder / "log").open("w"))
            process = stack.enter_context(pod.start("watch", stdout=log, stderr=log))
            stack.callback(process.kill)
            found.append(Replica(pod, repository, process))
        yield found


# That another one leads once the first has ended is held in every run by contract/test_leadership.py.
@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)], indirect=True)
def test_one_replica_leads_and_another_one_follows_it(replicas: list[Replica]) -> None:
    wait_for(lambda: all(one.get("/readyz")[0] == 200 for one in replicas))
    wait_for(lambda: any(one.leads() for one in replicas))
    leader, *standbys = sorted(replicas, key=Replica.leads, reverse=True)
    assert leader.leads()
    assert not any(one.leads() for one in standbys)
    # One that was held up for three seconds is not alive before its next cycle has ended.
    for one in replicas:
        wait_for(lambda one=one: one.get("/healthz")[0] == 200)  # type: ignore[misc]
    # A commit reaches the leader while it runs: it finds what nobody has applied.
    file = leader.repository.clone / "manifests" / "a.yaml"
    file.write_text(file.read_text().replace("new.ilearner", "newest.ilearner"))
    leader.repository.push("Declare the newest model")
    assert leader.pod.run("fetch-first").returncode == 0
    wait_for(lambda: 'state="pending"} 1' in leader.get("/metrics")[1])
    assert leader.leads()
    assert not any(one.leads() for one in standbys)
    leader.process.send_signal(signal.SIGTERM)
    assert leader.process.wait(timeout=120) == 0
    for standby in standbys:
        wait_for(standby.leads)
        wait_for(lambda one=standby: one.get("/report")[0] == 200)  # type: ignore[misc]
        wait_for(lambda one=standby: one.get("/healthz")[0] == 200)  # type: ignore[misc]
