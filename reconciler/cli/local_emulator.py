"""The emulator of a project: its addresses and its token, in the project's folder.

`reconciler emulator` writes them to `.reconciler/emulator.json` when it is started in a project,
and with `--env` to `.reconciler/NAME/emulator.json`. Commands of this project read them, so that
they never meet the emulator of another project. They wait for an emulator that is starting. An
environment without an emulator of its own uses that of the project.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from reconciler.cli.local_storage import check_named_storage, find_named_storage
from reconciler.errors import ReconcilerError
from reconciler.files import make_folder, replace_file
from reconciler.ledgers.process import describe_process, find_start, name_machine
from reconciler.manifests.folder import is_manifest_name
from reconciler.model import Cloud, Finding, Project
from reconciler.model.values import dataclass
from reconciler.transport.connections import Connections, TransportError
from reconciler.transport.loopback import LoopbackConnections
from reconciler.transport.origins import is_loopback, origin_of

_FOLDER: Final = Path(".reconciler")
_RECORD: Final = "emulator.json"
_PLANES: Final = ("resourceManager", "studioManagement", "services")
_MOST_BYTES: Final = 65_536
_WITHIN_S: Final = 2.0
# The emulator of a project may be held up for some seconds on a busy machine.
_TRIES: Final = 5
_START_WITHIN_S: Final = 60.0
_RECORD_WITHIN_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1
# What reading a record of others can raise; OverflowError: the number of a process is infinite.
_UNREADABLE: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class LocalEmulator:
    """The emulator that was started in a project.

    `urls` has its planes and `blob`; it is empty while the emulator starts. `certificate` is the
    file of the certificate with which it speaks TLS, or empty.
    `pid`, `started` and `machine` identify its process as the lock of the ledger does.
    """

    id: str
    token: str
    urls: Mapping[str, str]
    pid: int
    started: str
    machine: str
    certificate: str = ""

    def is_running(self) -> bool:
        """Whether its process runs on this machine."""
        return self.machine == name_machine() and find_start(self.pid) == self.started

    def why_gone(self) -> str:
        """Why it cannot be used; "" if its process runs and its address answers with its id."""
        if not self.is_running():
            return "the emulator of this project does not run any more"
        if not self.urls:
            return f"the emulator of this project has not started within {_START_WITHIN_S:.0f} s"
        url = self.urls["resourceManager"]
        found = next(filter(None, (_ask_id(url) for _ in range(_TRIES))), "")
        return "" if found == self.id else f"another program answers at {url}"


@contextlib.contextmanager
def recorded_start(root: Path | None, id_: str, environment: str = "") -> Iterator[None]:
    """Let the commands of the project in `root` wait for this process while it starts.

    Nothing is written outside of a project, nor over the record of an emulator that runs. When the
    block ends, the record of this process is removed, and that of an emulator that still runs is
    written again.
    """
    if root is None:
        yield
        return
    record = find_record(root, environment)
    found = _read_record(record)
    if found is None or not found.is_running():
        record_emulator(record, id_, "", {})
    try:
        yield
    finally:
        remove_record(record, id_)
        if found is not None and found.is_running() and _read_record(record) is None:
            _write_record(record, found)


def find_record(root: Path, environment: str = "") -> Path:
    """The file with the emulator of a project, or of one of its environments."""
    return root / _FOLDER / environment / _RECORD


def record_emulator(
    record: Path, id_: str, token: str, urls: Mapping[str, str], certificate: str = ""
) -> None:
    """Write the emulator of this process into its file, readable by its owner only."""
    _, pid, started = describe_process()
    found = LocalEmulator(id_, token, urls, pid, started, name_machine(), certificate)
    _write_record(record, found)


def _write_record(record: Path, found: LocalEmulator) -> None:
    document = {
        "id": found.id,
        "token": found.token,
        "pid": found.pid,
        "started": found.started,
        "machine": found.machine,
        **found.urls,
    }
    if found.certificate:
        document["certificate"] = found.certificate
    make_folder(record.parent)
    replace_file(record, json.dumps(document, indent=2).encode() + b"\n")


def remove_record(record: Path, id_: str) -> None:
    """Remove the record of an emulator that ends, unless another emulator has replaced it."""
    found = _read_record(record)
    if found is not None and found.id == id_:
        with contextlib.suppress(OSError):
            record.unlink()


def use_emulator(
    project: Project, files: Iterable[str]
) -> tuple[Project, tuple[Finding, ...], tuple[Finding, ...]]:
    """The project with the address and the token of its own emulator, and what a plan must say.

    `cloud: emulator` means the emulator that was started in the project, else the shared address.
    Addresses that the project gives itself are kept. The second tuple reports each blob storage
    that `files` name and that is not the storage of the project's emulator.
    """
    local = any(is_loopback(url) for url in project.cloud.planes.values())
    found = _find_started(project) if local else None
    if found is not None and project.cloud.emulated:
        _check_trust(found)
    why = found.why_gone() if found is not None else "no emulator was started in this project"
    if found is None or why:
        return project, (_note_shared(project.cloud, why),) if project.cloud.emulated else (), ()
    elsewhere: tuple[Finding, ...] = ()
    if project.cloud.emulated:
        manifests = [name for name in files if is_manifest_name(Path(name).name)]
        named = find_named_storage(Path(project.root), manifests)
        elsewhere = check_named_storage(named, found.urls.get("blob", ""))
    return replace(project, cloud=_connect(project.cloud, found)), (), elsewhere


def _check_trust(found: LocalEmulator) -> None:
    """Raise ReconcilerError if the emulator speaks TLS, and this process does not trust it."""
    if not (found.certificate and found.urls and found.is_running()):
        return
    if _ask_id(found.urls["resourceManager"]) == found.id:
        return
    raise ReconcilerError(
        "the emulator of this project speaks TLS, and its certificate is not trusted",
        subject=found.urls["resourceManager"],
        next_step=f"Trust it: export REQUESTS_CA_BUNDLE={shlex.quote(found.certificate)}",
    )


def await_record(project: Project) -> None:
    """Wait a moment for an emulator that was started together with this command, in the project.

    It has not written its record yet. Where an emulator answers at the shared address, or where
    the project names another address, nothing is awaited.
    """
    if not project.cloud.emulated or _read_of(project) is not None:
        return
    if _ask_id(next(iter(project.cloud.planes.values()))):
        return
    deadline = time.monotonic() + _RECORD_WITHIN_S
    while _read_of(project) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _read_of(project: Project) -> LocalEmulator | None:
    """The record of the environment, or else that of the project."""
    root, own = Path(project.root), None
    if project.environment:
        own = _read_record(find_record(root, project.environment))
    if own is not None and own.is_running():
        return own
    return _read_record(find_record(root)) or own


def _find_started(project: Project) -> LocalEmulator | None:
    """The emulator of a project; one that is starting is waited for."""
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        found = _read_of(project)
        starts = found is not None and not found.urls and found.is_running()
        if not starts or time.monotonic() > deadline:
            return found
        time.sleep(_LOOK_EVERY_S)


def _connect(cloud: Cloud, found: LocalEmulator) -> Cloud:
    if not cloud.emulated:
        ours = not set(cloud.planes.values()).isdisjoint(found.urls.values())
        return replace(cloud, token=found.token) if ours else cloud
    planes = {name: found.urls.get(name, url) for name, url in cloud.planes.items()}
    return replace(
        cloud,
        name=found.urls["resourceManager"],
        planes=planes,
        blob=found.urls.get("blob") or cloud.blob,
        token=found.token,
    )


def _note_shared(cloud: Cloud, why: str) -> Finding:
    return Finding(
        f"cloud: emulator means the shared address {cloud.name}: {why}",
        subject="Project",
        next_step="Other projects may use that emulator too. Start one here: reconciler emulator",
        severity="warning",
    )


def _read_record(record: Path) -> LocalEmulator | None:
    """The record; None without one, or for a file that the emulator did not write."""
    try:
        # A link may lead to a file of somebody else.
        handle = os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        urls = {name: found[name] for name in (*_PLANES, "blob") if found.get(name)}
        if not all(isinstance(url, str) and is_loopback(url) for url in urls.values()):
            return None
        texts = {name: str(found[name]) for name in ("id", "token", "started", "machine")}
        texts["certificate"] = str(found.get("certificate", ""))
        return LocalEmulator(urls=urls, pid=int(found["pid"]), **texts)
    except _UNREADABLE:
        return None


def _open_connections(url: str) -> Connections:
    if origin_of(url)[0] == "http":
        return LoopbackConnections(url, _WITHIN_S, _WITHIN_S)
    from reconciler.transport.remote import RemoteConnections  # it is slow

    return RemoteConnections(url, _WITHIN_S, _WITHIN_S)


def _ask_id(url: str) -> str:
    """The id of the emulator that answers at an address of this machine; "" for none."""
    try:
        connections = _open_connections(url)
        answer = connections.send("GET", "/emulator", {}, None)
        try:
            found: Any = json.loads(answer.read(_MOST_BYTES))
        finally:
            answer.close()
        return str(found.get("id", ""))
    except (TransportError, ValueError, AttributeError, RecursionError):
        return ""
