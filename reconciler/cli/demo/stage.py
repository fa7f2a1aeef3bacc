"""The environment of the demo: a folder, an emulator, storage, and the writes of other people."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.blobs import upload_model
from reconciler.emulator.azurite import AzuriteUnavailable, run_azurite
from reconciler.emulator.processes import die_with_parent, end_process
from reconciler.emulator.tcp_ports import DEFAULT_PORT, is_free, pick_blob_port, pick_free_port
from reconciler.errors import ReconcilerError
from reconciler.manifests.folder import check_new_project
from reconciler.model.values import dataclass
from reconciler.package_data import find_example, list_example

_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
_SERVICE = (
    f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/%s/providers"
    "/Microsoft.MachineLearning/webServices/%s?api-version=2017-01-01"
)
_MANIFEST = """\
apiVersion: reconciler/v1
kind: WebService
metadata: {{name: census}}
spec:
  trainedModels:
    Census Model [trained model]:
      uri: {blob}/models/census/2026-11-20.ilearner
  definition: {{properties: {{realtimeConfiguration: {{maxConcurrentCalls: 20}}}}}}
"""
_PROJECT = """\
apiVersion: reconciler/v1
kind: Project
metadata: {{name: census}}
spec:
  cloud: {{resourceManager: "{url}", blob: "{blob}"}}
  defaults: {{subscription: {subscription}, resourceGroup: census}}
  guards: {{blobs: {guard}}}
"""

# What a demo calls is on this machine, and a proxy of the user cannot reach it.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Stage:
    """The running environment. `why_no_blob` says why storage is missing; empty when it runs.

    `options` are the flags that start the emulator again on its saved state. `group` is the
    resource group and `service` the name of what other people change, `plan` the command that plans
    everything.
    """

    folder: Path
    url: str
    port: int
    blob: str
    why_no_blob: str
    options: str = ""
    group: str = "census"
    service: str = "census"
    plan: str = "plan"

    def run(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> int:
        """Run one command of reconciler and pass its output on; returns its exit code.

        `variables` are added to those of this process. `stdout` is where the output goes instead.
        """
        sys.stdout.flush()
        command = [sys.executable, "-m", "reconciler", *arguments]
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env={**list_variables(), **(variables or {})},
        )
        try:
            return process.wait()
        finally:
            # After Ctrl-C, subprocess.run does not wait until the process has ended, and its last
            # file would be in the folder that is removed next.
            end_process(process)

    def run_killed(self, *arguments: str) -> None:
        """Run one command of reconciler, and kill it once the service has started an update."""
        sys.stdout.flush()
        with subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "reconciler", *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env=list_variables(),
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        ) as process:
            while process.poll() is None and not self._is_changing():
                time.sleep(0.02)
            process.kill()

    @property
    def _path(self) -> str:
        return _SERVICE % (self.group, self.service)

    def _is_changing(self) -> bool:
        return bool(self.read()["provisioningState"] == "Provisioning")

    def deploy(self, model: str) -> None:
        """Create the service, with `model` as its trained model."""
        definition = json.loads(
            (find_example("census") / "manifests" / "census.definition.json").read_bytes()
        )
        properties = definition["properties"]
        properties["storageAccount"]["key"] = "demo"
        properties["assets"]["asset3"]["locationInfo"]["uri"] = model
        self._call("PUT", definition)

    def change(self, properties: dict[str, Any]) -> None:
        """Send a PATCH as another person, not through a manifest."""
        self._call("PATCH", {"properties": {"packageType": "Graph", **properties}})

    def set_model(self, uri: str) -> None:
        """Let the service serve another model, as another person does."""
        assets = self.read()["assets"]
        assets["asset3"]["locationInfo"]["uri"] = uri
        self.change({"assets": assets})

    def read(self) -> dict[str, Any]:
        """The properties of the live definition."""
        properties: dict[str, Any] = self._send("GET", self.url + self._path, None)[0]["properties"]
        return properties

    def score(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
        """The answers of the service to some rows: each with its label and its probability."""
        location = urlsplit(self.read()["swaggerLocation"]).path.removesuffix("/swagger.json")
        path, _, version = self._path.partition("?")
        keys, _ = self._send("GET", f"{self.url}{path}/listKeys?{version}", None)
        url = f"{self.url}{location}/execute?api-version=2.0&details=true"
        body = {"Inputs": {"input1": {"ColumnNames": [*columns], "Values": [*map(list, rows)]}}}
        answer, _ = self._send("POST", url, body, keys["primary"])
        answers: list[list[str]] = answer["Results"]["output1"]["value"]["Values"]
        return answers

    def _call(self, method: str, body: Any) -> None:
        _, operation = self._send(method, self.url + self._path, body)
        while self._send("GET", operation, None)[0]["status"] == "Provisioning":
            time.sleep(0.05)

    def _send(self, method: str, url: str, body: Any, key: str = "") -> tuple[Any, str]:
        """Send a call; returns the answer and the address of its operation, or ""."""
        answer, headers = self.call(method, url, body, key)
        return answer, headers.get("Azure-AsyncOperation", "")

    def call(
        self, method: str, url: str, body: Any, key: str = ""
    ) -> tuple[Any, Mapping[str, str]]:
        """Send a call to the emulator; returns the answer and its headers."""
        token = key or os.environ.get("RECONCILER_EMULATOR_TOKEN") or "emulator"
        request = urllib.request.Request(  # noqa: S310 - our own emulator
            url,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with LOCAL.open(request, timeout=30) as reply:
            return json.loads(reply.read() or b"null"), reply.headers


def list_variables() -> dict[str, str]:
    """The variables of a command of the story: those of this process, without its git author."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))
    }
    return {**kept, "RECONCILER_IN_AUTOMATION": "1", "RECONCILER_ENV": ""}


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Start the emulator and storage in a folder; stop both at the end."""
    port = pick_port()
    state = folder / "emulator"
    with contextlib.ExitStack() as stack:
        blob, why = "", ""
        try:
            blob = stack.enter_context(run_storage(port, state))
        except AzuriteUnavailable as error:
            why = str(error)
        storage = ["--blob-url", blob] if blob else ["--no-blob"]
        url = stack.enter_context(run_emulator(port, state, storage))
        account = f"{blob or 'http://127.0.0.1:10000'}/devstoreaccount1"
        stage = Stage(folder, url, port, account, why)
        _write_project(stage)
        yield stage


def run_storage(port: int, state: Path) -> AbstractContextManager[str]:
    """Start blob storage beside the emulator on `port`, and return its address as a context.

    Raises AzuriteUnavailable.
    """
    blobs = state / "blobs"
    return run_azurite(
        pick_blob_port(port, blobs), blobs, lambda line: print(line, file=sys.stderr, flush=True)
    )


def _write_project(stage: Stage) -> None:
    guard = "skip" if stage.why_no_blob else "required"
    project = _PROJECT.format(
        url=stage.url, blob=stage.blob, subscription=_SUBSCRIPTION, guard=guard
    )
    (stage.folder / "manifests").mkdir(parents=True, exist_ok=True)
    (stage.folder / "reconciler.yaml").write_text(project, encoding="utf-8")
    manifest = _MANIFEST.format(blob=stage.blob)
    (stage.folder / "manifests" / "census.yaml").write_text(manifest, encoding="utf-8")


def pick_port() -> int:
    """The emulator's own port; a free one if it is taken, or claimed by another demo."""
    own = _claim_port() and is_free(DEFAULT_PORT)
    return DEFAULT_PORT if own else pick_free_port()


