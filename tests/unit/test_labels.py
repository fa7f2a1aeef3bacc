"""Which manifests a selector selects."""

import pytest

from reconciler.errors import ManifestInvalid
from reconciler.manifests.labels import select_by_labels
from reconciler.model import Address, Manifest

LABELS = {
    "a": {"team": "growth", "tier": "gold"},
    "b": {"team": "growth"},
    "c": {"team": "risk", "tier": "gold"},
    "d": {},
}
MANIFESTS = [
    Manifest(Address("WebService", name), {}, f"{name}.yaml", "", labels)
    for name, labels in LABELS.items()
]


@pytest.mark.parametrize(
    ("selectors", "found"),
    [
        (["team=growth"], "ab"),
        (["team==growth"], "ab"),
        (["team=growth,tier=gold"], "a"),
        (["team=growth", "tier=gold"], "a"),
        (["team!=growth"], "cd"),
        (["tier"], "ac"),
        (["!tier"], "bd"),
        (["team, !tier"], "b"),
        (["team in (growth, risk)"], "abc"),
        (["team in (risk),tier=gold"], "c"),
        (["team notin (growth)"], "cd"),
        (["tier = gold"], "ac"),
    ],
)
def test_a_selector_selects_the_resources_with_its_labels(selectors: list[str], found: str) -> None:
    selected = select_by_labels(MANIFESTS, selectors)
    assert "".join(one.name for one in selected) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "team=",
        "a=b=c",
        "team growth",
        "!team=growth",
        "a,,b",
        "team in",
        "team in growth",
        "team in (a",
        "in (a)",
        "!team in (a)",
    ],
)
def test_what_is_not_a_selector_is_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        select_by_labels(MANIFESTS, [text])
    (finding,) = caught.value.findings()
    if text == "team=":  # an empty value is a value, and no resource has it
        assert finding.message == "no resource has the labels of -l team="
    else:
        assert finding.message == f'-l "{text}" is not a selector'


def test_labels_that_no_resource_has_are_refused_with_some_labels_that_exist() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        select_by_labels(MANIFESTS, ["team=grwth"])
    (finding,) = caught.value.findings()
    assert finding.message == "no resource has the labels of -l team=grwth"
    labels = "team=growth, team=risk, tier=gold"
    assert finding.next_step == f"Labels are in metadata.labels. Some labels are {labels}."
