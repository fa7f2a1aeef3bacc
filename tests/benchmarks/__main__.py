"""`python -m tests.benchmarks [NAME…]`: a table of ratios; exits with 1 where one is over its goal."""

import platform
import sys

from tests.benchmarks.figures import FIGURES
from tests.benchmarks.load import measure_load
from tests.benchmarks.measure import Figure


def show(figure: Figure) -> str:
    verdict = "ok" if figure.ratio <= figure.goal else "OVER"
    return (
        f"{figure.name:34} {figure.ours * 1000:9.1f} ms  {figure.against:26}"
        f" {figure.yardstick * 1000:9.1f} ms  {figure.ratio:6.2f}  ≤ {figure.goal:.1f}  {verdict}"
    )


def main() -> int:
    names = sys.argv[1:] or [*FIGURES, "load"]
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of several rounds\n")
    over = False
    for name in names:
        if name == "load":
            rate, size = measure_load()
            print(f"emulator: {rate:.0f} GET/s of {size / 1000:.0f} kB, ten at once", flush=True)
            continue
        figure = FIGURES[name]()
        over = over or figure.ratio > figure.goal
        print(show(figure), flush=True)
    return int(over)


sys.exit(main())
