"""What counts as an answer of blob storage, for a model and for a ledger, and how it is reached."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reconciler.blobs import BlobStorage
from reconciler.errors import LedgerInvalid, ReconcilerError, Unavailable
from reconciler.ledgers.blob_client import Container, PreconditionFailed, Unreachable
from reconciler.model import ABSENT, Blob, ModelReference
from reconciler.transport.azure_core import AzureTransport
from tests.scripted import Answer, Call, Script, Scripted, answers, run_scripted
from tests.wire.ways import run_peer

BLOB = {"ETag": '"1"', "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
VERSION = {"x-ms-version": "2025-01-05"}
PAGE = Answer(200, b"<html>Log in</html>", {"Content-Type": "text/html"})
LIST = (
    "<?xml version='1.0'?><EnumerationResults><Blobs>{}</Blobs><NextMarker/></EnumerationResults>"
)
LEASE = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits between two attempts."""
    monkeypatch.setattr(AzureTransport, "sleep", lambda *_: None)


Serve = Callable[[Answer], Scripted]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers that give one answer to every call, until the test ends."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(run_scripted(answers(answer)))


def without(headers: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def look(script: Script) -> tuple[Any, Scripted]:
    with run_scripted(script) as server:
        model = ModelReference("Census Model", f"{server.url}/acct/models/a.ilearner", ())
        try:
            return BlobStorage(lambda _: "", environment={}).inspect(model), server
        except ReconcilerError as error:
            return error, server


def ledger(url: str) -> Container:
    return Container(f"{url}/acct/ledger", {})


def test_a_blob_has_a_type_an_etag_and_a_length() -> None:
    found, _ = look(answers(Answer(200, b"1234", BLOB)))
    assert isinstance(found, Blob)
    assert found.length == 4


@pytest.mark.parametrize(
    "answer",
    [
        PAGE,
        Answer(200, b"x", without(BLOB, "x-ms-blob-type")),
        Answer(200, b"x", without(BLOB, "ETag")),
        Answer(200, b"x", {**BLOB, "x-ms-blob-type": "page"}),
        Answer(200, b"x", VERSION),
        Answer(204, None, {}),
        Answer(404, b"<html>Not found</html>", {"Content-Type": "text/html"}),
    ],
)
def test_an_answer_of_another_server_is_neither_a_blob_nor_an_absence(answer: Answer) -> None:
    error, server = look(answers(answer))
    assert isinstance(error, Unavailable)
    assert "what answers there is not blob storage" in error.message
    assert "login page" in error.next_step
    assert len(server.calls) == 1


def test_storage_says_itself_that_a_blob_is_absent() -> None:
    found, _ = look(answers(Answer(404, None, {"x-ms-error-code": "BlobNotFound"})))
    assert found is ABSENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_storage_is_named_and_not_followed(status: int) -> None:
    with run_scripted(answers(Answer(200, b"x", BLOB))) as other:
        there = {"Location": f"{other.url}/elsewhere?sig=PLANTED"}
        error, server = look(answers(Answer(status, None, there)))
    assert isinstance(error, Unavailable)
    assert "redirects to 127.0.0.1" in error.message
    assert "was not followed" in error.next_step
    assert "PLANTED" not in str(error.findings())
    assert (len(server.calls), other.calls) == (1, [])


def test_a_redirect_of_a_ledger_is_not_followed() -> None:
    with run_scripted(answers(Answer(200, b"x", BLOB))) as other:
        script = answers(Answer(307, None, {"Location": f"{other.url}/acct/ledger"}))
        with run_scripted(script) as server:
            for work in (
                lambda: ledger(server.url).list_blobs("p/"),
                lambda: ledger(server.url).append("p/a", b"x", 0),
            ):
                with pytest.raises(LedgerInvalid, match="redirects to") as failed:
                    work()
                assert not isinstance(failed.value, Unreachable)
    assert other.calls == []


Work = Callable[[Container], object]
WORK: dict[str, Work] = {
    "list": lambda one: one.list_blobs("p/"),
    "read": lambda one: one.read("p/a", 0, 1),
    "read all": lambda one: one.read_all("p/a"),
    "begin": lambda one: one.begin("p/a"),
    "append": lambda one: one.append("p/a", b"x", 0),
    "write": lambda one: one.write("p/a", b"x"),
    "write new": lambda one: one.write_new("p/a", b"x"),
    "delete": lambda one: one.delete("p/a"),
    "acquire": lambda one: one.acquire("p/a", LEASE, 60),
    "renew": lambda one: one.renew("p/a", LEASE),
    "release": lambda one: one.release("p/a", LEASE),
    "break": lambda one: one.break_lease("p/a", '"1"'),
}


@pytest.mark.parametrize("status", [200, 201, 202, 206, 404, 409, 412])
@pytest.mark.parametrize("work", WORK)
def test_an_answer_of_another_server_is_not_the_ledger(
    work: str, status: int, serve: Serve
) -> None:
    server = serve(Answer(status, PAGE.body, PAGE.headers))
    with pytest.raises(LedgerInvalid, match="is not blob storage") as failed:
        WORK[work](ledger(server.url))
    assert not isinstance(failed.value, Unreachable)
    assert len(server.calls) == 1


def listed(*names: str) -> Answer:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length>"
        f"<Etag>e</Etag><BlobType>AppendBlob</BlobType></Properties></Blob>"
        for name in names
    )
    headers = {**VERSION, "Content-Type": "application/xml"}
    return Answer(200, LIST.format(blobs).encode(), headers)


