"""The forms in which values are compared."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.document.comparers import COMPARERS

_HOSTS = st.sampled_from(
    ["acct.blob.core.windows.net", "127.0.0.1", "a", "A.b", "a..b", "-", "é.b"]
)
_PORTS = st.sampled_from(["", ":443", ":80", ":10000", ":x"])
_PATHS = st.text("ab/.~_- %é\n?#@\\", max_size=12)


@given(_HOSTS, _PORTS, _PATHS)
@example("a.b", "", "%61%2F")
@example("a.b", "", "a b")
@example("A.b", "", "a")
@example("a.b", ":443", "a")
@example("a.b", "", "a?sig=1#b")
def test_an_address_that_has_its_form_already_is_what_taking_it_apart_makes_of_it(
    host: str, port: str, path: str
) -> None:
    form, given_so = COMPARERS["blob-uri"], f"https://{host}{port}/{path}"
    # In another case an address is always taken apart; what is none comes back as it is.
    shouted = f"HTTPS{given_so[5:]}"
    taken_apart = form(shouted)
    assert taken_apart == shouted or form(given_so) == taken_apart
    assert form(form(given_so)) == form(given_so)


@pytest.mark.parametrize("large", ["1e999", "-1e999"])
def test_what_is_too_large_for_a_number_is_compared_as_a_text(large: str) -> None:
    assert COMPARERS["number"](large) == large
    assert COMPARERS["number"]("1e3") == 1000
