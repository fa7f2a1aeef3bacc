"""The quick searches of a reply for secrets find what a search of each name and each text finds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.normalize import normalize
from reconciler.document.schema import UNKNOWN
from reconciler.model import Json
from reconciler.secrets import signatures
from reconciler.secrets.signatures import strip_signatures
from reconciler.secrets.suspicion import is_secret
from tests.laws import examples

PLANTED = "planted-0123456789"
# The ends of names, and what can stand before and after a name that is still that name.
_WORDS = st.sampled_from(
    [
        *("sig", "pwd", "password", "PassWd", "passphrase", "Account Key", "api.key", "ACCESS_KEY"),
        *("sas-token", "connectionString", "Client Secret", "bearer token", "SharedAccessSignature"),
        *("key", "string", "Publishing", "word", "passwordPolicy", "", "é", '"', "\\", ':"'),
    ]
)
_EDGES = st.sampled_from(["", " ", "\t", "\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "a", "é"])
_NAMES = st.tuples(_EDGES, _WORDS, _WORDS, _EDGES).map("".join)
_VALUES = st.sampled_from(
    [PLANTED, "", "short", None, 1, True, '":"', "two words in it", 2**70, "half \ud800 a pair"]
)
_DOCUMENTS = st.recursive(
    st.one_of(_VALUES, _NAMES),
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.one_of(_NAMES, _WORDS), below, max_size=3)
    ),
    max_leaves=8,
)


def search_each(document: Json) -> Json:
    """The document without what any name or text of it says is a secret."""
    if isinstance(document, dict):
        return {
            name: search_each(value)
            for name, value in document.items()
            if not is_secret(name, value)
        }
    if isinstance(document, list):
        return [search_each(item) for item in document]
    return strip_all(document) if isinstance(document, str) else document


def strip_all(text: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "may_be_signed", lambda _: True)
        return strip_signatures(text)


@given(_DOCUMENTS)
@examples(400)
def test_the_quick_search_of_names_misses_none(document: Json) -> None:
    assert normalize(UNKNOWN, document) == search_each(document)


@pytest.mark.parametrize("name", ["sig", "pwd", "Sig ", "\tpwd\n", "\xa0apiKey\u2003", "api_key\x1f"])
def test_a_secret_is_not_kept_under_an_odd_name(name: str) -> None:
    document = {"tags": [{name: PLANTED, "y": 1}]}
    assert normalize(UNKNOWN, document) == {"tags": [{"y": 1}]}
    assert PLANTED in json.dumps(document)
