"""The end-to-end tests' world: commands, an emulator with blob storage, projects."""

import asyncio
import contextlib
import ctypes
import functools
import io
import json
import os
import resource
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import IO, Any, cast
from unittest import mock

from reconciler import kinds
from reconciler.cli import main
from reconciler.cli.commands.emulator import emulator
from reconciler.cli.context import Invocation
from reconciler.emulator import Settings
from reconciler.emulator.certificates import make_certificate
from reconciler.emulator.server import Server
from tests.fork_server import Process, is_usual, start
from tests.lines import check_stream
from tests.outputs import check_output
from tests.storage import find_storage, need_storage, open_storage

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "manifests" / "census"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
MODEL = "Census Model [trained model]"
# How long `run` waits for an emulator that starts together with its command: none does.
RECORD_WITHIN_S = 0.0


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without anything that could colour, credential or steer a run."""
    steering = (
        *("RECONCILER_", "AZURE_", "GITHUB_", "BUILD_", "CI_", "NO_COLOR"),
        *("GITLAB_", "SYSTEM_", "TF_BUILD"),
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return {**kept, "PYTHONWARNINGS": "error::ResourceWarning", **(more or {})}


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Done:
    """One command of reconciler in a folder, within this process."""
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        contextlib.chdir(folder),
        in_environment(clean_environment(env)),
        mock.patch("reconciler.cli.local_emulator._RECORD_WITHIN_S", RECORD_WITHIN_S),
        mock.patch.object(sys, "stdin", given),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = _run_main(arguments)
    return _check(arguments, Done(code, _read(out), _read(err)))


# What is installed stays as it is while a process runs tests, and each command asks for it.
_names_kind = functools.cache(kinds._names_kind)


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables, and no others, for commands within this process."""
    before = dict(os.environ)
    _set_environment(variables)
    try:
        with mock.patch("reconciler.kinds._names_kind", _names_kind):
            yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str]) -> None:
    """Change only what differs: most variables stay, and each change is a call of the system."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _run_main(arguments: Sequence[str]) -> int:
    """The exit code; the completion of a shell ends by SystemExit."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1 if ended.code else 0


