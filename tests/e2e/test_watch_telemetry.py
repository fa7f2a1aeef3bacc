"""The pages, metrics and webhooks of a `watch` that runs: real processes, sockets and services."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from prometheus_client.parser import text_string_to_metric_families

from reconciler.model import Verdict
from reconciler.render.drift.html import render_drift_page
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.server import WatchServer
from tests.cycles import report
from tests.e2e.test_metrics_file import read
from tests.e2e.test_watch import watched as watched  # noqa: PLC0414 - a fixture
from tests.e2e.world import Project, begin_command
from tests.fork_server import Process
from tests.lines import read_lines
from tests.outputs import check_output
from tests.scripted import Answer, answers, run_scripted

pytestmark = pytest.mark.e2e
SECRET = "planted-5up3r"


@dataclass
class Loop:
    """A watch as a process of its own, whose output is read as it comes."""

    process: Process
    url: str = ""

    def read_until(self, said: str) -> str:
        """What it prints, up to the line that has this text."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if said in line:
                return "".join(lines)
        pytest.fail(f"it never printed {said!r}:\n{''.join(lines)}")

    def get(self, path: str) -> tuple[int, str]:
        host, port = self.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self) -> str:
        """What it prints after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        assert self.process.wait(60) == 0
        return said

    def metrics(self) -> dict[str, float]:
        status, text = self.get("/metrics")
        assert status == 200
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextmanager
def loop(project: Project, *arguments: str, **more: str) -> Iterator[Loop]:
    """A watch; it is killed if the test leaves it running, or after five minutes."""
    with begin_command(
        project.folder, "watch", *arguments, env=more, stderr=subprocess.STDOUT
    ) as process:
        guard = threading.Timer(300, process.kill)
        guard.start()
        try:
            yield Loop(process)
        finally:
            guard.cancel()
            process.kill()


def set_hook(project: Project, form: str = "generic") -> None:
    file = project.folder / "reconciler.yaml"
    watch = f"  watch: {{webhooks: [{{url: {{env: HOOK}}, format: {form}}}]}}\n"
    file.write_text(file.read_text() + watch)


def test_a_loop_serves_its_pages_and_metrics_and_tells_webhooks(watched: Project) -> None:
    set_hook(watched)
    with run_scripted(answers(Answer(200))) as hook:
        arguments = ("--interval", "1s", "--listen", "127.0.0.1:0", "--metrics-file", "m.prom")
        address = f"{hook.url}/{SECRET}"
        with loop(watched, *arguments, HOOK=address, RECONCILER_LOG="debug") as running:
            said = running.read_until("The report is at ")
            running.url = re.findall(r"http://127\.0\.0\.1:\d+", said)[-1]
            said += running.read_until("No drift. 1 service in sync.")
            # A loop that was held up for three seconds is not alive before its next cycle has ended.
            while (health := running.get("/healthz")) != (200, "alive\n"):
                assert "no cycle has read anything for" in health[1]
            assert running.get("/readyz") == (200, "ready\n")
            status, page = running.get("/report")
            assert (status, page.startswith("<!doctype html>")) == (200, True)
            before = running.metrics()
            assert before["reconciler_resources['', 'in sync']"] == 1
            assert before["reconciler_leader['']"] == 1
            assert before["reconciler_calls_total['GET', 'ok']"] >= 1
            watched.emulator.patch("watched", description="<img src=x onerror=alert(1)>")
            said += running.read_until("POST webhook")
            after = running.metrics()
            assert after["reconciler_resources['', 'drifted']"] == 1
            assert after["reconciler_drift_age_seconds['']"] >= 0
            assert after["reconciler_cycles_total['drift']"] >= 1
            status, page = running.get("/report")
            assert "onerror=alert(1)" in page
            assert "<img" not in page
            said += running.stop()
        (call,) = hook.calls
        message = json.loads(call.body)
        check_output(message, "webhook")
        assert (message["resource"], message["finding"]["verdict"]) == (
            "WebService/watched",
            "drifted",
        )
        # Another process does not report it again.
        done = watched.run("watch", "--once", env={"HOOK": address})
        assert done.code == 0, done.said
        assert len(hook.calls) == 1
    assert read_file(watched)["reconciler_resources['', 'drifted']"] == 1
    assert "POST webhook (env HOOK) 200" in said
    assert re.search(r"Z \[[0-9a-f]{12}\] (GET|POST) ", said)
    assert SECRET not in said
    for file in watched.folder.rglob("*"):
        assert not file.is_file() or SECRET not in file.read_text(errors="replace")


def read_file(project: Project) -> dict[str, float]:
    text = (project.folder / "m.prom").read_text()
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_one_cycle_sends_and_writes_without_pages(watched: Project) -> None:
    set_hook(watched, "slack")
    watched.emulator.patch("watched", description="by hand")
    with run_scripted(answers(Answer(500), Answer(200))) as hook:
        arguments = ("watch", "--once", "--metrics-file", "reconciler.prom", "--format", "json")
        done = watched.run(*arguments, env={"HOOK": hook.url})
        assert done.code == 0, done.said
        assert [call.method for call in hook.calls] == ["POST", "POST"]
        assert "blocks" in json.loads(hook.calls[1].body)
    assert read(watched)["reconciler_cycles_total[('outcome', 'drift')]"] == 1


def test_a_webhook_that_fails_costs_no_cycle(watched: Project) -> None:
    set_hook(watched)
    watched.emulator.patch("watched", description="by hand")
    with run_scripted(answers(Answer(302, headers={"Location": f"/{SECRET}"}))) as hook:
        done = watched.run("watch", "--once", "--format", "json", env={"HOOK": hook.url})
        assert done.code == 0, done.said
        lines = read_lines(done.out)
        (cycle,) = {line["cycle"] for line in lines if line["type"].startswith("cycle")}
        (warning,) = (line for line in lines if line["type"] == "diagnostic")
        assert warning["cycle"] == cycle
        assert warning["@level"] == "warn"
        assert "it redirects (302)" in warning["@message"]
        assert SECRET not in done.said
        assert hook.url not in done.said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "webhook (env HOOK): the secret is not set"),
        (f"http://hooks.example.org/{SECRET}", "only this machine is called without TLS"),
        (SECRET, "is not the URL of a webhook"),
    ],
)
def test_a_webhook_without_an_address_is_an_error_before_the_first_cycle(
    watched: Project, address: str, said: str
) -> None:
    set_hook(watched)
    done = watched.run("watch", "--once", env={"HOOK": address} if address else {})
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert SECRET not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "9464"), "--listen 9464: is not an address with a port"),
        (("--listen", "127.0.0.1:99999"), "is not an address with a port"),
        (("--listen", "192.0.2.1:80"), "192.0.2.1:80: this machine does not have the address"),
        (("--listen", "127.0.0.1:1", "--no-listen"), "give --listen or --no-listen"),
        (("--listen", "127.0.0.1:1", "--once"), "give --listen or --once"),
        (("--once", "--metrics-file", "nowhere/m.prom"), "the folder does not exist"),
    ],
)
def test_a_wrong_address_or_file_is_an_error_before_the_first_cycle(
    watched: Project, arguments: tuple[str, ...], said: str
) -> None:
    done = watched.run("watch", *arguments)
    assert (done.code, done.out) == (1, ""), done.said
    assert said in done.err


def test_a_taken_port_is_an_error_before_the_first_cycle(watched: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = watched.run("watch", "--listen", address)
    assert (done.code, done.out) == (1, "")
    assert f"{address}: the port is taken by another process" in done.err
    assert "Choose another address with --listen ADDRESS:PORT" in done.err


def test_a_taken_usual_port_costs_the_pages_alone(
    watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two loops on one machine are usual, and nobody has asked for this port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr("reconciler.cli.watch_telemetry.DEFAULT_LISTEN", address)
        monkeypatch.setattr("reconciler.cli.watching._WatchRun.run", lambda self: self.run_once())
        done = watched.run("watch")
    assert done.code == 0, done.said
    assert "the report and the metrics have no page: the port is taken" in done.err
    assert "No drift. 1 service in sync." in done.out


def test_json_lines_name_the_pages(watched: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.cli.watching._WatchRun.run", lambda self: self.run_once())
    done = watched.run("watch", "--listen", "127.0.0.1:0", "--format", "json")
    assert done.code == 0, done.said
    (line,) = (one for one in read_lines(done.out) if "/report" in one["@message"])
    assert re.fullmatch(r"The report is at http://127\.0\.0\.1:\d+/report", line["@message"])


def test_a_base_installation_watches_without_pages(
    watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = watched.run("watch", "--listen", "127.0.0.1:0")
    assert (done.code, done.out) == (1, "")
    assert "prometheus_client is not installed" in done.err
    assert watched.run("watch", "--once").code == 0


def test_the_file_of_metrics_is_written_in_each_cycle_and_warned_of_once(
    watched: Project, tmp_path: Path
) -> None:
    folder = watched.folder / "metrics"
    folder.mkdir()
    with loop(
        watched, "--interval", "1s", "--no-listen", "--metrics-file", "metrics/m.prom"
    ) as running:
        running.read_until("No drift")
        running.read_until("No drift")
        assert (folder / "m.prom").exists()
        folder.rename(tmp_path / "aside")
        said = running.read_until("the metrics cannot be written")
        for _ in range(2):
            said += running.read_until("No drift")
        assert said.count("the metrics cannot be written") == 1


@pytest.mark.slow
def test_the_report_opens_in_a_browser_over_http(browser: Browser) -> None:
    """With the headers of the server, the page still runs its script and asks for nothing more."""
    found = report("", a=Verdict.DRIFTED, b=Verdict.IN_SYNC)
    data = render_drift_page([found]).encode()
    metrics, health = Metrics("1"), Health(600)
    with WatchServer("127.0.0.1", 0, metrics, health, lambda: data) as server:
        page, wrong, asked = browser.new_page(), list[str](), list[str]()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/report")
        theme = page.get_by_role("button", name=re.compile("theme|dark|light", re.IGNORECASE))
        theme.first.click()
        assert (wrong, asked) == ([], [f"{server.url}/report"])
        page.context.close()


def test_a_model_that_the_loop_puts_back_is_reported_and_counted(watched: Project) -> None:
    set_hook(watched)
    world = watched.emulator
    world.deploy("watched", world.model_uri("somebody-elses"))
    with run_scripted(answers(Answer(200))) as hook:
        arguments = ("watch", "--once", "--mode", "apply", "--metrics-file", "reconciler.prom")
        done = watched.run(*arguments, env={"HOOK": hook.url})
        assert done.code == 0, done.said
        (call,) = hook.calls
        message = json.loads(call.body)
        assert message["finding"]["verdict"] == "model-swapped"
        assert message["finding"]["note"].endswith("watch has applied the manifest since")
    found = read(watched)
    assert found["reconciler_apply_seconds_count[]"] == 1
    assert found["reconciler_plan_seconds_count[]"] == 1
    assert found["reconciler_resources[('environment', ''), ('state', 'in sync')]"] == 1
    assert found["reconciler_calls_total[('method', 'PATCH'), ('outcome', 'ok')]"] == 1
