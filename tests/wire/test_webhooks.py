"""Webhooks over real sockets: once each, within a time limit, and with an address that stays secret."""

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.manifests.secrets import secret_resolver
from reconciler.model import (
    Cloud,
    DriftReport,
    Finding,
    GuardLimits,
    Project,
    SecretReference,
    Verdict,
    Webhook,
)
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.telemetry.webhooks import Webhooks, check_webhooks
from reconciler.transport.webhooks import Delivery
from tests.cycles import report
from tests.ledgers import MemoryHistory
from tests.outputs import check_output
from tests.scripted import Answer, Call, Script, Scripted, answers, run_scripted
from tests.wire.ways import run_peer

OK = Answer(200, b"ok")
SECRET = "planted-5up3r"


def project(*webhooks: Webhook) -> Project:
    return Project(
        name="bikes",
        root="/",
        file="reconciler.yaml",
        cloud=Cloud("", {}),
        defaults={},
        guards=GuardLimits(),
        ledger=".reconciler",
        digest="",
        webhooks=webhooks or (Webhook(SecretReference(env="HOOK")),),
    )


def found(*names: str, verdict: Verdict = Verdict.DRIFTED) -> DriftReport:
    """A report with a finding of each resource, each with a key."""
    base = report(**dict.fromkeys(names, verdict))
    keyed = [replace(one, key=f"{one.resource.address.name:0>24}") for one in base.findings]
    return replace(base, findings=tuple(keyed))


def made(of: DriftReport, before: DriftReport | None = None) -> Cycle:
    return Cycle("c", "prod", "", "", CycleOutcome.DRIFT, report=of, found=before)


