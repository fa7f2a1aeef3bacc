"""Signed approvals: which of them count for a plan, and why another does not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.model import Address, JudgedRule, Plan
from reconciler.plans.approvals import (
    NAMESPACE,
    ApprovalFile,
    JudgedApprovals,
    Statement,
    check_required,
    encode_statement,
    judge_approvals,
    make_statement,
    read_statement,
)
from reconciler.plans.ssh_keyring import parse_keyring
from reconciler.plans.ssh_signatures import PrivateKey, find_public, sign
from tests.e2e.world import MODEL
from tests.plans import NEW, live, plan, step
from tests.ssh import make_key, sign_by_ssh_keygen, verify_by_ssh_keygen, write_key

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = "2026-12-07T12:00:00Z"
ALICE, BOB = make_key(), make_key("ecdsa-256")
KEYRING = (
    f'alice@example.com namespaces="{NAMESPACE}" {find_public(ALICE).line}\n'
    f"bob@example.com {find_public(BOB).line}\n"
)


def make_plan() -> Plan:
    spec = {"trainedModels": {MODEL: {"uri": NEW}}}
    made = step(live(), spec)
    (model,) = made.models
    gate = JudgedRule(Address("Retraining", "census"), "AUC min 0.85", "pass", False, "AUC 0.9")
    model = replace(model, digest_after=f"sha256:{'a' * 64}", gates=(gate,))
    return plan(made.copy_with(models=(model,)))


PLAN = make_plan()
WANTED = make_statement(PLAN)


def approval(
    key: PrivateKey = ALICE,
    name: str = "a",
    namespace: str = NAMESPACE,
    **changes: object,
) -> ApprovalFile:
    statement = replace(WANTED, **{"expires": LATER, **changes})  # type: ignore[arg-type]
    data = encode_statement(statement)
    return ApprovalFile(f"{name}.approval.json", data, sign(key, data, namespace))


def judge(
    *files: ApprovalFile,
    keyring: str = KEYRING,
    now: datetime = NOW,
    wanted: Statement = WANTED,
) -> JudgedApprovals:
    found, wrong = parse_keyring(keyring, "signers", UTC)
    assert not wrong
    return judge_approvals(files, found, wanted, now)


def reason(judged: JudgedApprovals) -> str:
    assert not judged.approvals
    ((_, said),) = (*judged.rejected, *judged.others)
    return said


def test_a_statement_names_what_is_approved_and_nothing_else() -> None:
    said = replace(WANTED, expires=LATER)
    assert said.project == "p"
    assert said.models == (("WebService/census", said.models[0][1], f"sha256:{'a' * 64}"),)
    assert said.gates[0][2:] == ("Retraining/census", "AUC min 0.85", "pass")
    data = encode_statement(said)
    assert data.endswith(b"}\n")
    assert b'"principal"' not in data
    assert read_statement(data) == said
    named = replace(said, principal="alice@example.com")
    assert read_statement(encode_statement(named)) == named


def test_a_plan_that_is_made_again_has_the_same_statement() -> None:
    again = replace(PLAN, made_at="2027-01-01T00:00:00Z", baseline="lost")
    assert make_statement(again) == WANTED


def test_two_approvals_count() -> None:
    judged = judge(approval(), approval(BOB, "b"))
    assert judged.approvers == {"alice@example.com", "bob@example.com"}
    assert not judged.rejected
    assert [one.key for one in judged.approvals] == [
        find_public(ALICE).fingerprint,
        find_public(BOB).fingerprint,
    ]
    assert check_required(judged, 2) == ()
    (refusal,) = check_required(judged, 3)
    assert refusal.guard == "approval"
    assert refusal.message == ("needs 3 approvals and has 2, by alice@example.com, bob@example.com")


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_no_flipped_byte_of_a_statement_is_accepted() -> None:
    good = approval()
    for at in range(0, len(good.statement), 7):
        bad = replace(good, statement=flip(good.statement, at))
        assert "does not match what was signed: one of the two was changed" in reason(judge(bad))


def test_no_flipped_byte_of_a_signature_is_accepted() -> None:
    good = approval()
    for at in range(0, len(good.signature), 5):
        judged = judge(replace(good, signature=flip(good.signature, at)))
        # A newline of the armour that becomes another blank changes nothing.
        assert not judged.approvals or good.signature[at : at + 1] == b"\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: approval(namespace="git"), "is for the namespace 'git', and not for reconciler-"),
        (lambda: approval(make_key()), "is not in the keyring"),
        (lambda: approval(expires="2026-11-30T11:59:59Z"), "expired at 2026-11-30T11:59:59Z"),
        (lambda: approval(expires="2026-11-30T12:00:00Z"), "expired at 2026-11-30T12:00:00Z"),
        (
            lambda: approval(expires="2028-01-01T00:00:00Z"),
            "expires in more than 366 days, at 2028",
        ),
        (
            lambda: approval(environment="prod"),
            'is for the environment "prod", and this is no environment',
        ),
        (lambda: approval(project="q"), 'is for the project "q", and this is the project "p"'),
        (
            lambda: approval(changes_digest=f"sha256:{'0' * 64}"),
            "approves other changes, sha256:00000000…, and these are",
        ),
        (
            lambda: approval(models=(("WebService/census", MODEL, "sha256:b"),)),
            "approves another model: WebService/census Census Model [trained model]",
        ),
        (lambda: approval(models=()), "approves another model: WebService/census"),
        (
            lambda: approval(gates=((*WANTED.gates[0][:-1], "inconclusive"),)),
            "a verdict of a gate changed",
        ),
        (
            lambda: approval(principal="bob@example.com"),
            "is not a key of bob@example.com in the keyring",
        ),
        (lambda: ApprovalFile("a", problem="is a symbolic link"), "is a symbolic link"),
        (lambda: ApprovalFile("a", b"{}", b""), "is not an OpenSSH signature"),
    ],
)
def test_an_approval_that_does_not_count_says_why(
    make: Callable[[], ApprovalFile], said: str
) -> None:
    assert said in reason(judge(make()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"expires": NaN}',
        b"[" * 100_000,
        encode_statement(replace(WANTED, expires=LATER))[:-1],
        encode_statement(replace(WANTED, expires=LATER)).replace(b",", b", "),
        encode_statement(replace(WANTED, expires="tomorrow")),
        encode_statement(replace(WANTED, expires=LATER)).replace(b'"1.0"', b'"9.0"'),
        encode_statement(replace(WANTED, expires=LATER)).replace(
            b'"models":[{', b'"models":["x",{'
        ),
    ],
)
def test_only_a_canonical_statement_is_one(data: bytes) -> None:
    file = ApprovalFile("a", data, sign(ALICE, data, NAMESPACE))
    assert reason(judge(file)) == "is not a statement that reconciler approve has written"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('valid-before="20261129"', "was valid until 2026-11-29T00:00:00Z"),
        ('valid-after="20261201"', "is not valid before 2026-12-01T00:00:00Z"),
        ('namespaces="git"', "may not sign in the namespace reconciler-approval"),
    ],
)
def test_the_keyring_says_when_a_key_counts(options: str, said: str) -> None:
    keyring = f"alice@example.com {options} {find_public(ALICE).line}\n"
    assert said in reason(judge(approval(), keyring=keyring))


def test_a_principal_counts_once_with_all_keys() -> None:
    keyring = KEYRING + f"alice@example.com {find_public(BOB).line}\n"
    second = approval(BOB, "b", principal="alice@example.com")
    judged = judge(approval(), second, keyring=keyring)
    assert judged.approvers == {"alice@example.com"}
    assert judged.rejected == (
        (
            "b.approval.json",
            "alice@example.com has approved already, in a.approval.json: it counts once",
        ),
    )
    (refusal,) = check_required(judged, 2)
    assert refusal.message == "needs 2 approvals and has 1, by alice@example.com"
    assert "it counts once" in refusal.detail[0]


def test_the_case_of_a_name_makes_no_second_person() -> None:
    keyring = f"*@example.com {find_public(ALICE).line}\n*@example.com {find_public(BOB).line}\n"
    files = [approval(principal="al@example.com"), approval(BOB, "b", principal="AL@example.com")]
    assert len(judge(*files, keyring=keyring).approvals) == 1


def test_a_key_counts_once_for_all_its_principals() -> None:
    keyring = KEYRING + f"carol@example.com {find_public(ALICE).line}\n"
    files = [approval(name=name, principal=f"{name}@example.com") for name in ("alice", "carol")]
    judged = judge(*files, keyring=keyring)
    assert judged.approvers == {"alice@example.com"}
    assert (
        "has approved as alice@example.com already, in alice.approval.json"
        in (judged.rejected[0][1])
    )


def test_the_first_name_in_the_line_of_a_key_is_the_principal() -> None:
    keyring = f"alice@example.com,a@example.com {find_public(ALICE).line}\n"
    assert judge(approval(), keyring=keyring).approvers == {"alice@example.com"}
    second = judge(approval(principal="a@example.com"), keyring=keyring)
    assert second.approvers == {"a@example.com"}


def test_a_key_without_one_principal_needs_a_name() -> None:
    line = find_public(ALICE).line
    for keyring in (
        f"*@example.com {line}\n",
        f"alice@example.com {line}\nal@example.com {line}\n",
    ):
        assert "approve again with --principal NAME" in reason(judge(approval(), keyring=keyring))
        named = judge(approval(principal="alice@example.com"), keyring=keyring)
        assert named.approvers == {"alice@example.com"}
    keyring = f"*@example.com,!alice@* {line}\n"
    refused = judge(approval(principal="alice@example.com"), keyring=keyring)
    assert "is not a key of alice@example.com in the keyring" in reason(refused)


@pytest.mark.parametrize("author", ["alice@example.com", "ALICE@example.com", "al@users.example"])
def test_an_approval_of_the_author_is_known_by_every_name_of_the_key(author: str) -> None:
    keyring = f"alice@example.com,al@users.example {find_public(ALICE).line}\n" + KEYRING
    found, _ = parse_keyring(keyring, "signers", UTC)
    files = [approval(principal="al@users.example"), approval(BOB, "b")]
    names = found.list_names({author})
    assert names == {"alice@example.com", "al@users.example"}
    judged = judge_approvals(files, found, WANTED, NOW, names)
    assert judged.approvers == {"al@users.example", "bob@example.com"}
    assert found.list_names({"x@example.com"}) == {"x@example.com"}


def test_an_author_cannot_approve_by_another_name_that_a_pattern_allows() -> None:
    found, _ = parse_keyring(f"*@example.com {find_public(ALICE).line}\n", "signers", UTC)
    names = found.list_names({"alice@example.com"})
    files = [approval(principal="owner@example.com")]
    said = reason(judge_approvals(files, found, WANTED, NOW, names))
    assert "who cannot approve as owner@example.com" in said
    own = [approval(principal="alice@example.com")]
    assert judge_approvals(own, found, WANTED, NOW, names).approvers == {"alice@example.com"}


def test_a_second_line_may_allow_what_the_first_does_not() -> None:
    line = find_public(ALICE).line
    keyring = f'alice valid-before="20200101" {line}\nalice {line}\n'
    assert judge(approval(), keyring=keyring).approvers == {"alice"}


def test_approvals_of_other_plans_are_no_warning() -> None:
    other = [approval(name=f"{n}", changes_digest=f"sha256:{n:064x}") for n in range(30)]
    judged = judge(approval(name="x"), *other)
    assert judged.approvers == {"alice@example.com"}
    assert judged.warnings == ()
    (refusal,) = check_required(judged, 2)
    assert len(refusal.detail) == 21
    assert refusal.detail[-1] == "and 10 more"


def test_ssh_keygen_verifies_an_approval_and_signs_one(tmp_path: Path) -> None:
    good = approval()
    said = verify_by_ssh_keygen(
        tmp_path, KEYRING, "alice@example.com", good.statement, good.signature
    )
    assert 'Good "reconciler-approval" signature for alice@example.com' in said
    public = write_key(tmp_path / "key")
    theirs = replace(good, signature=sign_by_ssh_keygen(tmp_path / "key", good.statement))
    assert judge(theirs, keyring=f"dave {public.line}\n").approvers == {"dave"}


def test_an_expiry_ends_an_approval_on_the_second() -> None:
    end = datetime(2026, 12, 7, 12, tzinfo=UTC)
    assert judge(approval(), now=end - timedelta(seconds=1)).approvals
    assert not judge(approval(), now=end).approvals