def test_a_list_names_what_was_asked_for_once() -> None:
    with run_scripted(answers(listed("p/a", "p/b"))) as server:
        assert [one.name for one in ledger(server.url).list_blobs("p/")] == ["p/a", "p/b"]


@pytest.mark.parametrize("names", [["p/a", "p/a"], ["p/a", "q/b"]])
def test_a_list_that_names_something_else_or_one_twice_is_not_believed(
    names: list[str], serve: Serve
) -> None:
    server = serve(listed(*names))
    with pytest.raises(LedgerInvalid, match="lists other blobs than were asked for"):
        ledger(server.url).list_blobs("p/")


def test_a_list_that_is_not_xml_is_not_a_list(serve: Serve) -> None:
    server = serve(Answer(200, {"value": []}, VERSION))
    with pytest.raises(LedgerInvalid, match="is not blob storage"):
        ledger(server.url).list_blobs("p/")


def test_an_append_elsewhere_is_not_our_append(serve: Serve) -> None:
    headers = {**VERSION, "ETag": '"1"', "x-ms-blob-committed-block-count": "1"}
    elsewhere = serve(Answer(201, None, {**headers, "x-ms-blob-append-offset": "7"}))
    with pytest.raises(LedgerInvalid, match="at another position"):
        ledger(elsewhere.url).append("p/a", b"x", 0)
    server = serve(Answer(201, None, {**headers, "x-ms-blob-append-offset": "0"}))
    assert ledger(server.url).append("p/a", b"x", 0).blocks == 1


@pytest.mark.parametrize("work", ["acquire", "renew"])
def test_another_lease_is_not_our_lease(work: str, serve: Serve) -> None:
    status = 201 if work == "acquire" else 200
    headers = {**VERSION, "ETag": '"1"', "x-ms-lease-id": "another"}
    other = serve(Answer(status, None, headers))
    with pytest.raises(LedgerInvalid, match="about another lease"):
        WORK[work](ledger(other.url))
    WORK[work](ledger(serve(Answer(status, None, {**headers, "x-ms-lease-id": LEASE.upper()})).url))


