"""What strange hands make: values, documents bent out of shape, a server that says anything.

A command is run within this process. Whatever it is given, it must end by one of its own exit
codes, say nothing that moves a terminal, write only where it may, and call only whom it may.
"""

import contextlib
import copy
import io
import json
import os
import platform
import re
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from azure.core.exceptions import ClientAuthenticationError
from hypothesis import strategies as st

from reconciler.cli import main
from reconciler.transport.timeouts import Timeouts
from tests.e2e.world import in_environment

Json = Any

EXIT_CODES: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8})
# What may stand in no output: all that a terminal obeys, and what turns reading round.
HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


# Values.


def pick(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of them; they may be too long for Hypothesis to write each of them down."""
    return st.integers(0, len(values) - 1).map(lambda number: values[number])


# Stands for the address of a server that nobody may call.
ELSEWHERE: Final = "http://{elsewhere}"
TEXTS: Final = st.one_of(
    pick(
        [
            "",
            "\x00",
            "\x1b[2J\x1b]0;owned\x07",
            "\u202egnp.exe",
            "\u2066\u2069",
            "\ud800",
            "a\r\nX-Injected: 1",
            "../../../outside",
            "/etc/passwd",
            "..",
            ".",
            "~root",
            "file:///etc/passwd",
            "//{elsewhere}/x",
            f"{ELSEWHERE}/subscriptions",
            "https://acct.blob.core.windows.net/m/a.ilearner?sv=2024-01-01&sig=c2VjcmV0",
            "{{7*7}}${7*7}<script>alert(1)</script>",
            "NaN",
            "1e999",
            "9" * 5000,
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "Succeeded",
            "WebService/census",
            "/properties/assets",
            "/~2~",
            "sha256:",
            "x" * 70_000,
            "👩‍👩‍👧‍👦",
        ]
    ),
    st.text(max_size=30),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Nd"]), max_size=10),
)
NUMBERS: Final = st.one_of(
    st.integers(-3, 20),
    pick([2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 10**4000, 1.5, -0.0, 1e308]),
    st.floats(allow_nan=False, allow_infinity=False),
)
# JSON has no such numbers; Python writes and reads them all the same.
NO_NUMBERS: Final = st.sampled_from([float("nan"), float("inf"), float("-inf")])


def nest(depth: int, *, within: Callable[[Json], Json]) -> Json:
    """A value that is nested so deep."""
    value: Json = 1
    for _ in range(depth):
        value = within(value)
    return value


DEEP: Final = st.builds(
    lambda depth, within: nest(depth, within=within),
    st.sampled_from([20, 63, 99, 101, 150, 300, 500]),
    st.sampled_from([lambda one: [one], lambda one: {"a": one}, lambda one: {"parameters": one}]),
)
PLAIN: Final = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: Final = st.one_of(
    PLAIN,
    st.recursive(
        PLAIN,
        lambda below: st.one_of(
            st.lists(below, max_size=4), st.dictionaries(TEXTS, below, max_size=4)
        ),
        max_leaves=8,
    ),
    DEEP,
    NO_NUMBERS,
    st.sampled_from([[], {}, [[]], [{}], [None], {"": None}]),
    st.builds(lambda one, number: [one] * number, PLAIN, st.sampled_from([2, 3000])),
)

# Each has brought something down.
WORST: Final[Sequence[Json]] = [
    nest(70, within=lambda one: [one]),
    nest(70, within=lambda one: {"a": one}),
    "\ud800\x1b\u202e",
    "x\n",
    "a\x00b",
    "1e999",
    "../../x",
    "9" * 5000,
    10**4000,
    -1,
    1.5,
    True,
    None,
    [],
    {},
    [1, "x", {}],
    {"": {"": 1}},
    {"certificateThumbprint": [1]},
    ["a"] * 3000,
]


# Documents bent out of shape.


@st.composite
def bent(
    draw: st.DrawFn, document: Json, values: st.SearchStrategy[Json] = VALUES, most: int = 3
) -> Json:
    """A document in which a few places hold something else, are gone, or have another name."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        places = list(find_places(changed))
        if not places:
            break
        lock_owner, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["put", "put", "put", "drop", "name", "twice", "swap"]))
        _bend(draw, lock_owner, key, how, values)
    return changed


