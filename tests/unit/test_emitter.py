"""Faces: what is told where, on a real terminal too, and that none of them can stop an apply."""

import errno
import io
import os
import pty
import struct
import termios
import threading
from fcntl import ioctl
from pathlib import Path

import pytest

from reconciler.cli.progress import CLEAR, ConsoleSink, Emitter, JsonLinesSink, get_width
from reconciler.model import (
    Agenda,
    CallEnded,
    Event,
    Finding,
    StepDone,
    StepFailed,
    StepStarted,
)
from reconciler.render.words.colour import Paint
from tests.clocks import FakeClock
from tests.events import CENSUS, UPDATE, every_event
from tests.lines import read_lines

PLAIN = Paint()
FLEET = Agenda(steps=((CENSUS.address, UPDATE),) * 12)
DONE = StepDone(CENSUS, UPDATE, 1.0)


class Gone(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


class Defect:
    """A face with a bug."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    def emit(self, event: Event) -> None:
        self.told.append(event)
        raise KeyError("a defect")

    def clear_line(self) -> None:
        raise ZeroDivisionError


def test_a_face_that_raises_stops_nobody_and_is_told_the_next_event_too() -> None:
    sink = Defect()
    emitter = Emitter(sink)
    for event in every_event():
        emitter(event)
    emitter.clear_line()
    assert sink.told == every_event()


def test_an_observer_gets_each_event_and_a_call_is_not_shown() -> None:
    sink, seen = Defect(), list[Event]()

    def raise_(_: Event) -> None:
        raise KeyError("a defect")

    emitter, call = Emitter(sink), CallEnded("GET", "ok")
    emitter(call)
    emitter.observers += [raise_, seen.append]
    for event in (call, DONE):
        emitter(event)
    assert seen == [call, DONE]
    assert sink.told == [DONE]


@pytest.mark.parametrize(
    "sink", [ConsoleSink(Gone(), PLAIN, width=lambda: 80), JsonLinesSink(Gone())]
)
def test_a_stream_that_is_gone_stops_nobody(sink: ConsoleSink | JsonLinesSink) -> None:
    emitter = Emitter(sink)
    for event in every_event():
        emitter(event)
    emitter.clear_line()
    assert not isinstance(sink, JsonLinesSink) or sink.broken


def test_lines_are_broken_by_the_first_that_cannot_be_written(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        sink = JsonLinesSink(stream)
        Emitter(sink)(DONE)
        assert not sink.broken
    Emitter(sink)(DONE)
    assert sink.broken
    assert len(read_lines((tmp_path / "out").read_text())) == 1


def test_a_full_disk_breaks_lines() -> None:
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - a device
        sink = JsonLinesSink(stream)
        Emitter(sink)(DONE)
        assert sink.broken


def test_a_defect_of_a_line_is_no_broken_stdout() -> None:
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    Emitter(sink)(StepStarted(CENSUS, "no action"))  # type: ignore[arg-type]
    Emitter(sink)(DONE)
    assert not sink.broken
    assert len(read_lines(stream.getvalue())) == 1


def test_many_threads_never_mix_their_lines() -> None:
    stream = io.StringIO()
    emitter = Emitter(JsonLinesSink(stream))

    def work() -> None:
        for event in every_event() * 20:
            emitter(event)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(read_lines(stream.getvalue())) == 8 * 20 * len(every_event())


def test_the_bar_is_drawn_over_and_taken_away() -> None:
    stream, clock = io.StringIO(), FakeClock()
    sink = ConsoleSink(stream, PLAIN, width=lambda: 40, clock=clock)
    sink.emit(FLEET)
    first = "Applying  [---------------------]  0/12"
    assert stream.getvalue() == first
    assert sink.drawn
    clock.now += 1
    sink.emit(StepFailed(CENSUS, UPDATE, Finding("it went wrong")))
    sink.clear_line()
    parts = stream.getvalue().split(CLEAR)
    assert parts == [
        first,
        "WebService/census: Failed: it went wrong\nApplying  1/12  1 failed  11 s left",
        "\n",
    ]
    assert not sink.drawn
    sink.clear_line()
    assert stream.getvalue().endswith(f"{CLEAR}\n")


def test_it_is_drawn_no_more_often_than_is_seen() -> None:
    stream, clock = io.StringIO(), FakeClock()
    sink = ConsoleSink(stream, PLAIN, width=lambda: 40, clock=clock)
    sink.emit(Agenda(steps=((CENSUS.address, UPDATE),) * 1000))
    for _ in range(500):
        clock.now += 0.001
        sink.emit(DONE)
    assert 3 <= stream.getvalue().count(CLEAR) <= 5


def test_few_lines_without_a_bar_part_from_what_follows_by_a_blank_line() -> None:
    stream = io.StringIO()
    sink = ConsoleSink(stream, PLAIN)
    sink.clear_line()
    sink.emit(StepStarted(CENSUS, UPDATE))
    sink.clear_line()
    sink.clear_line()
    assert stream.getvalue() == "WebService/census: Modifying... [CensusPre.2016.8.17]\n\n"


def test_only_a_terminal_that_can_be_drawn_over_has_a_width() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 57, 0, 0))
        width = get_width(stream, {"TERM": "xterm", "NO_COLOR": "1"})
        assert width is not None
        assert width() == 57
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 33, 0, 0))
        assert width() == 33
        assert get_width(stream, {"TERM": "dumb"}) is None
        assert get_width(stream, {}) is None
        assert get_width(stream, {"TERM": "xterm", "CI": "true"}) is None
        os.close(ours)
    assert get_width(io.StringIO(), {"TERM": "xterm"}) is None