def test_less_than_what_is_listed_is_not_the_segment(serve: Serve) -> None:
    server = serve(Answer(206, b"x", {**BLOB, **VERSION, "Content-Range": "bytes 0-0/1"}))
    with pytest.raises(LedgerInvalid, match="sent 1 of 3 bytes"):
        ledger(server.url).read("p/a", 0, 3)


def test_a_condition_that_storage_itself_refuses_is_told_apart() -> None:
    refused = Answer(412, None, {"x-ms-error-code": "ConditionNotMet"})
    with run_scripted(answers(refused)) as server, pytest.raises(PreconditionFailed):
        ledger(server.url).append("p/a", b"x", 0)


# The way to storage.


@pytest.fixture(params=["model", "ledger"])
def reach(request: pytest.FixtureRequest) -> Callable[[str], ReconcilerError]:
    """The error of a call to an account's address, for a model and for a ledger."""

    def call(account: str) -> object:
        if request.param == "ledger":
            return Container(f"{account}/ledger", {}).list_blobs("p/")
        model = ModelReference("Census Model", f"{account}/models/a", ())
        return BlobStorage(lambda _: "", environment={}).inspect(model)

    def fail(account: str) -> ReconcilerError:
        with pytest.raises(ReconcilerError) as failed:
            call(account)
        return failed.value

    return fail


Reach = Callable[[str], ReconcilerError]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy and no certificates."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_storage_without_tls_is_named_as_that(reach: Reach) -> None:
    with run_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        error = reach(f"https://127.0.0.1:{peer.port}/acct")
    assert "does not speak TLS" in error.message
    assert "http://" in error.next_step
    assert len(peer.came) == 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("holds", [None, ""])
def test_certificates_for_storage_that_cannot_be_read_are_named(
    variable: str,
    holds: str | None,
    certificate: Path,
    tmp_path: Path,
    reach: Reach,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "bundle.pem"
    if holds is not None:
        bundle.write_text(holds)
    monkeypatch.setenv(variable, str(bundle))
    with run_peer(b"", certificate) as peer:
        error = reach(f"https://127.0.0.1:{peer.port}/acct")
    assert f"the certificates that {variable} names cannot be read" in error.message


def test_the_certificate_of_storage_is_verified(
    certificate: Path, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", certificate) as peer:
        url = f"https://127.0.0.1:{peer.port}/acct"
        assert "its certificate cannot be verified" in reach(url).message
        assert peer.came == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert "is not blob storage" in reach(url).message


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (b"HTTP/1.1 407 Log in\r\n\r\n", "asks for a login (407)"),
        (b"HTTP/1.1 403 No\r\n\r\n", "refuses (403)"),
        ("socks5://127.0.0.1:9", "is a SOCKS proxy"),
        ("http://", "has an invalid address"),
        ("http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_the_proxy_of_storage_is_named_with_its_variable(
    proxy: bytes | str, said: str, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_peer(proxy if isinstance(proxy, bytes) else b"") as peer:
        address = proxy if isinstance(proxy, str) else f"http://127.0.0.1:{peer.port}"
        monkeypatch.setenv("HTTPS_PROXY", address)
        error = reach("https://acct.blob.test")
    assert f"the proxy of HTTPS_PROXY {said}" in error.message
    assert len(peer.came) <= 1


def test_no_proxy_leads_to_storage_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert isinstance(look(answers(Answer(200, b"x", BLOB)))[0], Blob)


def test_storage_has_the_time_limit_of_every_call(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_TIMEOUT", "0.05")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = reach(f"http://127.0.0.1:{silent.getsockname()[1]}/acct")
    assert "no answer within 0.05 s" in error.message


def test_a_password_file_does_not_replace_the_credential_of_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password PLANTED\n")
    monkeypatch.setenv("NETRC", str(netrc))

    def script(call: Call, _: int) -> Answer:
        assert call.headers["Authorization"].startswith("SharedKey acct:")
        return Answer(200, b"x", BLOB)

    assert isinstance(look(script)[0], Blob)
