"""Renders an approval as text for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.model import Json, Plan
from reconciler.plans.approvals import Statement, statement_document
from reconciler.plans.ssh_signatures import SshKey
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count

FORMAT_VERSION: Final = "1.0"
_MOST_SHOWN: Final = 50


def render_approval(plan: Plan, statement: Statement, key: SshKey, paint: Paint) -> str:
    """Returns what was signed: each change, each model and verdict, until when and by whom."""
    head = f"Approved {count(len(plan.steps), 'change')} of the project"
    name = f'{head} "{escape(cut(statement.project))}"'
    if statement.environment:
        name += f' in the environment "{escape(cut(statement.environment))}"'
    return "\n".join((paint("bold", f"{name}:"), "", *_list_lines(plan, statement, key, paint)))


def _list_lines(plan: Plan, statement: Statement, key: SshKey, paint: Paint) -> Iterator[str]:
    yield from _cut_lines(
        f"{paint.symbol(step.action.symbol)} {escape(str(step.resource.address))}"
        for step in plan.steps
    )
    models = [(*row[:-1], row[-1] or "(digest not known)") for row in statement.models]
    for title, rows in (("Models", models), ("Verdicts", statement.gates)):
        if rows:
            yield from ("", f"{title}:")
            yield from _cut_lines("  ".join(escape(cut(one)) for one in row) for row in rows)
    principal = f" as {escape(statement.principal)}" if statement.principal else ""
    yield from (
        "",
        f"Changes: {statement.changes_digest}",
        f"Key:     {key.fingerprint} ({key.type}){principal}",
        f"Expires: {statement.expires}",
    )


def _cut_lines(lines: Iterator[str]) -> Iterator[str]:
    shown = list(lines)
    yield from (f"  {line}" for line in shown[:_MOST_SHOWN])
    if len(shown) > _MOST_SHOWN:
        yield f"  and {len(shown) - _MOST_SHOWN:,} more"


def approval_document(statement: Statement, key: SshKey, file: str, signature: str) -> Json:
    """Returns an approval as JSON: its files, the key, and the statement that was signed."""
    return {
        "format_version": FORMAT_VERSION,
        "file": file,
        "signature_file": signature,
        "key_type": key.type,
        "fingerprint": key.fingerprint,
        "statement": statement_document(statement),
    }
