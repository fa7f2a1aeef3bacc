"""Probes of an online endpoint: which calls are sent, with which key, and what an answer means."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from reconciler.errors import (
    CheckFailed,
    ReconcilerError,
    Rejected,
    ServiceMissing,
    Unauthorized,
    Unavailable,
)
from reconciler.kinds.online_endpoint.logs import read_last_line
from reconciler.kinds.online_endpoint.probes import EndpointProbes, ProbeSample
from reconciler.kinds.online_endpoint.scoring import OnlineScoring
from reconciler.kinds.online_endpoint.scoring import Score as ScoreOf
from reconciler.model import (
    Address,
    Check,
    Event,
    Json,
    Manifest,
    Resource,
    SourceLocation,
    Throttling,
)
from reconciler.plans.probes import MOST_CALLS
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.timeouts import Timeouts
from tests.access import access
from tests.clocks import FakeClock
from tests.scripted import Answer, Call, Scripted, run_scripted
from tests.wire.arm import NO_ENDPOINT, refusal

W = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
ID = f"{W}/onlineEndpoints/census"
RESOURCE = Resource(Address("OnlineEndpoint", "census"), ID)
KEY = "PLANTED-key-of-32-characters-000"
SAMPLE: Json = {"request": {"data": [[1, 2]]}, "expect": [0.25], "tolerance": 1e-6, "count": 3}
GOOD: Json = [0.25]
LOG = "Server Settings\nModuleNotFoundError: No module named 'pandas'\nPOST /score 502\n\n"
Score = Callable[[Call, int], Answer]


def answer(deployment: str = "green", body: Json = GOOD, **headers: str) -> Answer:
    """An answer as it was recorded."""
    usual = {
        "azureml-model-deployment": deployment,
        "x-ms-run-function-failed": "False",
        "X-Request-ID": "f5e9674a-d620-458e-a667-3f10af6268a6",
    }
    return Answer(200, body, {**usual, **headers})


@dataclass
class World:
    """One endpoint. `score` answers the scoring calls; `keys` and `token` are what it shows."""

    score: Score
    mode: str = "Key"
    keys: Json = field(default_factory=lambda: {"primaryKey": KEY, "secondaryKey": KEY})
    token: Json = None
    log: str = LOG
    shown: Mapping[str, Json] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    url: str = ""

    def answer(self, call: Call, _: int) -> Answer:
        path = call.target.partition("?")[0]
        if path == "/score":
            number = sum(one.target == "/score" for one in self.calls)
            self.calls.append(call)
            return self.score(call, number)
        self.calls.append(call)
        if path == ID:
            properties = {"authMode": self.mode, "scoringUri": f"{self.url}/score"}
            return Answer(200, {"id": ID, "properties": {**properties, **self.shown}})
        if path.endswith("/listKeys"):
            return Answer(200, self.keys)
        if path.endswith("/token"):
            return Answer(200, self.token)
        if path.endswith("/getLogs"):
            return Answer(200, {"content": self.log})
        raise AssertionError(call.target)

    @property
    def scored(self) -> list[Call]:
        return [one for one in self.calls if one.target == "/score"]

    @property
    def managed(self) -> list[str]:
        return [one.target.partition("?")[0].rpartition("/")[2] for one in self.calls]

    def connect(self, server: Scripted, patience_s: float = 0.0) -> EndpointProbes:
        self.url = server.url
        limiter = CommandRateLimiter(self.events.append)
        given = access(server.url)
        self.access = replace(given, patience_s=patience_s, rate_limiter=limiter)
        self.client = Client(
            server.url,
            self.access.emit,
            self.access.rate_limiter,
            redaction=self.access.redaction,
            timeouts=Timeouts(retries=0),
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        return EndpointProbes(self.access, self.client)


def manifest(sample: Json = None, **spec: Json) -> Manifest:
    probe = SAMPLE if sample is None else sample
    places = {"/spec/rollout/probe/expect/0": SourceLocation("golden.json", 1, 2)}
    spec = {"rollout": {"probe": probe}, **spec}
    return Manifest(RESOURCE.address, spec, "census.yaml", "sha256:0", places=places)


def check_world(world: World, check: Check, *, sample: Json = None, **spec: Json) -> list[str]:
    with run_scripted(world.answer) as server:
        probes = world.connect(server)
        return list(probes.check_write(RESOURCE, check, manifest(sample, **spec)))


def probe(score: Score, sample: Json = None, **world: Any) -> tuple[list[str], World]:
    made = World(score, **world)
    check = Check("probe green", {"sort": "probe", "deployment": "green"})
    return check_world(made, check, sample=sample), made


def failing(score: Score, sample: Json = None, **world: Any) -> tuple[CheckFailed, World]:
    made = World(score, **world)
    check = Check("probe green", {"sort": "probe", "deployment": "green"})
    with pytest.raises(CheckFailed) as caught:
        check_world(made, check, sample=sample)
    assert caught.value.subject == "OnlineEndpoint/census"
    assert KEY not in str(caught.value.findings())
    return caught.value, made


# A probe asks one deployment by its name.


def test_a_probe_asks_the_deployment_by_name_as_often_as_it_says() -> None:
    said, world = probe(lambda *_: answer())
    assert said[-1] == "green answered 3 calls as golden.json"
    assert len(said) == 4
    assert [json.loads(one.body) for one in world.scored] == [{"data": [[1, 2]]}] * 3
    assert {one.headers["azureml-model-deployment"] for one in world.scored} == {"green"}
    assert {one.headers["Authorization"] for one in world.scored} == {f"Bearer {KEY}"}
    assert world.managed == ["census", "listKeys", "score", "score", "score"]


def test_an_answer_of_json_in_a_text_is_read() -> None:
    said, _ = probe(lambda *_: answer(body="[0.2500000001]"))
    assert said[-1] == "green answered 3 calls as golden.json"


def test_without_an_expected_answer_only_the_deployment_is_proven() -> None:
    said, _ = probe(lambda *_: answer(body={"any": 1}), {"request": {}, "count": 1})
    assert said[-1] == "green answered 1 call; no answer is declared as expected"


def test_a_wrong_answer_fails_with_all_that_explains_it() -> None:
    error, world = failing(lambda *_: answer(body=[0.75]))
    assert error.message == (
        "green does not answer as golden.json: /0 is 0.75, and 0.25 is expected"
    )
    assert error.detail == (
        "numbers may differ by 1e-06",
        "status 200",
        "request id f5e9674a-d620-458e-a667-3f10af6268a6",
        "call 1 of 3",
        "log of green: ModuleNotFoundError: No module named 'pandas'",
    )
    assert error.next_step.startswith("If the answer is right, correct golden.json.")
    assert len(world.scored) == 1, "a wrong answer does not become right"


def test_the_third_of_three_answers_counts_too() -> None:
    error, world = failing(lambda _, number: answer(body=[0.25 if number < 2 else 0.5]))
    assert "call 3 of 3" in error.detail
    assert len(world.scored) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            Answer(424, b"oops", {"ms-azureml-model-error-statuscode": "500"}),
            "green: its container answers with an error (status 424)",
        ),
        (Answer(404), "green: the endpoint does not know it, or has no traffic (status 404)"),
        (
            Answer(408),
            "green: it took longer than request_timeout_ms of the deployment (status 408)",
        ),
        (Answer(500), "green: the infrastructure of the endpoint failed (status 500)"),
        (Answer(502, b"<html>"), "green: its container does not answer yet (status 502)"),
        (Answer(504), "green: its container does not answer in time (status 504)"),
        (answer("blue"), "blue answered a call to green"),
    ],
)
def test_what_may_pass_is_waited_for_and_then_fails(wrong: Answer, message: str) -> None:
    error, world = failing(lambda *_: wrong)
    assert error.message == message
    assert len(world.scored) > 3
    assert sum(world.clock.slept) == pytest.approx(1.0)
    assert error.detail[-1] == "log of green: ModuleNotFoundError: No module named 'pandas'"
    assert "az ml online-deployment get-logs --name green --endpoint-name census" in error.next_step
    said, _ = probe(lambda _, number: wrong if number < 2 else answer())
    assert said[0] == f"waiting: {message}"
    assert said[-1] == "green answered 3 calls as golden.json"


def test_the_log_of_a_deployment_that_will_be_removed_is_not_advised() -> None:
    check = Check("probe green", {"sort": "probe", "deployment": "green"})
    rollout = {"probe": SAMPLE, "onFailure": "remove"}
    with pytest.raises(CheckFailed) as caught:
        check_world(World(lambda *_: Answer(424)), check, rollout=rollout)
    assert caught.value.next_step == (
        "To read its whole log, let it stay: rollout: {onFailure: keep}. Then apply again."
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Answer(400), "green: the scoring script refuses the request (status 400)"),
        (Answer(413), "green: the request is too large (status 413)"),
        (Answer(415), "green: the service answers with status 415"),
        (
            Answer(302, None, {"Location": "https://x.example/"}),
            "green: the service redirects to x",
        ),
        (
            answer(**{"x-ms-run-function-failed": "True"}),
            "green: its scoring script failed, although the status is 200",
        ),
        (
            Answer(200, GOOD),
            "a deployment that the reply does not name answered a call to green",
        ),
    ],
)
def test_what_cannot_pass_fails_at_once(wrong: Answer, message: str) -> None:
    error, world = failing(lambda *_: wrong)
    assert error.message.startswith(message)
    assert world.clock.slept == []


def test_an_answer_that_is_not_json_fails() -> None:
    page = Answer(200, b"<html>sign in", {"Content-Type": "text/html"})
    error, _ = failing(lambda *_: page)
    assert error.message == "green: the service answers text/html that is not JSON"


def test_an_endpoint_that_stays_too_busy_fails_with_what_to_raise() -> None:
    events: list[Event] = []
    error, world = failing(lambda *_: Answer(429, None, {"Retry-After": "100"}), events=events)
    assert error.message.startswith("green accepts no more calls: ")
    (throttled,) = (one for one in events if isinstance(one, Throttling))
    assert throttled.subject.startswith("scoring calls of 127.0.0.1")
    assert "max_concurrent_requests_per_instance" in error.next_step
    assert len(world.scored) == 1


def test_the_reason_of_a_container_is_shown() -> None:
    headers = {"ms-azureml-model-error-statuscode": "500", "ms-azureml-model-error-reason": "died"}
    error, _ = failing(lambda *_: Answer(424, b"", headers))
    assert "reason 500 died" in error.detail


def test_the_wait_is_as_long_as_patience_says() -> None:
    world = World(lambda *_: Answer(424))
    check = Check("", {"sort": "probe", "deployment": "green", "count": 1})
    with run_scripted(world.answer) as server:
        made = world.connect(server, 30.0).check_write(RESOURCE, check, manifest())
        with pytest.raises(CheckFailed):
            list(made)
    assert sum(world.clock.slept) == pytest.approx(30.0)


def test_a_probe_needs_the_manifest() -> None:
    world = World(lambda *_: answer())
    with run_scripted(world.answer) as server:
        probes = world.connect(server)
        check = Check("", {"sort": "probe", "deployment": "green"})
        with pytest.raises(CheckFailed, match="no manifest names the request to probe with"):
            list(probes.check_write(RESOURCE, check, None))
        with pytest.raises(CheckFailed, match="no manifest names the request to probe with"):
            list(probes.check_write(RESOURCE, check, manifest({"expect": []})))
    assert world.calls == []


def test_secrets_in_an_answer_or_a_log_are_not_shown() -> None:
    log = f"Traceback\nKeyError: {KEY}\n"
    error, _ = failing(lambda *_: answer(body=[f"your key is {KEY}"]), log=log)
    assert "KeyError" in error.detail[-1]
    error, _ = failing(lambda *_: Answer(424), log="Error: AccountKey=PLANTEDPLANTED1234+")
    assert "PLANTED" not in str(error.findings())


def test_what_moves_a_terminal_is_cut_and_stays_one_line() -> None:
    error, _ = failing(lambda *_: answer("\x1b[2J" + "x" * 900), log="Error:\x1b[2J\r" + "y" * 900)
    assert all(len(one) < 400 for one in (error.message, *error.detail))


# Keys and tokens.


def test_a_key_that_was_changed_is_read_again_once() -> None:
    said, world = probe(lambda _, number: Answer(401) if number == 1 else answer())
    assert said[-1] == "green answered 3 calls as golden.json"
    assert world.managed.count("listKeys") == 2


def test_a_key_that_is_refused_twice_is_an_error() -> None:
    world = World(lambda *_: Answer(401))
    with pytest.raises(Unauthorized, match="refuses the key or token that was read just now"):
        check_world(world, Check("", {"sort": "probe", "deployment": "green"}))
    assert len(world.scored) == 2


def test_without_the_right_to_the_keys_the_right_is_named() -> None:
    def forbid(call: Call, number: int) -> Answer:
        refuses = call.target.partition("?")[0].endswith("/listKeys")
        return refusal(403, "AuthorizationFailed") if refuses else world.answer(call, number)

    world = World(lambda *_: answer())
    with run_scripted(forbid) as server:
        world.connect(server)
        with pytest.raises(Unauthorized) as caught:
            OnlineScoring(world.access, world.client, RESOURCE, 1.0)
    assert caught.value.next_step == "The identity needs the right onlineEndpoints/listKeys/action."


def test_an_endpoint_without_keys_is_asked_for_a_token() -> None:
    token = {"accessToken": "PLANTED-jwt", "refreshAfterTimeUtc": 4_000_000_000}
    empty = {"primaryKey": None, "secondaryKey": None}
    _, world = probe(lambda *_: answer(), keys=empty, token=token)
    assert world.managed[:3] == ["census", "listKeys", "token"]
    assert world.scored[0].headers["Authorization"] == "Bearer PLANTED-jwt"


def test_a_token_is_read_again_when_the_service_says_so() -> None:
    token = {"accessToken": "PLANTED-jwt", "refreshAfterTimeUtc": 4_000_000_000}
    late = {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}
    _, world = probe(lambda *_: answer(**late), mode="AMLToken", token=token)
    assert "listKeys" not in world.managed
    assert world.managed.count("token") == 2, "a time that has passed is no reason for a third"


def test_an_endpoint_of_entra_gets_the_token_of_this_machine() -> None:
    _, world = probe(lambda *_: answer(), mode="AADToken")
    assert world.managed[:2] == ["census", "score"]
    assert world.scored[0].headers["Authorization"] == "Bearer emulator"


@pytest.mark.parametrize("keys", [{"primaryKey": ""}, {"primaryKey": 7}, {"primaryKey": "a b\n"}])
def test_a_key_that_cannot_be_sent_is_not_sent(keys: Json) -> None:
    world = World(lambda *_: answer(), keys=keys)
    with pytest.raises((Unavailable, Unauthorized)):
        check_world(world, Check("", {"sort": "probe", "deployment": "green"}))
    assert world.scored == []


@pytest.mark.parametrize(
    "address",
    [
        "https://census.eastus2.inference.ml.azure.com/score",
        "http://evil.example/score",
        "https://127.0.0.1.evil.example/score",
        "file:///etc/passwd",
        "",
        None,
    ],
)
def test_no_key_leaves_this_machine(address: Json) -> None:
    world = World(lambda *_: answer(), shown={"scoringUri": address})
    with pytest.raises(Unavailable, match="scoring address"):
        check_world(world, Check("", {"sort": "probe", "deployment": "green"}))
    assert world.managed == ["census"]


def test_an_endpoint_of_keys_that_shows_none_is_named_with_a_next_step() -> None:
    world = World(lambda *_: answer(), keys={"primaryKey": None, "secondaryKey": None})
    usual = world.answer

    def refuse_token(call: Call, number: int) -> Answer:
        is_token = call.target.partition("?")[0].endswith("/token")
        return refusal(400, "InvalidAuthMode") if is_token else usual(call, number)

    with run_scripted(refuse_token) as server:
        probes = world.connect(server)
        check = Check("", {"sort": "probe", "deployment": "green"})
        with pytest.raises(Unavailable, match="shows no key, and has no tokens") as caught:
            list(probes.check_write(RESOURCE, check, manifest()))
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("https://census.eastus2.inference.ml.azure.com/score", True),
        ("https://census.usgovvirginia.inference.ml.azure.us/score", True),
        ("http://census.eastus2.inference.ml.azure.com/score", False),
        ("https://census.inference.ml.azure.com.evil.example/score", False),
        ("https://inference.ml.azure.com/score", False),
        ("https://evil.example/.inference.ml.azure.com/score", False),
        ("https://127.0.0.1/score", False),
        ("https://user@evil.example/score", False),
        ("https://user@census.eastus2.inference.ml.azure.com/score", False),
        # Two parsers read two hosts in it, and a call would go to the first.
        ("https://evil.example\\.inference.ml.azure.com/score", False),
        ("https://evil.example%5c.inference.ml.azure.com/score", False),
        ("https://census.eastus2.inference.ml.azure.com:99999/score", False),
        ("https://[::1/.inference.ml.azure.com", False),
    ],
)
def test_a_key_of_azure_goes_only_to_hosts_of_azure(address: str, *, fits: bool) -> None:
    scoring = OnlineScoring.__new__(OnlineScoring)
    scoring._resource = RESOURCE
    given = access("https://management.azure.com")
    scoring._manager = Client("https://management.azure.com", given.emit, given.rate_limiter)
    if fits:
        assert scoring._find_address(address) == address
    else:
        with pytest.raises(Unavailable, match="no key was sent"):
            scoring._find_address(address)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(NO_ENDPOINT, ServiceMissing), (refusal(404, "ResourceGroupNotFound"), Rejected)],
)
def test_an_endpoint_that_does_not_exist_is_missing(
    answer: Answer, error: type[ReconcilerError]
) -> None:
    with run_scripted(lambda *_: answer) as server:
        world = World(lambda *_: answer)
        world.connect(server)
        with pytest.raises(error):
            OnlineScoring(world.access, world.client, RESOURCE, 1.0)


def test_the_document_of_another_endpoint_is_not_believed() -> None:
    with run_scripted(lambda *_: Answer(200, {"id": f"{ID}2"})) as server:
        world = World(lambda *_: answer())
        world.connect(server)
        with pytest.raises(Unavailable, match="another endpoint"):
            OnlineScoring(world.access, world.client, RESOURCE, 1.0)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("census.eastus2.inference.ml.azure.com", "https://ml.azure.com/.default"),
        ("census.usgovvirginia.inference.ml.azure.us", "https://ml.azure.us/.default"),
        ("census.chinaeast2.inference.ml.azure.cn:443", "https://ml.azure.cn/.default"),
    ],
)
def test_an_endpoint_of_entra_in_azure_gets_a_token_for_its_cloud(
    host: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call is made: the address is that of a real cloud."""
    asked = []

    class Identity:
        def get_token(self, scope: str) -> AccessToken:
            asked.append(scope)
            return AccessToken("PLANTED-entra-token", 4_000_000_000)

    monkeypatch.setattr("reconciler.transport.credentials.token_credential", Identity)
    scoring = OnlineScoring.__new__(OnlineScoring)
    scoring._access = access("https://management.azure.com")
    scoring._mode = "aadtoken"
    scoring._client = Client(
        f"https://{host}",
        scoring._access.emit,
        scoring._access.rate_limiter,
    )
    scoring._open()
    assert asked == [scope]
    assert scoring._key == "PLANTED-entra-token"
    assert scoring._access.redaction.redact("x PLANTED-entra-token") == "x (sensitive value)"


