"""Checks after the writes of an online endpoint, made on answers of the endpoint itself.

A probe asks one deployment by its name, past the traffic. A measure of shares asks the endpoint and
counts who answers. Both wait while a deployment warms up or the router lags, and then fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from reconciler.document.pointers import find, format_pointer
from reconciler.errors import CheckFailed, Rejected, ServiceError, Throttled, Unavailable
from reconciler.kinds.online_endpoint.logs import read_last_line
from reconciler.kinds.online_endpoint.scoring import OnlineScoring, Score
from reconciler.model import ABSENT, Absent, Check, Json, Manifest, Resource
from reconciler.model.values import dataclass
from reconciler.plans.probes import (
    MOST_CALLS,
    count_calls,
    find_difference,
    find_share_faults,
)
from reconciler.ports import Access
from reconciler.text.counting import count
from reconciler.text.durations import growing_waits
from reconciler.transport import Client, clean, is_loopback

_PROBE: Final = ("rollout", "probe")
_ON_FAILURE: Final = ("rollout", "onFailure")
_COUNT: Final = 20
_TOLERANCE: Final = 1e-6
# A deployment that has just succeeded may refuse calls for a while, and a router may follow later
# than its document (both reported by users).
_WAIT_S: Final = 120.0
_LOCAL_WAIT_S: Final = 1.0
_FIRST_S: Final = 0.1
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5
# What a status means on a managed endpoint (documented), and whether it may pass.
_MEANINGS: Final[Mapping[int, tuple[str, bool]]] = {
    400: ("the scoring script refuses the request", False),
    404: ("the endpoint does not know it, or has no traffic", True),
    408: ("it took longer than request_timeout_ms of the deployment", True),
    413: ("the request is too large", False),
    424: ("its container answers with an error", True),
    500: ("the infrastructure of the endpoint failed", True),
    502: ("its container does not answer yet", True),
    504: ("its container does not answer in time", True),
}
_NO_TRAFFIC: Final = 404
_ENDPOINT: Final = "the endpoint"
_LOOK: Final = "Read its whole log: az ml online-deployment get-logs --name {} --endpoint-name {}"
_KEEP: Final = "To read its whole log, let it stay: rollout: {{onFailure: keep}}. Then apply again."
_BUSY: Final = "Raise max_concurrent_requests_per_instance or instance_count of the deployment."


@dataclass(frozen=True, slots=True)
class ProbeFault:
    """Why an answer does not pass. `may_pass` says that a later one may.

    `deployment` is the one that answered or was asked, if it is known. With an `error`, nothing was
    seen. `status` is that of a refusal. `is_answer` says that the right deployment answered, and
    otherwise than expected.
    """

    message: str
    deployment: str = ""
    detail: tuple[str, ...] = ()
    next_step: str = ""
    may_pass: bool = False
    status: int = 0
    is_answer: bool = False
    error: ServiceError | None = None


# Yields what is known after each call; returns the result in one sentence, or why it failed.
Attempt: TypeAlias = Generator[str, None, "str | ProbeFault"]


class EndpointProbes:
    """Makes the checks of one provider; `client` is that of the management plane."""

    def __init__(self, access: Access, client: Client) -> None:
        self._access, self._client = access, client
        usual = _LOCAL_WAIT_S if is_loopback(client.base_url) else _WAIT_S
        self._wait_s = max(access.patience_s, usual)

    def check_write(
        self, resource: Resource, check: Check, manifest: Manifest | None
    ) -> Iterator[str]:
        """Makes one check; yields what is known so far after each call and before each wait.

        The last text is the result. The settings of the check have its `sort`: "probe" with the
        name of the `deployment`, or "shares" with the `traffic`; both may have a `count` of calls.
        Raises CheckFailed, or ServiceError if nothing could be seen.
        """
        probes = self.open_sample(resource, manifest) if manifest is not None else None
        if probes is None:
            raise CheckFailed(
                "no manifest names the request to probe with",
                subject=str(resource.address),
                next_step="Declare spec.rollout.probe.request in its manifest.",
            )
        settings = check.settings
        is_removed = manifest is not None and find(manifest.spec, _ON_FAILURE) == "remove"
        look = _KEEP if is_removed else _LOOK
        if settings.get("sort") == "shares":
            traffic = {name: int(share) for name, share in settings["traffic"].items()}
            calls = settings.get("count") or count_calls(traffic, {})
            yield from self._repeat(resource, lambda: probes.measure(traffic, calls), look)
        else:
            calls = settings.get("count") or probes.count
            asked = settings["deployment"]
            yield from self._repeat(resource, lambda: probes.probe(asked, calls), look)

    def open_sample(self, resource: Resource, manifest: Manifest) -> ProbeSample | None:
        """Returns the calls with the sample of a manifest; None if it declares no request."""
        sample = find(manifest.spec, _PROBE)
        if not isinstance(sample, dict) or "request" not in sample:
            return None
        slowest_s = _find_slowest_s(manifest.spec)
        scoring = OnlineScoring(self._access, self._client, resource, self._wait_s, slowest_s)
        return ProbeSample(scoring, sample, _name_expected(manifest, sample))

    def _repeat(
        self, resource: Resource, attempt: Callable[[], Attempt], look: str
    ) -> Iterator[str]:
        """Makes attempts until one passes, or fails for good, or the patience ends."""
        client = self._client
        until = client.clock() + self._wait_s
        for pause in growing_waits(_FIRST_S, _LONGEST_S, _GROWTH):
            found = yield from attempt()
            if isinstance(found, str):
                yield found
                return
            left = until - client.clock()
            if not found.may_pass or left <= 0:
                raise self._fail(resource, found, look)
            yield f"waiting: {found.message}"
            client.sleep(min(pause, left))

    def _fail(self, resource: Resource, fault: ProbeFault, look: str) -> CheckFailed | ServiceError:
        """Returns the error of a fault, with the last line of the log of its deployment.

        `look` is how to read the whole log.
        """
        if fault.error is not None:
            return fault.error
        detail, next_step = fault.detail, fault.next_step
        if fault.deployment:
            path = f"{resource.id}/deployments/{fault.deployment}"
            line = read_last_line(self._client, path)
            detail += (f"log of {fault.deployment}: {line or 'not shown'}",)
            name = resource.id.rpartition("/")[2]
            next_step = next_step or look.format(fault.deployment, name)
        redact = self._access.redaction.redact
        return CheckFailed(
            clean(redact(fault.message)),
            detail=tuple(clean(redact(line)) for line in detail),
            subject=str(resource.address),
            next_step=next_step,
        )


@dataclass(frozen=True, slots=True)
class ProbeSample:
    """The request of a manifest, and its expected answer; `named` is the latter in words."""

    scoring: OnlineScoring
    sample: Mapping[str, Json]
    named: str

    @property
    def count(self) -> int:
        """How many calls a probe makes."""
        return int(self.sample.get("count", _COUNT))

    @property
    def expects(self) -> bool:
        """Whether the manifest declares the answer."""
        return "expect" in self.sample

    def probe(self, deployment: str, calls: int, *, compares: bool = True) -> Attempt:
        """Asks one deployment so many times; all answers must be its own.

        With `compares`, they must be the expected one, if the manifest declares it.
        """
        expected = self.sample.get("expect", ABSENT) if compares else ABSENT
        for number in range(1, calls + 1):
            found = self._ask(deployment)
            if isinstance(found, ProbeFault):
                return replace(found, detail=(*found.detail, f"call {number} of {calls}"))
            fault = self._judge(found, deployment, expected)
            if fault is not None:
                return replace(fault, detail=(*fault.detail, f"call {number} of {calls}"))
            yield f"{number} of {count(calls, 'call')} to {deployment} answered"
        if isinstance(expected, Absent):
            return (
                f"{deployment} answered {count(calls, 'call')}; no answer is declared as expected"
            )
        return f"{deployment} answered {count(calls, 'call')} as {self.named}"

    def _judge(self, found: Score, deployment: str, expected: Json | Absent) -> ProbeFault | None:
        detail = _describe_answer(found)
        if found.deployment.casefold() != deployment.casefold():
            who = found.deployment or "a deployment that the reply does not name"
            said = f"{who} answered a call to {deployment}"
            return ProbeFault(said, deployment, detail, may_pass=bool(found.deployment))
        if isinstance(expected, Absent):
            return None
        tolerance = self.sample.get("tolerance", _TOLERANCE)
        difference = find_difference(expected, found.document, tolerance)
        if difference is None:
            return None
        return ProbeFault(
            f"{deployment} does not answer as {self.named}: {difference.describe()}",
            deployment,
            (f"numbers may differ by {tolerance:g}", *detail),
            f"If the answer is right, correct {self.named}. If not, name another model.",
            is_answer=True,
        )

    def measure(self, traffic: Mapping[str, int], calls: int) -> Attempt:
        """Asks the endpoint so many times; the shares of the answers must fit the traffic."""
        if not any(traffic.values()):
            return (yield from self._measure_none())
        counted = Counter[str]()
        names = {name.casefold(): name for name in traffic}
        for number in range(1, calls + 1):
            found = self._ask("")
            if isinstance(found, ProbeFault):
                return found
            name = names.get(found.deployment.casefold(), found.deployment)
            counted[name or "no named deployment"] += 1
            if not traffic.get(name):
                break  # no further answer makes this one fit
            yield f"{number} of {count(calls, 'call')} answered"
        made = count(calls, "call")
        shares = ", ".join(f"{one} {got} of {made}" for one, got in sorted(counted.items()))
        faults = tuple(find_share_faults(traffic, counted))
        if not faults:
            # What a check cannot see must not look as if it was seen.
            more = "; a difference of a few percent needs more calls" if calls >= MOST_CALLS else ""
            return f"the answers fit the traffic: {shares}{more}"
        rule = "a router that follows its traffic fails such a check once in a million"
        said = f"the answers do not fit the traffic: {faults[0]}"
        step = "Look at the traffic of the endpoint: another client may have changed it."
        return ProbeFault(said, "", (*faults[1:], rule), step, may_pass=True)

    def _measure_none(self) -> Attempt:
        """Asks an endpoint without traffic once: no deployment may answer."""
        found = self._ask("")
        yield ""
        if isinstance(found, ProbeFault):
            gone = found.status == _NO_TRAFFIC
            return "no deployment answers, as the traffic says" if gone else found
        said = f"{found.deployment} answers, and no deployment has traffic"
        return ProbeFault(said, found.deployment, _describe_answer(found), may_pass=True)

    def _ask(self, deployment: str) -> Score | ProbeFault:
        """Sends the request once; returns the answer, or why it does not count."""
        try:
            found = self.scoring.score(self.sample["request"], deployment)
        except (Rejected, Throttled, Unavailable) as error:
            return _explain(error, deployment)
        who = found.deployment or deployment
        name, detail = who or _ENDPOINT, _describe_answer(found)
        if found.status != 200:
            meaning, may_pass = _MEANINGS.get(found.status, ("it is not answered", False))
            if found.status == _NO_TRAFFIC and not deployment:
                meaning = "no deployment has traffic"
            said = f"{name}: {meaning} (status {found.status})"
            return ProbeFault(said, who, detail, may_pass=may_pass, status=found.status)
        if found.failed:
            said = f"{name}: its scoring script failed, although the status is 200"
            return ProbeFault(said, who, detail)
        return found


def _explain(error: ServiceError, deployment: str) -> ProbeFault:
    """Returns why a call has no answer that can be judged."""
    asked = deployment or _ENDPOINT
    if isinstance(error, Throttled):
        return ProbeFault(f"{asked} accepts no more calls: {error.message}", deployment, (), _BUSY)
    said = f"{asked}: {error.message}"
    if isinstance(error, Unavailable) and error.status != 200:  # nothing was seen
        return ProbeFault(said, may_pass=True, error=error)
    return ProbeFault(said, deployment, status=error.status)


def _describe_answer(found: Score) -> tuple[str, ...]:
    lines = [
        f"status {found.status}",
        f"reason {found.reason}" if found.reason else "",
        f"request id {found.request_id}" if found.request_id else "",
    ]
    return tuple(filter(None, lines))


def _find_slowest_s(spec: Json) -> float:
    """Returns how many seconds the slowest declared deployment may take for an answer."""
    given = spec.get("deployments")
    deployments = given.values() if isinstance(given, dict) else ()
    limits = (find(one, ("request_settings", "request_timeout_ms")) for one in deployments)
    known = [limit / 1000 for limit in limits if isinstance(limit, (int, float))]
    # The endpoint itself ends a call that takes longer.
    return max(known) + 5.0 if known else 0.0


def _name_expected(manifest: Manifest, sample: Mapping[str, Json]) -> str:
    """Returns the file with the expected answer, or where the manifest has it."""
    expected = sample.get("expect")
    at = format_pointer(("spec", *_PROBE, "expect"))
    first = next(iter(expected), "") if isinstance(expected, dict) else 0
    file = manifest.place(f"{at}{format_pointer((first,))}").file
    return file if file and file != manifest.file else "spec.rollout.probe.expect"
