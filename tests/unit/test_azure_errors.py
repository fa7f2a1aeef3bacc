"""Azure's libraries raise errors of any class: each of them becomes an error of ours."""

import socket
from typing import Any
from unittest import mock

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
)
from azure.storage.blob import BlobClient, BlobProperties, ContainerClient

from reconciler.blobs import BlobStorage
from reconciler.errors import LedgerInvalid, ReconcilerError, Unauthorized
from reconciler.ledgers.blob_client import Container
from reconciler.model import Blob, ModelReference, SecretReference
from reconciler.secrets.redaction import Redaction

PLANTED = "planted-signature"
ERRORS = [
    *(kind(PLANTED) for kind in (ValueError, TypeError, KeyError, AttributeError, OSError)),
    *(kind(PLANTED) for kind in (RecursionError, ImportError, OverflowError, StopIteration)),
    *(kind(PLANTED) for kind in (AzureError, ServiceRequestError, ClientAuthenticationError)),
    *(kind(PLANTED) for kind in (DecodeError, IncompleteReadError, HttpResponseError)),
    socket.gaierror(PLANTED),
    UnicodeEncodeError("ascii", PLANTED, 0, 1, PLANTED),
    Unauthorized("azure-identity cannot use X", next_step="Correct X."),
]
KEY = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": "not+of+base64"}
URI = "https://acct.blob.core.windows.net/models/a.ilearner"
CALLS = {
    "list_blobs": ("",),
    "read": ("a", 0, 8),
    "read_all": ("a",),
    "begin": ("a",),
    "append": ("a", b"", 0),
    "write": ("a", b""),
    "write_new": ("a", b""),
    "delete": ("a",),
    "acquire": ("a", "l", 15),
    "renew": ("a", "l"),
    "release": ("a", "l"),
    "break_lease": ("a", "e"),
}


def check(error: ReconcilerError) -> None:
    (finding,) = error.findings()
    assert finding.next_step
    assert PLANTED not in str(finding)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_model_is_looked_at(error: Exception) -> None:
    model = ModelReference("m", URI, ())
    with (
        mock.patch.object(BlobClient, "get_blob_properties", side_effect=error),
        pytest.raises(ReconcilerError) as caught,
    ):
        BlobStorage(lambda _: "", environment=KEY).inspect(model)
    check(caught.value)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_ledger_is_kept(error: Exception) -> None:
    container = Container("https://acct.blob.core.windows.net/ledger", KEY)
    failing: Any = mock.Mock(spec=ContainerClient)
    failing.get_blob_client.side_effect = failing.list_blobs.side_effect = error
    container._opened = failing
    for call, arguments in CALLS.items():
        with pytest.raises(LedgerInvalid) as caught:
            getattr(container, call)(*arguments)
        check(caught.value)
        assert caught.value.__cause__ is None


def test_a_key_that_cannot_sign_is_named_by_its_variable() -> None:
    storage = BlobStorage(lambda _: "", environment=KEY)
    with pytest.raises(ReconcilerError, match="cannot use AZURE_STORAGE_KEY") as caught:
        storage.inspect(ModelReference("m", URI, ()))
    assert caught.value.next_step == "Correct AZURE_STORAGE_KEY."
    container = Container("https://acct.blob.core.windows.net/ledger", KEY)
    with pytest.raises(LedgerInvalid, match="cannot use AZURE_STORAGE_KEY") as unkept:
        container.read_all("a")
    assert unkept.value.next_step == "Correct AZURE_STORAGE_KEY."
    string = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=a+b"}
    with pytest.raises(ReconcilerError, match="cannot use AZURE_STORAGE_CONNECTION_STRING"):
        BlobStorage(lambda _: "", environment=string).inspect(ModelReference("m", URI, ()))


def test_a_signature_that_the_library_cannot_use_is_named_by_its_reference() -> None:
    signature = "sv=2020-08-04&sr=b&sp=r&sig=planted"
    model = ModelReference("m", URI, (), sas=SecretReference(env="MODELS_SAS"))
    with (
        mock.patch("requests.adapters.HTTPAdapter.send", side_effect=ValueError(signature)),
        pytest.raises(ReconcilerError) as caught,
    ):
        BlobStorage(lambda _: signature, environment={}).inspect(model)
    assert "env MODELS_SAS" in caught.value.next_step
    assert "planted" not in str(caught.value.findings())


def test_an_etag_that_repeats_a_signature_is_not_kept() -> None:
    signature = "sv=2020-08-04&sr=b&sp=r&sig=planted+signature/of+ours%3D"
    redaction = Redaction()
    redaction.know(signature)
    found = BlobProperties(etag='"0x8D planted%2Bsignature%2Fof%2Bours="')
    model = ModelReference("m", URI, (), sas=SecretReference(env="MODELS_SAS"))
    storage = BlobStorage(lambda _: signature, environment={}, redact=redaction.redact)
    with mock.patch.object(BlobClient, "get_blob_properties", return_value=found):
        blob = storage.inspect(model)
        assert isinstance(blob, Blob)
        assert blob.etag == ""
        found.etag = '"0x8D"'
        kept = storage.inspect(model)
        assert isinstance(kept, Blob)
        assert kept.etag == '"0x8D"'
