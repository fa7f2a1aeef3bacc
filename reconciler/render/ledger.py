"""Renders the output of the ledger's commands: `verify` and `rebuild`.

The command line calls it. It reads and writes no ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import Address, Entry, Json, RebuiltEntry, VerifyReport
from reconciler.render.findings import describe_diagnostic, render_findings
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.text.counting import count

FORMAT_VERSION: Final = "1.0"
_MOST_NAMED: Final = 10


def is_whole(report: VerifyReport) -> bool:
    """Whether no finding reports a broken chain."""
    return all(one.severity != "error" for one in report.findings)


def render_verify_report(report: VerifyReport, paint: Paint) -> str:
    """Returns `The ledger holds: 12 entries, 12 intents, chain intact.`, its head, the findings."""
    held = f"The ledger holds: {count_entries(report.entries)}, {count(report.intents, 'intent')}"
    held += f", {count(report.facts, 'fact')}" if report.facts else ""
    chain = paint("green", "chain intact") if is_whole(report) else paint("red", "chain broken")
    findings = [render_findings(report.findings, paint=paint)] if report.findings else []
    head = f"\nIts last line has sequence {report.sequence} and digest {report.digest}."
    return "\n\n".join([f"{held}, {chain}.{head if report.digest else ''}", *findings])


def verify_report_document(report: VerifyReport, recovered: int | None = None) -> Json:
    """Returns the verification as JSON; `recovered` counts the entries recovered before it."""
    return {
        "format_version": FORMAT_VERSION,
        "entries": report.entries,
        "intents": report.intents,
        **({"facts": report.facts} if report.facts else {}),
        "whole": is_whole(report),
        **({"head": _describe_head(report)} if report.digest else {}),
        **({} if recovered is None else {"recovered": recovered}),
        "diagnostics": [describe_diagnostic(finding) for finding in report.findings],
    }


def _describe_head(report: VerifyReport) -> Json:
    return {"sequence": report.sequence, "digest": report.digest}


def count_entries(number: int) -> str:
    """Returns `1 entry` or `1,204 entries`."""
    return count(number, "entry", "entries")


def render_rebuilt_entries(found: Sequence[RebuiltEntry], lost: Collection[Address]) -> str:
    """Returns what the ledger would remember of each resource, and what remains unknown."""
    blocks = ["\n".join(_rebuilt_entry_lines(one)) for one in found]
    if lost:
        named = ", ".join(escape(str(one)) for one in sorted(lost)[:_MOST_NAMED])
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        blocks.append(f"No manifest declares them, so the ledger will not remember: {named}{more}")
    return "\n\n".join(blocks)


def _rebuilt_entry_lines(one: RebuiltEntry) -> Iterator[str]:
    name = f"{escape(str(one.resource.address))} [{escape(one.resource.short_id)}]"
    if one.entry is None:
        yield f"  # {name} does not exist: nothing to remember"
        return
    yield f"  {one.entry.action.symbol} {name}: {count(len(one.entry.owned), 'value')} remembered"
    if one.apart:
        yield f"      left out, the live value differs: {_name(one.apart)}"
    if one.not_observable:
        yield f"      left out, the service never returns it: {_name(one.not_observable)}"
    if one.entry.secrets:
        how = "assumed to be as declared" if one.assumed else "kept from the old ledger"
        yield f"      {how}: {', '.join(_secrets(one.entry))}"
    if one.unwritten:
        yield f"      left out, it was never written: {_name(one.unwritten)}"
    yield "      not known: who applied what, and when"
    if one.models:
        yield f"      not known: which bytes were applied at {_name(one.models)}"


def _secrets(entry: Entry) -> Iterator[str]:
    for pointer, label in sorted(entry.secrets.items()):
        version = f" version {escape(cut(label))}" if label else ""
        yield f"{show_path(split_pointer(pointer))}{version}"


def _name(pointers: Sequence[str]) -> str:
    shown = ", ".join(show_path(split_pointer(one)) for one in pointers[:_MOST_NAMED])
    more = len(pointers) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
