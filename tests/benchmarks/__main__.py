"""`python -m tests.benchmarks`: all is measured, and written into README.md of this folder as it comes,
with three lines for the project's README.

With names only those are measured, and nothing is written; with `--quick` it is small, to see that
it runs. It ends with 1 where something is over its goal. Each step is reported on stderr before it
begins: some take minutes, and all of them more than a quarter of an hour.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from tests.benchmarks.comparison import QUICK, Results, Sizes, compare
from tests.benchmarks.figures import FIGURES
from tests.benchmarks.load import measure_documents, measure_emulator
from tests.benchmarks.report import Report

_QUICK = ("documents", "comparison", "start", "diff")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    given = parser.parse_args(arguments)
    results = Results(report=Progress())
    report = Report(QUICK if given.quick else Sizes(), results)
    known = measurements(report)
    if not set(given.names) <= set(known):
        parser.error(f"NAME is one of {', '.join(known)}")
    whole = not (given.names or given.quick)
    if whole:
        report.results.changed = lambda _: report.write()
    for name in given.names or (_QUICK if given.quick else known):
        results.report(name)
        known[name]()
        if whole:
            report.write()
    print(report.render())
    return int(report.missed and not given.quick)


class Progress:
    """Prints what is measured now, and how many seconds ago the run began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        elapsed = time.monotonic() - self._began
        print(f"[{elapsed:4.0f} s] {line}", file=sys.stderr, flush=True)


def measurements(report: Report) -> Mapping[str, Callable[[], None]]:
    """Everything that can be measured, by name; each puts what it finds into the report."""

    def measure_rate(name: str, measure: Callable[[], float]) -> None:
        report.rates[name] = measure()

    def measure_figure(name: str) -> None:
        report.figures.append(FIGURES[name]())

    return {
        "documents": partial(measure_rate, "documents", measure_documents),
        "comparison": partial(compare, report.sizes, report.results),
        **{name: partial(measure_figure, name) for name in FIGURES},
        "emulator": partial(measure_rate, "emulator", measure_emulator),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