def test_no_part_of_an_id_leads_elsewhere() -> None:
    world = World(lambda *_: answer())
    with run_scripted(world.answer) as server:
        world.connect(server)
        elsewhere = Resource(RESOURCE.address, f"{W}/onlineEndpoints/..")
        with pytest.raises(Rejected, match="is not a valid id"):
            OnlineScoring(world.access, world.client, elsewhere, 1.0)
        assert read_last_line(world.client, f"{ID}/deployments/..") == ""
    assert world.calls == []


# The log of a deployment.


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (LOG, "ModuleNotFoundError: No module named 'pandas'"),
        ("Model Directory: /m\nWorker Count: 1\n\n", "Worker Count: 1"),
        ("liveness probe failed\nUser container has crashed or terminated\n", "User container has"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_the_line_of_a_log_that_explains_most(log: str, line: str) -> None:
    world = World(lambda *_: answer(), log=log)
    with run_scripted(world.answer) as server:
        world.connect(server)
        found = read_last_line(world.client, f"{ID}/deployments/green")
    assert found.startswith(line)
    assert bool(found) == bool(line)
    (call,) = world.calls
    assert json.loads(call.body) == {"containerType": "InferenceServer", "tail": 50}


@pytest.mark.parametrize("wrong", [Answer(404), Answer(500), Answer(200, []), Answer(200, b"<")])
def test_a_log_that_cannot_be_read_is_no_error(wrong: Answer) -> None:
    with run_scripted(lambda *_: wrong) as server:
        world = World(lambda *_: answer())
        world.connect(server)
        assert read_last_line(world.client, f"{ID}/deployments/green") == ""


# The shares of a traffic.


def by_turns(*names: str) -> Score:
    return lambda _, number: answer(names[number % len(names)])


def measure(score: Score, traffic: Json, count: int | None = None) -> tuple[list[str], World]:
    world = World(score)
    settings = {"sort": "shares", "traffic": traffic, **({"count": count} if count else {})}
    return check_world(world, Check("", settings)), world


def test_shares_are_counted_by_who_answers() -> None:
    said, world = measure(by_turns("blue", "green"), {"blue": 50, "green": 50}, 40)
    assert said[-1] == "the answers fit the traffic: blue 20 of 40 calls, green 20 of 40 calls"
    assert len(world.scored) == 40
    assert not any("azureml-model-deployment" in one.headers for one in world.scored)


def test_a_name_is_the_same_in_any_case() -> None:
    said, _ = measure(lambda *_: answer("Green"), {"green": 100}, 20)
    assert said[-1] == "the answers fit the traffic: green 20 of 20 calls"
    said, _ = probe(lambda *_: answer("GREEN"))
    assert said[-1] == "green answered 3 calls as golden.json"


def test_the_number_of_calls_is_chosen_where_none_is_given() -> None:
    _, world = measure(lambda *_: answer(), {"green": 100, "blue": 0})
    assert len(world.scored) == 20


def test_a_measure_of_too_few_calls_says_what_it_cannot_see() -> None:
    class Scoring:
        def score(self, _body: Json, _deployment: str = "") -> ScoreOf:
            return ScoreOf(200, "green", [1], [1], failed=False, reason="", request_id="")

    scoring: Any = Scoring()
    attempt = ProbeSample(scoring, SAMPLE, "golden.json").measure({"green": 100}, MOST_CALLS)

    def follow() -> Generator[str, None, None]:
        said.append((yield from attempt))

    said: list[Any] = []
    assert len(list(follow())) == MOST_CALLS
    assert said[0].endswith("; a difference of a few percent needs more calls")


def test_a_router_that_lags_is_waited_for() -> None:
    said, world = measure(lambda _, n: answer("blue" if n < 3 else "green"), {"green": 100}, 20)
    assert said[0].startswith("waiting: the answers do not fit the traffic: blue answered 1 of 1")
    assert said[-1] == "the answers fit the traffic: green 20 of 20 calls"
    assert len(world.scored) == 23, "an answer that cannot fit ends an attempt"


def test_a_router_that_ignores_the_traffic_fails() -> None:
    world = World(lambda *_: answer("blue"))
    settings = {"sort": "shares", "traffic": {"blue": 90, "green": 10}, "count": 145}
    with pytest.raises(CheckFailed) as caught:
        check_world(world, Check("", settings))
    assert caught.value.message == (
        "the answers do not fit the traffic: blue answered 145 of 145 calls, and 110 to 144 fit its"
        " 90 %"
    )
    assert caught.value.detail == (
        "green answered 0 of 145 calls, and 1 to 35 fit its 10 %",
        "a router that follows its traffic fails such a check once in a million",
    )


@pytest.mark.parametrize("name", ["blue", "stranger", ""])
def test_a_deployment_without_traffic_may_not_answer(name: str) -> None:
    world = World(lambda _, number: answer(name if number % 20 == 19 else "green"))
    settings = {"sort": "shares", "traffic": {"green": 100, "blue": 0}, "count": 20}
    with pytest.raises(CheckFailed, match=r"it has no traffic$"):
        check_world(world, Check("", settings))


def test_an_answer_that_fails_is_no_share() -> None:
    world = World(lambda _, number: Answer(424) if number % 5 == 4 else answer())
    settings = {"sort": "shares", "traffic": {"green": 100}, "count": 20}
    with pytest.raises(CheckFailed, match="its container answers with an error"):
        check_world(world, Check("", settings))


def test_an_endpoint_without_traffic_answers_nobody() -> None:
    said, world = measure(lambda *_: Answer(404), {"green": 0})
    assert said[-1] == "no deployment answers, as the traffic says"
    assert len(world.scored) == 1
    with pytest.raises(CheckFailed, match="the endpoint: no deployment has traffic"):
        measure(lambda *_: Answer(404), {"green": 100}, 20)
    with pytest.raises(CheckFailed, match="green answers, and no deployment has traffic"):
        measure(lambda *_: answer(), {})


@contextmanager
def _gone() -> Iterator[str]:
    with run_scripted(lambda *_: Answer(404)) as server:
        url = server.url
    yield url


def test_an_endpoint_that_cannot_be_reached_is_not_a_failed_check() -> None:
    with _gone() as url:
        world = World(lambda *_: answer(), shown={"scoringUri": f"{url}/score"})
        with pytest.raises(Unavailable) as caught:
            check_world(world, Check("", {"sort": "probe", "deployment": "green"}))
    assert not isinstance(caught.value, CheckFailed)
    assert world.clock.slept, "a host name may need a while"
