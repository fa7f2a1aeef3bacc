"""The spans of real commands, as OpenTelemetry exports them."""

from collections.abc import Iterator
from pathlib import Path

import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.e2e.world import Project, spawn

pytestmark = pytest.mark.e2e


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What was recorded; the SDK is set up for the test alone."""
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(opentelemetry.trace, "get_tracer_provider", lambda: provider)
    yield made
    provider.shutdown()


def test_an_apply_is_a_tree_of_spans(project: Project, exporter: InMemorySpanExporter) -> None:
    world = project.emulator
    for name in ("one", "two"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    done = project.run("apply", "--auto-approve")
    assert done.code == 0, done.err
    finished = exporter.get_finished_spans()
    by_id = {one.context.span_id: one for one in finished}

    def parent(one: ReadableSpan) -> str:
        return by_id[one.parent.span_id].name if one.parent else ""

    tree = {(one.name, parent(one)) for one in finished}
    assert {
        ("plan", ""),
        ("observe", "plan"),
        ("call", "observe"),
        ("step", ""),
        ("call", "step"),
    } <= tree
    assert {name for name, _ in tree} == {"plan", "observe", "step", "call"}
    steps = [dict(one.attributes or {}) for one in finished if one.name == "step"]
    assert sorted(str(one["reconciler.address"]) for one in steps) == [
        "WebService/one",
        "WebService/two",
    ]
    assert {one["reconciler.action"] for one in steps} == {"update"}
    text = "".join(one.to_json() for one in finished)
    assert "?" not in text
    assert "api-version" not in text
    assert "Bearer" not in text
    (plan,) = (one for one in finished if one.name == "plan")
    assert (plan.attributes or {})["reconciler.environment"] == ""


def test_a_small_command_imports_nothing_of_it(tmp_path: Path) -> None:
    done = spawn(tmp_path, "version", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "reconciler" in done.err
    assert "opentelemetry" not in done.err
    assert "prometheus" not in done.err
    done = spawn(
        tmp_path, "version", env={"PYTHONPROFILEIMPORTTIME": "1", "OTEL_SERVICE_NAME": "x"}
    )
    assert "opentelemetry.trace" in done.err


def test_a_cycle_of_watch_is_a_trace(project: Project, exporter: InMemorySpanExporter) -> None:
    project.emulator.deploy("one", project.emulator.model_uri("old"))
    project.manifest("one", project.emulator.model_uri("new"))
    done = project.run("watch", "--once", "--mode", "apply", "--format", "json")
    assert done.code == 0, done.said
    finished = exporter.get_finished_spans()
    (cycle,) = (one for one in finished if one.name == "cycle")
    assert {one.context.trace_id for one in finished} == {cycle.context.trace_id}
    assert {one.name for one in finished} == {"cycle", "observe", "plan", "step", "call"}
    attributes = dict(cycle.attributes or {})
    assert str(attributes.pop("reconciler.id")) in done.out
    assert attributes == {"reconciler.environment": "", "reconciler.outcome": "in-sync"}