@dataclass
class Stage:
    """Webhooks with a history, and the warnings that they print."""

    addresses: dict[str, str]
    history: MemoryHistory = field(default_factory=MemoryHistory)
    warned: list[Finding] = field(default_factory=list)
    limit_s: float = 60.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As a new process, or another leader."""
        self.webhooks = Webhooks(self.warned.append, limit_s=self.limit_s)

    def send(self, report_: DriftReport, of: Project | None = None) -> None:
        self.history.append(None, {one.key: "" for one in report_.findings})
        resolve = secret_resolver(Path("/nowhere"), self.addresses)
        self.webhooks.send(made(report_), of or project(), resolve, self.history)

    @property
    def said(self) -> list[str]:
        return [one.message for one in self.warned]


def serve(script: Script) -> Any:
    return run_scripted(script)


def url_of(server: Scripted) -> str:
    return f"{server.url}/services/{SECRET}?sig={SECRET}"


def resources(server: Scripted) -> list[str]:
    """The resource of each message that arrived, in the order of arrival."""
    return [json.loads(call.body)["resource"].partition("/")[2] for call in server.calls]


def test_each_new_finding_is_sent_once() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a", "b"))
        assert resources(server) == ["a", "b"]
        (call, _) = server.calls
        assert call.method == "POST"
        assert call.target == f"/services/{SECRET}?sig={SECRET}"
        assert call.headers["Content-Type"] == "application/json; charset=utf-8"
        check_output(json.loads(call.body), "webhook")
        stage.send(found("a", "b"))
        stage.send(found("a", "b", "c"))
        assert resources(server) == ["a", "b", "c"]
    assert stage.warned == []


def test_a_restart_or_another_leader_sends_nothing_again() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        stage.restart()
        stage.send(found("a", "b"))
        assert resources(server) == ["a", "b"]


def test_what_cannot_be_observed_or_is_in_sync_is_not_reported() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a", verdict=Verdict.NOT_OBSERVABLE))
        stage.send(found())
        assert server.calls == []


def test_each_of_several_webhooks_gets_a_finding_once() -> None:
    """One that fails is tried again, and the other gets nothing twice, after a restart too."""
    with (
        run_scripted(answers(OK)) as good,
        run_scripted(answers(Answer(404), Answer(404), OK)) as bad,
    ):
        stage = Stage({"GOOD": url_of(good), "BAD": url_of(bad)})
        both = project(
            Webhook(SecretReference(env="GOOD"), "slack"), Webhook(SecretReference(env="BAD"))
        )
        stage.send(found("a"), both)
        stage.restart()
        stage.send(found("a"), both)
        stage.send(found("a"), both)
        stage.send(found("a"), both)
        assert len(good.calls) == 1
        assert len(bad.calls) == 3
        assert "blocks" in json.loads(good.calls[0].body)


def test_a_finding_that_comes_back_is_new() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        stage.send(found())
        stage.send(found("a"))
        assert resources(server) == ["a", "a"]


@pytest.mark.parametrize("lost", [Answer(500), Answer(503), Answer(drop=True)])
def test_a_message_is_tried_three_times(lost: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.telemetry.webhooks._FIRST_PAUSE_S", 0.001)
    with run_scripted(answers(lost, lost, OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        assert len(server.calls) == 3
        assert stage.warned == []
    with run_scripted(answers(lost)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a", "b"))
        # The second message waits for the next cycle.
        assert len(server.calls) == 3
        assert len(stage.warned) == 1
        stage.send(found("a", "b"))
        assert len(server.calls) == 6
        # The same problem is not reported in each cycle.
        assert len(stage.warned) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_tried_again_at_once(status: int) -> None:
    with run_scripted(answers(Answer(status, b"invalid_payload"))) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        assert len(server.calls) == 1
    assert stage.said == [f"the webhook did not take a message: it answers {status}"]
    assert stage.warned[0].subject == "webhook (env HOOK)"
    assert stage.warned[0].severity == "warning"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with run_scripted(answers(OK)) as other:
        target = Answer(status, headers={"Location": f"{other.url}/{SECRET}"})
        with run_scripted(answers(target)) as server:
            stage = Stage({"HOOK": url_of(server)})
            stage.send(found("a"))
            assert len(server.calls) == 1
        assert other.calls == []
    assert stage.said == [
        f"the webhook did not take a message: it redirects ({status}), and a redirect is not followed"
    ]


def test_too_many_messages_wait_as_long_as_the_webhook_asks() -> None:
    with run_scripted(answers(Answer(429, headers={"Retry-After": "0"}), OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        assert len(server.calls) == 2
    with run_scripted(answers(Answer(429, headers={"Retry-After": "3000"}), OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        stage.send(found("a"))
        assert len(server.calls) == 1
    assert stage.said == [
        "the webhook did not take a message: it accepts no more messages for now (429)"
    ]


def send_beside_one_that_hangs(limit_s: float) -> tuple[list[str], list[str], int]:
    """What is warned of, what the other webhook takes, and the calls of the one that hangs."""
    both = project(Webhook(SecretReference(env="SLOW")), Webhook(SecretReference(env="QUICK")))
    with (
        run_scripted(answers(Answer(200, wait=600))) as slow,
        run_scripted(answers(OK)) as quick,
    ):
        stage = Stage({"SLOW": url_of(slow), "QUICK": url_of(quick)}, limit_s=limit_s)
        started = time.monotonic()
        stage.send(found("a"), both)
        assert time.monotonic() - started < 300
        return stage.said, resources(quick), len(slow.calls)


def test_a_webhook_that_hangs_delays_a_cycle_only_for_the_time_limit() -> None:
    """And no other webhook, and not the next cycle again: its thread still waits."""
    limit_s = 0.3
    said, taken, calls = send_beside_one_that_hangs(limit_s)
    while (len(said), calls) != (1, 1) and limit_s < 20:
        # On a busy machine, the other one or its server was too slow: that proves nothing.
        limit_s *= 4
        said, taken, calls = send_beside_one_that_hangs(limit_s)
    assert (len(said), taken, calls) == (1, ["a"], 1)
    # What the connection took is no part of the time that is left for the answer.
    assert re.search(r"no answer within [0-9.]+ s|has not answered", said[0])


def test_a_webhook_that_hangs_delays_the_next_cycle_only_for_the_share_of_it() -> None:
    """What it takes after that is noted by the next cycle, so that it is not posted again."""
    answered = threading.Event()

    def take(*_: Any) -> Delivery:
        answered.wait(60)
        return Delivery()

    stage = Stage({"HOOK": "https://hooks.example.org/x"})
    stage.webhooks = Webhooks(stage.warned.append, wait_s=0.0, post=take)
    stage.send(found("a"))
    assert not stage.history.load().sent
    answered.set()
    stage.webhooks.close()
    assert len(stage.history.load().sent) == 1
    assert stage.warned == []
    stage.restart()
    stage.webhooks = Webhooks(stage.warned.append, post=lambda *_: pytest.fail("posted again"))
    stage.send(found("a"))


def test_a_webhook_that_never_ends_is_reported_by_a_later_cycle() -> None:
    now, ended = [0.0], threading.Event()

    def hang(*_: Any) -> Delivery:
        ended.wait(60)
        return Delivery("it has ended")

    stage = Stage({"HOOK": "https://hooks.example.org/x"})
    stage.webhooks = Webhooks(stage.warned.append, wait_s=0.0, post=hang, clock=lambda: now[0])
    stage.send(found("a"))
    assert stage.warned == []
    now[0] = 21.0
    stage.send(found("a"))
    assert stage.said == ["the webhook did not take a message: it has not answered within 20 s"]
    ended.set()
    stage.webhooks.close()


def test_an_answer_without_end_is_not_read() -> None:
    """A receiver that lies about its length, or sends for ever, takes nobody's time or memory."""
    sending = threading.Event()

    def flood(connection: Any) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while not sending.is_set():
            connection.sendall(b"x" * 65_536)

    with run_peer(flood) as peer:
        stage = Stage({"HOOK": f"http://127.0.0.1:{peer.port}/x"})
        stage.send(found("a"))
        sending.set()
    assert stage.warned == []


