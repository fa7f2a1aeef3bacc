"""The batch execution service of a web service, of both generations: one job at a time.

A job that was submitted does not run until it is started (documented), so a submit whose answer was
lost is simply made again. Ports are named, never counted: published samples have the outputs in any
order. The kinds call it; it records nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from reconciler.errors import ReconcilerError, Rejected, Unauthorized, Unavailable
from reconciler.model import Json
from reconciler.model.training import BlobReference, JobState, JobStatus
from reconciler.transport import Client, Reply, check_complete, clean, split_address

VERSION: Final = "?api-version=2.0"
# 32 hexadecimal digits were recorded. Anything that fits into a path is accepted.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
# A recorded answer has a number, the published description a word, and clients read both.
_NUMBERS: Final = tuple(JobState)
_WORDS: Final[Mapping[str, JobState]] = {
    **{one.value.casefold(): one for one in JobState},
    **{str(number): one for number, one in enumerate(_NUMBERS)},
    "canceled": JobState.CANCELLED,
}
_MOST_DETAILS: Final = 4_000
# Three are asked for. Each has a signature, which is searched for in all that is shown later.
_MOST_RESULTS: Final = 100
_STARTED: Final = "CannotStartJob"
_KEY: Final = (
    "The service refuses its key. If the key was changed, run it again: the key is read each time."
    " If spec.service.apiKey names the key, correct that secret."
)
_FOREIGN: Final = "Nothing is concluded from it. Check what answers at the address of the service."


class BatchService:
    """The jobs of one service. `path` is that of the service's API, and `key` one of its keys.

    `inputs` and `outputs` are the names of its ports, empty if they are not known.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        key: str,
        inputs: Collection[str] = (),
        outputs: Collection[str] = (),
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._client = client
        self._jobs = f"{path.rstrip('/')}/jobs"
        self._key = key

    def submit(
        self,
        inputs: Mapping[str, BlobReference],
        outputs: Mapping[str, BlobReference],
        parameters: Mapping[str, Json],
    ) -> str:
        """Submits a job that does not run yet; returns its id.

        Raises ReplyLost if the job may exist: submit it again, because only a started job runs.
        """
        body: dict[str, Json] = {
            "GlobalParameters": {**parameters},
            "Outputs": {port: _write(one) for port, one in outputs.items()},
        }
        # A service that reads its data itself is called without inputs (documented).
        if inputs:
            body["Inputs"] = {port: _write(one) for port, one in inputs.items()}
        reply = self._send("POST", "", body)
        job = reply.document
        if not isinstance(job, str) or not _ID.fullmatch(job):
            raise _unusable("the service did not answer with the id of a job", reply)
        return job

    def start(self, job: str) -> None:
        """Starts a job; does nothing for a job that runs already.

        Raises ReplyLost if the job may have been started: `poll` shows it.
        """
        try:
            self._send("POST", f"{_locate(job)}/start")
        except Rejected as error:
            # The published answer for a job that was started. While it waits for its place, its
            # state is still NotStarted.
            if error.code == _STARTED:
                return
            if error.status != 400 or self.poll(job).state is JobState.NOT_STARTED:
                raise

    def poll(self, job: str) -> JobStatus:
        """Returns the state of a job, and its outputs with signatures that were made just now."""
        reply = self._send("GET", _locate(job))
        check_complete(reply)
        raw = reply.raw if isinstance(reply.raw, dict) else {}
        state = _read_state(raw.get("StatusCode"), reply)
        if state is not JobState.FINISHED:
            return JobStatus(state, _read_details(reply.document))
        results = raw.get("Results")
        found = results.items() if isinstance(results, dict) else ()
        if len(found) > _MOST_RESULTS:
            raise _unusable(f"the service shows more than {_MOST_RESULTS} outputs of a job", reply)
        read = {port: self._read_result(port, one, reply) for port, one in found}
        return JobStatus(state, "", read)

    def cancel(self, job: str) -> None:
        """Cancels a job; a job that has ended or does not exist is left as it is."""
        try:
            self._send("DELETE", _locate(job))
        except Rejected as error:
            if error.status not in {400, 404}:
                raise

    def _send(self, method: str, tail: str, body: Json = None) -> Reply:
        return send_with_key(self._client, method, f"{self._jobs}{tail}{VERSION}", self._key, body)

    def _read_result(self, port: str, given: Json, reply: Reply) -> BlobReference:
        parts = given if isinstance(given, dict) else {}
        base, relative, sas = (
            parts.get(name) for name in ("BaseLocation", "RelativeLocation", "SasBlobToken")
        )
        if not isinstance(base, str) or not isinstance(relative, str):
            raise _unusable(f"the service shows no address of the output {clean(port)}", reply)
        signature = sas.removeprefix("?") if isinstance(sas, str) else ""
        self._client.redaction.know(signature)
        return BlobReference(join_location(base, relative), signature)


def _locate(job: str) -> str:
    """Returns the end of a job's address; raises ReconcilerError for an id that is not one."""
    if not _ID.fullmatch(job):
        raise ReconcilerError(
            "the recorded id is not that of a job", next_step="Begin a new run with --again."
        )
    return f"/{job}"


def send_with_key(client: Client, method: str, url: str, key: str, body: Json = None) -> Reply:
    """Sends one call with the key of a service; the error for a refused key names the key."""
    try:
        return client.send(method, url, body, key)
    except Unauthorized as error:
        error.next_step = _KEY
        raise


def join_location(base: str, relative: str) -> str:
    """Returns the address of a blob; a slash between both parts is written by either or both."""
    return f"{base.rstrip('/')}/{relative.lstrip('/')}"


def _write(blob: BlobReference) -> Json:
    where = split_address(blob.uri)
    base, relative = f"{where.account_url}/", f"{where.container}/{where.name}"
    if blob.is_connection:
        return {"ConnectionString": blob.secret, "RelativeLocation": relative}
    return {
        "BaseLocation": base,
        "RelativeLocation": relative,
        "SasBlobToken": f"?{blob.secret.removeprefix('?')}",
    }


def _read_state(said: Json, reply: Reply) -> JobState:
    word = str(said) if isinstance(said, str) or type(said) is int else ""
    state = _WORDS.get(word.casefold())
    if state is None:
        raise _unusable("the service shows no known state of the job", reply)
    return state


def _read_details(document: Json) -> str:
    """Returns the service's words about a failure, without what a terminal would obey."""
    details = document.get("Details") if isinstance(document, dict) else None
    return clean(details[:_MOST_DETAILS]) if isinstance(details, str) else ""


def _unusable(message: str, reply: Reply) -> Unavailable:
    return Unavailable(message, status=reply.status, next_step=_FOREIGN)
