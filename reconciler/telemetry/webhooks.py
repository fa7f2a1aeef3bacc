"""Reports new findings to the webhooks of a project, each finding once to each webhook.

The history of drift remembers what was reported, so that a restart or another leader does not
report it again. What a webhook has not taken is tried again in the next cycle. A webhook never
makes a cycle fail, and never delays the next one for longer than a part of the interval. Its
address is a secret: messages name its reference.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from reconciler.errors import LedgerInvalid, SecretMissing
from reconciler.model import Drift, Finding, Project, Verdict, Webhook
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle
from reconciler.ports import DriftHistory, ResolveSecret
from reconciler.telemetry.messages import Message, Origin, make_messages
from reconciler.transport.webhooks import Delivery, check_webhook, post_message

_RESOLVED: Final = "watch has applied the manifest since"
_LIMIT_S: Final = 20.0
_ANSWER_S: Final = 5.0
# Less than the time after which a signal ends the process in any case.
_END_S: Final = 4.0
_TRIES: Final = 3
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_WAIT_S: Final = 3600.0

Post: TypeAlias = Callable[[str, bytes, str, float], Delivery]


def check_webhooks(project: Project, resolve: ResolveSecret) -> tuple[Finding, ...]:
    """An error for each webhook whose address is missing or cannot be called."""
    findings = (_find_address(one, resolve)[1] for one in project.webhooks)
    return tuple(found for found in findings if found is not None)


@dataclass
class _Channel:
    """One webhook in one environment.

    `sent` are the keys that it has taken. While a thread posts to it, it is `busy`; it should be
    free at `until`. Nothing is posted before `not_before`. Both are in seconds of the clock. `said`
    is the last warning about it.
    """

    webhook: Webhook
    sent: set[str] = field(default_factory=set)
    busy: bool = False
    until: float = 0.0
    not_before: float = 0.0
    said: Finding | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """The messages for one channel; none is posted after `until`."""

    channel: _Channel
    url: str = field(repr=False)
    messages: Sequence[Message]
    history: DriftHistory
    until: float


# What a thread reports: a message that was taken, why one was not, or None at its end.
_Reported: TypeAlias = tuple[_Batch, Message | Delivery | None]


class Webhooks:
    """The webhooks of one process.

    `warn` prints a warning. The messages of one call are posted within `limit_s`, and the call
    waits for that no longer than `wait_s`, which is the limit if it is None.
    """

    def __init__(
        self,
        warn: Callable[[Finding], None],
        *,
        limit_s: float = _LIMIT_S,
        wait_s: float | None = None,
        post: Post = post_message,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn, self._limit_s, self._post, self._clock = warn, limit_s, post, clock
        self._wait_s = limit_s if wait_s is None else min(wait_s, limit_s)
        self._channels: dict[tuple[str, Webhook], _Channel] = {}
        self._reported: SimpleQueue[_Reported] = SimpleQueue()
        self._ending = threading.Event()
        # The keys that a webhook has taken and the history does not have yet.
        self._unnoted: list[tuple[DriftHistory, list[str]]] = []

    def send(
        self, cycle: Cycle, project: Project, resolve: ResolveSecret, history: DriftHistory
    ) -> None:
        """Report the findings of a cycle that the webhooks of the project have not taken yet.

        What the cycle has put right is reported too, with a note that it has. Whatever a webhook
        does, this returns within `wait_s` and raises nothing of it; what is taken later, the next
        call notes. A KeyboardInterrupt is raised only after the messages that are being posted.
        """
        self._take_reported()
        if not project.webhooks:
            return
        findings = _list_findings(cycle)
        sent = self._load_sent(history)
        until = self._clock() + self._limit_s
        origin = Origin(project.name, cycle.environment, project.report_url)
        started = []
        with self._finishing():
            for webhook in project.webhooks:
                channel = self._find_channel(origin.environment, webhook)
                channel.sent &= {one.key for one in findings}
                new = [one for one in findings if not _is_sent(one, channel, sent)]
                if self._start(channel, new, origin, resolve, history, until):
                    started.append(channel)
            self._wait(started, self._clock() + self._wait_s)
        self._warn_of_late()

    def close(self) -> None:
        """Post nothing more, and note what is being posted, or the next process posts it again."""
        self._end_posts()
        self._take_reported()

    def _end_posts(self) -> None:
        """Start no post, and wait a little for those that run."""
        if not self._ending.is_set():
            self._ending.set()
            self._wait(list(self._channels.values()), self._clock() + _END_S)

    def _load_sent(self, history: DriftHistory) -> frozenset[str]:
        try:
            return history.load().sent
        except LedgerInvalid:
            # The report has a warning of it. This process remembers what it has sent itself.
            return frozenset()

    def _find_channel(self, environment: str, webhook: Webhook) -> _Channel:
        return self._channels.setdefault((environment, webhook), _Channel(webhook))

    def _start(
        self,
        channel: _Channel,
        new: Sequence[Drift],
        origin: Origin,
        resolve: ResolveSecret,
        history: DriftHistory,
        until: float,
    ) -> bool:
        """Post to a channel on a thread of its own; returns whether there is one."""
        if not new or channel.busy or self._clock() < channel.not_before:
            return False
        url, finding = _find_address(channel.webhook, resolve)
        if finding is not None:
            self._warn_once(channel, replace(finding, severity="warning"))
            return False
        messages = make_messages(channel.webhook.format, new, origin)
        batch = _Batch(channel, url, messages, history, until)
        channel.busy, channel.until = True, until
        try:
            threading.Thread(target=self._post_all, args=(batch,), daemon=True).start()
        except RuntimeError:  # this process may have no more threads for now
            channel.busy = False
        return channel.busy

    def _post_all(self, batch: _Batch) -> None:
        """Post the messages one after the other, until one fails or the time is over."""
        try:
            for message in batch.messages:
                if self._ending.is_set():
                    return
                delivery = self._try(batch, message)
                if delivery.problem:
                    self._reported.put((batch, delivery))
                    return
                digits = _identify(batch.channel.webhook)
                # Before the report of it: a signal may come between a report and what follows it.
                self._unnoted.append((batch.history, [f"{key}{digits}" for key in message.keys]))
                self._reported.put((batch, message))
        finally:
            self._reported.put((batch, None))

    def _try(self, batch: _Batch, message: Message) -> Delivery:
        """Post a message, up to three times; returns the last result."""
        delivery = Delivery("the time limit passed before it was posted")
        for number in range(_TRIES):
            left = batch.until - self._clock()
            if left <= 0:
                return delivery
            name = str(batch.channel.webhook.url)
            delivery = self._post(batch.url, message.body, name, min(_ANSWER_S, left))
            if not (delivery.problem and delivery.again):
                return delivery
            pause = delivery.wait_s
            pause = _FIRST_PAUSE_S * 2**number if pause is None else pause
            if pause > batch.until - self._clock():
                if delivery.wait_s is not None:
                    batch.channel.not_before = self._clock() + min(pause, _LONGEST_WAIT_S)
                return delivery
            if number < _TRIES - 1 and self._ending.wait(pause):
                return delivery
        return delivery

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """Let a signal end the block only after the messages that are being posted."""
        try:
            yield
        except KeyboardInterrupt:
            # What was posted must be noted, or the next process posts it again.
            self._end_posts()
            raise
        finally:
            self._note_unnoted()

    def _warn_of_late(self) -> None:
        late = Delivery(f"it has not answered within {self._limit_s:g} s")
        for channel in self._channels.values():
            if channel.busy and self._clock() >= channel.until:
                self._warn_once(channel, _warn_of(channel, late))

    def _wait(self, started: Sequence[_Channel], until: float) -> None:
        """Take what the threads report, until these channels are free or the time is over."""
        while any(channel.busy for channel in started):
            try:
                self._take(*self._reported.get(timeout=max(0.0, until - self._clock())))
            except Empty:
                return

    def _take_reported(self) -> None:
        """Take what threads have reported after the time limit of an earlier call."""
        with suppress(Empty):
            while True:
                self._take(*self._reported.get_nowait())
        self._note_unnoted()

    def _take(self, batch: _Batch, reported: Message | Delivery | None) -> None:
        channel = batch.channel
        if reported is None:
            channel.busy = False
        elif isinstance(reported, Delivery):
            self._warn_once(channel, _warn_of(channel, reported))
        else:
            channel.said = None
            channel.sent |= set(reported.keys)
            self._note_unnoted()

    def _note_unnoted(self) -> None:
        """Keep in the history what webhooks have taken; a signal may end this before its end."""
        while self._unnoted:
            history, keys = self._unnoted[0]
            try:
                history.note_sent(keys)
            except LedgerInvalid as error:
                for finding in error.findings():
                    self._warn(finding)
            self._unnoted.pop(0)

    def _warn_once(self, channel: _Channel, finding: Finding) -> None:
        """Print a warning, unless it was the last one about this webhook."""
        if finding != channel.said:
            channel.said = finding
            self._warn(finding)


def _list_findings(cycle: Cycle) -> list[Drift]:
    """The findings of a cycle: those that are left, and those that its apply has resolved.

    A change of the manifest that was applied is not one of them: it is what an apply is for.
    """
    found: dict[str, Drift] = {}
    if cycle.report is not None:
        found = {one.key: one for one in cycle.report.findings}
    for one in cycle.found.findings if cycle.found is not None else ():
        if one.key not in found and one.verdict is not Verdict.PENDING:
            note = "; ".join(part for part in (one.note, _RESOLVED) if part)
            found[one.key] = replace(one, note=note, commands=())
    return [one for one in found.values() if one.verdict is not Verdict.NOT_OBSERVABLE]


def _is_sent(finding: Drift, channel: _Channel, sent: frozenset[str]) -> bool:
    return finding.key in channel.sent or f"{finding.key}{_identify(channel.webhook)}" in sent


def _identify(webhook: Webhook) -> str:
    """Eight digits that name a webhook in the history; they depend on no secret."""
    return hashlib.sha256(f"{webhook.format} {webhook.url}".encode()).hexdigest()[:8]


def _find_address(webhook: Webhook, resolve: ResolveSecret) -> tuple[str, Finding | None]:
    """The address of a webhook, or the finding that says why it cannot be called."""
    subject = _name(webhook)
    try:
        url = resolve(webhook.url).strip()
    except SecretMissing as error:
        return "", Finding(error.message, subject=subject, next_step=error.next_step)
    problem = check_webhook(url)
    if not problem:
        return url, None
    step = f"Set {webhook.url.env or webhook.url.file} to https://HOST/PATH."
    return "", Finding(f"the secret {problem}", subject=subject, next_step=step)


def _warn_of(channel: _Channel, delivery: Delivery) -> Finding:
    return Finding(
        f"the webhook did not take a message: {delivery.problem}",
        subject=_name(channel.webhook),
        next_step=delivery.next_step or "The next cycle tries it again.",
        severity="warning",
    )


def _name(webhook: Webhook) -> str:
    return f"webhook ({webhook.url})"
