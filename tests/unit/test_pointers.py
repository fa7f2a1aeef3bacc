"""JSON pointers."""

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.document.pointers import format_pointer, split_pointer


@given(st.lists(st.text("ab~/01 é", max_size=3)))
@example([])
@example([""])
@example(["", ""])
@example(["a/b", "c"])
@example(["~1", "~0"])
def test_a_pointer_leads_where_its_path_does(path: list[str]) -> None:
    pointer = format_pointer(tuple(path))
    assert split_pointer(pointer) == tuple(path)
    assert pointer.count("/") == len(path)
