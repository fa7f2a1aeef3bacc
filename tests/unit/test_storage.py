"""What is left out on a machine that lacks something, and where that is a failure."""

import pytest

from tests import storage
from tests.storage import leave_out


@pytest.mark.parametrize(
    ("variable", "all_checks", "fails"),
    [
        ("", False, False),
        ("0", False, False),
        ("1", False, True),
        ("true", False, True),
        ("", True, True),
    ],
)
def test_what_is_left_out_fails_where_all_checks_are_demanded(
    monkeypatch: pytest.MonkeyPatch, variable: str, *, all_checks: bool, fails: bool
) -> None:
    monkeypatch.setenv("CI", variable)
    monkeypatch.setattr(storage, "ALL_CHECKS", all_checks)
    ends: type[BaseException] = pytest.fail.Exception if fails else pytest.skip.Exception
    with pytest.raises(ends, match=r"^NOT CHECKED: what needs blob storage\. No npm\.$"):
        leave_out("what needs blob storage", "No npm.")
