"""Names that people see, looked up: exactly one thing must have the name."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.engine.names import NameLists
from reconciler.errors import Unauthorized
from reconciler.model import Finding, NamedPart, SecretReference
from reconciler.render.findings import render_findings
from reconciler.render.words.colour import Paint
from tests.golden import check

Json = Any
NAMED = NamedPart(
    part="webService",
    key="spec.resource.webServiceName",
    name="Bike Rental [Predictive Exp.]",
    noun="web service",
    scope="/southcentralus/workspaces/w1",
)
A, B, C = ("a" * 32, "b" * 32, "c" * 32)
LISTED = [
    (A, "Bike Rental [Predictive Exp.]"),
    (B, "Twin"),
    (C, "Twin"),
]


def find(named: NamedPart, listed: Iterable[tuple[str, str]] = LISTED) -> str | Finding:
    return NameLists().find_id("Endpoint", named, lambda: listed)


def test_the_id_of_the_one_thing_with_the_name_is_found() -> None:
    assert find(NAMED) == A
    assert find(replace(NAMED, name="Twin", id=C.upper())) == C


def refuse() -> Iterable[tuple[str, str]]:
    raise Unauthorized("the service refused the token", next_step="Set the token.", status=401)


@pytest.mark.parametrize(
    ("case", "named", "scan"),
    [
        ("a slip", replace(NAMED, name="Bike Rental [Predictve Exp.]"), lambda: LISTED),
        ("nothing near", replace(NAMED, name="Cars"), lambda: LISTED),
        ("nothing there", NAMED, list),
        ("two of the name", replace(NAMED, name="Twin"), lambda: LISTED),
        ("the id of another", replace(NAMED, id=B), lambda: LISTED),
        ("no such id", replace(NAMED, id="d" * 32), lambda: LISTED),
        (
            "from the defaults",
            replace(NAMED, name="Twin", key="spec.defaults.webServiceName"),
            lambda: LISTED,
        ),
        (
            "very many",
            replace(NAMED, name="Cars"),
            lambda: [(f"{number:032x}", f"Service {number}") for number in range(1000)],
        ),
        ("not listed", NAMED, refuse),
    ],
)
def test_what_is_not_exactly_one_is_said(
    case: str, named: NamedPart, scan: Callable[[], Iterable[tuple[str, str]]]
) -> None:
    found = NameLists().find_id("Endpoint", named, scan)
    assert isinstance(found, Finding)
    said = replace(found, subject="Endpoint/rentalloc001")
    check(f"names/{case.replace(' ', '-')}", render_findings([said], paint=Paint()))


def test_a_list_is_asked_for_once_even_if_it_fails() -> None:
    names, asked = NameLists(), list[str]()

    def scan() -> Iterable[tuple[str, str]]:
        asked.append("once")
        return refuse()

    for number in range(1000):
        found = names.find_id("Endpoint", replace(NAMED, name=f"{number}"), scan)
        assert isinstance(found, Finding)
    assert asked == ["once"]
    names.find_id("Endpoint", replace(NAMED, token=SecretReference(env="OTHER")), lambda: LISTED)
    with pytest.raises(ZeroDivisionError):
        names.find_id("Endpoint", replace(NAMED, scope="/other"), lambda: [1 / 0])  # type: ignore[list-item]
