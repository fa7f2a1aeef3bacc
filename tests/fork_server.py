"""Processes of commands that start at once: forked from one that has imported what they need.

A process of its own costs 0.3 s to 0.5 s, of which nearly all is what Python imports. One server of
a run has imported it, and forks for `start` a process with its own id, folder, variables, streams,
signals and end. What such a process cannot show is how Python starts: use `sys.executable` for
that, and where the kernel's list of processes must show its command or its variables.
"""

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from fcntl import ioctl
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NoReturn, Self

import reconciler
from tests.storage import ALL_CHECKS, RUN_FOLDER

ROOT: Final = Path(__file__).parents[1]
_ADDRESS: Final = "fork-server"
# The end of a run ends the server; this ends it where the run was killed.
_IDLE_S: Final = 300
_MOST_BYTES: Final = 1 << 17
# What Python reads of its variables when it starts, but for the place of compiled modules.
_READ_AT_START: Final = ("PYTHON", "LC_", "LANG")
_NOT_READ: Final = {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED"}
# Beside the modules of reconciler, those that its functions import when they run.
_LIBRARIES: Final = ("asyncio", "azure.storage.blob", "deepdiff", "requests", "urllib3", "yaml")


class Process:
    """A process that `start` began, with those methods of subprocess.Popen that tests use.

    `stdin`, `stdout` and `stderr` are the text streams that were asked for by `subprocess.PIPE`.
    `returncode` is negative for a signal.
    """

    def __init__(self, connection: socket.socket, pid: int, pipes: Mapping[int, int]) -> None:
        self._connection = connection
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: IO[str] | None = os.fdopen(pipes[0], "w") if 0 in pipes else None
        self.stdout: IO[str] | None = os.fdopen(pipes[1]) if 1 in pipes else None
        self.stderr: IO[str] | None = os.fdopen(pipes[2]) if 2 in pipes else None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            with self._connection:
                code = self._connection.recv(_MOST_BYTES)
            self.returncode = int(code) if code else -signal.SIGKILL
            assert code, "the fork server has ended"
        return self.returncode

    def wait_until_stopped(self) -> None:
        """Wait until a signal has stopped it. The kernel reports that only to its parent."""
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def communicate(self, given: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write a short text to its stdin, read its streams to their end, and wait for its own."""
        if self.stdin is not None:
            with suppress(BrokenPipeError), self.stdin:
                self.stdin.write(given)
        opened = [io.StringIO() if one is None else one for one in (self.stdout, self.stderr)]
        with ThreadPoolExecutor(2) as pool:
            reads = [pool.submit(_read, one) for one in opened]
            try:
                out, err = (one.result(timeout) for one in reads)
            except TimeoutError:
                self.kill()  # the pool ends when its streams do
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
        self.wait(timeout)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: perhaps since it was looked at."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its streams, and wait for its end, as subprocess.Popen does."""
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def _read(stream: IO[str]) -> str:
    with stream:
        return stream.read()


def _pick_start(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_READ_AT_START) and name not in _NOT_READ
    }


_WARNINGS: Final = {"PYTHONWARNINGS": "error::ResourceWarning"}
# Those of the run, and not those of the test that asks first.
_VARIABLES: Final = {**os.environ, **_WARNINGS}
_STARTED_WITH: Final = _pick_start(_VARIABLES)


def is_usual(env: Mapping[str, str]) -> bool:
    """Whether Python would start with these variables as the server has started."""
    return _pick_start(env) == _STARTED_WITH


def start(
    folder: Path | None,
    *arguments: str,
    env: Mapping[str, str],
    module: str = "reconciler",
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.PIPE,
    stderr: int | IO[Any] | None = None,
    own_terminal: bool = False,
    before: str = "",
) -> Process:
    """Begin `python -m MODULE ARGUMENTS` in a folder, with these variables and no others.

    A stream is what it is for subprocess.Popen. `before` is Python that the process runs first.
    `own_terminal` begins a session, and stdin is its terminal. The variables must be usual ones:
    see `is_usual`.
    """
    assert is_usual(env), _pick_start(env)
    order = {
        "folder": str(folder or Path.cwd()),
        "module": module,
        "arguments": arguments,
        "env": dict(env),
        "umask": _read_umask(),
        "own_terminal": own_terminal,
        "before": before,
    }
    with ExitStack() as given:
        pipes: dict[int, int] = {}
        handles = list[int]()
        for number, wanted in enumerate((stdin, stdout, stderr)):
            same = wanted == subprocess.STDOUT
            handles.append(handles[1] if same else _open_stream(number, wanted, given, pipes))
        connection, pid = _send(order, handles)
    return Process(connection, pid, pipes)


def _send(order: Mapping[str, Any], handles: Sequence[int]) -> tuple[socket.socket, int]:
    """Send an order; returns the connection, and the number of the process.

    A server that was idle for too long ends, and it may do so after it was reached: then another
    one is started.
    """
    text = json.dumps(order).encode()
    assert len(text) < _MOST_BYTES, "the arguments are too long for the fork server"
    for _ in range(2):
        connection = _connect()
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(connection, [text], handles)
            if pid := connection.recv(_MOST_BYTES):
                return connection, int(pid)
        connection.close()
    raise AssertionError("the fork server has ended")


def _read_umask() -> int:
    """The umask of this process; os.umask would change it for its other threads."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


def _open_stream(
    number: int, wanted: int | IO[Any] | None, given: ExitStack, pipes: dict[int, int]
) -> int:
    """The end of a stream that the process gets; the other end of a pipe is added to `pipes`."""
    if wanted is None:
        return number
    if wanted == subprocess.DEVNULL:
        handle = os.open(os.devnull, os.O_RDWR)
    elif wanted == subprocess.PIPE:
        reader, writer = os.pipe()
        handle, pipes[number] = (writer, reader) if number else (reader, writer)
    else:
        return wanted if isinstance(wanted, int) else wanted.fileno()
    given.callback(os.close, handle)
    return handle


def _connect() -> socket.socket:
    """A connection to the server of this run, which is started if it does not run."""
    folder = _find_folder()
    with (folder / f"{_ADDRESS}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _reach(folder)
        except OSError:
            _start_server(folder)
            return _reach(folder)


def _find_folder() -> Path:
    """The folder of this run; outside of a run of pytest, one that ends with this process."""
    if RUN_FOLDER not in os.environ:
        made = tempfile.mkdtemp(prefix="reconciler-tests-")
        os.environ[RUN_FOLDER] = made
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        atexit.register(end_server)
    return Path(os.environ[RUN_FOLDER])


def _reach(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(folder / _ADDRESS))
    except OSError:
        connection.close()
        raise
    return connection


def _start_server(folder: Path) -> None:
    """Start the server, and wait until it listens."""
    with suppress(FileNotFoundError):
        (folder / _ADDRESS).unlink()
    # It outlives this process, which is one of several.
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", str(folder / _ADDRESS)],
        cwd=ROOT,
        env=_VARIABLES,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout is not None
    with server.stdout as ready:
        assert ready.readline(), "the fork server does not start"
    server.returncode = 0  # no process waits for it


def end_server() -> None:
    """End the server of this run, if any test has asked for it."""
    with suppress(OSError), _reach(Path(os.environ[RUN_FOLDER])) as connection:
        connection.send(b"end")


class _Server:
    """The process that forks: it has one thread, and does nothing else."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen(64)
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._running: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, self._woken, self._wake, *self._running.values()):
            one.close()

    def serve(self) -> "dict[str, Any] | None":
        """Fork for each order; returns the order in the child, and None at the end."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())
        while True:
            ready, _, _ = select.select([self._listener, self._woken], [], [], _IDLE_S)
            if not ready and not self._running:
                return None
            if self._woken in ready:
                self._woken.recv(_MOST_BYTES)
                self._report_ended()
            if self._listener in ready:
                connection, _ = self._listener.accept()
                text, handles, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
                if text == b"end":
                    connection.close()
                    for pid in self._running:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if not text:
                    connection.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    self._leave(connection, handles)
                    return dict(json.loads(text))
                self._running[pid] = connection
                for handle in handles:
                    os.close(handle)
                _answer(connection, pid)

    def _report_ended(self) -> None:
        """Report the exit code of each process that has ended.

        Its number is free for another process only then: who has no report yet may send it signals.
        """
        while self._running:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            killed = ended.si_code != os.CLD_EXITED
            with self._running.pop(ended.si_pid) as connection:
                _answer(connection, -ended.si_status if killed else ended.si_status)
            os.waitpid(ended.si_pid, 0)

    def _leave(self, connection: socket.socket, handles: Sequence[int]) -> None:
        """Have in the child nothing of the server but what it has imported."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
            os.close(handle)
        connection.close()


