"""What people are told of the waves of a fleet, before and after."""

from dataclasses import replace

from reconciler.model import Action, Address, Finding, Outcome, Rollout, Stopped
from reconciler.render.events.outcome import render_outcome
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.rollout import describe_rollouts
from reconciler.render.plan.text import render_plan
from reconciler.render.words.colour import Paint
from tests.golden import check
from tests.plans import updates

PLAIN = Paint()


def test_how_a_fleet_goes_is_said_of_it() -> None:
    bikes, cars = Address("Fleet", "bike-rental"), Address("Fleet", "cars")
    made = updates(12)
    gone = (Action.DELETE, Action.DELETE)
    steps = tuple(
        replace(step, fleet=bikes, stage=stage, action=action)
        for step, stage, action in zip(
            made.steps, (0, *[1] * 3, *[2] * 6, 3, 4), (*[Action.UPDATE] * 10, *gone), strict=True
        )
    )
    rollouts = (Rollout(bikes, (1, "40%", "100%"), 30.0, 0), Rollout(cars))
    text = render_plan(replace(made, steps=steps, rollouts=rollouts), paint=PLAIN, summary=True)
    said = (
        "Fleet/bike-rental: 12 members in 5 waves: 1, 3, 6, then 1, 1 to destroy; 30 s between;"
        " the first failure stops the rest."
    )
    assert said in text.splitlines()
    assert "Fleet/cars" not in text
    one = tuple(replace(step, fleet=cars) for step in made.steps)
    single = replace(made, steps=one, rollouts=(Rollout(cars, pause_s=30.0, max_failures=1),))
    assert [*describe_rollouts(single)] == [
        "Fleet/cars: 12 members in 1 wave; more than 1 failure stops the rest."
    ]
    assert f"`{said}`" in render_plan_markdown(replace(made, steps=steps, rollouts=rollouts))
    assert said in render_plan_html(replace(made, steps=steps, rollouts=rollouts))


def test_the_last_word_names_what_was_stopped_and_how_to_go_on() -> None:
    failed = Finding(
        "no such region",
        subject="Endpoint/rentalloc001",
        detail=("It is row 1 of manifests/locations.csv, line 2.",),
        next_step="Plan again to see what is live.",
    )
    left = tuple(Address("Endpoint", f"rentalloc{number:03}") for number in range(2, 1001))
    other = Address("WebService", "late")
    bikes = Stopped(Address("Fleet", "bike-rental"), 1, 0, left)
    cars = Stopped(Address("Fleet", "cars"), 3, 2, (Address("Endpoint", "old"),), destroys=True)
    left = (*left, *cars.not_started, other)
    outcome = Outcome(failures=(failed,), not_started=left, stopped=(bikes, cars))
    check("incomplete-fleets", render_outcome(outcome, paint=PLAIN))