def _read(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written = cast("io.BytesIO", stream.buffer)
    return written.getvalue().decode()


def spawn(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Done:
    """One command as a process of its own, for what a process alone can show.

    Python starts for it only where it must start with other variables than the server of forks.
    """
    known = clean_environment(env)
    if not is_usual(known):
        return _spawn_python(folder, arguments, known, stdin)
    with begin_command(folder, *arguments, env=env, stdin=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(stdin, timeout=600)
        finally:
            process.kill()
    return _check(arguments, Done(process.wait(), out, err))


def _spawn_python(
    folder: Path, arguments: Sequence[str], known: Mapping[str, str], stdin: str
) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments],
        cwd=folder,
        env=known,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return _check(arguments, Done(done.returncode, done.stdout, done.stderr))


def begin_command(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.PIPE,
    stderr: int | IO[Any] | None = subprocess.PIPE,
    before: str = "",
) -> Process:
    """Begin a command as a process of its own, forked from the server of this run.

    `before` is what the process does first.
    """
    return start(
        folder,
        *arguments,
        env=clean_environment(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        before=before,
    )


def _check(arguments: Sequence[str], done: Done) -> Done:
    """Hold what was printed for a machine against its schema."""
    if done.out.startswith("{") and '"resource_changes"' in done.out:
        document = json.loads(done.out)
        schema = "environments" if "environments" in document else "plan"
        check_output(document, schema)
    if done.out.startswith("{") and '"coverage"' in done.out and "$schema" not in done.out:
        document = json.loads(done.out)
        check_output(document, "environments" if "environments" in document else "drift")
        for one in document.get("environments", ()):
            if "drift" in one:
                check_output(one["drift"], "drift")
    if "--json" in arguments and "apply" in arguments and "watch" not in arguments:
        check_stream(done.out)
    return done


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Have the clock of `run` go ahead of the services' clock while the block runs."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    with mock.patch("reconciler.cli.wiring.datetime", Ahead):
        yield


def run_with_limit(
    folder: Path, *arguments: str, file_bytes: int = -1, unprivileged: bool = False
) -> Done:
    """One command that may write no larger file, or that has no more rights than anybody."""

    def limit() -> None:
        if file_bytes >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        if unprivileged and os.geteuid() == 0:
            _drop_capabilities()

    done = subprocess.run(
        # -B: a module that Python compiles within the limit would stay half written.
        [sys.executable, "-B", "-m", "reconciler", *arguments],
        cwd=folder,
        # Python would keep the part of a module's bytecode that fits the limit.
        env=clean_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _drop_capabilities() -> None:
    """Root keeps its files but may no longer pass over permissions: PR_CAPBSET_DROP, then exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if libc.prctl(24, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")


@dataclass
class Emulator:
    """A running emulator and the calls that other people make to it."""

    url: str
    blob: str
    token: str = "emulator"
    group: str = "census"
    process: Any = field(default=None, repr=False)
    certificate: str = ""

    def path(self, name: str) -> str:
        scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{self.group}"
        return f"{scope}/providers/Microsoft.MachineLearning/webServices/{name}"

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Mapping[str, str]]:
        url = path if "://" in path else f"{self.url}{path}?api-version=2017-01-01"
        request = urllib.request.Request(
            url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, json.loads(reply.read() or b"null"), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null"), dict(error.headers)

    def write(self, method: str, name: str, body: Any) -> None:
        self.finish(self.begin(method, name, body))

    def begin(self, method: str, name: str, body: Any) -> str:
        """Have a write accepted; returns where its operation is."""
        status, answer, headers = self.send(method, self.path(name), body)
        assert status < 300, answer
        return headers["Azure-AsyncOperation"]

    def finish(self, operation_url: str) -> None:
        """Wait until an operation has succeeded."""
        while True:
            _, operation, _ = self.send("GET", operation_url)
            status = operation.get("status") or operation["provisioningState"]
            if status != "Provisioning":
                assert status == "Succeeded", operation
                return
            time.sleep(0.02)

    def put_plan(self, plan_id: str = "") -> str:
        """Create a commitment plan, by default that of `definition`; returns its id."""
        path = plan_id or definition("")["properties"]["commitmentPlan"]["id"]
        url = f"{self.url}{path}?api-version=2016-05-01-preview"
        sku = {"name": "S1", "tier": "Standard", "capacity": 1}
        status, answer, _ = self.send("PUT", url, {"location": "southcentralus", "sku": sku})
        assert status == 200, answer
        return str(answer["id"])

    def deploy(self, name: str, model: str, **properties: Any) -> None:
        body = definition(model)
        body["properties"] |= properties
        self.write("PUT", name, body)

    def patch(self, name: str, **properties: Any) -> None:
        self.write("PATCH", name, {"properties": {"packageType": "Graph", **properties}})

    def get(self, name: str) -> Any:
        status, answer, _ = self.send("GET", self.path(name))
        assert status == 200, answer
        return answer

    def model(self, name: str) -> str:
        return str(self.get(name)["properties"]["assets"]["asset3"]["locationInfo"]["uri"])

    def model_uri(self, name: str) -> str:
        return f"{self.blob}/devstoreaccount1/models/census/{name}.ilearner"


@functools.cache
def _read_definition() -> bytes:
    return (EXAMPLE / "manifests" / "census.definition.json").read_bytes()


def definition(model: str) -> Any:
    """A complete definition that serves a model, with what a PUT demands."""
    body = json.loads(_read_definition())
    body["properties"]["storageAccount"]["key"] = "a-storage-key"
    body["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = model
    return body


@contextmanager
def spawn_emulator(
    *options: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[Emulator]:
    """An emulator as a process of its own while the block runs; it must end cleanly on SIGTERM."""
    if not _brings_storage(options):
        need_storage()
    process = begin_command(
        folder or Path.cwd(), "emulator", "--port", "0", *options, env=env, stderr=stderr
    )
    assert process.stdout is not None
    with process:
        try:
            ready = json.loads(process.stdout.readline())
            token = (env or {}).get("RECONCILER_EMULATOR_TOKEN", "emulator")
            yield Emulator(
                ready["resourceManager"],
                ready["blob"] or "",
                token,
                process=process,
                certificate=ready.get("certificate", ""),
            )
        finally:
            process.terminate()
            code = process.wait(timeout=60)
    assert code == 0


def _brings_storage(options: Sequence[str]) -> bool:
    """Whether an emulator starts no blob storage: it has none, or uses what is running."""
    return any(one == "--no-blob" or one.startswith("--blob-url") for one in options)


@contextmanager
def run_emulator(*options: str) -> Iterator[Emulator]:
    """An emulator on a free port while the block runs, in a thread of this process.

    It shares the blob storage of this process, but for `--no-blob` and `--blob-url`. Where that
    cannot be fetched, it has the address of no storage: only what reads or writes a blob is left out.
    """
    if not _brings_storage(options):
        options = (*options, f"--blob-url={find_storage()}")
    with ExitStack() as stack:
        settings = read_settings(*(one for one in options if one != "--tls"))
        if "--tls" in options:
            made = stack.enter_context(make_certificate(settings.host))
            settings = replace(settings, certificate=made)
        yield stack.enter_context(_serve_in_thread(settings))


@contextmanager
def _serve_in_thread(settings: Settings) -> Iterator[Emulator]:
    ready: Future[tuple[str, Callable[[], object]]] = Future()
    clock = Clock()
    thread = threading.Thread(target=_serve, args=(settings, clock, ready))
    thread.start()
    url, stop = ready.result(60)
    _CLOCKS[url] = clock
    try:
        files = settings.certificate
        certificate = str(files.path) if files else ""
        yield Emulator(url, settings.blob_url, settings.token, certificate=certificate)
    finally:
        del _CLOCKS[url]
        stop()
        thread.join()


def read_settings(*options: str) -> Settings:
    """What the command makes of its options; it serves nothing and starts no blob storage."""
    with (
        mock.patch.dict(os.environ, clean_environment(), clear=True),
        mock.patch("reconciler.cli.emulator_run.serve_emulator") as serve,
    ):
        emulator.main(["--port=0", *options], standalone_mode=False, obj=Invocation())
    settings: Settings = serve.call_args.args[0]
    return replace(settings, blob_url=serve.call_args.args[1])


class Clock:
    """The time of an emulator, which goes on by itself and leaps where a test lets time pass.

    It passes only by such leaps once it is `held` at a time.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.held: float | None = None

    def time(self) -> float:
        return (time.time() if self.held is None else self.held) + self.ahead_s

    def perf_counter(self) -> float:
        return time.perf_counter()


_CLOCKS: dict[str, Clock] = {}


def pass_time(url: str, seconds: float) -> None:
    """Let time pass for the emulator of this process that listens at a URL."""
    _CLOCKS[url].ahead_s += seconds


def hold_time(url: str) -> None:
    """From now on, let time pass for an emulator of this process only by `pass_time`."""
    _CLOCKS[url].held = time.time()


@contextmanager
def time_held(url: str) -> Iterator[None]:
    """Let no time pass for an emulator of this process while the block runs."""
    hold_time(url)
    try:
        yield
    finally:
        _CLOCKS[url].held = None


# How long an operation takes where a test looks at what holds meanwhile: no machine is so busy.
LONG_S = 600


@contextmanager
def time_passing(url: str, since: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Let all operations of an emulator of this process end soon while the block runs.

    They end once `since` is true.
    """

    def let_pass(ended: threading.Event) -> None:
        while not ended.wait(0.05):
            if since():
                break
        while not ended.wait(0.05):
            pass_time(url, LONG_S)

    with working(let_pass):
        yield


@contextmanager
def working(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Work in a thread while the block runs; the work ends soon after its event is set."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def read_until(stream: IO[str] | None, said: str) -> str:
    """What comes up to the line that has a text."""
    assert stream is not None
    read = ""
    for line in stream:
        read += line
        if said in line:
            return read
    raise AssertionError(f"{said!r} never came:\n{read}")


class _Loop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Signals are the main thread's."""
        raise NotImplementedError


def _serve(
    settings: Settings, clock: Clock, ready: "Future[tuple[str, Callable[[], object]]]"
) -> None:
    async def run() -> None:
        with mock.patch("reconciler.emulator.server.time", clock):
            server = Server(settings)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(server._stopped.set)

        await server.run(lambda planes: ready.set_result((planes["resourceManager"], stop)))

    try:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(run())
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


@dataclass
class Project:
    """A project in a folder of its own."""

    folder: Path
    emulator: Emulator
    blobs: str = "skip"
    guards: str = ""

    def __post_init__(self) -> None:
        (self.folder / "manifests").mkdir(parents=True, exist_ok=True)
        self.write_project()

    def write_project(self) -> None:
        if self.blobs != "skip" and self.emulator.blob == find_storage():
            open_storage()
        (self.folder / "reconciler.yaml").write_text(
            f"""apiVersion: reconciler/v1
kind: Project
metadata: {{name: census}}
spec:
  cloud: {{resourceManager: "{self.emulator.url}", blob: "{self.emulator.blob or self.emulator.url}"}}
  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: {self.emulator.group}}}
  guards: {{blobs: {self.blobs}{self.guards}}}
"""
        )

    def manifest(self, name: str, model: str = "", *, more: str = "", named: str = MODEL) -> Path:
        file = self.folder / "manifests" / f"{name}.yaml"
        models = f"\n  trainedModels:\n    {named}: {{uri: '{model}'}}" if model else " {}"
        if more:
            models = models.replace(" {}", "") + "\n" + more
        file.write_text(
            "apiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: {name}}}\nspec:{models}\n"
        )
        return file

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        return run(self.folder, *arguments, env=env, stdin=stdin)

    def spawn(self, *arguments: str) -> Done:
        """A command as a process of its own."""
        return spawn(self.folder, *arguments)
