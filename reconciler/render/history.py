"""Renders the history in a ledger as text for people and as JSON, one entry at a time.

A ledger may hold a hundred thousand entries, so no function here needs all entries at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.document.schema import Field
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Approval,
    Entry,
    Fact,
    Intent,
    Json,
    StepResult,
)
from reconciler.model.ledger import MOST_DIFFERING
from reconciler.plans.history import (
    Authorship,
    Moment,
    Run,
    Touch,
    is_hidden,
    list_touches,
)
from reconciler.render.plan.rows import HIDDEN, MANY, count_leaves
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, shorten_uris, show_path, show_value
from reconciler.render.words.names import list_names
from reconciler.secrets.signatures import strip_credentials
from reconciler.text.commits import DIFFERING, shorten_commit
from reconciler.text.counting import count

FORMAT_VERSION: Final = "1.0"
OPEN: Final = "open"
_MOST_TOUCHES: Final = 20
_MOST_NAMED: Final = 20
_SIGNS: Final = {"add": "+", "replace": "~", "remove": "-"}
_SAID: Final = {
    StepResult.DONE: "",
    StepResult.NOT_DONE: "not done",
    StepResult.UNKNOWN: "unknown whether it was done",
    OPEN: "started, outcome not known yet",
}


def render_entry(
    entry: Entry | Intent,
    field: Field | None,
    paint: Paint,
    approvals: Sequence[Approval] = (),
) -> str:
    """Returns one entry: its time, action, resource and author, then the changed places.

    `approvals` are those of its plan.
    """
    result = _result(entry)
    said = paint("yellow", _SAID[result]) if result != StepResult.DONE else ""
    shown = [one for one in list_touches(field, entry) if not _is_container(one)]
    touches = len(shown)
    parts = [
        f"#{entry.sequence}",
        escape(entry.at),
        f"{paint.symbol(entry.action.symbol)} {entry.action.value}",
        paint("bold", escape(str(entry.address))),
        _describe_write(entry),
        f"by {describe_author(entry)}{_plan(entry)}",
        count(touches, "change") if touches else "",
        said,
    ]
    head = "  ".join(part for part in parts if part)
    lines = [head, *_list_approvers(approvals), *_details(entry)]
    # After a create, the parts of the definition are not changes of earlier values.
    if entry.action is not Action.CREATE:
        lines += (_touch(one, paint) for one in shown[:_MOST_TOUCHES])
    if touches > _MOST_TOUCHES and entry.action is not Action.CREATE:
        lines.append(paint("faint", f"# (and {count(touches - _MOST_TOUCHES, 'more change')})"))
    return "\n      ".join(lines)


def render_run(run: Run, paint: Paint, approvals: Sequence[Approval] = ()) -> str:
    """Returns one entry for the same action on many members of a fleet, with their names."""
    first = run.first
    said = _SAID[_result(first)]
    parts = [
        f"#{first.sequence} to #{run.last.sequence}",
        f"{escape(first.at)} to {escape(run.last.at)}",
        f"{paint.symbol(first.action.symbol)} {first.action.value}",
        f"{paint('bold', escape(str(first.fleet)))}: {count(len(run.names), 'member')}",
        _describe_write(first),
        f"by {describe_author(first)}{_plan(first)}",
        paint("yellow", said) if said else "",
    ]
    head = "  ".join(part for part in parts if part)
    details = (*_list_approvers(approvals), *_list_differing(first))
    return "\n      ".join((head, *details, list_names(run.names, _MOST_NAMED)))


def _describe_write(entry: Entry | Intent) -> str:
    """Returns which of several writes an entry is of: `write 2/6: green gets 10 %`."""
    if not entry.parts:
        return ""
    number = f"write {entry.part}/{entry.parts}" if entry.part else "revert"
    return f"{number}: {escape(cut(entry.title))}"


def _list_approvers(approvals: Sequence[Approval]) -> Iterator[str]:
    if approvals:
        names = ", ".join(escape(cut(one.principal)) for one in approvals[:_MOST_NAMED])
        more = len(approvals) - _MOST_NAMED
        yield f"Approved by {names}{f' and {more:,} more' if more > 0 else ''}"


def _is_container(touch: Touch) -> bool:
    """Whether it only creates an empty mapping for the values added in it."""
    return touch.verb == "add" and touch.after == {}


def _result(entry: Entry | Intent) -> str:
    return entry.result.value if isinstance(entry, Entry) else OPEN


def describe_author(entry: Entry | Intent | Fact) -> str:
    """Returns the author and the commit: `ci@4f1c2aa`."""
    return escape(cut(entry.by) + (f"@{shorten_commit(entry.commit)}" if entry.commit else ""))


def _plan(entry: Entry | Intent) -> str:
    digest = entry.plan_digest.partition(":")[2]
    return f" (plan {escape(digest[:8])}…)" if digest else ""


def _details(entry: Entry | Intent) -> Iterator[str]:
    yield from _list_differing(entry)
    if isinstance(entry, Entry) and entry.note:
        yield escape(cut(entry.note, 300))


def _list_differing(entry: Entry | Intent) -> Iterator[str]:
    """Yields the files that were not as in the commit; the ledger keeps only the first ones."""
    if entry.differing:
        shown = list_names(entry.differing[: MOST_DIFFERING - 1], MOST_DIFFERING)
        more = " and more" if len(entry.differing) >= MOST_DIFFERING else ""
        yield f"{DIFFERING}: {shown}{more}"


def _touch(touch: Touch, paint: Paint) -> str:
    head = f"{paint.symbol(_SIGNS.get(touch.verb, '~'))} {show_path(split_pointer(touch.pointer))}"
    if touch.hidden:
        return f"{head} = {HIDDEN}"
    size = count_leaves(touch.before) if touch.verb == "remove" else 0
    if size > MANY:
        return f"{head} ({count(size, 'attribute')})"
    values = [value for value in (touch.before, touch.after) if value is not ABSENT]
    return f"{head} = {' -> '.join(_show(*values))}" if values else head


def _show(*values: Json) -> list[str]:
    """The values as text; two URIs without their common start."""
    if len(values) == 2 and all(isinstance(one, str) and "://" in one for one in values):
        return [f'"{escape(cut(one))}"' for one in shorten_uris(*map(strip_credentials, values))]
    return [show_value(value) for value in values]


def render_recalled(entry: Entry, field: Field | None, paint: Paint) -> str:
    """Returns what the ledger remembers of one resource: the values that its manifest declared."""
    name = f"{paint('bold', escape(str(entry.address)))} [{escape(_short_id(entry))}]"
    lines = [f"  # {name}: #{entry.sequence}, {escape(entry.at)} by {describe_author(entry)}"]
    for pointer, value in sorted(entry.owned.items()):
        path = split_pointer(pointer)
        shown = HIDDEN if is_hidden(field, path, value) else show_value(value)
        lines.append(f"      {show_path(path)} = {shown}")
    for pointer, label in sorted(entry.secrets.items()):
        lines.append(f"      {show_path(split_pointer(pointer))} = {_secret(label)}")
    return "\n".join(lines)


def _short_id(entry: Entry) -> str:
    return entry.id.rstrip("/").rpartition("/")[2]


def _secret(label: str) -> str:
    version = f", version {escape(cut(label))}" if label else ""
    return f"(sensitive value{version})"


def render_blame(authors: Sequence[Authorship], field: Field | None, paint: Paint) -> str:
    """Returns a line for each place with its value, then its last author, time and commit."""
    return "\n".join(_blame_lines(authors, field, paint))


def _blame_lines(authors: Sequence[Authorship], field: Field | None, paint: Paint) -> Iterator[str]:
    for one in authors:
        path = split_pointer(one.pointer)
        if one.value is ABSENT:
            shown = _secret(one.label)
        else:
            shown = HIDDEN if is_hidden(field, path, one.value) else show_value(one.value)
        yield f"{paint('bold', show_path(path))} = {shown}"
        how = "" if one.wrote else ", which found this value"
        entry = one.entry
        yield f"    #{entry.sequence}  {escape(entry.at)}  by {describe_author(entry)}{how}"


def entry_document(
    entry: Entry | Intent, field: Field | None, approvals: Sequence[Approval] = ()
) -> Json:
    """Returns one entry as JSON; the fate of an intent without an outcome is "open"."""
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "action": entry.action.value,
        "address": str(entry.address),
        "id": entry.id,
        "by": entry.by,
        "host": entry.host,
        "commit": entry.commit,
        **_write_rare(entry),
        "plan_digest": entry.plan_digest,
        **({"approvals": list(map(_approval_document, approvals))} if approvals else {}),
        "fate": _result(entry),
        "note": entry.note if isinstance(entry, Entry) else "",
        "changes": [_touch_document(one) for one in list_touches(field, entry)],
        "secrets": dict(entry.secrets),
    }


def _approval_document(approval: Approval) -> Json:
    return {"principal": approval.principal, "key": approval.key, "expires": approval.expires}


def _touch_document(touch: Touch) -> Json:
    values = {} if touch.hidden else {"before": touch.before, "after": touch.after}
    shown = {name: value for name, value in values.items() if value is not ABSENT}
    return {"pointer": touch.pointer, "op": touch.verb, "hidden": touch.hidden, **shown}


def recalled_document(
    moment: Moment, entries: Mapping[Address, Entry], fields: Mapping[str, Field]
) -> Json:
    """Returns what the ledger remembered at a moment, as JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "at": str(moment),
        "resources": [
            _recalled_document(entry, fields.get(address.kind))
            for address, entry in sorted(entries.items())
        ],
    }


