"""No secret in any byte: planted wherever one can be, looked for in all that is written.

The service of these tests repeats to everybody whatever it has heard of them, in every encoding.
"""

import base64
import errno
import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlsplit

import click
import pytest

from reconciler.cli.commands.drift import drift
from reconciler.cli.commands.plan import plan
from reconciler.cli.commands.show import show
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.line_file import append_durably
from reconciler.model import CachedStamp, LockOwner, compress
from reconciler.observations import ObservationCache
from reconciler.transport import token_credential
from tests.e2e.classic_stage import CLASSIC, ClassicStage
from tests.e2e.markers import Evidence
from tests.e2e.planted import AROUND, MARKERS, MODEL, NEW, SAS, TOKEN, Stage, finish
from tests.e2e.telltale import OWN, Telltale
from tests.e2e.world import definition, spawn_emulator
from tests.scripted import Scripted
from tests.wild import run_wild

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]
APPLY = ("apply", "--auto-approve")
# What is looked at again, and found to be done.
FORGIVEN = ("endless", "unfollowed")
PLAN = ("plan", "--out", "a.plan")
REFUSALS = ("401", "403", "404", "409", "429", "500", "cut", "slow", "page", "nonsense", "redirect")


# What is asked of either generation of the service.
BOTH = pytest.mark.parametrize("stage", [NEW, CLASSIC], ids=["new", "classic"], indirect=True)
WRITES = [*REFUSALS, "ignored"]
# One client calls both generations. In every run it meets one word of each sort on the new one: 401
# for a refusal (403, 404 and 409 are read in the same way), and a page for a reply that is not JSON
# (nonsense is another). On classic it meets those two, which each generation words in its own way.
SAME = ("403", "404", "409", "nonsense")
ON_CLASSIC = ("401", "page", "ignored")


