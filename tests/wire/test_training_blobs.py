"""What counts as an answer of blob storage for the files of a training job."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.blobs import training as training_blobs
from reconciler.blobs.training import TrainingBlobs
from reconciler.errors import ReconcilerError, Unavailable
from reconciler.model import SecretReference
from reconciler.model.training import BlobReference, StorageAccess, TrainingBlob
from tests.scripted import Answer, answers, run_scripted
from tests.wire.test_storage import BLOB, PAGE, without
from tests.wire.test_storage import quick as quick  # noqa: PLC0414 - a fixture

Use = Callable[[TrainingBlobs, BlobReference], object]
USES: dict[str, Use] = {
    "read": lambda blobs, reference: blobs.read(reference, 100),
    "digest": lambda blobs, reference: blobs.digest(reference),
    "exists": lambda blobs, reference: blobs.exists(reference),
}


def open_blobs(root: Path = Path()) -> TrainingBlobs:
    return TrainingBlobs(root, lambda _: "", lambda _: None)


def refer(url: str) -> BlobReference:
    return BlobReference(f"{url}/acct/models/a.ilearner", "sv=2024&sig=PLANTED")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "answer",
    [
        PAGE,
        Answer(200, b"x", without(BLOB, "x-ms-blob-type")),
        Answer(302, None, {"Location": "http://127.0.0.1:9/elsewhere?sig=PLANTED"}),
    ],
    ids=["page", "no type", "redirect"],
)
def test_an_answer_that_is_not_a_blob_is_not_read(use: str, answer: Answer) -> None:
    with run_scripted(answers(answer)) as server, pytest.raises(Unavailable) as failed:
        USES[use](open_blobs(), refer(server.url))
    assert "PLANTED" not in str(failed.value.findings())


@pytest.mark.parametrize("use", ["read", "digest"])
def test_a_blob_in_the_archive_is_not_a_defect(use: str) -> None:
    answer = Answer(409, None, {"x-ms-error-code": "BlobArchived"})
    with run_scripted(answers(answer)) as server, pytest.raises(Unavailable, match="409"):
        USES[use](open_blobs(), refer(server.url))


def test_a_blob_without_bytes_is_empty() -> None:
    """Storage does not have a range of such a blob, also not the one from its start."""
    answer = Answer(416, None, {"x-ms-error-code": "InvalidRange"})
    with run_scripted(answers(answer)) as server:
        assert open_blobs().read(refer(server.url), 100) == b""
    unsaid = Answer(416, None, {})
    with run_scripted(answers(unsaid)) as server, pytest.raises(Unavailable, match="416"):
        open_blobs().read(refer(server.url), 100)


@pytest.mark.parametrize("use", USES)
def test_what_storage_refuses_has_its_code(use: str) -> None:
    answer = Answer(400, None, {"x-ms-error-code": "InvalidResourceName"})
    refused = pytest.raises(Unavailable, match="storage answers 400, code InvalidResourceName")
    with run_scripted(answers(answer)) as server, refused:
        USES[use](open_blobs(), refer(server.url))


@pytest.mark.parametrize(
    "text", ["AccountName=other;AccountKey=c2VjcmV0", "AccountName=acct", "UseTheCloud=true", ""]
)
def test_a_connection_string_of_another_account_is_refused_before_a_call(text: str) -> None:
    access = StorageAccess(connection_string=SecretReference(env="STORAGE"))
    uri = "https://acct.blob.core.windows.net/models/a.ilearner"
    blobs = TrainingBlobs(Path(), lambda _: text, lambda _: None)
    with pytest.raises(ReconcilerError, match="the connection string is not of the account acct"):
        blobs.refer(TrainingBlob("model", uri, access=access), uri)


def test_a_blob_that_is_longer_than_it_may_be_is_not_read_to_its_end() -> None:
    answer = Answer(206, b"x" * 101, {**BLOB, "Content-Range": "bytes 0-100/1000000"})
    longer = pytest.raises(ReconcilerError, match="the blob has more than 100 bytes")
    with run_scripted(answers(answer)) as server, longer:
        open_blobs().read(refer(server.url), 100)


def test_only_a_file_of_a_usual_size_is_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "long.csv").write_bytes(b"a,b\n1,2\n")
    monkeypatch.setattr(training_blobs, "_MOST_UPLOAD", 3)
    blobs = open_blobs(tmp_path)
    for name, message in {
        "pipe.csv": "is not a regular file",
        ".": "is not a regular file",
        "long.csv": "is larger than",
        "none.csv": "cannot be read: No such file",
    }.items():
        assert blobs.check_file(name), "found before a job is submitted, and not waited for"
        with pytest.raises(ReconcilerError, match=message):
            blobs.upload(name, refer("http://127.0.0.1:9"))
