"""Places where a run may end: before and after every call of a port, and at each step of one.

They are counted in the order in which they are reached and noted in a file as they are, so that
what was reached is known however hard the run ends. At one of them the process kills itself.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler import files
from reconciler.blobs.training import TrainingBlobs
from reconciler.cli import training, wiring
from reconciler.cli.rewrite import rewrite
from reconciler.cli.wiring import Assembly
from reconciler.engine.runtime import Runtime
from reconciler.manifests.proposal import Repository
from reconciler.transport import CommandRateLimiter

_JOB = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class End:
    """Where a run ends: at place number `at`, from 1, of all or of those named; nowhere at 0.

    SIGKILL ends it there; SIGSTOP holds it up, for as long as somebody else wants.
    """

    at: int = 0
    among: tuple[str, ...] = ()
    by: int = signal.SIGKILL


class Places:
    """Counts places from 1, and gives the process a signal at one of them."""

    def __init__(self, note: Path, end: End) -> None:
        self._note = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._end = end
        self._count = 0
        self._guard = threading.Lock()

    def reach(self, name: str) -> None:
        with self._guard:
            os.write(self._note, f"{name}\n".encode())
            if self._end.among and name not in self._end.among:
                return
            self._count += 1
            if self._count == self._end.at:
                os.kill(os.getpid(), self._end.by)


class Watched:
    """A port whose every call is a place; what it gives out to be used further is watched too."""

    def __init__(self, inner: Any, noun: str, places: Places) -> None:
        self._inner = inner
        self._noun = noun
        self._places = places

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._call, found, f"{self._noun}.{name}") if callable(found) else found

    def _call(self, method: Callable[..., Any], name: str, *given: Any, **named: Any) -> Any:
        self._places.reach(f"before {name}")
        result = method(*given, **named)
        if isinstance(result, Iterator):
            return self._step(result, name)
        if isinstance(result, AbstractContextManager):
            return self._hold(result, name)
        self._places.reach(f"after {name}")
        return result

    def _step(self, steps: Iterator[Any], name: str) -> Iterator[Any]:
        for step in steps:
            self._places.reach(f"within {name}")
            yield step
        self._places.reach(f"after {name}")

    @contextmanager
    def _hold(self, held: AbstractContextManager[Any], name: str) -> Iterator[Any]:
        with held as inner:
            self._places.reach(f"inside {name}")
            yield Watched(inner, "lease", self._places)
            self._places.reach(f"before the end of {name}")
        self._places.reach(f"after the end of {name}")


class WatchedRateLimiter:
    """A budget in which a call that is about to be sent is a place, and so is its answer."""

    def __init__(self, inner: Any, places: Places) -> None:
        self._inner = inner
        self._places = places

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def admit(self, method: str, url: str, within_s: float, apart: Any = None) -> Any:
        permit = self._inner.admit(method, url, within_s, apart)
        call = f"{method} {_describe(url)}"
        self._places.reach(f"about to send {call}")
        return WatchedPermit(permit, call, self._places)


class WatchedPermit:
    """Leave to send one call; a lost answer is never learnt of, and so no place."""

    def __init__(self, inner: Any, call: str, places: Places) -> None:
        self._inner = inner
        self._call = call
        self._places = places

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def learn(self, *given: Any, **named: Any) -> Any:
        self._places.reach(f"answered {self._call}")
        return self._inner.learn(*given, **named)


def _describe(url: str) -> str:
    """The end of a path; what an operation or a job is called differs from run to run."""
    segments = urlsplit(url).path.split("/")
    if _JOB.fullmatch(segments[-1]):
        return "job"
    return segments[-2] if "operation" in segments[-2].casefold() else segments[-1]


def watch(places: Places) -> None:
    """From now on, all that a command of this process reaches the world with is watched."""
    make_runtime, ledger = Assembly.make_runtime, vars(Assembly)["ledger"]

    def watched_rate_limiter(*given: Any, **named: Any) -> Any:
        return WatchedRateLimiter(CommandRateLimiter(*given, **named), places)

    def watched_ledger(self: Assembly) -> Any:
        return Watched(ledger.__get__(self, Assembly), "ledger", places)

    def watched_runtime(self: Assembly, *given: Any, **named: Any) -> Runtime:
        return _watch_runtime(make_runtime(self, *given, **named), places)

    _watch_training(places)
    vars(wiring)["CommandRateLimiter"] = watched_rate_limiter
    Assembly.ledger = property(watched_ledger)  # type: ignore[method-assign, assignment]
    Assembly.make_runtime = watched_runtime  # type: ignore[method-assign]


def _watch_training(places: Places) -> None:
    """The blobs of a job, the files that are written, and each call of git."""
    ask = Repository._ask

    def watched_storage(*given: Any) -> Any:
        return Watched(TrainingBlobs(*given), "storage", places)

    def watched_ask(self: Repository, *arguments: str, **named: Any) -> str:
        call = partial(ask, self, *arguments, **named)
        return str(_surround(places, f"git {arguments[0]}", call))

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **named: _surround(places, name, partial(function, *given, **named))

    vars(training)["TrainingBlobs"] = watched_storage
    vars(training)["rewrite"] = watched("rewrite", rewrite)
    vars(files)["write_whole"] = watched("write_whole", files.write_whole)
    Repository._ask = watched_ask  # type: ignore[method-assign]


def _surround(places: Places, name: str, call: Callable[[], Any]) -> Any:
    places.reach(f"before {name}")
    result = call()
    places.reach(f"after {name}")
    return result


def _watch_runtime(runtime: Runtime, places: Places) -> Runtime:
    ledger: Any = runtime.ledger
    if not isinstance(ledger, Watched):
        ledger = Watched(ledger, "ledger", places)
    providers: Any = {
        name: Watched(provider, "provider", places) for name, provider in runtime.providers.items()
    }
    observations: Any = Watched(runtime.observations, "observations", places)
    blobs: Any = Watched(runtime.blobs, "blobs", places)
    return replace(
        runtime, providers=providers, ledger=ledger, observations=observations, blobs=blobs
    )