def _answer(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody waits for it any more
        connection.send(str(number).encode())


def _become(order: Mapping[str, Any]) -> None:
    """Run the module of an order as Python does with `-m`, with the streams of this process."""
    os.chdir(order["folder"])
    os.umask(order["umask"])
    os.environ.clear()
    os.environ.update(order["env"])
    if order["own_terminal"]:
        os.setsid()
        ioctl(0, termios.TIOCSCTTY, 0)
    sys.path[0] = order["folder"]
    sys.argv = ["", *order["arguments"]]
    time.tzset()
    tempfile.tempdir = None
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - they stay open
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    exec(order["before"], {})  # noqa: S102 - a test has written it
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        _end(ended)


def _end(ended: SystemExit) -> NoReturn:
    """End as Python does, but for freeing each module: that copies the memory of the server."""
    code = ended.code
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = 120
    os._exit(code or 0)


def _import_all() -> None:
    names = (one.name for one in pkgutil.walk_packages(reconciler.__path__, "reconciler."))
    for name in (*_LIBRARIES, *names):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def skip_syncs() -> None:
    """Have this process wait for no disk, except in a run of all checks.

    No test cuts the power, and what a killed process has written is kept without it.
    """
    if not ALL_CHECKS:
        os.fsync = lambda fd: None


def main(address: str) -> None:
    """Serve until the run ends; each child goes on as the command of its order."""
    gc.disable()
    skip_syncs()
    _import_all()
    gc.freeze()
    with _Server(address) as server:
        print("ready", flush=True)
        order = server.serve()
    if order is not None:
        gc.enable()
        _become(order)


if __name__ == "__main__":
    main(sys.argv[1])
