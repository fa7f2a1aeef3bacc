"""What the comparison is to come to: every goal is a ratio or a bound, and says whether it is met."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.comparison import Results, Sizes, apply_of, fleet_of, plan_of, warm_of
from tests.benchmarks.gauge import Usage

# Published: 250 reads at once, then 25 a second.
_BURST, _RATE = 250, 25
# The most of Terraform's time that a cold plan of so many services may take.
_TIMES = {100: 1.0, 1000: 0.45, 3000: 0.35}
# Of so few, what Python itself takes is most of the memory, and the start most of the time.
_FEW = 100


@dataclass(frozen=True)
class Goal:
    """A figure and the bound that it must not pass, in the same unit."""

    name: str
    figure: float
    most: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.figure <= self.most


def check_goals(results: Results, sizes: Sizes) -> Iterator[Goal]:
    """The goals of all that was measured, in the order of the tasks."""
    for size in sizes.against_terraform:
        yield from _against_terraform(results, size)
    yield from _linear(results, plan_of, [size for size in sizes.plans if size > _FEW])
    large = results.find(plan_of(sizes.plans[-1]), "reconciler")
    if large:
        yield Goal(f"{plan_of(sizes.plans[-1])}: peak memory", large.peak_mb, 200.0, "MB")
    for size in sizes.applies:
        ours, bare = (results.find(apply_of(size), tool) for tool in ("reconciler", "bare"))
        if ours and bare:
            name = f"apply of {size:,}: time against the bare client's"
            yield Goal(name, ours.wall_s / bare.wall_s, 2.0)
    yield from _linear(results, apply_of, sizes.applies)
    most = results.find(apply_of(sizes.applies[-1]), "reconciler")
    if most:
        yield Goal(f"{apply_of(sizes.applies[-1])}: peak memory", most.peak_mb, 250.0, "MB")
    yield from _warm(results.find(warm_of(sizes.warm), "reconciler"), sizes.warm)
    ours, theirs = (results.find(fleet_of(sizes.fleet), tool) for tool in ("reconciler", "octoDNS"))
    if ours and theirs:
        name = f"fleet of {sizes.fleet:,}: time against octoDNS's for as many zones"
        yield Goal(name, ours.wall_s / theirs.wall_s, 1.0)


def _against_terraform(results: Results, size: int) -> Iterator[Goal]:
    ours, theirs = (results.find(plan_of(size), tool) for tool in ("reconciler", "Terraform"))
    if ours and theirs:
        name = f"cold plan of {size:,}:"
        most = _TIMES.get(size, 1.0)
        yield Goal(f"{name} time against Terraform's", ours.wall_s / theirs.wall_s, most)
        if size > _FEW:
            ratio = ours.peak_mb / theirs.peak_mb
            yield Goal(f"{name} peak memory against Terraform's", ratio, 0.25)


def _linear(
    results: Results, task_of: Callable[[int], str], sizes: Sequence[int]
) -> Iterator[Goal]:
    """Ten times as many in eleven times the time, or less."""
    if not sizes:
        return
    small, large = sizes[0], sizes[-1]
    few, many = (results.find(task_of(size), "reconciler") for size in (small, large))
    if few and many and small < large:
        name = f"{task_of(large)} against {small:,}"
        yield Goal(name, many.wall_s / few.wall_s, 1.1 * large / small)


def _warm(warm: Usage | None, size: int) -> Iterator[Goal]:
    """Against a plan that reads all: the limits alone let it take no less than this."""
    if warm and size > _BURST:
        full_s = (size - _BURST) / _RATE
        name = f"warm plan of {size:,} under published limits"
        yield Goal(f"{name}: by the clock", warm.wall_s, 10.0, "s")
        yield Goal(f"{name}: against reading all ({full_s:.0f} s)", warm.wall_s / full_s, 0.05)