def mark_new(word: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if word in SAME else []


def mark_classic(word: str) -> list[pytest.MarkDecorator]:
    return [] if word in ON_CLASSIC else [pytest.mark.slow]


ALL_READS = [pytest.param(NEW, one, id=f"{one}-new", marks=mark_new(one)) for one in REFUSALS]
ALL_READS += [
    pytest.param(CLASSIC, one, id=f"{one}-classic", marks=mark_classic(one)) for one in REFUSALS
]
# Classic has no operations, which could fail.
ALL_WRITES = [
    pytest.param(NEW, one, id=one, marks=mark_new(one)) for one in (*WRITES, *FORGIVEN, "failed")
]
ALL_WRITES += [
    pytest.param(CLASSIC, one, id=f"classic-{one}", marks=mark_classic(one)) for one in WRITES
]


def forms_of(command: click.Command) -> Sequence[str]:
    """The forms in which a command prints."""
    (form,) = (one for one in command.params if one.name == "form" and one.opts == ["--format"])
    assert isinstance(form.type, click.Choice)
    return [str(one) for one in form.type.choices]


@BOTH
def test_every_command_that_does_what_it_should(stage: Stage) -> None:
    stage.deploy()
    stage.declare()
    stage.declare_whole("fresh")
    for arguments in (
        ("init", "another"),
        ("validate",),
        ("validate", "--json"),
        ("schema", stage.kind, "--fields"),
        ("plan", "--out", "first.plan"),
        *(("plan", "--format", form) for form in forms_of(plan)),
        *(("show", "first.plan", "--format", form) for form in forms_of(show)),
        ("show", "first.plan", "--patch"),
        ("show", "first.plan", "--inverse"),
        ("apply", "first.plan"),
        *(("drift", "--format", form) for form in forms_of(drift)),
        ("drift", "--unmanaged"),
    ):
        finish(stage.run(*arguments), 0)
    assert {one.place for one in stage.sent} <= {*stage.service.heard, *stage.service.stored}
    finish(stage.run("plan"), 0, "No changes.")
    stage.deploy(model="theirs")
    finish(stage.run("drift", "--accept", stage.address("census")), 0, "accepted into 1 file")
    stage.declare(model="newer")
    stage.deploy("found")
    stage.deploy("left")
    for arguments in (
        ("apply", "--auto-approve", "--json"),
        ("history",),
        ("history", stage.address("census"), "--blame"),
        ("history", "--json"),
        ("rollback", stage.address("census"), "--out", "back.plan"),
        ("rollback", stage.address("census"), "--auto-approve"),
        ("ledger", "verify", "--json"),
        ("ledger", "compact"),
        ("ledger", "rebuild", "--auto-approve"),
        ("export", stage.address("census"), "--format", "json"),
        ("import", stage.address("found"), "found", "--full"),
        ("export", "--all", "--full", "--folder", "elsewhere"),
        ("forget", stage.address("fresh")),
        ("apply", "--auto-approve", "--destroy"),
    ):
        finish(stage.run(*arguments), 0)
    assert list(stage.service.services) == ["left"]


@pytest.mark.parametrize(("stage", "word"), ALL_READS, indirect=["stage"])
def test_reads_that_fail(stage: Stage, word: str) -> None:
    stage.deploy()
    stage.declare()
    finish(stage.run(*APPLY), 0)
    stage.service.faults = {"GET": word}
    timeout = "0.05" if word == "429" else "0.1"
    stage.declare(model="newer")
    for arguments in (
        PLAN,
        (*APPLY, "--json"),
        APPLY,
        ("drift", "--format", "json"),
        ("export", "--all", "--folder", "elsewhere"),
    ):
        finish(stage.run(*arguments, RECONCILER_TIMEOUT=timeout), 1)


@pytest.mark.parametrize(("stage", "word"), ALL_WRITES, indirect=["stage"])
def test_writes_that_fail(stage: Stage, word: str) -> None:
    stage.deploy()
    stage.declare()
    stage.service.faults = {"PATCH": word}
    timeout = {"429": "0.05", "slow": "0.3"}.get(word, "5")
    for level, *arguments in (("", "--json"), ("debug", "--on-failure", "rollback")):
        more = (*APPLY, "--patience", "0s", "--step-timeout", "1s", *arguments)
        done = stage.run(*more, RECONCILER_TIMEOUT=timeout, RECONCILER_LOG=level)
        # The service took what it calls failed: nothing is left for the second apply to do.
        again = word == "failed" and level == "debug"
        finish(done, int(not again) if word not in FORGIVEN else done.code, "census")
    assert "PATCH" in {call.method for call in stage.server.calls}
    finish(stage.run("history", "--json"), 0)
    finish(stage.run("ledger", "verify"), 0)


def test_a_service_that_leads_elsewhere(stage: Stage) -> None:
    stage.deploy()
    stage.declare()
    for word, said in (("elsewhere", "another origin"), ("circle", "repeats a page")):
        stage.service.faults = {"LIST": word}
        finish(stage.run("export", "--all"), 1, said)


@BOTH
def test_a_plan_that_is_stale_and_one_that_was_changed(stage: Stage) -> None:
    stage.deploy()
    stage.declare()
    finish(stage.run("plan", "--out", "old.plan"), 0)
    stage.deploy(model="theirs")
    finish(stage.run("apply", "old.plan"), 1, "stale")
    finish(stage.run("apply", "old.plan", "--json"), 1, "stale")
    plan = stage.folder / "old.plan"
    for text in (plan.read_text().replace("old", SAS.value), SAS.value, f'{{"a": "{SAS.core}'):
        plan.write_text(text)
        stage.evidence.allowed.add(plan)
        for arguments in (("show", "old.plan"), ("apply", "old.plan")):
            finish(stage.run(*arguments), 1, "old.plan")


@BOTH
def test_a_ledger_that_is_locked_broken_or_full(stage: Stage) -> None:
    stage.deploy()
    stage.declare()
    ledger = FileLedger(stage.folder / ".reconciler")
    lock_owner = LockOwner(
        "1", "somebody", "a test", "elsewhere", 1, "", "2026-11-20T12:00:00Z", ""
    )
    with ledger.lock(lock_owner, 0.0, lambda _: None):
        finish(stage.run(*APPLY), 1, "locked by somebody")
        finish(stage.run("force-unlock", "1", "--force"), 0)
    with mock.patch("reconciler.ledgers.file.append_durably", fill_up_after(1)):
        done = stage.run(*APPLY)
    finish(done, 1, "errored.ledger.json")
    finish(stage.run("ledger", "verify", "--recover", "errored.ledger.json"), 0)
    file = stage.folder / ".reconciler" / "ledger.jsonl"
    file.write_text(file.read_text() + json.dumps({"kind": SAS.value}) + "\n")
    stage.evidence.allowed.add(file)
    for arguments in (("plan",), ("history",), ("ledger", "verify"), APPLY):
        finish(stage.run(*arguments), 1, "ledger.jsonl")


def fill_up_after(lines: int) -> Callable[..., None]:
    """What adds to a file on a disk that has room for so many lines."""
    left = [lines]

    def append(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append_durably(*arguments)

    return append


DEFECTS = [
    ("reconciler.kinds.web_service.provider.WebServiceProvider.write", APPLY),
    ("reconciler.kinds.web_service.provider.WebServiceProvider.read", PLAN),
    ("reconciler.engine.planning.plan.make_plan", PLAN),
    ("reconciler.cli.errors.render_findings", ("plan", "nowhere")),
    ("reconciler.ledgers.lock.HeldLock._keep", APPLY),
    ("reconciler.transport.client.Client._exchange", APPLY),
    ("reconciler.blobs.storage.BlobStorage.inspect", PLAN),
]
CLASSIC_DEFECTS = [
    ("reconciler.kinds.endpoint.provider.EndpointProvider.write", APPLY),
    ("reconciler.kinds.endpoint.provider.EndpointProvider.read_many", PLAN),
    ("reconciler.kinds.endpoint.provider.check_validity", APPLY),
    ("reconciler.transport.client.Client._exchange", APPLY),
]
ALL_DEFECTS = [pytest.param(NEW, *one, id=one[0]) for one in DEFECTS]
ALL_DEFECTS += [pytest.param(CLASSIC, *one, id=f"classic-{one[0]}") for one in CLASSIC_DEFECTS]


# `trace` writes all that `debug` writes, and more.
@pytest.mark.parametrize("level", ["", pytest.param("debug", marks=pytest.mark.slow), "trace"])
@pytest.mark.parametrize(("stage", "place", "arguments"), ALL_DEFECTS, indirect=["stage"])
def test_a_defect(stage: Stage, place: str, arguments: tuple[str, ...], level: str) -> None:
    stage.deploy()
    stage.declare()
    text = " ".join(marker.value for marker in stage.markers)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text) from ValueError(text)

    with mock.patch(place, fail):
        done = stage.run(*arguments, RECONCILER_LOG=level)
    finish(done, 0 if place.endswith("_keep") else 1, "unexpected RuntimeError")


HEAD = "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: wrong}\nspec:\n"
MODELS = f"  trainedModels:\n    {MODEL}: "
# Where a slip puts a secret, as `S` where it is quoted and `W` where it stands bare.
SLIPS = [
    ("is a secret", "  definition: {properties: {keys: {primary: S}}}"),
    ("is a secret", "  definition: {properties: {assets: {a: {locationInfo: {credentials: S}}}}}"),
    ("needs exactly one|must be a mapping", "  secrets: {/properties/keys/primary: S}"),
    ("needs exactly one", "  secrets: {/properties/keys/primary: {S: x}}"),
    ("needs exactly one", "  secrets: {/properties/keys/primary: {env=W}}"),
    ("no secret at this pointer", "  secrets: {/properties/W: {env: A}}"),
    ("unknown field", "  secrets: {/properties/keys/primary: {env: A, S: x}}"),
    ("does not match the required pattern", "  secrets: {/properties/keys/primary: {env: S}}"),
    ("must be a mapping", f"{MODELS}{{uri: 'https://a.test/b', sas: S}}"),
    ("does not match the required pattern", f"{MODELS}{{uri: 'https://a.test/b?W'}}"),
    ("does not match the required pattern", f"{MODELS}{{uri: 'https://W@a.test/b'}}"),
    ("looks like", f"{MODELS}{{uri: 'https://a.test/b?x=1&sig=W'}}"),
    ("looks like", "  definition: {tags: {a: 'https://u:W@a.test/b'}}"),
    ("looks like", "  definition: {properties: {title: 'AccountName=a;AccountKey=W'}}"),
    ("is a tag", "  definition: {tags: {a: !W x}}"),
    ("undefined alias", "  definition: {tags: {a: *W}}"),
    ("would be read as a number", "  definition: {tags: {a: 0xN}}"),
    ("duplicate key", "  definition: {tags: {S: a, S: b}}"),
    ("is not YAML", "  definition: {tags: {a: S"),
    ("must be text", "  definition: {properties: {title: [S]}}"),
    ("unknown field", "  W: 1"),
]


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_manifests_that_are_wrong_because_of_a_secret(stage: Stage, command: str) -> None:
    for said, text in SLIPS:
        stage.misplace("wrong.yaml", HEAD + text)
        stage.refuse(command, *said.split("|"))


# A key is 64 bytes in base64; an argument may hold more beside it.
STORAGE_KEY = base64.b64encode(bytes(range(100, 164))).decode()
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"RS256"}', b'{"aud":"https://a.test"}', bytes(range(100, 164)))
)
WITHIN = ("{}", "--{}", "--target={}", "--target=WebService/{}", "WebService/{}", "{}/plan.json")