def _bend(
    draw: st.DrawFn, lock_owner: Json, key: Json, how: str, values: st.SearchStrategy[Json]
) -> None:
    if how == "drop":
        del lock_owner[key]
    elif how == "name" and isinstance(lock_owner, dict):
        lock_owner[draw(TEXTS)] = lock_owner.pop(key)
    elif how == "twice" and isinstance(lock_owner, list):
        lock_owner.append(copy.deepcopy(lock_owner[key]))
    elif how == "swap" and isinstance(lock_owner, dict):
        other = draw(st.sampled_from(sorted(lock_owner)))
        lock_owner[key], lock_owner[other] = lock_owner[other], lock_owner[key]
    else:
        # A copy: a value that is drawn twice is the same list, and must not come to hold itself.
        lock_owner[key] = copy.deepcopy(draw(values))


@st.composite
def spoiled(draw: st.DrawFn, document: Json) -> Json:
    """A document with one of the worst values at one of its places, all of them as likely."""
    changed = copy.deepcopy(document)
    places = list(find_places(changed))
    lock_owner, key = places[draw(st.integers(0, len(places) - 1))]
    lock_owner[key] = draw(pick(WORST))
    return changed


@st.composite
def renamed(draw: st.DrawFn, document: Json) -> Json:
    """A document in which a word stands everywhere for another one, so that all still agrees."""
    words = sorted(set(_WORD.findall(json.dumps(document))))
    return _rename(document, words[draw(st.integers(0, len(words) - 1))], draw(TEXTS))


def _rename(value: Json, old: str, new: str) -> Json:
    if isinstance(value, dict):
        return {_rename(name, old, new): _rename(below, old, new) for name, below in value.items()}
    if isinstance(value, list):
        return [_rename(below, old, new) for below in value]
    return value.replace(old, new) if isinstance(value, str) else value


_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{2,}[A-Za-z0-9]")


def find_places(document: Json) -> Iterator[tuple[Json, Json]]:
    """Every place of a document, as what holds it and under which key; the outer ones first."""
    waiting = [document]
    while waiting:
        lock_owner = waiting.pop(0)
        below = lock_owner.items() if isinstance(lock_owner, dict) else enumerate(lock_owner)
        for key, value in list(below):
            yield lock_owner, key
            if isinstance(value, (dict, list)):
                waiting.append(value)


