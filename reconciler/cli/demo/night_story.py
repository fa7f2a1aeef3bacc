"""The story of a night: a loop watches three services while other people change them."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final

import click

from reconciler.cli.demo.narration import announce, print_text, run, show_file
from reconciler.cli.demo.stage import LOCAL, Stage, list_variables, pick_port, run_emulator
from reconciler.cli.installation import check_watch_installed
from reconciler.emulator.processes import die_with_parent, end_process
from reconciler.emulator.tcp_ports import pick_free_port
from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass

_BLOB: Final = "https://models.example.com/census"
_OLD, _NEW = f"{_BLOB}/2026-11-20.ilearner", f"{_BLOB}/2026-11-27.ilearner"
_NAMES: Final = ("census", "churn", "credit")
_WITHIN_S: Final = 60.0
_PROJECT: Final = """\
apiVersion: reconciler/v1
kind: Project
metadata: {{name: night}}
spec:
  cloud: {{resourceManager: "{url}"}}
  defaults: {{subscription: 00000000-0000-0000-0000-000000000000, resourceGroup: census}}
  guards: {{blobs: skip}} # no storage runs in this story
  watch:
    webhooks: [{{url: {{env: NIGHT_HOOK}}}}]
    reportUrl: http://{pages}/report
"""
_MANIFEST: Final = """\
apiVersion: reconciler/v1
kind: WebService
metadata: {{name: {name}}}
spec:
  trainedModels:
    Census Model [trained model]:
      uri: {model}
"""
_IGNORED: Final = """\
- address: WebService/credit
  pointer: /properties/description
  reason: Legal tries a text; it is declared on Friday, or goes.
  until: {friday}
  owner: dana@example.com
"""
# What the story shows of the metrics, and only what is not 0.
_SHOWN: Final = (
    "reconciler_resources",
    "reconciler_drift_age_seconds",
    "reconciler_cycles_total",
    "reconciler_leader",
)


@dataclass(frozen=True)
class Night(Stage):
    """A stage with a receiver of webhooks. `hook` is its address, `received` what was sent to it.

    `pages` is the address of the loop's pages.
    """

    hook: str = ""
    pages: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)

    def of(self, service: str) -> Night:
        """The same stage, for what other people do to another service."""
        return replace(self, service=service)


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Night]:
    """Start an emulator and a receiver of webhooks; stop both at the end.

    Raises ReconcilerError if the extra `watch` is not installed.
    """
    check_watch_installed()
    port = pick_port()
    received: list[dict[str, Any]] = []
    with (
        _receive(received) as hook,
        run_emulator(port, folder / "emulator", ["--no-blob"]) as url,
    ):
        pages = f"127.0.0.1:{pick_free_port()}"
        night = Night(
            *(folder, url, port, "", "", "--no-blob"), hook=hook, pages=pages, received=received
        )
        _write_project(night)
        yield night


@contextlib.contextmanager
def _receive(received: list[dict[str, Any]]) -> Iterator[str]:
    """Take what is posted to a free port of this machine, and yield the address."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing: the story shows what was received."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/night"
        finally:
            server.shutdown()
            thread.join()


def _write_project(night: Night) -> None:
    manifests = night.folder / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    project = _PROJECT.format(url=night.url, pages=night.pages)
    (night.folder / "reconciler.yaml").write_text(project, encoding="utf-8")
    for name in _NAMES:
        text = _MANIFEST.format(name=name, model=_NEW)
        (manifests / f"{name}.yaml").write_text(text, encoding="utf-8")


def run_story(night: Night) -> None:
    """Run the story, from the apply of an evening to the next morning."""
    _begin(night)
    print_text(
        "The loop starts: each cycle reads the services and the manifests, reports what differs,"
        "\nand puts back what a manifest declares. It serves its metrics and its last report."
    )
    with _run_loop(night) as loop:
        loop.await_cycle("three services in sync", lambda: _count_in_sync(night) == len(_NAMES))
        _show_metrics(night)
        _change_in_the_dark(night, loop)
        _read_in_the_morning(night)
        _settle(night, loop)
        _show_metrics(night)
        print_text("The loop is ended as a supervisor ends it: by SIGTERM. It prints this:")
        loop.end()
    print_text(
        "That is all: what moved in the night is known, dated and settled, and nothing was hidden."
    )


def _begin(night: Night) -> None:
    print_text("Three services serve an old model. Each has a manifest such as this one:")
    for name in _NAMES:
        night.of(name).deploy(_OLD)
    show_file(night, "manifests/census.yaml")
    print_text("In the evening the new model goes into service.")
    run(night, "apply", "--auto-approve")