def test_arguments_that_hold_a_secret(stage: Stage) -> None:
    stage.declare()
    signed = f"https://a.test/workspaces/w/webservices/s/endpoints/x?{SAS.value}"
    account = f"AccountName=a;AccountKey={SAS.core}=="
    for arguments in (
        ("import", "Endpoint/found", signed),
        ("import", signed),
        ("export", f"Endpoint/{SAS.value}"),
        ("plan", f"--target=WebService/{SAS.value}"),
        ("validate", account),
        (signed,),
        ("plan", quote(signed, safe="")),
        ("plan", quote(quote(signed, safe=""))),
        ("plan", base64.b64encode(account.encode()).decode()),
        ("import", "WebService/a", f"https://user:{SAS.core}@a.test/x"),
        ("import", "WebService/a", f"https://{SAS.core}{SAS.core}@a.test/x"),
        ("plan", f"--out=account_key={SAS.core}"),
        ("plan", "--out", json.dumps({"sharedAccessKey": f"SharedAccessKey={SAS.core}"})),
        ("plan", "--reason", f"asked with {JWT}"),
        ("plan", f"--reason=asked with {quote(JWT.replace('.', '%2E'))}"),
        ("plan", "--reason", f"curl -H 'Authorization: Bearer {SAS.core}'"),
        *(("plan", form.format(STORAGE_KEY)) for form in WITHIN),
        *(("plan", form.format(quote(STORAGE_KEY, safe=""))) for form in WITHIN),
        *(
            ("plan", form.format(base64.b64encode(STORAGE_KEY.encode()).decode()))
            for form in WITHIN
        ),
        *(("plan", form.format(STORAGE_KEY.encode().hex())) for form in WITHIN),
    ):
        done = finish(stage.run(*arguments), 1, "looks like a password, a key or a shared access")
        assert f"argument {len(arguments)}" in done.err
    assert not stage.server.calls