def _recalled_document(entry: Entry, field: Field | None) -> Json:
    return {
        "address": str(entry.address),
        "id": entry.id,
        **_writer(entry),
        "owned": [_value_document(at, value, field) for at, value in sorted(entry.owned.items())],
        "secrets": dict(entry.secrets),
    }


def _writer(entry: Entry) -> dict[str, Json]:
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "by": entry.by,
        "commit": entry.commit,
        **_write_rare(entry),
    }


def _write_rare(entry: Entry | Intent) -> dict[str, Json]:
    """What few entries have: files that differ, an environment, and the number of a write."""
    said: dict[str, Json] = {
        "differing": list(entry.differing),
        "environment": entry.environment,
    }
    if entry.parts:
        said["write"] = {"number": entry.part, "count": entry.parts, "title": entry.title}
    return {name: value for name, value in said.items() if value}


def _value_document(pointer: str, value: Json | Absent, field: Field | None) -> dict[str, Json]:
    hidden = value is ABSENT or is_hidden(field, split_pointer(pointer), value)
    said: dict[str, Json] = {"pointer": pointer, "hidden": hidden}
    return said if hidden else {**said, "value": value}


def blame_document(address: Address, authors: Sequence[Authorship], field: Field | None) -> Json:
    """Returns, as JSON, the author of each value that the ledger remembers of one resource."""
    return {
        "format_version": FORMAT_VERSION,
        "address": str(address),
        "fields": [
            {
                **_value_document(one.pointer, one.value, field),
                **({"version": one.label} if one.value is ABSENT else {}),
                **_writer(one.entry),
                "wrote": one.wrote,
            }
            for one in authors
        ],
    }
