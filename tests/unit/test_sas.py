"""The one form of a shared access signature, and what keeps one from reading a model."""

from datetime import UTC, datetime

import pytest

from reconciler.errors import BlobForbidden
from reconciler.secrets.sas import check_validity, normalize_signature, read_signature

PLAIN = "sv=2020-08-04&sr=b&se=2099-01-01T00%3A00%3A00Z&sp=r&sig=c3ludGhldGlj%3D"
ACCOUNT = "sv=2020-08-04&se=2099-01-01T00%3A00%3A00Z&sp=r&sig=c3ludGhldGlj%3D"
ADDRESS = "https://models.blob.core.windows.net/models/a%20b.ilearner"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"?{PLAIN}",
        f"  ?{PLAIN}\r\n",
        f'"{PLAIN}"',
        f"'?{PLAIN}',\n",
        f"\u201c{PLAIN}\u201d",
        f"\ufeff{PLAIN}\u00a0",
        f"<{ADDRESS}?{PLAIN}>",
        f'"{ADDRESS}?{PLAIN}#part"',
        f"HTTPS://MODELS.blob.core.windows.net/models?restype=container&comp=list&{PLAIN}",
        f"{PLAIN}&",
    ],
)
def test_what_stands_around_a_signature_is_removed(text: str) -> None:
    assert normalize_signature(text) == PLAIN


def test_a_plus_sign_is_encoded() -> None:
    """Storage reads a plus sign of a query as a blank."""
    assert normalize_signature("sv=1&sr=b&sig=a+b/c=") == "sv=1&sr=b&sig=a%2Bb/c="


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "is not a signature"),
        (ADDRESS, "is not a signature"),
        ("sv=2020-08-04&sr=b&sp=r", "it has no sig"),
        ("sv=2020-08-04&sr=b&sp=r&sig=", "it has no sig"),
        (PLAIN.replace("&", "&amp;"), "NAME=VALUE"),
        (PLAIN.replace("&", "\\u0026"), "NAME=VALUE"),
        (PLAIN.replace("&", "%26").replace("=", "%3D"), "NAME=VALUE"),
        (f"MODELS_SAS={PLAIN}", "NAME=VALUE"),
        (f"sas={PLAIN}", "NAME=VALUE"),
        (f"{ADDRESS};{PLAIN}", "NAME=VALUE"),
        (f"BlobEndpoint={ADDRESS};SharedAccessSignature={PLAIN}", "NAME=VALUE"),
        (f"{PLAIN}&{PLAIN}", "the same field twice"),
        (f"{PLAIN} {PLAIN}", "a blank or a line break"),
        (PLAIN.replace("&sig", "\n&sig"), "a blank or a line break"),
        (PLAIN.replace("%3D", "%253D"), "percent-encoded twice"),
        (PLAIN.replace("%3D", "%3"), "NAME=VALUE"),
        (PLAIN + "\u0451", "NAME=VALUE"),
    ],
)
def test_what_cannot_be_brought_to_the_form_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as caught:
        normalize_signature(text)
    assert "c3ludGhldGlj" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"ss=f&srt=sco&{ACCOUNT}", "its ss lacks b"),
        (f"ss=qt&srt=sco&{ACCOUNT}", "its ss lacks b"),
        (f"ss=b&srt=sc&{ACCOUNT}", "its srt lacks o"),
        (f"ss=b&{ACCOUNT}", "its srt lacks o"),
        (f"srt=o&{ACCOUNT}", "its ss lacks b"),
        (PLAIN.replace("sr=b", "sr=f"), "its sr is not b, c or d"),
        (PLAIN.replace("sr=b", "sr=s"), "its sr is not b, c or d"),
        (PLAIN.replace("sr=b", "tn=table"), "its sr is not b, c or d"),
        (ACCOUNT, "its sr is not b, c or d"),
        (PLAIN.replace("sp=r", "sp=wdl"), "does not permit to read"),
        (PLAIN.replace("&sp=r", ""), "does not permit to read"),
        ("", "is not a signature"),
    ],
)
def test_what_cannot_read_a_model_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(BlobForbidden, match=wrong) as caught:
        read_signature(text, "env MODELS_SAS", "a model")
    assert "the signature in env MODELS_SAS" in caught.value.message
    assert "c3ludGhldGlj" not in str(caught.value.findings())


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("sr=b", "sr=c"),
        PLAIN.replace("sr=b", "sr=d&sdd=1"),
        PLAIN.replace("sp=r", "sp=rwdlac"),
        PLAIN.replace("sp=r", "si=policy"),
        f"ss=bfqt&srt=sco&{ACCOUNT}",
    ],
)
def test_what_can_read_a_model_is_taken(text: str) -> None:
    assert read_signature(f'"?{text}"', "env MODELS_SAS", "a model") == text


def test_the_end_of_a_signature_is_read_from_its_form() -> None:
    signature = normalize_signature(f"{ADDRESS}?{PLAIN}")
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert check_validity(signature, "a model", now) == "2099-01-01T00:00:00Z"