def test_a_project_that_is_wrong_because_of_a_secret(stage: Stage) -> None:
    file = stage.folder / "reconciler.yaml"
    whole = file.read_text()
    stage.evidence.allowed.add(file)
    stage.declare()
    for old, new in (
        (stage.server.url, f"https://u:{SAS.core}@a.test"),
        (stage.server.url, f"https://a.test/?{SAS.value}"),
        ("guards:", f"ledger: {{container: 'https://a.test/c?{SAS.value}'}}\n  guards:"),
        ("guards:", f"ledger: {{container: 'https://u:{SAS.core}@a.test/c'}}\n  guards:"),
        ("apiVersion: reconciler/v1", f"apiVersion: reconciler/{SAS.core}"),
        ("kind: Project", f"kind: {json.dumps(SAS.value)}"),
        ("defaults:", f"{SAS.core}:"),
        ("subscription: s", f"subscription: {json.dumps(SAS.value)}"),
    ):
        file.write_text(whole.replace(old, new))
        for command in (("validate",), ("validate", "--json"), ("plan",), ("ledger", "verify")):
            finish(stage.run(*command), 1, "rror")


# What only a process of its own shows.


@BOTH
def test_what_is_logged_and_how_processes_are_called(stage: Stage) -> None:
    subprocess.run(["git", "init", "-q", str(stage.folder)], check=True)  # so that git is started
    stage.deploy()
    stage.declare()
    finish(stage.spawn(*PLAN), 0, "access to the model blob is denied")
    stage.service.faults = {"HEAD": "501"}
    applied = finish(stage.spawn(*APPLY), 0, "Storage answers 501")
    assert "Unexpected return type" not in applied.err  # what azure-storage-blob logs of it
    titles = (stage.root / "kept").rglob("titles")
    assert [b"git" in title.read_bytes() for title in titles] == [True, True]


