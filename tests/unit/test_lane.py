"""How fast calls may follow one another: by published limits, or by what a service says."""

import math
from itertools import pairwise

import pytest

from reconciler.transport.token_bucket import READS, WRITES, BucketLimits, TokenBucket

ROUNDING = 1e-3


class Road:
    """A lane, and the time at which calls went through it."""

    def __init__(self, limits: BucketLimits = READS, *, published: bool = True) -> None:
        self.now = 50.0
        self.bucket = TokenBucket(limits, self.now, published=published)

    def go(self, calls: int = 1) -> list[float]:
        """When each of so many calls went that were asked for one right after the other."""
        return [self._go() for _ in range(calls)]

    def _go(self) -> float:
        while wait := self.bucket.take(self.now):
            self.now += wait
        return self.now

    def storm(self, calls: int, pause: float) -> list[bool]:
        """So many calls are under way at once, and each is refused; which of them cut the rate."""
        self.go(calls)
        cuts = self.bucket.cuts
        return [self.bucket.refuse(self.now, cuts, pause) for _ in range(calls)]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize(("limits", "rate"), [(READS, 25), (WRITES, 10)])
def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(
    limits: BucketLimits, rate: int
) -> None:
    road = Road(limits)
    times = road.go(limits.burst + 3 * rate)
    assert times[limits.burst - 1] == 50.0
    assert times[limits.burst] == pytest.approx(50 + 1 / rate)
    assert times[-1] == pytest.approx(53.0)


def test_a_bucket_fills_up_while_nobody_calls_and_never_runs_over() -> None:
    road = Road()
    road.go(250)
    road.now += 4
    assert road.go(100)[-1] == 54.0
    road.now += 3600
    start = road.now
    assert road.go(275)[-1] == pytest.approx(start + 1.0)


def test_nothing_is_slowed_down_where_nothing_is_published() -> None:
    assert set(Road(published=False).go(10_000)) == {50.0}


def test_a_refusal_keeps_everybody_for_as_long_as_the_service_asks() -> None:
    road = Road(published=False)
    road.storm(1, 7.0)
    assert road.go() == [57.0]


def test_the_longest_wait_of_a_storm_counts() -> None:
    road = Road(published=False)
    road.go(3)
    for pause in (2.0, 9.0, 4.0):
        road.bucket.refuse(road.now, 0, pause)
    assert road.go() == [59.0]


def test_one_storm_cuts_the_rate_once() -> None:
    road = Road()
    assert road.storm(10, 1.0) == [True] + [False] * 9
    assert gaps(road.go(2)) == [pytest.approx(1 / 12.5, rel=0.05)]


def test_after_a_wait_calls_go_one_by_one_at_half_the_rate() -> None:
    """Whatever the bucket held: ten workers that wake together are the next storm."""
    road = Road()
    road.storm(1, 10.0)
    times = road.go(10)
    assert times[0] == 60.0
    assert min(gaps(times)) > 1 / 15
    assert max(gaps(times)) <= 1 / 12.5 + ROUNDING


def test_the_rate_grows_back_steadily_and_no_further_than_published() -> None:
    road = Road()
    road.storm(1, 0.0)
    times = road.go(400)
    rates = [round(1 / gap, 2) for gap in gaps(times)]
    climb = [rate for rate in rates if rate < 24.9]
    assert len(climb) > 50
    assert climb == sorted(climb)
    full = next(time for time, rate in zip(times, rates, strict=False) if rate > 24.9)
    assert full - 50 == pytest.approx(5.0, abs=0.2)
    assert set(rates[len(climb) + 5 :]) == {25.0}


def test_the_burst_comes_back_with_the_rate() -> None:
    road = Road()
    road.storm(1, 0.0)
    road.now += 3600
    assert road.go(250)[-1] == pytest.approx(3650.0)


def test_each_further_storm_halves_again_down_to_a_floor() -> None:
    road = Road()
    seen = []
    for _ in range(12):
        road.storm(1, 0.0)
        seen.append(1 / gaps(road.go(2))[0])
    assert seen[0] == pytest.approx(12.5, rel=0.05)
    assert seen[1] < 0.6 * seen[0]
    assert seen[-1] > 1.9


