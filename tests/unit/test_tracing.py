"""Spans: what is recorded where OpenTelemetry is set up, and nothing where it is not."""

import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace

import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from reconciler import tracing
from tests.unit.test_engine import World


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What was recorded; the SDK is set up for the test alone."""
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(opentelemetry.trace, "get_tracer_provider", lambda: provider)
    yield made
    provider.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {one.name: one for one in exporter.get_finished_spans()}


def parent_of(one: ReadableSpan) -> int | None:
    return one.parent.span_id if one.parent else None


def test_spans_are_nested_and_named(exporter: InMemorySpanExporter) -> None:
    with tracing.span("plan", project="p") as plan:
        plan.set("steps", 3)
        with tracing.call_span("GET", "host:1") as call:
            call.set("http.response.status_code", 200)
    found = spans(exporter)
    assert dict(found["plan"].attributes or {}) == {
        "reconciler.project": "p",
        "reconciler.steps": 3,
    }
    assert dict(found["call"].attributes or {}) == {
        "http.request.method": "GET",
        "server.address": "host:1",
        "http.response.status_code": 200,
    }
    assert found["call"].kind is SpanKind.CLIENT
    assert parent_of(found["call"]) == found["plan"].context.span_id
    assert parent_of(found["plan"]) is None


def test_a_failed_block_says_only_the_class_of_its_error(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="planted"), tracing.span("plan"):
        raise ValueError("planted")
    plan = spans(exporter)["plan"]
    assert plan.status.status_code is StatusCode.ERROR
    assert dict(plan.attributes or {}) == {"error.type": "ValueError"}
    assert "planted" not in plan.to_json()
    assert plan.events == ()


def count_down(names: list[str], number: int) -> Generator[float, None, int]:
    """A task that sleeps, and calls once between two sleeps."""
    for _ in range(number):
        with tracing.call_span("GET", "host"):
            names.append(threading.current_thread().name)
        yield 0.0
    return number


def test_a_task_keeps_its_span_on_each_thread(exporter: InMemorySpanExporter) -> None:
    runtime = replace(World().runtime(parallelism=4), sleep=lambda _: None)
    names: list[str] = []

    def work(number: int) -> Generator[float, None, int]:
        task = count_down(names, number)
        return (yield from tracing.trace_task("step", task, address=f"K/{number}"))

    with tracing.span("plan"):
        assert sorted(runtime.run_resumable(work, [1, 2, 3])) == [1, 2, 3]
    finished = exporter.get_finished_spans()
    steps = {one.context.span_id: one for one in finished if one.name == "step"}
    calls = [one for one in finished if one.name == "call"]
    (plan,) = (one for one in finished if one.name == "plan")
    assert {parent_of(one) for one in steps.values()} == {plan.context.span_id}
    counted: dict[str, int] = {}
    for call in calls:
        address = str((steps[parent_of(call) or 0].attributes or {})["reconciler.address"])
        counted[address] = counted.get(address, 0) + 1
    assert counted == {"K/1": 1, "K/2": 2, "K/3": 3}


def test_a_task_that_fails_or_is_dropped_ends_its_span(exporter: InMemorySpanExporter) -> None:
    closed: list[str] = []

    def fail() -> Generator[float, None, None]:
        try:
            yield 0.0
            raise KeyError("planted")
        finally:
            closed.append("x")

    task = tracing.trace_task("step", fail())
    assert next(task) == 0.0
    with pytest.raises(KeyError):
        next(task)
    dropped = tracing.trace_task("step", fail())
    next(dropped)
    dropped.close()
    assert closed == ["x", "x"]
    first, second = exporter.get_finished_spans()
    assert first.status.status_code is StatusCode.ERROR
    assert (second.attributes or {})["error.type"] == "GeneratorExit"


def test_without_a_sdk_nothing_is_recorded() -> None:
    assert not tracing.is_on()
    with tracing.span("plan") as plan:
        plan.set("steps", 3)
    task = count_down([], 1)
    assert tracing.trace_task("step", task) is task

    def work() -> int:
        return 1

    assert tracing.carry(work) is work


def test_nothing_is_imported_unless_it_is_wanted() -> None:
    program = (
        "import sys, reconciler.tracing as tracing\n"
        "with tracing.span('plan'): pass\n"
        "print('opentelemetry' in sys.modules)\n"
        "tracing.start()\n"
        "print('opentelemetry' in sys.modules, tracing.is_on())\n"
        "sys.modules['opentelemetry'] = None\n"
        "sys.modules.pop('opentelemetry.trace')\n"
        "tracing.start()\n"
        "print(tracing.is_on())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "False", "False"]