@pytest.mark.parametrize("make", [Stage, ClassicStage])
def test_what_comes_in_a_form_that_libraries_complain_of(tmp_path: Path, make: type[Stage]) -> None:
    """They log the address with its query, and what they could not read."""
    token = make.sent[0].value
    said = f"HTTP/1.1 200 OK\r\nX {token}\r\n X: {token}\r\n\r\n".encode()
    with run_wild(said) as url:
        evidence = Evidence(tmp_path, make.markers)
        stage = make(tmp_path, Scripted(url, []), Telltale(make.markers), evidence)
        stage.declare()
        done = stage.spawn("plan", RECONCILER_TIMEOUT="30")
    assert done.code == 1
    assert "Error: " in done.said
    assert "urllib3" not in done.said
    stage.check()


def test_what_is_written_is_its_owner_s_alone_whatever_the_umask(stage: Stage) -> None:
    stage.deploy()
    stage.declare()
    stage.umask = 0
    project = stage.folder / "reconciler.yaml"
    project.write_text(f"{project.read_text()}  ledger: {{path: state/of/ours}}\n")
    for arguments in (
        ("init", "another"),
        ("plan", "--out", "a.plan"),
        ("apply", "a.plan"),
        ("drift",),
        ("ledger", "compact"),
    ):
        finish(stage.run(*arguments), 0)
    with mock.patch("reconciler.ledgers.file.append_durably", fill_up_after(1)):
        stage.declare(model="newer")
        finish(stage.run(*APPLY), 1, "errored.ledger.json")
    state = [stage.folder / "state", *(stage.folder / "state").rglob("*")]
    folders = {path for path in state if path.is_dir()} | {stage.folder / "another" / "secrets"}
    files = {path for path in state if path.is_file() and path.name != ".gitignore"}
    files |= {stage.folder / name for name in ("a.plan", "errored.ledger.json")}
    files |= set((stage.folder / "another" / "secrets").iterdir())
    assert {"ledger.jsonl", "lock.json", "observations.sqlite3"} <= {one.name for one in files}
    assert any(one.name.startswith("ledger-") for one in files)
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in folders | files} == {
        **dict.fromkeys(folders, 0o700),
        **dict.fromkeys(files, 0o600),
    }


