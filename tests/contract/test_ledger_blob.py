"""The ledger in real blob storage: replies that are lost, segments that are full, what is refused."""

import contextlib
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from reconciler.errors import LedgerConflict, LedgerInvalid
from reconciler.ledgers.blob import AzureBlobLedger
from reconciler.ledgers.blob_client import Container
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.opening import open_ledger
from reconciler.model import Cloud, GuardLimits, Project
from reconciler.ports import Ledger
from reconciler.transport.storage import _EMULATED_KEY
from tests.contract.go_between import GoBetween, go_between
from tests.contract.homes import Prefix, lock_owner
from tests.contract.test_ledger import entry, outcome, seed
from tests.ledgers import make_intent

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("hurried_calls")]
ACCOUNT = "devstoreaccount1"
APPEND = "comp=appendblock"


@pytest.fixture
def between(storage: str) -> Iterator[GoBetween]:
    with go_between(storage) as running:
        yield running


@pytest.fixture
def shaky(between: GoBetween, prefix: Prefix) -> AzureBlobLedger:
    """The same ledger as `prefix` opens, over a line that can be made to fail."""
    address = prefix.address.replace(_origin(prefix.address), between.url)
    return AzureBlobLedger(Container(address, {}), prefix.prefix, heartbeat=prefix.heartbeat)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def names(prefix: Prefix) -> list[str]:
    found = prefix.container().list_blobs(prefix.prefix)
    return [one.name.removeprefix(prefix.prefix) for one in found]


def reported(ledger: Ledger) -> list[str]:
    return [one.address.name for one in ledger.entries()]


@pytest.mark.parametrize(
    "losses", [["reply"], ["request"], ["reply"] * 3, ["request"] * 3, ["reply"] * 4]
)
def test_a_reply_that_is_lost_leads_to_one_line(
    shaky: AzureBlobLedger, between: GoBetween, prefix: Prefix, losses: list[Any]
) -> None:
    shaky.record(entry("a"))
    between.what, between.losses = APPEND, list(losses)
    number = shaky.intend(make_intent("b"))
    shaky.record(outcome(number, "b"))
    assert between.losses == []
    assert number == 2
    assert reported(prefix.open()) == ["a", "b"]
    assert prefix.open().load().open == ()
    assert prefix.open().verify().findings == ()


def test_another_writer_that_is_first_is_followed(
    shaky: AzureBlobLedger, between: GoBetween, prefix: Prefix
) -> None:
    shaky.record(entry("a"))
    between.what, between.before = APPEND, lambda: prefix.open().record(entry("first"))
    shaky.record(entry("b"))
    assert reported(prefix.open()) == ["a", "first", "b"]
    assert prefix.open().verify().findings == ()


def test_a_lock_that_was_taken_meanwhile_is_seen_by_the_write_itself(
    shaky: AzureBlobLedger, between: GoBetween, prefix: Prefix
) -> None:
    """The request is on its way when somebody else takes the lock: it must not arrive."""
    shaky.intend(make_intent("a", fence=1))

    def overtake() -> None:
        with prefix.open().lock(lock_owner("new"), 0, lambda _: None) as lease:
            assert lease.lock_owner.fence == 2

    between.what, between.before = APPEND, overtake
    with pytest.raises(LedgerConflict):
        shaky.intend(make_intent("late", fence=1))
    assert [one.address.name for one in prefix.open().load().open] == ["a"]


def test_storage_that_answers_no_more_leaves_it_open_whether_it_is_there(
    shaky: AzureBlobLedger, between: GoBetween, prefix: Prefix
) -> None:
    shaky.record(entry("a"))
    between.what, between.losses = prefix.prefix, ["reply"] * 1000
    with pytest.raises(LedgerInvalid, match="the answer broke off") as caught:
        shaky.record(entry("b"))
    assert "it is not known whether the line was written" in caught.value.next_step
    between.losses = []
    shaky.record(entry("c"))
    assert reported(prefix.open()) == ["a", "b", "c"]


