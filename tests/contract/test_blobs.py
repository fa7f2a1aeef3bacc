"""Looking at models in real blob storage: there, readable, how long, which bytes."""

import hashlib
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from azure.storage.blob import BlobClient

from reconciler.blobs import BlobStorage, upload_model
from reconciler.errors import BlobExpired, BlobForbidden, ReconcilerError, Unavailable
from reconciler.model import ABSENT, Blob, ModelReference, SecretReference
from reconciler.text.times import parse_utc
from tests.contract.signatures import ACCOUNT, KEY, sign

pytestmark = pytest.mark.contract
DATA = b"the very bytes of a model"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def uri(storage: str) -> str:
    address = f"{storage}/{ACCOUNT}/models/census/a b+ü.ilearner"
    assert upload_model(address, DATA, {}) == f"sha256:{DIGEST}"
    return address


def inspect(uri: str, *, sas: str = "", pin: str = "", **environment: str) -> Any:
    reference = SecretReference(env="MODELS_SAS") if sas else None
    model = ModelReference("Census Model", uri, (), sha256=pin, sas=reference)
    return BlobStorage(lambda _: sas, uri, environment=environment).inspect(model)


def test_a_blob_that_is_there_tells_its_length_and_its_uploaders_digest(uri: str) -> None:
    blob = inspect(uri)
    assert isinstance(blob, Blob)
    assert (blob.length, blob.digest, blob.trust) == (len(DATA), f"sha256:{DIGEST}", "metadata")
    assert blob.etag


def test_every_byte_is_read_where_the_model_is_pinned(uri: str) -> None:
    blob = inspect(uri, pin="0" * 64)
    assert (blob.digest, blob.trust) == (f"sha256:{DIGEST}", "streamed")


def test_large_models_are_read_in_parts(storage: str) -> None:
    address = f"{storage}/{ACCOUNT}/models/large.ilearner"
    data = bytes(range(256)) * 200_000
    upload_model(address, data, {})
    assert inspect(address, pin="0" * 64).digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_without_the_uploaders_word_storage_tells_md5(storage: str) -> None:
    credential = {"account_name": ACCOUNT, "account_key": KEY}
    with BlobClient(
        f"{storage}/{ACCOUNT}", "models", "plain.ilearner", credential=credential
    ) as blob:
        blob.upload_blob(DATA, overwrite=True)
    found = inspect(f"{storage}/{ACCOUNT}/models/plain.ilearner")
    assert (found.digest, found.trust) == (
        f"md5:{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}",
        "md5",
    )


def test_a_blob_that_is_not_there_is_absent(uri: str, storage: str) -> None:
    assert inspect(f"{uri}.missing") is ABSENT
    assert inspect(f"{storage}/{ACCOUNT}/no-container/x.ilearner") is ABSENT


def test_a_signature_opens_and_says_until_when(uri: str) -> None:
    blob = inspect(uri, sas=sign(uri))
    assert blob.length == len(DATA)
    assert blob.expires.endswith("Z")


def test_a_signature_that_may_not_read_is_forbidden(uri: str) -> None:
    signature = sign(uri, read=False)
    with pytest.raises(BlobForbidden) as caught:
        inspect(uri, sas=signature)
    assert signature not in str(caught.value.findings())


def test_a_signature_that_was_tampered_with_is_forbidden(uri: str) -> None:
    with pytest.raises(BlobForbidden):
        inspect(uri, sas=sign(uri).replace("sp=r", "sp=rw"))


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(-2.0, -1.0, "expired at"), (1.0, 2.0, "not valid before")]
)
def test_a_signature_out_of_its_time_says_so(
    uri: str, begins: float, ends: float, said: str
) -> None:
    signature = sign(uri, begins=begins, ends=ends)
    with pytest.raises(BlobExpired, match=said) as caught:
        inspect(uri, sas=signature)
    assert signature not in str(caught.value.findings())


@pytest.mark.parametrize("ahead_h", [-3, 3])
def test_storage_and_not_our_clock_decides_when_a_signature_is_valid(
    uri: str, ahead_h: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=ahead_h)

    valid, ended, early = sign(uri), sign(uri, begins=-2.0, ends=-1.0), sign(uri, begins=1.0)
    monkeypatch.setattr("reconciler.blobs.storage.datetime", Wrong)
    blob = inspect(uri, sas=valid)
    assert abs(parse_utc(blob.at) - datetime.now(UTC)) < timedelta(hours=1)
    with pytest.raises(BlobExpired, match="expired at"):
        inspect(uri, sas=ended)
    with pytest.raises(BlobExpired, match="not valid before"):
        inspect(uri, sas=early)


@pytest.mark.usefixtures("hurried_calls")
def test_storage_that_does_not_answer_is_unavailable_and_no_absence() -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as failed:
        inspect(f"http://127.0.0.1:9/{ACCOUNT}/models/x.ilearner")
    (finding,) = failed.value.findings()
    # Every first emulator fetches its storage, and a plan may come before its end.
    assert "fetches it for the first time reports when it is ready" in finding.next_step


@pytest.mark.parametrize(
    "address",
    ["http://acct.blob.core.windows.net/m/x", "ftp://a/b/c", "https://acct/m", "https://a//b", "x"],
)
def test_an_address_that_is_none_of_a_blob_is_refused(address: str) -> None:
    with pytest.raises(ReconcilerError, match="its address is not"):
        inspect(address)


def test_a_key_of_the_environment_is_for_its_account_alone(uri: str) -> None:
    from reconciler.blobs.storage import split_model_address
    from reconciler.transport import storage_credential

    model = ModelReference("m", "https://acct.blob.core.windows.net/m/x.ilearner", ())
    where = split_model_address(model)
    named = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": "k"}
    assert storage_credential(where, named) == {"account_name": "acct", "account_key": "k"}
    assert storage_credential(where, {**named, "AZURE_STORAGE_ACCOUNT": "other"}) is None
    string = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=a=b;"}
    assert storage_credential(where, string) == {"account_name": "acct", "account_key": "a=b"}
    sas = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_SAS_TOKEN": '"?sv=1&sig=x"\n'}
    assert storage_credential(where, sas) == "sv=1&sig=x"


def test_a_token_of_ours_is_shown_to_known_storage_only() -> None:
    asked = []

    def token() -> Any:
        asked.append(True)

    storage = BlobStorage(
        lambda _: "", "https://own.example", environment={}, token_credential=token
    )
    for host, count in (("evil.example", 0), ("acct.blob.core.windows.net", 1), ("own.example", 2)):
        model = ModelReference("m", f"https://{host}/models/x.ilearner", ())
        from reconciler.blobs.storage import split_model_address

        storage._credential(model, split_model_address(model))
        assert len(asked) == count