@pytest.mark.parametrize(
    "answer",
    [b"", b"220 smtp.example.org ESMTP\r\n", b"HTTP/1.1 99999 no\r\n\r\n", b"\x00" * 100],
)
def test_what_is_not_http_is_a_warning(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.telemetry.webhooks._FIRST_PAUSE_S", 0.001)
    with run_peer(answer) as peer:
        stage = Stage({"HOOK": f"http://127.0.0.1:{peer.port}/{SECRET}"})
        stage.send(found("a"))
    assert len(stage.said) == 1
    assert stage.said[0].startswith("the webhook did not take a message: ")


def test_a_certificate_must_be_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    came: list[bytes] = []

    def listen(connection: Any) -> None:
        came.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with run_peer(listen, certificate) as peer:
        stage = Stage({"HOOK": f"https://127.0.0.1:{peer.port}/{SECRET}"})
        stage.send(found("a"))
        assert not any(b"POST" in one for one in came)
        assert "certificate cannot be verified" in stage.said[0]
        assert "127.0.0.1" not in repr(stage.warned)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        stage.send(found("a"))
        assert came
        assert came[-1].startswith(b"POST /" + SECRET.encode())


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (f"http://hooks.example.org/{SECRET}", "only this machine is called without TLS"),
        (f"https://user:{SECRET}@hooks.example.org/", "is not the URL of a webhook"),
        (f"ftp://hooks.example.org/{SECRET}", "is not the URL of a webhook"),
        (SECRET, "is not the URL of a webhook"),
        (f"https://hooks.example.org/{SECRET} x", "is not the URL of a webhook"),
        (f"https://hooks.example.org:0/{SECRET}", "is not the URL of a webhook"),
        (f"https://[{SECRET}/", "is not the URL of a webhook"),
        ("", "the secret is empty"),
    ],
)
def test_an_address_that_cannot_be_called_is_an_error_before_the_first_cycle(
    address: str, problem: str
) -> None:
    stage = Stage({"HOOK": address})
    resolve = secret_resolver(Path("/nowhere"), stage.addresses)
    (finding,) = check_webhooks(project(), resolve)
    assert problem in finding.message
    assert finding.subject == "webhook (env HOOK)"
    assert finding.severity == "error"
    assert SECRET not in repr(finding)
    # Where it is changed later, no cycle is lost for it.
    stage.send(found("a"))
    assert [one.severity for one in stage.warned] == ["warning"]