def test_a_step_writes_one_small_block_and_reads_nothing(
    shaky: AzureBlobLedger, between: GoBetween
) -> None:
    for number in range(20):
        shaky.record(entry(f"s{number}"))
    before = len(between.seen)
    number = shaky.intend(make_intent("a"))
    shaky.record(outcome(number, "a"))
    assert [APPEND in one for one in between.seen[before:]] == [True, True]
    before = len(between.seen)
    assert len(shaky.load().last_applied_by_address) == 21
    assert len(between.seen) - before == 3  # the lock, which blobs there are, and one of them


def test_a_full_segment_is_followed_by_another_one(prefix: Prefix) -> None:
    ledgers = [prefix.open(most_blocks=3) for _ in range(2)]
    for number in range(10):
        ledgers[number % 2].record(entry(f"s{number}"))
        prefix.open().load()
    assert reported(prefix.open()) == [f"s{number}" for number in range(10)]
    assert names(prefix) == [f"ledger/00000{number}.jsonl" for number in (1, 2, 3, 4)]
    assert prefix.open().verify().findings == ()
    assert prefix.open().compact()
    assert [one for one in names(prefix) if one.startswith("ledger/")] == ["ledger/000005.jsonl"]
    prefix.open().record(entry("after"))
    assert len(reported(prefix.open())) == 11


def test_a_writer_that_ends_between_two_segments_holds_nobody_up(prefix: Prefix) -> None:
    seed(prefix.open())
    before = prefix.open().load()
    segments = prefix.open()._segments
    from reconciler.ledgers.records import Marker

    segments.append(Marker("close"))
    assert prefix.open().load() == before
    prefix.container().begin(f"{prefix.prefix}ledger/000002.jsonl")
    assert prefix.open().load() == before
    prefix.open().record(entry("after"))
    assert reported(prefix.open())[-1] == "after"
    assert prefix.open().verify().findings == ()


