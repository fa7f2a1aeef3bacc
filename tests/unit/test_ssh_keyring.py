"""Keyrings: what a line allows, as ssh-keygen judges it, and what is wrong with one and where."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plans.approvals import NAMESPACE
from reconciler.plans.ssh_keyring import Keyring, match_patterns, parse_keyring
from reconciler.plans.ssh_signatures import find_public, sign
from tests.ssh import HardwareKey, make_key, verify_by_ssh_keygen

# A fixed key: it is in the names of tests.
KEY = find_public(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
LINE = KEY.line
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com AAAA"


def parse(text: str) -> Keyring:
    keyring, findings = parse_keyring(text, "signers", UTC)
    assert not findings, findings
    return keyring


def test_lines_are_read_as_openssh_writes_them() -> None:
    other = HardwareKey("sk-ed25519").public
    keyring = parse(
        "# The approvers\n\n"
        f"alice@example.com {LINE} alice's key\n"
        f'  bob,*@ops.example.com namespaces="git,reconciler-*",'
        f'valid-after="20260101",VALID-BEFORE="20270101120000Z"\t{other.line}\r\n'
        f'"carol smith" {LINE}\n'
    )
    first, second, third = keyring.lines
    assert (first.number, first.principals, first.key, first.name) == (
        3,
        ("alice@example.com",),
        KEY,
        "alice@example.com",
    )
    assert (second.number, second.principals, second.key) == (
        4,
        ("bob", "*@ops.example.com"),
        other,
    )
    assert second.namespaces == ("git", "reconciler-*")
    assert second.valid_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert second.valid_before == datetime(2027, 1, 1, 12, tzinfo=UTC)
    assert second.name == "bob"
    assert third.name == "carol smith"
    assert keyring.find(KEY) == [first, third]


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("alice", 6, "the line has no key"),
        ("alice ssh-ed25519", 7, "the line has no key"),
        (f", {LINE}", 1, "the line names no principal"),
        (f"! {LINE}", 1, "the line names no principal"),
        (f"{'a' * 1025} {LINE}", 1, "a principal has more than 1,024 characters"),
        ("alice ssh-ed25519 AA!!", 19, "is not a public key: it is not base64"),
        ("alice ssh-ed25519 AAAA", 19, "is cut off"),
        (f"alice ssh-rsa {LINE.split()[1]}", 15, "is not a public key of type ssh-rsa"),
        ("alice ssh-dss AAAA", 7, "the type of key 'ssh-dss' is not accepted"),
        (f"alice {CERTIFICATE}", 7, "certificates are not accepted"),
        (f"*@x cert-authority {LINE}", 5, "cert-authority: certificates are not accepted"),
        (f'*@x namespaces="a",cert-authority {LINE}', 20, "cert-authority: certificates"),
        (f"alice no-touch-required {LINE}", 7, "'no-touch-required' is not an option or a type"),
        (f"alice namespaces=git {LINE}", 7, "is not an option or a type of key"),
        (f'alice namespaces="" {LINE}', 7, "namespaces is empty"),
        (f'alice namespaces="a",namespaces="b" {LINE}', 22, "namespaces is given twice"),
        (f'alice valid-after="soon" {LINE}', 7, "valid-after 'soon' is not a time"),
        (f'alice valid-before="20261340" {LINE}', 7, "valid-before '20261340' is not a time"),
        (f'alice valid-before="2026-12-01" {LINE}', 7, "is not a time"),
        (
            f'alice valid-after="20270101",valid-before="20260101" {LINE}',
            7,
            "valid-before is not later than valid-after",
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_place(line: str, column: int, said: str) -> None:
    _, (finding,) = parse_keyring(f"# c\n{line}\nbob {LINE}\n", "signers", UTC)
    assert finding.place is not None
    assert (finding.place.file, finding.place.line) == ("signers", 2)
    assert (finding.place.column, said in finding.message) == (column, True), finding.message
    assert finding.next_step


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\r", "\u00a0"])
def test_only_a_newline_ends_a_line_as_for_openssh(tmp_path: Path, mark: str) -> None:
    key = make_key()
    text = f"bob {LINE} a comment{mark}alice {find_public(key).line}\n"
    keyring, _ = parse_keyring(text, "signers")
    assert not keyring.find(find_public(key))
    signature = sign(key, b"message", NAMESPACE)
    assert not verify_by_ssh_keygen(tmp_path, text, "alice", b"message", signature)


def test_only_blanks_and_tabs_separate_words_as_for_openssh(tmp_path: Path) -> None:
    key = make_key()
    text = f"alice\u00a0x {find_public(key).line}\n"
    (line,) = parse(text).lines
    assert line.principals == ("alice\u00a0x",)
    signature = sign(key, b"message", NAMESPACE)
    assert not verify_by_ssh_keygen(tmp_path, text, "alice", b"message", signature)


def test_all_wrong_lines_are_reported_and_an_empty_keyring_is_one() -> None:
    _, findings = parse_keyring("a\nb\n", "signers")
    assert [one.place and one.place.line for one in findings] == [1, 2]
    for text in ("", "# nothing\n\n"):
        _, (finding,) = parse_keyring(text, "signers")
        assert finding.message == "the keyring has no key"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", ""),
        ('namespaces="git,reconciler-approval" ', ""),
        ('namespaces="reconciler-*" ', ""),
        ('namespaces="git" ', "may not sign in the namespace reconciler-approval"),
        ('namespaces="*,!reconciler-approval" ', "may not sign in the namespace"),
        ('valid-after="20261201" ', "is not valid before 2026-12-01T00:00:00Z"),
        ('valid-before="20261129" ', "was valid until 2026-11-29T00:00:00Z"),
        ('valid-after="20261130",valid-before="20261201" ', ""),
    ],
)
def test_a_key_may_sign_only_what_and_when_its_line_allows(options: str, said: str) -> None:
    (line,) = parse(f"alice {options}{LINE}").lines
    found = line.find_obstacle(NAMESPACE, NOW)
    assert said in found
    assert bool(said) == bool(found)


def test_a_time_without_a_zone_is_in_the_zone_of_the_reader() -> None:
    zone = timezone(timedelta(hours=2))
    text = f'a valid-after="202611301200" {LINE}\nb valid-after="202611301200Z" {LINE}\n'
    keyring, _ = parse_keyring(text, "signers", zone)
    assert [one.valid_after for one in keyring.lines] == [NOW - timedelta(hours=2), NOW]


@pytest.mark.parametrize(
    ("text", "patterns", "matches"),
    [
        ("alice@example.com", ["alice@example.com"], True),
        ("alice@example.com", ["Alice@example.com"], False),
        ("alice@example.com", ["*@example.com"], True),
        ("alice@example.com", ["*@example.com", "!alice@*"], False),
        ("alice@example.com", ["!bob@*"], False),
        ("alice", ["al?ce"], True),
        ("alice", ["a*e*"], True),
        ("alice", ["[a]lice"], False),
        ("", ["*"], True),
        ("", ["?"], False),
    ],
)
def test_patterns_are_those_of_openssh(text: str, patterns: list[str], matches: bool) -> None:
    assert match_patterns(text, patterns) is matches


def test_a_pattern_with_many_stars_takes_no_longer() -> None:
    assert not match_patterns("a" * 1000, ["*a" * 500 + "b"])


@given(
    st.text("ab", max_size=8),
    st.lists(st.text("ab*?!", min_size=1, max_size=6), min_size=1, max_size=3),
)
def test_a_pattern_matches_what_its_regular_expression_matches(
    text: str, patterns: list[str]
) -> None:
    import re

    def is_match(pattern: str) -> bool:
        parts = {"*": ".*", "?": "."}
        return bool(re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), text))

    refused = any(is_match(one[1:]) for one in patterns if one[0] == "!")
    accepted = any(is_match(one) for one in patterns if one[0] != "!")
    assert match_patterns(text, patterns) is (accepted and not refused)


_WORDS = st.sampled_from(
    [
        "alice",
        "*@x",
        LINE,
        "ssh-ed25519",
        'namespaces="a"',
        'valid-after="2026',
        '"',
        ",",
        "#",
        "\n",
    ]
)


@given(st.lists(_WORDS | st.text(max_size=6)).map(" ".join))
def test_any_text_is_a_keyring_or_has_findings_with_places(text: str) -> None:
    keyring, findings = parse_keyring(text, "signers")
    assert keyring.lines or findings
    assert all(one.place is not None and one.place.line >= 1 for one in findings)


@pytest.mark.parametrize(
    "start",
    [
        "alice@example.com",
        "bob@example.com,alice@example.com",
        "*@example.com",
        "*@example.com,!alice@example.com",
        "ALICE@example.com",
        '"alice@example.com"',
        'alice@example.com namespaces="git"',
        'alice@example.com namespaces="reconciler-approval",',
        'alice@example.com namespaces="a\\"b,reconciler-approval"',
        'alice@example.com namespaces="reconciler-approval,git"',
        'alice@example.com namespaces="*,!reconciler-approval"',
        'alice@example.com valid-after="20990101"',
        'alice@example.com valid-before="20200101"',
        'alice@example.com valid-after="20200101Z",valid-before="20990101"',
        'alice@example.com Namespaces="reconciler-approval"',
        "alice@example.com namespaces=git",
        'alice@example.com valid-before="never"',
        "alice@example.com cert-authority",
        "alice@example.com no-such-option",
    ],
)
def test_a_line_accepts_what_ssh_keygen_accepts(tmp_path: Path, start: str) -> None:
    key = make_key()
    text = f"{start} {find_public(key).line} comment\n"
    signature = sign(key, b"message", NAMESPACE)
    theirs = verify_by_ssh_keygen(tmp_path, text, "alice@example.com", b"message", signature)
    keyring, findings = parse_keyring(text, "signers")
    ours = not findings and any(
        match_patterns("alice@example.com", one.principals)
        and not one.find_obstacle(NAMESPACE, datetime.now(UTC))
        for one in keyring.lines
    )
    assert ours is bool(theirs)