def test_where_nothing_is_published_it_is_half_of_what_really_went() -> None:
    road = Road(published=False)
    for _ in range(100):
        road.go()
        road.now += 0.01
    road.storm(1, 0.0)
    assert gaps(road.go(2)) == [pytest.approx(1 / 50, rel=0.05)]


def test_a_service_of_unknown_limits_is_found_out_with_few_refusals() -> None:
    """A bucket of 250 and 25 a second that says nothing beforehand, and asks for a second each."""
    road, there = Road(published=False), TokenBucket(READS, 50.0, published=True)
    done = refused = 0
    while done < 1000:
        road.go()
        road.now += 0.001
        if there.take(road.now):
            refused += road.bucket.refuse(road.now, road.bucket.cuts, 1.0)
        else:
            road.bucket.accept()
            done += 1
    assert refused <= 40
    assert road.now - 50 <= 1.5 * (1000 - 250) / 25


def test_a_chance_refusal_of_a_fast_service_does_not_last() -> None:
    road = Road(published=False)
    for _ in range(20):
        road.go()
        road.now += 0.001
    road.storm(1, 0.0)
    assert road.go(1000)[-1] - 50 < 10


# How long nothing was accepted.


def test_starving_lasts_from_the_first_refusal_to_the_next_chance() -> None:
    road = Road(published=False)
    assert road.bucket.compute_starved_s(road.now) == 0.0
    road.storm(1, 30.0)
    assert road.bucket.compute_starved_s(road.now) == 30.0
    road.now += 100
    assert road.bucket.compute_starved_s(road.now) == 100.0
    road.bucket.accept()
    assert (road.bucket.compute_starved_s(road.now), road.bucket.streak) == (0.0, 0)


# What is left of the hour.


@pytest.mark.parametrize("published", [True, False])
def test_what_is_left_of_an_hour_is_spread_when_it_is_little(published: bool) -> None:
    road = Road(WRITES, published=published)
    assert road.bucket.count_down(1200, road.now) is False
    road.now += 1800
    assert road.bucket.count_down(61, road.now) is False
    assert road.bucket.count_down(60, road.now) is True
    assert road.bucket.count_down(59, road.now) is False
    road.go()
    assert gaps(road.go(3)) == [pytest.approx(1800 / 59, rel=0.05)] * 2


def test_a_call_a_minute_goes_even_then() -> None:
    """Only an answer can tell that a new hour has begun."""
    road = Road(published=False)
    road.bucket.count_down(15_000, road.now)
    road.bucket.count_down(1, road.now)
    road.go()
    assert gaps(road.go(2)) == [pytest.approx(60.0)]


def test_a_new_hour_ends_the_spreading() -> None:
    road = Road(published=False)
    road.bucket.count_down(15_000, road.now)
    road.bucket.count_down(700, road.now)
    assert road.bucket.hour.compute_rate(road.now) < 1
    road.bucket.count_down(14_999, road.now)
    assert road.bucket.hour.compute_rate(road.now) == math.inf
    road.bucket.count_down(700, road.now)
    assert road.bucket.hour.compute_rate(road.now + 3600) > 100


def test_answers_that_overtake_one_another_begin_no_new_hour() -> None:
    road = Road(published=False)
    for left in (15_000, 700, 710, 699):
        road.bucket.count_down(left, road.now)
    assert road.bucket.hour.low


def test_what_is_taken_when_nothing_is_left_was_no_limit() -> None:
    road = Road(published=False)
    for left in (15_000, 0, 0):
        road.bucket.count_down(left, road.now)
    assert road.bucket.hour.compute_rate(road.now) == math.inf


def test_a_count_no_larger_than_the_bucket_is_what_is_left_in_the_bucket() -> None:
    """Somebody else with the same identity has taken out of it too."""
    road = Road()
    road.bucket.count_down(5, road.now)
    assert gaps(road.go(7)) == [0.0] * 4 + [pytest.approx(1 / 25)] * 2
    elsewhere = Road(published=False)
    elsewhere.bucket.count_down(0, elsewhere.now)
    assert set(elsewhere.go(100)) == {50.0}
