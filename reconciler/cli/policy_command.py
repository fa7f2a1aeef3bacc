"""Runs the command of `--policy-command` on a plan, and adds what it refuses to the plan.

The command gets the plan's JSON on its standard input, and no shell starts it. Time and size of its
answer are limited. Anything but an answer is an error: a command that fails has judged nothing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Final, cast

from reconciler.errors import Unplannable
from reconciler.model import Finding, Plan
from reconciler.plans.plan_file import encode_plan
from reconciler.plans.policy_answers import read_answer
from reconciler.text.durations import show_duration

_WITHIN_S: Final = 120.0
_MOST_BYTES: Final = 8 << 20
_MOST_LINES: Final = 10
_PIECE: Final = 1 << 16
_UNJUDGED: Final = "The plan is not judged, so it is not accepted."


def judge_by_command(
    plan: Plan,
    command: Sequence[str],
    redact: Callable[[str], str],
    within_s: float = _WITHIN_S,
) -> Plan:
    """Return the plan with what the command says about it.

    Raises Unplannable if the command gives no answer in `within_s` seconds. `redact` removes
    secrets from what it prints.
    """
    name = Path(command[0]).name
    err = b""
    try:
        code, out, err = _run(command, encode_plan(plan), within_s)
        found = read_answer(redact(out.decode("utf-8", "replace")), name, code)
    except OSError as error:
        why = f"it cannot be started: {error.strerror}"
        raise _fail(name, why, "Name a program that is installed here.") from error
    except _Unanswered as error:
        raise _fail(name, str(error), _UNJUDGED) from error
    except ValueError as error:
        said = redact(err.decode("utf-8", "replace")).splitlines()
        raise _fail(name, str(error), _UNJUDGED, said[-_MOST_LINES:]) from error
    return replace(plan, findings=(*plan.findings, *found)) if found else plan


class _Unanswered(Exception):
    """The command was ended before it gave an answer; the text says why."""


def _fail(name: str, why: str, next_step: str, detail: Sequence[str] = ()) -> Unplannable:
    finding = Finding(
        f"the policy command {name} has not judged the plan: {why}",
        detail=tuple(f"{name} says: {line}" for line in detail if line.strip()),
        next_step=next_step,
    )
    return Unplannable((finding,))


def _run(command: Sequence[str], given: bytes, within_s: float) -> tuple[int, bytes, bytes]:
    """Return the exit code of a command and what it prints; ends it, and what it has started."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                out, err = _read(process, time.monotonic() + within_s)
            except subprocess.TimeoutExpired:
                _end(process)
                raise _Unanswered(f"it has not ended in {show_duration(within_s)}") from None
            except BaseException:
                _end(process)
                raise
    return process.returncode, out, err


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that nothing has waited for yet, and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _read(process: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes]:
    """Return what a command prints, when it has ended; raises TimeoutExpired, or _Unanswered."""
    kept: dict[IO[bytes], bytearray] = {
        stream: bytearray() for stream in (process.stdout, process.stderr) if stream is not None
    }
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE)
                kept[cast("IO[bytes]", key.fileobj)] += piece
                if not piece:
                    selector.unregister(key.fileobj)
            if sum(map(len, kept.values())) > _MOST_BYTES:
                raise _Unanswered(f"it prints more than {_MOST_BYTES >> 20} MB")
    process.wait(max(0.0, until - time.monotonic()))
    out, err = map(bytes, kept.values())
    return out, err