def _claim_port() -> bool:
    """Claim the emulator's own port, which is free until the emulator has started.

    The claim ends with this process. False if another demo has claimed it.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0reconciler-demo-{DEFAULT_PORT}")
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


@contextlib.contextmanager
def run_emulator(
    port: int, state: Path, options: Sequence[str], operation_s: float = 0.5
) -> Iterator[str]:
    """Start the emulator and yield its address; stop it at the end.

    `operation_s` is how long an operation of a service lasts, in seconds.
    """
    command = ["reconciler", "emulator", "--port", str(port), *options]
    saved = ["--data", str(state), "--operation-seconds", str(operation_s)]
    with run_server("the emulator", [*command, *saved], state.parent) as ready:
        yield ready["resourceManager"]


@contextlib.contextmanager
def run_server(name: str, module: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Start a module of Python that serves, and yield its first line, JSON; stop it at the end.

    `folder` is its working folder: not the user's project, whose server this is not.
    """
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", *module],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        cwd=folder,
    )
    try:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise ReconcilerError(f"{name} did not start")
        yield json.loads(line)
    finally:
        end_process(process)
        if process.stdout:
            process.stdout.close()


def upload_models(stage: Stage) -> None:
    """Upload two trained models to blob storage."""
    for day, weight in (("2026-10-02", 0.41), ("2026-11-20", 0.57)):
        trained = {"model": "logistic regression", "trained": day, "weights": [weight] * 500}
        uri = f"{stage.blob}/models/census/{day}.ilearner"
        upload_model(uri, json.dumps(trained).encode(), os.environ)


def copy_example(name: str, folder: Path) -> None:
    """Copy an example project into a folder."""
    example = find_example(name)
    for file in list_example(name):
        copy = folder / file.relative_to(example)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)


def empty_folder(folder: Path) -> Path:
    """Create the folder of the story; raises ReconcilerError when it is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise ReconcilerError(
            "the folder is not empty", subject=str(folder), next_step="Choose a new folder."
        )
    check_new_project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove the folder of the story; ignores errors."""
    shutil.rmtree(folder, ignore_errors=True)
