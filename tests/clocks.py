"""Time that a test holds: it passes only where somebody sleeps."""

from dataclasses import dataclass, field


@dataclass
class FakeClock:
    """Seconds; `slept` holds every sleep."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
