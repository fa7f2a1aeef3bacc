"""What a failed apply claims of each step is true, whatever fault loses or refuses a call.

Each claim that a person reads is compared with what the emulator really holds, before and after.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from reconciler.emulator import KINDS, Fault
from reconciler.emulator.azureml import data_plane, faults
from reconciler.model import Finding, Outcome, Step, StepResult
from tests.contract.classic import MODEL as CLASSIC_MODEL
from tests.contract.in_process import InProcess, run_in_process
from tests.contract.trial import NEW, SPECS, UNSEEN, Trial, make_name
from tests.tree import ROOT

pytestmark = pytest.mark.contract
Json = Any
WRITES = ("PUT", "PATCH", "DELETE")
WEB, POINT = "WebService", "Endpoint"
# Faults of a write or of its operation. An answer that hangs or comes late is a lost answer.
OF_WRITES = (
    *("throttle", "error", "error-503", "drop-reply", "drop-request", "slow", "hang", "truncate"),
    *("wrong-type", "fail-operation", "stuck-operation", "silent-rollback", "invalid-model"),
)
# Those that a step meets anew when it is sent again.
AGAIN = (
    *("error", "drop-reply", "drop-request", "truncate", "wrong-type"),
    *("fail-operation", "stuck-operation", "silent-rollback", "invalid-model"),
)
TWICE = ("drop-request", "fail-operation", "invalid-model")
ENDS = ("fail-operation", "stuck-operation", "silent-rollback")
OF_READS = ("error", "drop-reply", "truncate", "wrong-type", "throttle")
# No step reads a list to see what became of it.
OF_LISTS = "list-omission"


def mark_slow(name: str, quick: Sequence[str]) -> list[pytest.MarkDecorator]:
    """Leave what is not among the quick ones to a run of all checks."""
    return [] if name in quick else [pytest.mark.slow]


def pick_quick(names: Sequence[str], *quick: str) -> list[Any]:
    """Every name; each that is not quick is marked slow."""
    assert {*quick} <= {*names}
    return [pytest.param(name, marks=mark_slow(name, quick)) for name in names]


@dataclass(frozen=True)
class Wrong:
    """A fault of the calls of some methods; `at` is empty for the address of a resource."""

    name: str
    methods: Sequence[str] = WRITES
    times: int | None = None
    at: str = ""

    def faults(self, number: int) -> Iterator[Fault]:
        """A fault for each resource of a trial, each with its own times."""
        do, _, status = self.name.partition("-5")
        own = [f"/{make_name(*role, number)}([?]|$)" for role in SPECS]
        for method, place in itertools.product(self.methods, [self.at] if self.at else own):
            yield Fault(do, method, place, self.times, status=int(f"5{status or '00'}"))


def reads(name: str, times: int | None = None, at: str = "") -> Wrong:
    return Wrong(name, ("GET",), times, at)


@pytest.fixture
def service() -> Iterator[InProcess]:
    """A service for each test: the lists of a shared one would grow with every test before."""
    with run_in_process() as running:
        yield running


# What the service may really hold where a claim is made.
BEFORE, DONE, BETWEEN = "as it was before", "as it was to be", "neither"
ANY = {BEFORE, DONE, BETWEEN}
CLAIMS: Mapping[str, set[str]] = {
    "Nothing was sent.": {BEFORE},
    "The service did not take it": {BEFORE},
    "Nothing was changed: ": {BEFORE},
    "It was done despite the error: ": {DONE},
    "not applied: ": {BEFORE, BETWEEN},
    "the operation failed: ": {BEFORE, BETWEEN},
    "is still running after": {BEFORE, BETWEEN},
    "It is gone, and its replacement does not exist.": {BETWEEN},
    "A part of it may have been done": {BEFORE, BETWEEN},
    "It may have been done": ANY,
    "It is not known whether it was done: ": ANY,
}
# Claims of a step of which the service has taken nothing.
UNTAKEN = {"Nothing was sent.", "The service did not take it"}
# Claims of a step that was not read back.
UNREAD = {"A part of it may have been done", "It may have been done"}
VAGUE = {*UNREAD, "It is not known whether it was done: "}


def judge(step: Step, before: Json, after: Json) -> str:
    """What really became of a step."""
    if is_as_wanted(step, after):
        return DONE
    return BEFORE if after == before else BETWEEN


def get_role(step: Step) -> tuple[str, str]:
    return step.resource.address.kind, step.resource.address.name.partition("-")[0]


def is_as_wanted(step: Step, real: Json) -> bool:
    kind, role = get_role(step)
    if role == "delete" or real is None:
        return role == "delete" and real is None
    if kind == "Endpoint":
        settings, models = real
        location = models[CLASSIC_MODEL].get("location", {})
        served = str(location.get("RelativeLocation")) == NEW.partition(".net/")[2]
        described = bool(settings["Description"] == "new")
        prevents = bool(settings["PreventUpdate"])
        wanted: dict[str, bool] = {"model": served, "replace": described and prevents}
        return wanted.get(role, described and served)
    _, state, _, _, properties = real
    if state != "Succeeded":
        return False
    if role == "replace":
        return bool(properties["storageAccount"]["name"] == "another")
    if role == "rotate":
        return bool(properties["keys"]["primary"] == "the new KEY")
    return bool(properties["assets"]["asset3"]["locationInfo"]["uri"] == NEW)


def find_claims(finding: Finding) -> list[str]:
    said = f"{finding.message} {finding.next_step}"
    return [claim for claim in CLAIMS if claim in said]


@dataclass
class Result:
    """What really became of each step, and what an apply claimed of it."""

    trial: Trial
    outcome: Outcome

    def __post_init__(self) -> None:
        self.steps = {str(step.resource.address): step for step in self.trial.plan.steps}
        self.real = {
            name: judge(step, self.trial.before[name], self.trial.after[name])
            for name, step in self.steps.items()
        }

    def find_false_claims(self, *, unreadable: bool) -> Iterator[str]:
        """The claims that are false, and those that leave open what reads have proved.

        A write that cannot be observed is reported as done where the service says so.
        """
        failed = {one.subject: one for one in self.outcome.failures}
        for name, real in self.real.items():
            if name in failed:
                said = f"{failed[name].message} | {failed[name].next_step}"
                for flaw in self._find_in(name, find_claims(failed[name]), unreadable=unreadable):
                    yield f"{flaw}: {name} is {real}: {said}"
            elif real != DONE and get_role(self.steps[name]) not in UNSEEN:
                yield f"{name} is reported as done, and is {real}"

    def _find_in(self, name: str, claims: Sequence[str], *, unreadable: bool) -> Iterator[str]:
        real, unseen = self.real[name], get_role(self.steps[name]) in UNSEEN
        if not claims:
            yield "nothing is claimed"
        if any(real not in CLAIMS[claim] for claim in claims):
            yield "it is false"
        sent = name.partition("/")[2] in self.trial.sent
        if "Nothing was sent." in claims and sent:
            yield "it was sent"
        if not sent and not UNTAKEN & {*claims}:
            yield "it was not sent"
        if UNREAD & {*claims} and not unreadable:
            yield "it can be read back"
        if VAGUE & {*claims} and not unreadable and real != BETWEEN and not unseen:
            yield "reads have proved it"

    def find_false_fates(self) -> Iterator[str]:
        """The last fate of each step in the ledger, where it is false."""
        allowed = {StepResult.DONE: {DONE}, StepResult.NOT_DONE: {BEFORE}, StepResult.UNKNOWN: ANY}
        last = {str(entry.address): entry for entry in self.trial.ledger.entries()}
        for name, entry in last.items():
            unseen = get_role(self.steps[name]) in UNSEEN and entry.result is StepResult.DONE
            if self.real[name] not in allowed[entry.result] and not unseen:
                yield f"{name} is {self.real[name]}, and the ledger says {entry.result}: {entry.note}"


_numbers = itertools.count()


def run_trial(service: InProcess, *wrong: Wrong, roles: Sequence[tuple[str, str]] = ()) -> Result:
    """Applies every step, or those of some roles, while things go wrong."""
    trial = Trial(service, next(_numbers), roles or tuple(SPECS))
    outcome = trial.apply([one for each in wrong for one in each.faults(trial.number)])
    assert not outcome.not_started
    return Result(trial, outcome)


def check_claims(result: Result, *, unreadable: bool = False) -> None:
    """Every claim is true, and the next run finds out what was left open."""
    flaws = [*result.find_false_claims(unreadable=unreadable), *result.find_false_fates()]
    left = [one.message for one in result.trial.settle()]
    flaws += [f"the next run: {flaw}" for flaw in result.find_false_fates()]
    flaws += [f"the next run: {said}" for said in left if "still running after" not in said]
    assert not flaws, "\n".join(flaws)


def roles_of(*methods: str) -> list[tuple[str, str]]:
    """The roles whose steps send one of these methods."""
    sent = {"create": {"PUT", "PATCH"}, "replace": {"PUT", "DELETE"}, "delete": {"DELETE"}}
    return [one for one in SPECS if sent.get(one[1], {"PATCH"}) & {*methods}]


# Those of training jobs are tried with the jobs.
OF_JOBS = {
    "fail-job",
    "stuck-job",
    "lose-job-reply",
    "stale-model",
    "empty-evaluation",
    "nan-evaluation",
    "two-row-evaluation",
}


# Those of online endpoints alone: test_online_faults and test_online_scoring try them.
OF_ONLINE = {*data_plane.DEFECTS, *faults.ENDS, *faults.REFUSALS}


def test_every_fault_of_the_emulator_is_tried() -> None:
    tried = {name.removesuffix("-503") for name in (*OF_WRITES, *OF_READS, "stale-read", OF_LISTS)}
    assert tried | OF_JOBS | OF_ONLINE == {kind.name for kind in KINDS}
    assert not tried & (OF_JOBS | OF_ONLINE)


def test_the_guide_names_every_fault() -> None:
    guide = (ROOT / "manifests" / "README.md").read_text("utf-8")
    assert [kind.name for kind in KINDS if f"`{kind.name}`" not in guide] == []


@pytest.mark.parametrize("name", OF_WRITES)
def test_a_fault_of_every_write(service: InProcess, name: str) -> None:
    check_claims(run_trial(service, Wrong(name)))


# Each fault is met once in every run, and twice by a lost call, a failed operation and a refusal.
@pytest.mark.parametrize(
    ("name", "times"),
    [
        pytest.param(name, times, marks=mark_slow(name, AGAIN if times == 1 else TWICE))
        for name in AGAIN
        for times in (1, 2)
    ],
)
def test_a_fault_of_the_first_writes(service: InProcess, name: str, times: int) -> None:
    check_claims(run_trial(service, Wrong(name, times=times)))


# Every run has each method with a refusal, with a lost answer and with an operation that fails, and
# `test_a_fault_of_every_write` has each fault of all methods.
@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    "name", pick_quick(["throttle", *AGAIN], "throttle", "drop-reply", "fail-operation")
)
def test_a_fault_of_the_writes_of_one_method(service: InProcess, name: str, method: str) -> None:
    result = run_trial(service, Wrong(name, (method,)), roles=roles_of(method))
    # An endpoint that is created may be there when the PATCH of its model is refused.
    check_claims(result, unreadable=(name, method) == ("throttle", "PATCH"))


# Every run has a write that was done, one that was lost and one whose operation failed.
@pytest.mark.parametrize(
    "name",
    pick_quick(
        ["", "drop-reply", "drop-request", "throttle", "fail-operation"],
        *("", "drop-request", "fail-operation"),
    ),
)
def test_a_write_that_cannot_be_read_back(service: InProcess, name: str) -> None:
    wrong = [Wrong(name)] if name else []
    check_claims(run_trial(service, *wrong, reads("error")), unreadable=True)


# A read fails in one of three ways in every run: an answer that is an error, none, and a wrong one.
# `test_a_write_that_later_reads_show` has all of them.
@pytest.mark.parametrize("misread", pick_quick(OF_READS, "error", "drop-reply", "wrong-type"))
def test_a_lost_write_that_no_read_shows(service: InProcess, misread: str) -> None:
    check_claims(run_trial(service, Wrong("drop-request"), reads(misread)), unreadable=True)


# Every run has all reads of a write that was done; of one that was not, a lost and an old answer.
@pytest.mark.parametrize(
    ("name", "misread"),
    [
        *(("drop-reply", misread) for misread in (*OF_READS, "stale-read")),
        *(
            pytest.param(
                "fail-operation", misread, marks=mark_slow(misread, ("drop-reply", "stale-read"))
            )
            for misread in (*OF_READS, "stale-read")
        ),
    ],
)
def test_a_write_that_later_reads_show(service: InProcess, name: str, misread: str) -> None:
    check_claims(run_trial(service, Wrong(name), reads(misread, times=3)))


@pytest.mark.parametrize("name", ["fail-operation", "invalid-model", "drop-request"])
def test_a_part_of_a_step_that_later_reads_show(service: InProcess, name: str) -> None:
    roles = [one for one in roles_of("PUT", "DELETE") if one[1] != "delete"]
    wrong = Wrong(name, ("PUT", "PATCH"))
    check_claims(run_trial(service, wrong, reads("stale-read", times=3), roles=roles))


def test_a_refusal_after_a_lost_answer(service: InProcess) -> None:
    wrong = Wrong("drop-reply", ("PATCH",), 1), Wrong("invalid-model", ("PATCH",))
    roles = [one for one in roles_of("PATCH") if one[0] == POINT]
    check_claims(run_trial(service, *wrong, reads("stale-read", times=3), roles=roles))


@pytest.mark.parametrize(
    ("role", "calls"),
    [
        (role, calls)
        for role in ("update", "replace", "delete", "create")
        # That a resource is absent takes two calls, before any step begins.
        for calls in range(1 + (role == "create"), 7)
    ],
)
def test_a_limit_of_calls_within_a_step(service: InProcess, role: str, calls: int) -> None:
    trial = Trial(service, next(_numbers), [(WEB, role)], most=calls)
    check_claims(Result(trial, trial.apply([])), unreadable=True)


@pytest.mark.parametrize("misread", OF_READS)
def test_an_operation_that_cannot_be_followed(service: InProcess, misread: str) -> None:
    check_claims(run_trial(service, reads(misread, at="/operationsstatus/")))


LOOK = "Plan again to see what is live."
CANNOT = "could not be read back (The service cannot answer the request now)"


@pytest.mark.parametrize(
    ("kind", "role", "wrong", "proven"),
    [
        (
            WEB,
            "update",
            [Wrong("drop-request")],
            "Nothing was changed: live is as it was before.",
        ),
        (WEB, "create", [Wrong("error")], "Nothing was changed: it is not there. Apply again."),
        (POINT, "delete", [Wrong("hang")], "Nothing was changed: it is still there."),
        (WEB, "delete", [Wrong("fail-operation")], "Nothing was changed: it is still there."),
        (WEB, "create", [Wrong("error-503")], "The service did not take it."),
        (POINT, "create", [Wrong("throttle", ("PATCH",))], "A part of it may have been done."),
        (
            WEB,
            "replace",
            [Wrong("drop-reply", ("DELETE",))],
            f"It is gone, and its replacement does not exist. {LOOK}",
        ),
        (
            WEB,
            "rotate",
            [Wrong("drop-request")],
            f"It is not known whether it was done: what was written is not observable. {LOOK}",
        ),
        (WEB, "update", [reads("error")], "It may have been done: the service reports success."),
        (
            POINT,
            "update",
            [Wrong("drop-reply"), reads("error")],
            f"It may have been done: it {CANNOT}. {LOOK}",
        ),
    ],
)
def test_the_claims_in_full(
    service: InProcess, kind: str, role: str, wrong: list[Wrong], proven: str
) -> None:
    (failure,) = run_trial(service, *wrong, roles=[(kind, role)]).outcome.failures
    assert failure.next_step.startswith(proven)


UNDOING = ("drop-reply", "drop-request", "error", "throttle", *ENDS)
RESTORED: Mapping[str, set[str]] = {
    "Nothing was restored: ": {DONE},
    "The service did not take it.": {DONE},
    "not applied: ": {DONE, BETWEEN},
    "is still running after": {DONE, BETWEEN},
    "It may have been restored": ANY,
    "A part of it may have been restored": {DONE, BETWEEN},
}


# Every run has each fault that can be read back, and two that cannot: a lost answer, a refusal.
@pytest.mark.parametrize(
    ("name", "misread"),
    [
        pytest.param(
            name, misread, marks=mark_slow(name, UNDOING if not misread else UNDOING[:3:2])
        )
        for name in UNDOING
        for misread in (False, True)
    ],
)
def test_the_claims_of_a_rollback(service: InProcess, name: str, *, misread: bool) -> None:
    trial = Trial(service, next(_numbers), [(WEB, "update"), (WEB, "delete")])
    failing = Wrong("error", ("DELETE",)).faults(trial.number)
    undoing = [Wrong(name), *([reads("error")] if misread else [])]
    outcome = trial.apply(
        [*failing], [one for each in undoing for one in each.faults(trial.number)]
    )
    address, real = trial.plan.steps[0].resource.address, Result(trial, outcome).real
    if outcome.rolled_back:
        assert (outcome.rolled_back, real[str(address)]) == ((address,), BEFORE)
        return
    (finding,) = outcome.unrestored
    said = f"{finding.message} | {finding.next_step}"
    claims = [claim for claim in RESTORED if claim in said]
    assert claims, said
    assert all(real[str(address)] in RESTORED[claim] for claim in claims), said
    assert misread or "may have been" not in said, said


def test_an_operation_of_somebody_else_that_does_not_end(service: InProcess) -> None:
    roles = [(WEB, role) for role in ("update", "replace", "delete")]
    trial = Trial(service, next(_numbers), roles)
    service.faults.put(Fault("stuck-operation", "PATCH"))
    for kind, role in roles:
        body = {"properties": {"packageType": "Graph", "description": "of somebody else"}}
        service.others.begin("PATCH", make_name(kind, role, trial.number), body)
    trial.before = trial.inspect()
    outcome = trial.apply([])
    assert trial.after == trial.before
    assert {one.subject for one in outcome.failures} == {*trial.before}
    for failure in outcome.failures:
        assert "an operation on it is still running" in failure.message
        assert failure.next_step.startswith("The service did not take it. Run apply again")
