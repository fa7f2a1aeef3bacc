"""Tokens for a management plane that is not on this machine."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

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

    def get_token(self, scope: str) -> Any:
        self.asked.append(scope)
        if self._error is not None:
            raise self._error
        number = len(self.asked)
        return SimpleNamespace(token=f"token-{number}", expires_on=time.time() + self._lives_s)


def use(monkeypatch: pytest.MonkeyPatch, identity: Identity) -> Identity:
    monkeypatch.setattr(credentials, "token_credential", lambda: identity)
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