@pytest.mark.parametrize("ends_at", range(1, 8))
def test_a_compaction_that_ends_anywhere_loses_nothing(
    shaky: AzureBlobLedger, between: GoBetween, prefix: Prefix, ends_at: int
) -> None:
    seed(prefix.open())
    before, entries = prefix.open().load(), list(prefix.open().entries())
    writes = ["PUT ", "DELETE "]
    count = 0

    def ends(line: str) -> bool:
        nonlocal count
        count += line.startswith(tuple(writes))
        return count >= ends_at

    class Ends(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if ends(line):
                between.what, between.losses = prefix.prefix, ["request"] * 1000

    between.seen = Ends()
    with contextlib.suppress(LedgerInvalid):  # the last of them find it done
        shaky.compact()
    assert prefix.open().load() == before
    assert list(prefix.open().entries()) == entries
    assert prefix.open().verify().findings == ()
    prefix.open().record(entry("after"))
    assert prefix.open().compact()
    assert reported(prefix.open())[-1] == "after"
    assert prefix.open().verify().findings == ()


def test_a_broken_chain_is_named_by_its_blob_and_set_aside(prefix: Prefix) -> None:
    seed(prefix.open())
    blob = f"{prefix.prefix}ledger/000001.jsonl"
    size = prefix.container().list_blobs(blob)[0].size
    prefix.container().append(blob, b'{"not": "an entry"}\n{"torn', size)
    data = prefix.container().read_all(blob).data
    with pytest.raises(LedgerInvalid, match="line 11 of the ledger is not an entry") as caught:
        prefix.open().load()
    assert caught.value.subject == f"{prefix.address}/{blob}"
    with pytest.raises(LedgerInvalid, match="the last line of the ledger is not whole"):
        prefix.open().record(entry("a"))
    first = prefix.open().verify().findings[0]
    assert str(first.place) == f"{prefix.address}/{blob}:11:1"
    kept = prefix.open().set_aside()
    name = kept.removeprefix(f"{prefix.address}/")
    assert prefix.container().read_all(name).data == data
    prefix.open().record(entry("new"))
    assert reported(prefix.open()) == ["new"]


def test_a_container_that_is_missing_is_made(storage: str) -> None:
    address = f"{storage}/{ACCOUNT}/made-{datetime.now(UTC):%H%M%S%f}"
    ledger = AzureBlobLedger(Container(address, {}))
    assert ledger.load().known is False
    assert ledger.find_lock_owner() is None
    with ledger.lock(lock_owner(), 0, lambda _: None):
        ledger.record(entry("a"))
    assert reported(AzureBlobLedger(Container(address, {}))) == ["a"]


def sign(**allowed: bool) -> str:
    return generate_container_sas(
        ACCOUNT,
        "reconciler",
        account_key=_EMULATED_KEY,
        permission=ContainerSasPermissions(**allowed),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


class Signed(Container):
    """Opened by a signature, as on a host that is not our own machine."""

    def __init__(self, address: str, signature: str) -> None:
        super().__init__(address, {})
        from azure.storage.blob import ContainerClient

        parts = urlsplit(address)
        self._opened = ContainerClient(
            f"{parts.scheme}://{parts.netloc}/{ACCOUNT}",
            "reconciler",
            credential=signature,
            retry_total=0,
        )


@pytest.mark.parametrize("reachable", [True, False])
def test_what_is_refused_names_the_right_and_shows_no_signature(
    prefix: Prefix, reachable: bool
) -> None:
    seed(prefix.open())
    signature = sign(read=True, list=True)
    address = (
        prefix.address
        if reachable
        else prefix.address.replace(_origin(prefix.address), "http://127.0.0.1:9")
    )
    ledger = AzureBlobLedger(Signed(address, signature), prefix.prefix)
    if reachable:
        assert len(ledger.load().last_applied_by_address) == 2
    for work in (
        lambda: ledger.record(entry("a")),
        lambda: ledger.lock(lock_owner(), 0, lambda _: None),
        ledger.compact,
        ledger.set_aside,
    ):
        with pytest.raises(LedgerInvalid) as caught:
            work()
        said = "access to storage is denied" if reachable else "cannot be reached"
        assert said in caught.value.message
        hint = "Storage Blob Data Contributor" if reachable else "the network"
        assert hint in caught.value.next_step or "reached" in caught.value.next_step
        shown = "".join(traceback.format_exception(caught.value))
        assert signature.rpartition("sig=")[2][:20] not in shown
        assert "sig=" not in shown


def test_an_address_of_no_container_is_refused_by_name() -> None:
    for address in ("http://acct.blob.core.windows.net/rec", "https://acct/a/b", "x"):
        with pytest.raises(LedgerInvalid, match="the address of the ledger is not") as caught:
            Container(address, {})
        assert caught.value.subject == address


def test_a_token_of_ours_is_shown_to_storage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        "azure.storage.blob.ContainerClient",
        lambda *_, credential, **__: given.append(credential),
    )
    for host in ("acct.blob.core.windows.net", "own.example", "evil.example"):
        _ = Container(f"https://{host}/rec", {}, lambda: "token", "own.example")._client
    assert given == ["token", "token", None]


def make_project(**more: Any) -> Project:
    cloud = Cloud("https://m", {}, "https://own.example")
    given = {"ledger": ".reconciler", "digest": "", **more}
    return Project("p", "/nowhere", "reconciler.yaml", cloud, {}, GuardLimits(), **given)


def test_a_project_names_its_ledger(prefix: Prefix) -> None:
    assert isinstance(open_ledger(make_project(), {}), FileLedger)
    named = make_project(ledger_container=prefix.address, ledger_prefix=prefix.prefix)
    open_ledger(named, {}).record(entry("a"))
    assert reported(prefix.open()) == ["a"]
