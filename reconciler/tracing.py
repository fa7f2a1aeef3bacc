"""Spans for OpenTelemetry: plan, observe, step and call, and a cycle of `watch`.

Nothing is recorded, and nothing is imported, unless the user has set up OpenTelemetry: its API is
imported by `start`, or before this program starts by `opentelemetry-instrument`. An attribute never
holds a secret, a query string, or an id of a person. Any layer may use this module.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from reconciler import __version__

if TYPE_CHECKING:  # an extra package
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_API: Final = "opentelemetry.trace"
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class Span:
    """One span while its block runs. This class records nothing."""

    def set(self, name: str, value: str | int) -> None:
        """Set an attribute."""


_NOTHING: Final[AbstractContextManager[Span]] = nullcontext(Span())


def start() -> None:
    """Import the API of OpenTelemetry if it is installed, so that spans are recorded from now on.

    Where they go is set up by the SDK of OpenTelemetry, which the user installs.
    """
    try:
        import opentelemetry.trace  # noqa: F401, PLC0415 - only where a user wants spans
    except ImportError:
        return


def is_on() -> bool:
    """Whether spans are recorded."""
    return _find_tracer() is not None


def span(name: str, **attributes: str | int) -> AbstractContextManager[Span]:
    """A span around a block; it is the parent of the spans in the block.

    The names of the attributes begin with `reconciler.`. A block that raises ends it as failed.
    """
    tracer = _find_tracer()
    return _NOTHING if tracer is None else _record(tracer, name, attributes, client=False)


def traced(
    name: str, describe: Callable[..., dict[str, str | int]]
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function with a span; `describe` makes its attributes of the arguments."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def call(*given: Parameters.args, **named: Parameters.kwargs) -> Result:
            if _find_tracer() is None:
                return function(*given, **named)
            with span(name, **describe(*given, **named)):
                return function(*given, **named)

        return call

    return decorate


def call_span(method: str, host: str) -> AbstractContextManager[Span]:
    """A span around one request to a service, by the conventions of OpenTelemetry."""
    tracer = _find_tracer()
    if tracer is None:
        return _NOTHING
    attributes: dict[str, str | int] = {"http.request.method": method, "server.address": host}
    return _record(tracer, "call", attributes, client=True)


def trace_task(
    name: str, task: Generator[float, None, Result], **attributes: str | int
) -> Generator[float, None, Result]:
    """A task that sleeps, with a span from its start to its end; the task may change its thread."""
    tracer = _find_tracer()
    return task if tracer is None else _trace_task(tracer, name, task, attributes)


def carry(work: Callable[[], Result]) -> Callable[[], Result]:
    """The work of another thread, in the span of this thread."""
    if _find_tracer() is None:
        return work
    return functools.partial(contextvars.copy_context().run, work)


def _find_tracer() -> Tracer | None:
    """The tracer of the SDK; None without an API or an SDK."""
    api: Any = sys.modules.get(_API)
    if api is None:
        return None
    try:
        provider = api.get_tracer_provider()
    except AttributeError:  # another thread imports the API now
        return None
    return None if isinstance(provider, api.ProxyTracerProvider) else _make_tracer(provider)


@functools.cache
def _make_tracer(provider: Any) -> Tracer:
    tracer: Tracer = provider.get_tracer("reconciler", __version__)
    return tracer


@contextmanager
def _record(
    tracer: Tracer, name: str, attributes: dict[str, str | int], *, client: bool
) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra package

    kind = SpanKind.CLIENT if client else SpanKind.INTERNAL
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=_qualify(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as recorded:
        try:
            yield _Recorded(recorded)
        except BaseException as error:
            _fail(recorded, error)
            raise


def _trace_task(
    tracer: Tracer,
    name: str,
    task: Generator[float, None, Result],
    attributes: dict[str, str | int],
) -> Generator[float, None, Result]:
    from opentelemetry.trace import use_span  # noqa: PLC0415 - an extra package

    recorded = tracer.start_span(name, attributes=_qualify(attributes))
    try:
        while True:
            with use_span(recorded, record_exception=False, set_status_on_exception=False):
                try:
                    pause = next(task)
                except StopIteration as end:
                    result: Result = end.value
                    return result
            yield pause
    except BaseException as error:
        _fail(recorded, error)
        raise
    finally:
        task.close()
        recorded.end()


class _Recorded(Span):
    """A span of OpenTelemetry."""

    def __init__(self, recorded: OtelSpan) -> None:
        self._recorded = recorded

    def set(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        self._recorded.set_attribute(_qualify_name(name), value)


def _fail(recorded: OtelSpan, error: BaseException) -> None:
    """End a span as failed; its class alone, because its text may quote a secret."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra package

    recorded.set_attribute("error.type", type(error).__name__)
    recorded.set_status(Status(StatusCode.ERROR))


def _qualify(attributes: dict[str, str | int]) -> dict[str, str | int]:
    return {_qualify_name(name): value for name, value in attributes.items()}


def _qualify_name(name: str) -> str:
    return name if "." in name else f"reconciler.{name}"