def test_azure_behind_a_proxy_that_tells_its_password(stage: Stage) -> None:
    word = AROUND["HTTPS_PROXY"].core
    answer = f"HTTP/1.1 407 {word}\r\nX {word}\r\nX: {word}\r\nContent-Length: 24\r\n\r\n{word}"
    project = stage.folder / "reconciler.yaml"
    text = project.read_text().replace("  cloud: {", "  cloud: azure #{")
    stage.declare()
    token_credential.cache_clear()
    with run_wild(answer.encode()) as url:
        azure = {
            "HTTPS_PROXY": url.replace("//", f"//user:{word}@"),
            "AZURE_TENANT_ID": "11111111-1111-1111-1111-111111111111",
            "AZURE_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
            "AZURE_STORAGE_ACCOUNT": "account",
            "RECONCILER_TIMEOUT": "1",
        }
        project.write_text(text)
        with mock.patch("time.sleep"):  # between the tries of Azure's libraries
            finish(stage.run("plan", **azure), 1, "azure-identity gets no token")
            container = "https://account.blob.core.windows.net/ledger"
            project.write_text(f"{text}  ledger: {{container: '{container}'}}\n")
            for name in ("", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"):
                without = {name: ""} if name else {}
                finish(stage.run("history", **azure, **without), 1, "asks for a login (407)")
    token_credential.cache_clear()


def test_the_emulator_tells_nobody_what_it_hears(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, data = tmp_path / "log.jsonl", tmp_path / "data" / "state"
    evidence = Evidence(tmp_path, MARKERS)
    env = {"RECONCILER_EMULATOR_TOKEN": TOKEN.value}
    before = os.umask(0)
    try:
        with spawn_emulator("--no-blob", f"--log={log}", f"--data={data}", env=env) as world:
            body = definition("https://a.blob.core.windows.net/m/x.ilearner")
            keys = {one: OWN[one].value for one in ("primary", "secondary")}
            body["properties"] |= {"keys": keys}
            body["properties"]["storageAccount"]["key"] = OWN["storage"].value
            world.write("PUT", "census", body)
            world.patch("census", keys={"primary": OWN["primary"].value})
            # The preview answers with the secrets that it was sent (recorded); nothing else may.
            old = f"{world.url}{world.path('old')}?api-version=2016-05-01-preview"
            _, echoed, headers = world.send("PUT", old, body)
            assert echoed["properties"]["keys"] == keys
            assert echoed["properties"]["storageAccount"]["key"] == OWN["storage"].value
            world.finish(headers["Azure-AsyncOperation"])
            evidence.add("the preview's read", json.dumps(world.send("GET", old)))
            _, reported, _ = world.send("GET", world.path("census") + "/listKeys")
            assert reported == keys
            signed = f"{world.url}{world.path('census')}?api-version=2017-01-01&{SAS.value}"
            for method, path, sent in (
                ("GET", world.path("census"), None),
                ("GET", signed, None),
                ("GET", world.path("").rstrip("/"), None),
                ("PUT", world.path("b"), {"properties": {"keys": OWN["primary"].value}}),
                ("PATCH", world.path("census"), {"properties": {"keys": [OWN["primary"].value]}}),
                ("PATCH", world.path("census"), {"properties": {"x": OWN["primary"].value}}),
            ):
                evidence.add(f"the reply to {method}", json.dumps(world.send(method, path, sent)))
            world.token = AROUND["ANOTHER_TOKEN"].core
            status, reported, _ = world.send("GET", world.path("census"))
            evidence.add("the reply to a stranger", json.dumps(reported))
            assert status == 401
            send_raw(world.url, f"GET / HTTP/1.1\r\nAuthorization: {TOKEN.value}\0\r\n\r\n")
            send_raw(world.url, f"{TOKEN.value}\r\n\r\n")
    finally:
        os.umask(before)
    assert "sig=" in log.read_text()
    evidence.add("what the emulator said", "".join(capfd.readouterr()))
    evidence.allowed = {file for file in data.rglob("*") if file.is_file()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in evidence.allowed} == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    found = evidence.find()
    assert not found, "\n".join(found)


def send_raw(url: str, text: str) -> None:
    """Send what is no request, and wait until the server has had enough."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as wild:
        wild.sendall(text.encode())
        wild.shutdown(socket.SHUT_WR)
        while wild.recv(4096):
            pass


def test_the_search_finds_a_marker_however_it_is_spelled(tmp_path: Path) -> None:
    text = f"say {SAS.value} now"
    for spelled in (
        text.encode(),
        text.upper().encode(),
        text.encode("utf-16-le"),
        text.encode().hex().encode(),
        quote(text, safe="").encode(),
        json.dumps(text).encode(),
        base64.b64encode(text.encode()),
        base64.b64encode(f"x{text}".encode()),
        base64.b64encode(f"xy{text}".encode()),
        SAS.core[:12].encode(),
        SAS.core[-12:].encode(),
    ):
        evidence = Evidence(tmp_path, MARKERS)
        evidence.add("it", spelled)
        assert evidence.find(), spelled
    (tmp_path / "a").write_text(SAS.value)
    evidence = Evidence(tmp_path, MARKERS)
    assert evidence.find() == [f"{SAS.place} (raw) in a"]
    cache = ObservationCache(tmp_path / "cache", "cloud", "form")
    cache.keep([("id", CachedStamp("", idle=True, at=0.0), compress({"a": TOKEN.value}))])
    cache.close()
    assert f"{TOKEN.place} (raw) in cache/observations.sqlite3, unpacked" in evidence.find()