def _change_in_the_dark(night: Night, loop: _Loop) -> None:
    print_text("It is night. Three people change the live services, and no manifest:")
    for who, what in (
        ("mallory", "gives census the old model again"),
        ("oscar", "lets churn take 50 calls at once, because customers wait"),
        ("legal", "writes another description into credit"),
    ):
        click.echo(f"  {who} {what}")
    night.of("credit").change({"description": "Not for decisions about loans."})
    night.of("churn").change({"realtimeConfiguration": {"maxConcurrentCalls": 50}})
    night.set_model(_OLD)
    loop.await_cycle("the new model of census", lambda: _find_model(night) == _NEW)
    loop.await_cycle("what it has sent", lambda: len(night.received) >= len(_NAMES))
    loop.await_cycle("one service in sync", lambda: _count_in_sync(night) == 1)
    print_text("The loop has sent each finding to the team's webhook, once:")
    for finding in _list_findings(night):
        click.echo(f"  {finding}")


def _read_in_the_morning(night: Night) -> None:
    print_text("It is morning. The loop has put the model of census back, as the ledger shows:")
    run(night, "history", "WebService/census")
    print_text("The other two values are declared in no manifest, so people decide.")
    _show_metrics(night)
    print_text("The report says what moved, since when, and which command settles it:")
    run(night, "drift", "--out", "report.html")
    page = (night.folder / "report.html").as_uri()
    print_text(f"The same as a page, which opens from disk: {page}")


def _settle(night: Night, loop: _Loop) -> None:
    print_text("oscar was right: the live value of churn goes into its manifest.")
    run(night, "drift", "--accept", "WebService/churn")
    show_file(night, "manifests/churn.yaml")
    print_text("The text of credit may stay until Friday. A rule says why, and who answers for it:")
    rule = _IGNORED.format(friday=find_friday(dt.datetime.now(dt.UTC).date()))
    (night.folder / ".driftignore").write_text(rule, encoding="utf-8")
    show_file(night, ".driftignore")
    print_text("Nothing has drifted any more, and what is ignored is still counted:")
    run(night, "drift", "--detailed-exitcode")
    loop.await_cycle("no drift any more", lambda: _count_in_sync(night) == len(_NAMES))
    print_text("The loop has read both files in its next cycle:")


def find_friday(today: dt.date) -> str:
    """The next Friday after a day, as an ISO date."""
    friday = 4
    ahead = (friday - today.weekday()) % 7 or 7
    return (today + dt.timedelta(days=ahead)).isoformat()


def _find_model(night: Night) -> str:
    return str(night.read()["assets"]["asset3"]["locationInfo"]["uri"])


def _list_findings(night: Night) -> list[str]:
    """What each message reports: the resource, the verdict, and the place in the document."""
    return [f"{one['text']}, {one['finding']['pointer']}" for one in night.received]


def _read_metrics(night: Night) -> list[str]:
    """The lines of the metrics that the story shows; empty while the loop does not answer."""
    try:
        with LOCAL.open(f"http://{night.pages}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
    except OSError:
        return []
    return [one for one in lines if one.startswith(_SHOWN) and not one.endswith(" 0.0")]


def _count_in_sync(night: Night) -> int:
    for line in _read_metrics(night):
        if line.startswith("reconciler_resources") and 'state="in sync"' in line:
            return int(float(line.rpartition(" ")[2]))
    return 0


def _show_metrics(night: Night) -> None:
    pattern = "|".join(one.removeprefix("reconciler_") for one in _SHOWN)
    command = f"curl -s http://{night.pages}/metrics | grep -E '^reconciler_({pattern})'"
    click.secho(f"$ {command} | grep -v ' 0.0$'", fg="cyan")
    for line in _read_metrics(night):
        click.echo(line)


@dataclass(frozen=True)
class _Loop:
    process: subprocess.Popen[bytes]
    printed: Path

    def await_cycle(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until a cycle has made something so.

        Raises ReconcilerError if the loop ends before, or if a minute passes.
        """
        ends_at = time.monotonic() + _WITHIN_S
        while not is_so():
            if self.process.poll() is not None:
                raise ReconcilerError(f"the loop has ended: the demo stops:\n{self._read()}")
            if time.monotonic() > ends_at:
                raise ReconcilerError(f"no cycle shows {what}: the demo stops:\n{self._read()}")
            time.sleep(0.1)

    def _read(self) -> str:
        return self.printed.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """End the loop as a supervisor does, and print what it printed."""
        end_process(self.process, patience_s=_WITHIN_S)
        click.echo(self._read(), nl=False)
        if self.process.returncode:
            raise ReconcilerError(f"the loop exited with {self.process.returncode}: the demo stops")


@contextlib.contextmanager
def _run_loop(night: Night) -> Iterator[_Loop]:
    """Run the loop as a process of its own while the block runs."""
    arguments = ("watch", "--mode", "apply", "--interval", "2s", "--listen", night.pages)
    announce(*arguments)
    sys.stdout.flush()
    printed = night.folder / "watch.log"
    with printed.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "reconciler", *arguments],
            cwd=night.folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**list_variables(), "NIGHT_HOOK": night.hook},
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        )
    try:
        yield _Loop(process, printed)
    finally:
        end_process(process, patience_s=_WITHIN_S)
