"""What must hold at the end of every story, whatever happened in it."""

from dataclasses import dataclass, field

from tests.survival.fleet import ALLOWED, APPLY, DeclaredServices, Fleet, expect_verbs
from tests.survival.nursery import Nursery
from tests.survival.traffic import Traffic


@dataclass(frozen=True)
class Story:
    """What happened, where a run died (empty where it did not), and all that does not hold."""

    title: str
    place: str = ""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n    ".join([self.title, *self.wrong])


def check_story(
    fleet: Fleet, nursery: Nursery, old: DeclaredServices, traffic: Traffic, before: dict[str, int]
) -> list[str]:
    """Run once more, and name all that does not hold then.

    `traffic` is what was sent since the services were as in `old`; `before` how often the ledger
    had told of each service that something was done.
    """
    ended = nursery.run(fleet.folder, *APPLY)
    wrong = [] if ended.code == 0 else [f"the next apply ended with {ended.code}: {ended.said}"]
    wrong += [*fleet.compare(), *(f"twice: {text}" for text in traffic.twice())]
    wrong += check_silence(fleet, nursery)
    expected, taken = expect_verbs(old, fleet.declared_services), traffic.verbs()
    wrong += [
        f"{name} took {taken.get(name, [])}, and needed {expected.get(name, [])}"
        for name in sorted({*expected, *taken})
        if taken.get(name, []) != expected.get(name, [])
    ]
    return wrong + check_ledger(fleet, before, {name for name in expected if "/" not in name})


def check_silence(fleet: Fleet, nursery: Nursery) -> list[str]:
    """Nothing is left to do, and the ledger proves itself."""
    planned = nursery.run(fleet.folder, "plan", "--prune", "--detailed-exitcode", *ALLOWED)
    proven = nursery.run(fleet.folder, "ledger", "verify")
    return [
        f"{what} ended with {ended.code}: {ended.said}"
        for what, ended in (("plan", planned), ("ledger verify", proven))
        if ended.code != 0
    ]


def check_ledger(fleet: Fleet, before: dict[str, int], changed: set[str]) -> list[str]:
    """No intent is left open; each service that was changed is told of once more, no other."""
    wrong = [f"the intent of {one.address} is open" for one in fleet.open_ledger().load().open]
    after = fleet.count_done()
    for name in sorted({*before, *after, *changed}):
        reported = after.get(name, 0) - before.get(name, 0)
        if reported != (name in changed):
            wrong.append(f"the ledger tells {reported} times that {name} was done")
    return wrong
