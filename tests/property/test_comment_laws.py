"""A comment on a request says what was written, whatever the names and the text are."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.gitops.comments import Sticky, measure, read_comment, write_comment

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LINES = st.lists(
    st.one_of(TEXTS, st.sampled_from(["```", "````", "~~~", "<details>", "</details>", "x" * 900])),
    max_size=30,
)


@given(
    names=st.lists(TEXTS, min_size=4, max_size=4),
    lines=LINES,
    most=st.integers(3_000, 5_000),
)
def test_a_comment_says_what_was_written(names: list[str], lines: list[str], most: int) -> None:
    project, environment, run, changes = (one[:20] for one in names)
    body = "\n".join(lines)
    sticky = Sticky(project, environment, run, "2026-11-23T03:17:00Z", changes, body)
    text, cut = write_comment(sticky, most, "GitHub")
    found = read_comment(text)
    assert found is not None
    assert not found.edited
    assert measure(text) <= most
    assert (found.project, found.environment) == (project, environment)
    assert (found.run, found.changes) == (run, changes)
    assert cut or measure(body) <= most