def test_a_missing_variable_is_named() -> None:
    resolve = secret_resolver(Path("/nowhere"), {})
    (finding,) = check_webhooks(project(), resolve)
    assert finding.message == "the secret is not set"
    assert "HOOK" in finding.next_step


def test_an_address_without_a_path_is_called(caplog: pytest.LogCaptureFixture) -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": server.url})
        stage.send(found("a"))
        assert server.calls[0].target == "/"


@pytest.mark.parametrize(
    "script",
    [answers(OK), answers(Answer(404)), answers(Answer(302, headers={"Location": f"/{SECRET}"}))],
)
def test_the_address_is_in_no_log_and_no_warning(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    with run_scripted(script) as server, caplog.at_level(logging.DEBUG, "reconciler"):
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        assert "POST webhook (env HOOK) " in caplog.text
    assert SECRET not in caplog.text + repr(stage.warned)
    assert "127.0.0.1" not in caplog.text + repr(stage.warned)


def test_a_history_that_is_away_makes_nothing_fail() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found("a"))
        stage.history.error = LedgerInvalid("the drift history cannot be read", subject="x")
        resolve = secret_resolver(Path("/nowhere"), stage.addresses)
        stage.webhooks.send(made(found("a", "b")), project(), resolve, stage.history)
        stage.webhooks.send(made(found("a", "b")), project(), resolve, stage.history)
        assert resources(server) == ["a", "b"]
    assert stage.said == ["the drift history cannot be read"]


def test_many_findings_are_one_message() -> None:
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        stage.send(found(*(f"s{number}" for number in range(50))))
        (call,) = server.calls
        assert json.loads(call.body)["findings"] == 50
        stage.send(found(*(f"s{number}" for number in range(50))))
        assert len(server.calls) == 1


def test_what_a_cycle_has_put_right_is_reported_too() -> None:
    """Nobody would learn of it otherwise. What the manifest asked for is not news."""
    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)})
        before, pending = found("swapped", "left"), found("asked", verdict=Verdict.PENDING)
        before = replace(before, findings=(*before.findings, *pending.findings))
        resolve = secret_resolver(Path("/nowhere"), stage.addresses)
        cycle = made(found("left"), before)
        stage.webhooks.send(cycle, project(), resolve, stage.history)
        assert resources(server) == ["left", "swapped"]
        notes = [json.loads(call.body)["finding"]["note"] for call in server.calls]
        assert notes == ["", "watch has applied the manifest since"]
        assert json.loads(server.calls[1].body)["settle"] == []
        stage.webhooks.send(made(found("left")), project(), resolve, stage.history)
        assert len(server.calls) == 2


def test_a_signal_while_a_message_is_posted_does_not_let_it_be_posted_again() -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupt(_: Call, number: int) -> Answer:
        if number == 0:
            signal.pthread_kill(main, signal.SIGINT)
        return OK

    with run_scripted(interrupt) as server:
        stage = Stage({"HOOK": url_of(server)})
        with pytest.raises(KeyboardInterrupt):
            stage.send(found("a", "b"))
        stage.webhooks.close()
        stage.restart()
        stage.send(found("a", "b"))
        assert resources(server) == ["a", "b"]


def test_a_signal_while_the_history_is_written_does_not_lose_the_key() -> None:
    @dataclass
    class Interrupted(MemoryHistory):
        calls: int = 0

        def note_sent(self, keys: Collection[str]) -> None:
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt
            super().note_sent(keys)

    with run_scripted(answers(OK)) as server:
        stage = Stage({"HOOK": url_of(server)}, history=Interrupted())
        with pytest.raises(KeyboardInterrupt):
            stage.send(found("a"))
        stage.restart()
        stage.send(found("a"))
        assert resources(server) == ["a"]
