"""Judges the changes of a plan by the rules of policies.

A change is one item of `resource_changes`, as the plan's JSON has it. The planner and the apply of
a saved plan call this module, and so does `policy test`. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from reconciler.document.pointers import format_pointer
from reconciler.model import Finding, Json
from reconciler.model.policies import Policy, PolicyContext, PolicyMatch, PolicyRule
from reconciler.model.values import dataclass
from reconciler.plans.change_windows import explain_closed
from reconciler.plans.guards import POLICY
from reconciler.text.counting import count

_MOST_PLACES: Final = 5
_AZURE: Final = ".blob.core.windows.net"
# The compiled pattern of a rule may take this many bytes.
_MOST_PATTERN: Final = 1 << 20
_Reasons: TypeAlias = tuple[str, Sequence[str]]


def check_policies(
    policies: Iterable[Policy], changes: Iterable[Json], context: PolicyContext
) -> tuple[Finding, ...]:
    """Return a finding for each rule that a change breaks, in the order of the changes.

    A rule of the severity error refuses the plan until it is lifted. A lifted refusal is a warning,
    so that a reviewer sees it.
    """
    judged = judge_changes(policies, changes, context)
    return tuple(found for _, found in judged if found is not None)


def judge_changes(
    policies: Iterable[Policy], changes: Iterable[Json], context: PolicyContext
) -> Iterator[tuple[PolicyRule, Finding | None]]:
    """Yield each rule that judges a change, with its finding; None if the change is accepted."""
    judges = [
        _Judge(rule, context)
        for policy in policies
        for rule in policy.rules
        if takes_environment(rule, context.environment)
    ]
    for change in changes:
        for judge in judges:
            if judge.takes(change):
                yield judge.rule, judge.check(change)


def compile_rule_schema(schema: Json) -> Any:
    """Return the validator of a `when` or a `require`.

    Patterns are matched in linear time, and nothing is fetched. Raises ValueError, which has
    `instance_path`, for what is not a JSON Schema.
    """
    import jsonschema_rs  # noqa: PLC0415 - start-up: few projects have such a rule

    return jsonschema_rs.Draft202012Validator(
        schema,
        retriever=_retrieve_nothing,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=_MOST_PATTERN),
    )


def _retrieve_nothing(address: str) -> Json:
    raise ValueError(address)


def takes_environment(rule: PolicyRule, environment: str) -> bool:
    """Whether a rule judges the changes of an environment."""
    return all(not one.environments or environment in one.environments for one in rule.matches)


@dataclass
class _Judge:
    """One rule with its compiled schemas."""

    rule: PolicyRule
    context: PolicyContext

    @cached_property
    def _when(self) -> Any:
        return compile_rule_schema(True if self.rule.when is None else self.rule.when)

    @cached_property
    def _require(self) -> Any:
        return compile_rule_schema(self.rule.require)

    @cached_property
    def _closed(self) -> tuple[str, ...]:
        """Why the change window of the rule is closed now."""
        window = self.rule.window
        return () if window is None else explain_closed(window, self.context.now)

    def takes(self, change: Json) -> bool:
        """Whether the rule judges a change; its environment is already known to match."""
        labels = self.context.labels.get(change["address"])
        matches = all(_matches(one, change, labels) for one in self.rule.matches)
        return matches and (
            self.rule.when is None or _is_valid(self._when, change, if_unclear=True)
        )

    def check(self, change: Json) -> Finding | None:
        """Return the finding about a change that the rule judges; None if it is accepted."""
        broken = self._find_reasons(change)
        return None if broken is None else self._report(change["address"], *broken)

    def _find_reasons(self, change: Json) -> _Reasons | None:
        """Return why a change breaks the rule, in one line and in more; None if it does not."""
        rule = self.rule
        if rule.denies_deletes:
            return _check_delete(change)
        if rule.models_from:
            return _check_storage(change, rule.models_from)
        if rule.requires_gate:
            return _check_gates(change, self.context.restored)
        if rule.window is not None:
            return ("the change window is closed", self._closed) if self._closed else None
        if rule.owners:
            return self._check_owners()
        return _check_required(self._require, change)

    def _check_owners(self) -> _Reasons | None:
        """Return why no owner has approved; an author of the commit does not count."""
        given = [one for one in self.rule.owners if one in self.context.approvers]
        own = [one for one in given if one.casefold() in self.context.authors]
        if len(own) < len(given):
            return None
        detail = [
            f"{one} is an author of the commit, so this approval does not count." for one in own
        ]
        return f"it needs the approval of {_join(self.rule.owners, 'or')}", detail

    def _report(self, address: str, reason: str, detail: Sequence[str]) -> Finding:
        rule = self.rule
        explained = [f"{reason[:1].upper()}{reason[1:]}."] if rule.message and reason else []
        found = Finding(
            f'policy "{rule.policy}", rule "{rule.name}": {rule.message or reason}',
            subject=address,
            place=rule.place,
            detail=(*explained, *detail),
            next_step=_advise(rule, address),
            guard=POLICY,
        )
        if rule.severity == "warn":
            return replace(found, severity="warning", next_step="")
        lifted = self._find_lift(address)
        return replace(found, severity="warning", next_step=lifted) if lifted else found

    def _find_lift(self, address: str) -> str:
        """Return what lifts the refusal, as a sentence; empty if it is not lifted."""
        rule, context = self.rule, self.context
        if rule.lift == "allow" and not {POLICY, f"{POLICY}={address}"}.isdisjoint(context.allowed):
            return f"Allowed by --allow {POLICY}."
        if rule.lift != "approval" or rule.owners:
            return ""
        given = sorted(context.approvers.intersection(rule.approvers or context.approvers))
        return f"Lifted by the approval of {_join(given, 'and')}." if given else ""


def _advise(rule: PolicyRule, address: str) -> str:
    """Return who may lift the refusal of a rule, and how."""
    if rule.lift == "allow":
        return f"To make it anyway: --allow {POLICY}={address}"
    if rule.lift == "never" and not rule.owners:
        return "Nothing lifts this rule: change what is planned, or the policy."
    names = rule.owners or rule.approvers
    who = _join(names, "or") if names else "a principal of the keyring"
    return f"An approval of {who} lifts it: {_APPROVE}"


_APPROVE: Final = "plan --out FILE, approve FILE --key KEY, apply --approvals DIR --keyring FILE"


def _join(names: Collection[str], word: str) -> str:
    """Return names as `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def _matches(match: PolicyMatch, change: Json, labels: Mapping[str, str] | None) -> bool:
    """Whether a change is one that a match takes; `labels` is None where they are not known."""
    if match.kinds and change["type"] not in match.kinds:
        return False
    return labels is None or all(
        labels.get(name) in accepted for name, accepted in match.labels.items()
    )


def _is_valid(validator: Any, change: Json, *, if_unclear: bool) -> bool:
    """Whether a change is valid; `if_unclear` is the answer for text with half of a character.

    The validator cannot read such a text, so the answer is the one that refuses the change.
    """
    try:
        return bool(validator.is_valid(change))
    except UnicodeEncodeError:
        return if_unclear


def _check_delete(change: Json) -> _Reasons | None:
    actions = change["change"]["actions"]
    if "delete" not in actions:
        return None
    replaced = "create" in actions
    return "the resource is destroyed" + (", then created again" if replaced else ""), ()


def _check_storage(change: Json, accounts: Collection[str]) -> _Reasons | None:
    wrong = [
        f'Trained model "{model["name"]}" comes from {_name_storage(model["after"])}.'
        for model in change["model"]
        if model["after"] and not _is_from(model["after"], accounts)
    ]
    said = f"a model comes from other storage than {_join(accounts, 'or')}"
    return (said, wrong) if wrong else None


def _split_storage(uri: str) -> tuple[str, int | None, str]:
    """Return host, port and the first segment of the path; the host is empty if it is unclear."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None, ""
    unclear = not uri.isprintable() or "\\" in uri or " " in uri or "@" in parts.netloc
    # A client may resolve a segment that leads upwards, and so read from another account.
    unclear = unclear or not {".", ".."}.isdisjoint(unquote(parts.path).split("/"))
    return "" if unclear else host, port, parts.path.lstrip("/").partition("/")[0]


def _is_from(uri: str, sources: Iterable[str]) -> bool:
    """Whether a model's address is in one of these storages, or its id is one of these."""
    if _is_model_id(uri):
        return any(_takes_id(one, uri) for one in sources)
    host, port, segment = _split_storage(uri)
    names = {host, f"{host}:{port}", f"{host}:{port}/{segment}"} if host else set()
    if host.endswith(_AZURE):
        names.add(host.removesuffix(_AZURE))
    return any(one.casefold().rstrip(".") in names for one in sources)


def _is_model_id(text: str) -> bool:
    """Whether a reference is the id of a registered model, and no client can read another in it."""
    scheme, _, rest = text.partition(":")
    unclear = not text.isprintable() or not {"\\", " ", "%", "?", "#", "@"}.isdisjoint(text)
    unclear = unclear or not {".", ".."}.isdisjoint(rest.split("/"))
    return bool(scheme and rest) and not unclear and scheme.casefold() not in {"http", "https"}


def _takes_id(source: str, uri: str) -> bool:
    """Whether an id is this one, or begins as this one does before its last `*`."""
    begins = source.removesuffix("*")
    return uri == source if begins == source else uri.startswith(begins) and uri != begins


def _name_storage(uri: str) -> str:
    if _is_model_id(uri):
        return uri
    host, port, _ = _split_storage(uri)
    return (f"{host}:{port}" if port else host) or "an address that names no storage"


def _check_gates(change: Json, restored: Collection[tuple[str, str]]) -> _Reasons | None:
    wrong = [
        f'Trained model "{model["name"]}": {why}'
        for model in change["model"]
        if model["after"]
        and (change["address"], format_pointer(tuple(model["path"]))) not in restored
        and (why := _find_gate_reason(model.get("gates", ())))
    ]
    return ("the gate of no retraining accepts its new model", wrong) if wrong else None


def _find_gate_reason(gates: Sequence[Json]) -> str:
    """Return why the verdicts about a new model do not suffice; empty if they do."""
    if not gates:
        return "no gate has judged it."
    refused = next((one for one in gates if one["refuses"]), None)
    if refused is None:
        return ""
    return f"{refused['retraining']}: {refused['verdict']}: {refused['rule']}: {refused['reason']}"


def _check_required(validator: Any, change: Json) -> _Reasons | None:
    """Return the places where a change is not valid; a value is not shown."""
    if _is_valid(validator, change, if_unclear=False):
        return None
    try:
        paths = [tuple(one.instance_path) for one in validator.iter_errors(change)]
    except UnicodeEncodeError:
        paths = []
    places = list(dict.fromkeys(format_pointer(path) or "the change" for path in paths))
    more = len(places) - _MOST_PLACES
    shown = [f"It fails at {one}." for one in places[:_MOST_PLACES]]
    return "", shown + ([f"It fails at {count(more, 'more place')}."] if more > 0 else [])