@st.composite
def torn(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that were cut, doubled, or have a few others in them."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        how = draw(st.sampled_from(["cut", "put", "insert", "double"]))
        if how == "cut":
            del changed[at:]
        elif how == "put" and changed:
            changed[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
        elif how == "insert":
            changed[at:at] = draw(st.sampled_from(_CHUNKS))
        else:
            changed[at:at] = changed[: draw(st.integers(0, 2000))]
    return bytes(changed)


_CHUNKS: Final = (
    b"\x00",
    b"\x1b[2J",
    "\u202e".encode(),
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"[" * 5000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"\n" * 10,
    b"NaN",
    b"1e999",
    b"&a [*a, *a]",
    b"!!python/object/apply:os.system [id]",
    b"? {",
    b"\t",
    b"<<: *a",
    b"%YAML 9.9\n---\n",
)


def encode(document: Json) -> bytes:
    """A document as JSON, with all that Python's reader takes and JSON has not."""
    return json.dumps(document).encode()


# Commands.


@dataclass(frozen=True)
class Ran:
    """A command that has ended. `touched` are the files it wrote, `called` whom it called."""

    code: int
    out: str
    err: str
    touched: frozenset[str]
    called: frozenset[str]

    @property
    def said(self) -> str:
        return self.out + self.err


_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Watch:
    """Sees whatever this process opens to write, moves, takes away or connects to."""

    def __init__(self) -> None:
        self.touched: set[str] = set()
        self.called: set[str] = set()
        self.open = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.open:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and isinstance(path, (str, bytes)):
                self._touch(path)
        elif event in {"os.rename", "os.link", "os.symlink"}:
            self._touch(arguments[0], arguments[1])
        elif (
            event in {"os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
            or event == "sqlite3.connect"
        ):
            self._touch(arguments[0])
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self.called.add("{}:{}".format(*arguments[1][:2]))
        elif event == "socket.getaddrinfo":
            self.called.add(f"{arguments[0]}:{arguments[1]}")
        elif event in {"subprocess.Popen", "os.system", "os.exec"}:
            self.called.add(str(arguments[0]))

    def _touch(self, *paths: Any) -> None:
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)):
                self.touched.add(str(Path(os.fsdecode(path)).absolute()))


_WATCH: Final = _Watch()
# An answer is waited for, and asked for again at once, or not at all.
_HASTY: Final = Timeouts(retries=1, total_s=0.01, throttled_s=0.01, connect_s=60, read_s=60)
# The storage client reports the machine, and Python asks a program for it once.
platform.processor()
# azure-identity searches files and programs of the whole machine for an identity.
_NO_IDENTITY: Final = mock.Mock(
    get_token=mock.Mock(side_effect=ClientAuthenticationError("no credential")),
    get_token_info=mock.Mock(side_effect=ClientAuthenticationError("no credential")),
)
_QUICK: Final = {
    "RECONCILER_INPUT": "0",
    "RECONCILER_IN_AUTOMATION": "1",
    "LOGNAME": "ann",
}


def run(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
    """One command in a folder, within this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before = Path.cwd()
    os.chdir(folder)
    with (
        in_environment({**os.environ, **_QUICK, **(environment or {})}),
        # Modules are imported late: Python would write their bytecode outside of the project.
        mock.patch.object(sys, "dont_write_bytecode", True),
        mock.patch("reconciler.manifests.git._Git.ask", return_value=b""),
        mock.patch("reconciler.transport.client.read_timeouts", return_value=_HASTY),
        mock.patch("reconciler.cli.wiring.token_credential", return_value=_NO_IDENTITY),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        _WATCH.touched, _WATCH.called, _WATCH.open = set(), set(), True
        try:
            code = main(arguments)
        finally:
            _WATCH.open = False
            os.chdir(before)
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode())
    return Ran(code, said[0], said[1], frozenset(_WATCH.touched), frozenset(_WATCH.called))


def check_run(
    ran: Ran, folder: Path, *, called: Sequence[str] = (), codes: frozenset[int] = EXIT_CODES
) -> None:
    """A command ended as one may: whatever it was given.

    It wrote within `folder` alone, and called nobody but `called`.
    """
    assert ran.code in codes, ran.said
    for stream in (ran.out, ran.err):
        found = HARMFUL.search(stream)
        assert found is None, (found, stream[max(0, found.start() - 80) : found.end() + 80])
    for word in ("Traceback", "failed with an unexpected", "a defect of reconciler"):
        assert word not in ran.err, ran.err[-3000:]
    assert ran.code == 0 or ran.said, "it says why"
    outside = {path for path in ran.touched if not _is_within(path, folder)}
    assert not outside
    assert ran.called <= set(called), ran.called


def _is_within(path: str, folder: Path) -> bool:
    """Whether a name lies there; where a link of that name leads is asked of what it leads to."""
    return Path(path).parent.resolve().is_relative_to(folder.resolve()) or path == os.devnull


# A service.


@dataclass
class Asked:
    """One request, as it came."""

    method: str
    target: str
    body: bytes


@dataclass
class Wild:
    """A server that says whatever bytes it is told to, and then hangs up."""

    address: str
    asked: list[Asked] = field(default_factory=list)
    script: Callable[[Asked, int], bytes] = lambda _, __: b""

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is part of the game."""


@contextmanager
def run_wild() -> Iterator[Wild]:
    """Serve on a port of its own while the block runs."""
    lock = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        timeout = 60

        def handle(self) -> None:
            asked = _read_request(self.rfile)
            if asked is None:
                return
            with lock:
                number = len(wild.asked)
                wild.asked.append(asked)
            with contextlib.suppress(OSError):
                self.wfile.write(wild.script(asked, number))

    with _Server(("127.0.0.1", 0), Handler) as server:
        wild = Wild("{}:{}".format(*server.server_address))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield wild
        finally:
            server.shutdown()
            thread.join()


def _read_request(file: Any) -> Asked | None:
    try:
        method, target, _ = file.readline().decode("latin-1").split(" ", 2)
        length = 0
        while (line := file.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            length = int(value) if name.lower() == "content-length" else length
        return Asked(method, target, file.read(length))
    except (OSError, ValueError):
        return None


def answer(
    status: int = 200,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    length: int | None = None,
) -> bytes:
    """A reply as it goes over the wire."""
    given = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
        "Connection": "close",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode("utf-8", "surrogatepass") + body
