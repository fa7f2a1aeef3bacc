"""All that was measured as a chapter of this folder's README, and in three lines of the project's README."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.benchmarks.comparison import Results, Row, Sizes, fleet_of, plan_of, warm_of
from tests.benchmarks.goals import Goal, check_goals
from tests.benchmarks.measure import Figure

PAGE: Final = Path(__file__).parent / "README.md"
README: Final = Path(__file__).parents[2] / "README.md"
BEGIN: Final = "<!-- made by python -m tests.benchmarks: begin -->"
END: Final = "<!-- made by python -m tests.benchmarks: end -->"
_INTRODUCTION: Final = """\
Measured side by side in one run of `python -m tests.benchmarks`: {machine}. Tools take turns; \
figures are medians of three runs, or one run if it takes more than a minute. CPU counts the \
processes that a tool starts, memory is the maximum of any one.
"""
_COLUMNS: Final = (
    "| task | tool | wall s | CPU s | peak MB | calls |\n|---|---|---:|---:|---:|---:|\n"
)
_NOTES: Final = {
    "cold plan": """
A cold plan reads the same recorded definitions of 15 kB, each tool in its own format, from one \
server that answers {rate:,.0f} of them in a second; every service must get another model.
""",
    "bare client": """
The bare client makes the same calls with requests, one after another, in a loop. It plans nothing \
and keeps no record.
""",
    "Terraform": """
Terraform reads with data sources (`terraform_remote_state` over HTTP), each in a block of its own \
and each definition as one text, because this is fastest. It compares one value of each, or no \
value ("reading alone"). Its apply creates `terraform_data`, which makes no call. No provider is used.
""",
    "fleet": """
The fleet is made of a template and a file of rows, one Classic endpoint each, and its live \
endpoints are read in one list; octoDNS plans as many zones of three records, from YAML to YAML. In \
both every hundredth differs.
""",
    "warm plan": """
Nothing has changed since the plan before the warm one. Its services are in the emulator, which \
enforces Resource Manager's published limits.
""",
}
_GOALS: Final = "\n| goal | at most | measured | |\n|---|---:|---:|---|\n"
_FIGURES: Final = """
Against yardsticks that do the minimum of the same work:

| what | reconciler | yardstick | ratio | at most |
|---|---:|---|---:|---:|
"""


@dataclass
class Report:
    """What was measured so far."""

    sizes: Sizes
    results: Results
    figures: list[Figure] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def goals(self) -> Sequence[Goal]:
        return list(check_goals(self.results, self.sizes))

    @property
    def missed(self) -> bool:
        over = any(figure.ratio > figure.goal for figure in self.figures)
        return over or not all(goal.met for goal in self.goals)

    def render(self) -> str:
        """The chapter, as far as there are figures for it."""
        rate = self.rates.get("documents", 0.0)
        parts = ["## Figures\n\n", _INTRODUCTION.format(machine=describe_machine()), "\n"]
        if self.results.rows:
            parts += [_COLUMNS, *_tell_rows(self.results.rows)]
        parts += [note.format(rate=rate) for about, note in _NOTES.items() if self._has(about)]
        if self.goals:
            parts += [_GOALS, *map(_tell_goal, self.goals)]
        if self.figures:
            parts += [_FIGURES, *map(_tell_figure, self.figures)]
        if "emulator" in self.rates:
            reported = f"{self.rates['emulator']:,.0f} reads of such a definition in a second"
            parts.append(f"\nThe emulator answers {reported}, over ten connections.\n")
        return "".join(parts)

    def render_summary(self) -> str:
        """Three lines for the project's README, as far as there are figures for them."""
        return "".join(f"* {line}\n" for line in _summarize(self.results, self.sizes))

    def _has(self, about: str) -> bool:
        """Whether there is a row of a task or a tool."""
        return any(
            one.startswith(about) for row in self.results.rows for one in (row.task, row.tool)
        )

    def write(self, page: Path = PAGE, readme: Path = README) -> None:
        """Replace the chapter of the page, and the lines of the project's README."""
        _replace(page, self.render())
        _replace(readme, self.render_summary())


def _summarize(results: Results, sizes: Sizes) -> Iterator[str]:
    services = max(sizes.against_terraform, default=0)
    ours, theirs = (results.find(plan_of(services), tool) for tool in ("reconciler", "Terraform"))
    if ours and theirs:
        time, memory = ours.wall_s / theirs.wall_s, ours.peak_mb / theirs.peak_mb
        yield (
            f"A plan of {services:,} services without a cache takes {time:.2f} of the time"
            f" and {memory:.2f} of the memory that Terraform needs."
        )
    ours, theirs = (results.find(fleet_of(sizes.fleet), tool) for tool in ("reconciler", "octoDNS"))
    if ours and theirs:
        time = ours.wall_s / theirs.wall_s
        yield (
            f"A plan of a fleet of {sizes.fleet:,} endpoints takes {time:.2f} of the time"
            f" that octoDNS needs for a plan of {sizes.fleet:,} zones."
        )
    warm = results.find(warm_of(sizes.warm), "reconciler")
    if warm:
        yield (
            f"A plan of {sizes.warm:,} unchanged services takes {warm.wall_s:.1f} s"
            f" and {warm.calls:,} calls, within the limits that Resource Manager publishes."
        )


def _replace(file: Path, text: str) -> None:
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{file.name} has no marks"
    file.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def _tell_rows(rows: Sequence[Row]) -> Iterator[str]:
    task = ""
    for row in rows:
        used = row.usage
        shown = "" if row.task == task else row.task
        task = row.task
        yield (
            f"| {shown} | {row.tool} | {used.wall_s:.2f} | {used.cpu_s:.2f}"
            f" | {used.peak_mb:.0f} | {used.calls:,} |\n"
        )


def _tell_goal(goal: Goal) -> str:
    unit = f" {goal.unit}" if goal.unit else ""
    verdict = "met" if goal.met else "**missed**"
    return f"| {goal.name} | {goal.most:.3g}{unit} | {goal.figure:.3g}{unit} | {verdict} |\n"


def _tell_figure(figure: Figure) -> str:
    ours, other = (f"{seconds * 1000:,.1f} ms" for seconds in (figure.ours, figure.yardstick))
    return (
        f"| {figure.name} | {ours} | {figure.against}: {other}"
        f" | {figure.ratio:.2f} | {figure.goal:g} |\n"
    )


def describe_machine() -> str:
    """The processor, the memory and the versions that the figures hold for."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores of {model}, {memory:.0f} GiB, Linux, Python {platform.python_version()},"
        f" requests {version('requests')}"
    )
