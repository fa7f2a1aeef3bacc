"""The calls of batch jobs: what is sent, and what each answer means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.errors import ReconcilerError, Rejected, ReplyLost, Unauthorized, Unavailable
from reconciler.kinds.batch import BatchService, join_location
from reconciler.kinds.data_plane import open_address
from reconciler.model.training import BlobReference, JobState
from tests.access import access
from tests.scripted import Answer, Call, Script, Scripted, answers, run_scripted

JOB = "86da71e06f3945a9b770d83181f2ed68"
BLOB = "https://a.blob.core.windows.net/m/1.csv"


@contextmanager
def serving(script: Script, key: str = "thekey") -> Iterator[tuple[BatchService, Scripted]]:
    with run_scripted(script) as server:
        yield open_address(access(server.url), f"{server.url}/workspaces/w", key).jobs, server


def refuse(status: int, code: str) -> Answer:
    inner = [{"code": code, "message": "no"}]
    return Answer(status, {"error": {"code": "X", "message": "no", "details": inner}})


def show(state: Any, **more: Any) -> Answer:
    return Answer(200, {"StatusCode": state, "Results": None, "Details": None, **more})


def test_a_submit_names_ports_and_splits_addresses() -> None:
    with serving(answers(Answer(200, JOB))) as (jobs, server):
        signed = BlobReference(BLOB, "sv=1&sig=x")
        connected = BlobReference(BLOB, "AccountName=a", is_connection=True)
        assert jobs.submit({"in": signed}, {"out": connected}, {"Trees": 3}) == JOB
        (call,) = server.calls
    assert (call.method, call.target) == ("POST", "/workspaces/w/jobs?api-version=2.0")
    assert call.headers["Authorization"] == "Bearer thekey"
    assert json.loads(call.body) == {
        "GlobalParameters": {"Trees": 3},
        "Inputs": {
            "in": {
                "BaseLocation": "https://a.blob.core.windows.net/",
                "RelativeLocation": "m/1.csv",
                "SasBlobToken": "?sv=1&sig=x",
            }
        },
        "Outputs": {"out": {"ConnectionString": "AccountName=a", "RelativeLocation": "m/1.csv"}},
    }


def test_a_submit_sends_the_name_of_a_blob_as_it_is_and_not_encoded() -> None:
    with serving(answers(Answer(200, JOB))) as (jobs, server):
        blob = BlobReference("https://a.blob.core.windows.net/m/a%20b%2525.csv", "sig=x")
        jobs.submit({"in": blob}, {}, {})
        assert json.loads(server.calls[0].body)["Inputs"]["in"] == {
            "BaseLocation": "https://a.blob.core.windows.net/",
            "RelativeLocation": "m/a b%25.csv",
            "SasBlobToken": "?sig=x",
        }


def test_a_job_without_inputs_is_submitted_without_them() -> None:
    with serving(answers(Answer(200, JOB))) as (jobs, server):
        jobs.submit({}, {}, {})
        assert json.loads(server.calls[0].body) == {"GlobalParameters": {}, "Outputs": {}}


@pytest.mark.parametrize("body", [None, 7, "", "../x", "a/b", {"id": JOB}, [JOB], "x" * 101])
def test_an_answer_that_is_not_an_id_starts_nothing(body: Any) -> None:
    with serving(answers(Answer(200, body))) as (jobs, _), pytest.raises(Unavailable):
        jobs.submit({}, {}, {})


@pytest.mark.parametrize("lost", [Answer(200, JOB, drop=True), Answer(200, JOB, cut=True)])
def test_a_lost_submit_is_not_sent_again_by_the_client(lost: Answer) -> None:
    with serving(answers(lost)) as (jobs, server):
        with pytest.raises(ReplyLost):
            jobs.submit({}, {}, {})
        assert len(server.calls) == 1


def test_a_start_that_is_throttled_waits_and_is_sent_again() -> None:
    throttled = refuse(503, "RequestThrottled")
    with serving(answers(throttled, throttled, Answer(204))) as (jobs, server):
        jobs.start(JOB)
        assert [call.target for call in server.calls] == [
            f"/workspaces/w/jobs/{JOB}/start?api-version=2.0"
        ] * 3
        assert {call.body for call in server.calls} == {b""}


def test_a_job_that_waits_for_its_place_counts_as_started() -> None:
    script = answers(refuse(400, "CannotStartJob"), show("NotStarted"))
    with serving(script) as (jobs, server):
        jobs.start(JOB)
        assert len(server.calls) == 1


def test_a_start_that_is_refused_for_another_reason_is_an_error() -> None:
    script = answers(refuse(400, "BadArgument"), show("NotStarted"))
    with serving(script) as (jobs, _), pytest.raises(Rejected):
        jobs.start(JOB)
    with serving(answers(refuse(400, "BadArgument"), show("Running"))) as (jobs, _):
        jobs.start(JOB)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *((number, one) for number, one in enumerate(JobState)),
        *((str(number), one) for number, one in enumerate(JobState)),
        *((one.value, one) for one in JobState),
        ("Canceled", JobState.CANCELLED),
        ("running", JobState.RUNNING),
    ],
)
def test_a_state_is_a_number_or_a_word(state: Any, expected: JobState) -> None:
    with serving(answers(show(state))) as (jobs, _):
        assert jobs.poll(JOB).state is expected


@pytest.mark.parametrize("state", [None, True, 5, -1, 4.0, "Done", "", [4], {"a": 1}])
def test_a_state_that_is_not_known_is_an_error(state: Any) -> None:
    with serving(answers(show(state))) as (jobs, _), pytest.raises(Unavailable, match="no known"):
        jobs.poll(JOB)


def test_members_that_are_missing_are_tolerated() -> None:
    with serving(answers(Answer(200, {"StatusCode": "Finished"}))) as (jobs, _):
        assert jobs.poll(JOB).results == {}


@pytest.mark.parametrize("job", ["", "..", "../x", "a/b", "a?b", "a#b", "a%2Fb", "x" * 101])
def test_a_recorded_id_that_is_not_one_is_sent_nowhere(job: str) -> None:
    with serving(answers()) as (jobs, server):
        for call in (jobs.start, jobs.poll, jobs.cancel):
            with pytest.raises(ReconcilerError, match="is not that of a job"):
                call(job)
        assert server.calls == []


def test_more_outputs_than_a_job_has_are_not_read() -> None:
    blob = {"BaseLocation": "https://a.example/", "RelativeLocation": "m/1.csv"}
    many = {f"{number}": blob for number in range(101)}
    with (
        serving(answers(show("Finished", Results=many))) as (jobs, _),
        pytest.raises(Unavailable, match="more than 100 outputs"),
    ):
        jobs.poll(JOB)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_reported_as_the_key(status: int) -> None:
    with serving(answers(refuse(status, "Unauthorized"))) as (jobs, _):
        for call in (lambda: jobs.submit({}, {}, {}), lambda: jobs.poll(JOB)):
            with pytest.raises(Unauthorized) as caught:
                call()
            assert "The service refuses its key." in caught.value.next_step
            assert "az login" not in caught.value.next_step


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "ä"])
def test_a_key_that_cannot_be_sent_is_refused_before_a_call(key: str) -> None:
    with run_scripted(answers(Answer(200, JOB))) as server:
        with pytest.raises(ReconcilerError) as caught:
            open_address(access(server.url), f"{server.url}/w", key)
        assert caught.value.subject == "spec.service.apiKey"
        assert server.calls == []


@pytest.mark.parametrize("base", ["https://a/c", "https://a/c/"])
@pytest.mark.parametrize("relative", ["m/x.csv", "/m/x.csv"])
def test_a_slash_between_both_parts_is_written_once(base: str, relative: str) -> None:
    assert join_location(base, relative) == "https://a/c/m/x.csv"
    result = {"BaseLocation": base, "RelativeLocation": relative, "SasBlobToken": "?sig=abcdefgh"}
    with serving(answers(show("Finished", Results={"output1": result}))) as (jobs, _):
        found = jobs.poll(JOB).results["output1"]
    assert found == BlobReference("https://a/c/m/x.csv", "sig=abcdefgh")


def test_an_ended_job_may_be_cancelled() -> None:
    for answer in (Answer(204), refuse(400, "X"), refuse(404, "X")):
        with serving(answers(answer)) as (jobs, server):
            jobs.cancel(JOB)
            assert [(one.method, one.target) for one in server.calls] == [
                ("DELETE", f"/workspaces/w/jobs/{JOB}?api-version=2.0")
            ]


def test_the_key_goes_to_no_other_place_than_the_header() -> None:
    seen: list[Call] = []

    def script(call: Call, _: int) -> Answer:
        seen.append(call)
        return Answer(200, JOB)

    with serving(script, key="secretkey0123456789") as (jobs, _):
        jobs.submit({}, {"o": BlobReference(BLOB, "sig=x")}, {})
    assert "secretkey" not in seen[0].target
    assert b"secretkey" not in seen[0].body


@pytest.mark.parametrize("names", [["Scored Labels"] * 2, ["Scored Labels", "Scored  Labels"]])
def test_an_answer_with_one_column_twice_proves_nothing(names: list[str]) -> None:
    value = {"ColumnNames": names, "Values": [["1", "2"]]}
    reply = Answer(200, {"Results": {"out": {"type": "table", "value": value}}})
    with run_scripted(answers(reply)) as server:
        scorer = open_address(access(server.url), f"{server.url}/w", "thekey").scorer
        with pytest.raises(Unavailable, match="two columns with the same name"):
            scorer.score(["age"], [["39"]])
