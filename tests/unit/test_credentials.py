"""Tokens for a management plane that is not on this machine."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from reconciler.errors import ReconcilerError, Unauthorized
from reconciler.transport import credentials
from reconciler.transport.credentials import Tokens

AZURE = "https://management.azure.com"


class Identity:
    """Stands for azure-identity's chain."""

    def __init__(self, lives_s: float = 3600, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._lives_s = lives_s
        self._error = error

    def get_token(self, scope: str, **_: Any) -> Any:
        self.asked.append(scope)
        if self._error is not None:
            raise self._error
        number = len(self.asked)
        return SimpleNamespace(token=f"token-{number}", expires_on=time.time() + self._lives_s)


def use(monkeypatch: pytest.MonkeyPatch, identity: Identity) -> Identity:
    chain = credentials.Identity()
    chain._chain = identity
    monkeypatch.setattr(credentials, "token_credential", lambda: chain)
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    return identity


def test_a_token_is_asked_for_once_while_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = use(monkeypatch, Identity())
    tokens = Tokens(AZURE)
    assert [tokens.get(), tokens.get()] == ["token-1", "token-1"]
    assert identity.asked == [f"{AZURE}/.default"]


def test_a_token_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Identity(lives_s=60))
    tokens = Tokens(AZURE)
    assert [tokens.get(), tokens.get()] == ["token-1", "token-2"]


@pytest.mark.parametrize("set_to_s", [-7200, 7200])
def test_a_token_lives_as_long_as_it_was_said_though_our_clock_is_set(
    set_to_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Identity())
    tokens, now, boot = Tokens(AZURE), time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    assert tokens.get() == "token-1"
    monkeypatch.setattr(time, "time", lambda: now + set_to_s)
    assert tokens.get() == "token-1"
    monkeypatch.setattr(time, "clock_gettime", lambda _: boot + 3590)
    assert tokens.get() == "token-2"


def test_without_a_credential_the_way_to_log_in_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch, Identity(error=ClientAuthenticationError("planted-secret in the chain's text"))
    )
    with pytest.raises(Unauthorized) as caught:
        Tokens(AZURE).get()
    assert "az login" in caught.value.next_step
    assert "planted-secret" not in str(caught.value.findings())


def test_the_emulators_token_never_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", "local")
    use(monkeypatch, Identity())
    assert Tokens(AZURE).get() == "token-1"
    for local in ("http://127.0.0.1:8470", "https://localhost:1", "http://[::1]:1"):
        assert Tokens(local).get() == "local"


def test_each_token_is_told_before_it_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Identity())
    reported: list[str] = []
    assert [Tokens(AZURE, reported.append).get()] == reported == ["token-1"]
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", "of-my-own")
    assert Tokens("http://127.0.0.1:1", reported.append).get() == reported[-1] == "of-my-own"


def test_the_published_token_is_nobody_s_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECONCILER_EMULATOR_TOKEN", raising=False)
    reported: list[str] = []
    assert Tokens("http://127.0.0.1:1", reported.append).get() == "emulator"
    assert reported == []


@pytest.mark.parametrize("token", ["planted\n", "plan ted", "plantéd", "planted\r\nX: y"])
def test_a_token_that_no_header_can_hold_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", token)
    with pytest.raises(ReconcilerError, match="cannot be sent") as caught:
        Tokens("http://127.0.0.1:1")
    assert caught.value.subject == "RECONCILER_EMULATOR_TOKEN"
    assert "plan" not in str(caught.value.findings())


PLANTED = "planted-client-secret"
SERVICE = {
    "AZURE_CLIENT_ID": "11111111-2222-3333-4444-555555555555",
    "AZURE_TENANT_ID": "contoso.example.test",
    "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555\n"),
        ("AZURE_TENANT_ID", "https://login.example.test/contoso"),
        ("AZURE_TENANT_ID", " contoso"),
        ("AZURE_AUTHORITY_HOST", "http://login.example.test"),
        ("AZURE_AUTHORITY_HOST", "ftp://login.example.test/"),
        ("AZURE_AUTHORITY_HOST", "https://[planted"),
        ("AZURE_TOKEN_CREDENTIALS", "azurecli"),
        ("AZURE_TOKEN_CREDENTIALS", "nonecredential"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere/planted.pem"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/etc"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "x" * 5000),
    ],
)
def test_a_variable_that_azure_identity_cannot_use_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    use(monkeypatch, Identity())
    monkeypatch.setattr(credentials, "token_credential", credentials.Identity)
    secret = {"AZURE_CLIENT_SECRET": PLANTED} if "CERTIFICATE" not in variable else {}
    for name, said in {**SERVICE, **secret, variable: value}.items():
        monkeypatch.setenv(name, said)
    with pytest.raises(Unauthorized) as caught:
        Tokens(AZURE).get()
    assert caught.value.message == f"azure-identity cannot use {variable}"
    assert caught.value.next_step == f"Correct {variable}."
    assert value not in str(caught.value.findings())


def test_a_certificate_that_is_none_is_reported_with_every_variable_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, Identity())
    monkeypatch.setattr(credentials, "token_credential", credentials.Identity)
    (tmp_path / "cert.pem").write_text(PLANTED)
    for name, said in {
        **SERVICE,
        "AZURE_CLIENT_CERTIFICATE_PATH": str(tmp_path / "cert.pem"),
    }.items():
        monkeypatch.setenv(name, said)
    with pytest.raises(Unauthorized, match="cannot use what the environment names") as caught:
        Tokens(AZURE).get()
    for name in ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        assert name in caught.value.next_step
    assert PLANTED not in str(caught.value.findings())


@pytest.mark.parametrize(
    "error",
    [
        ValueError(PLANTED),
        OSError(2, PLANTED),
        KeyError(PLANTED),
        TypeError(PLANTED),
        AttributeError(PLANTED),
        ImportError(PLANTED),
        RecursionError(PLANTED),
        ServiceRequestError(PLANTED),
        CredentialUnavailableError(PLANTED),
        UnicodeEncodeError("ascii", PLANTED, 0, 1, "x"),
    ],
)
def test_whatever_azure_identity_raises_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use(monkeypatch, Identity(error=error))
    monkeypatch.setenv("AZURE_CLIENT_SECRET", PLANTED)
    with pytest.raises(Unauthorized, match="azure-identity") as caught:
        Tokens(AZURE).get()
    assert "AZURE_CLIENT_SECRET" in caught.value.next_step
    assert PLANTED not in str(caught.value.findings())


def test_a_token_of_azure_identity_that_no_header_can_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, Identity()).get_token = lambda *_, **__: SimpleNamespace(  # type: ignore[method-assign]
        token="a\r\nX-planted: b", expires_on=0
    )
    with pytest.raises(Unauthorized, match="cannot be sent"):
        Tokens(AZURE).get()
