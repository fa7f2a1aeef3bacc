"""Compiles templates once, and fills them in for each item.

All members share the values without variables. A value that cannot be filled in becomes a
finding at its location in the template, and the rest is still filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final, Protocol

from reconciler.manifests.budget import MORE_ERRORS, MOST_ERRORS
from reconciler.manifests.variables import Fragment, Variable, is_plain, split_text
from reconciler.model import ABSENT, Finding, Json, Path
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import REFER, SUSPICIOUS, format_name, is_suspicious

Values = Mapping[str, Json]
Problems = list[Finding]
Fill = Callable[[Values, Problems], Json]
Convert = Callable[[Json, Problems], Json]


class TemplateContext(Protocol):
    """What a template needs to know about its manifest. Paths are those of that manifest."""

    def locate(self, finding: Finding, path: Path) -> Finding:
        """Returns the finding with the location of a value of the template."""
        ...

    def locate_first(self, finding: Finding, path: Path) -> Finding:
        """Like `locate`, but an equal finding keeps the location of the first request."""
        ...

    def check_name(self, name: str, path: Path) -> Finding | None:
        """Returns what is wrong with a variable that no item defines; None if it is defined."""
        ...

    def converter(self, path: Path, *, whole: bool) -> Convert | None:
        """Returns the conversion of a value, if any; `whole` if the value is just one variable."""
        ...


@dataclass
class Template:
    """A value with variables in it.

    `fill` is None if the value is the same for every item. `used` counts the uses of each name.
    `size` is the approximate memory in bytes for each item, without shared values and item values.
    """

    value: Json
    fill: Fill | None = None
    findings: list[Finding] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    size: int = 0

    def make(self, values: Values, problems: Problems) -> Json:
        """Returns the value for an item."""
        return self.fill(values, problems) if self.fill else self.value


def compile_template(value: Json, context: TemplateContext, path: Path = ()) -> Template:
    """Parses all variables of a value at a path; reports problems as findings and never raises."""
    template = Template(value)
    template.fill = _Compiler(template, context).compile(value, path)
    if len(template.findings) > MOST_ERRORS:
        template.findings[MOST_ERRORS:] = [context.locate(MORE_ERRORS, path)]
    return template


@dataclass(frozen=True)
class _Compiler:
    template: Template
    context: TemplateContext

    def compile(self, value: Json, path: Path) -> Fill | None:
        if isinstance(value, str):
            return None if is_plain(value) else self._compile_text(value, path)
        if isinstance(value, dict):
            return self._compile_mapping(value, path)
        if isinstance(value, list):
            return self._compile_list(value, path)
        return None

    def _compile_mapping(self, value: dict[str, Json], path: Path) -> Fill | None:
        below = {name: self.compile(one, (*path, name)) for name, one in value.items()}
        makers = {name: make for name, make in below.items() if make}
        keys = [name for name in value if not is_plain(name)]
        self._count(_NODE * (1 + len(value)) if makers or keys else 0)
        if keys:
            return self._with_keys(value, makers, path)
        if not makers:
            return None

        def fill(values: Values, problems: Problems) -> Json:
            filled = dict(value)
            for name, make in makers.items():
                filled[name] = make(values, problems)
            return filled

        return fill

    def _with_keys(self, value: dict[str, Json], makers: Mapping[str, Fill], path: Path) -> Fill:
        """The function that makes a mapping with variables in some keys."""
        keys = {name: self._join(self._split(name, (*path, name)), (*path, name)) for name in value}
        twice = {name: self.context.locate(_TWICE, (*path, name)) for name in value}

        def fill(values: Values, problems: Problems) -> Json:
            filled: dict[str, Json] = {}
            for name, below in value.items():
                key = keys[name](values, problems)
                if key in filled:
                    problems.append(twice[name])
                filled[key] = makers[name](values, problems) if name in makers else below
            return filled

        return fill

    def _compile_list(self, value: list[Json], path: Path) -> Fill | None:
        makers = [self.compile(below, (*path, index)) for index, below in enumerate(value)]
        if not any(makers):
            return None
        self._count(_NODE * (1 + len(value)))
        pairs = list(zip(makers, value, strict=True))
        return lambda values, problems: [
            make(values, problems) if make else below for make, below in pairs
        ]

    def _compile_text(self, text: str, path: Path) -> Fill:
        fragments = self._split(text, path)
        alone = fragments[0] if len(fragments) == 1 else ""
        whole = isinstance(alone, Variable)
        make = (
            self._make_lookup(alone.name, path)
            if isinstance(alone, Variable)
            else self._join(fragments, path)
        )
        convert = self.context.converter(path, whole=whole)
        if convert is None:
            return make
        return lambda values, problems: convert(make(values, problems), problems)

    def _split(self, text: str, path: Path) -> Sequence[Fragment]:
        """The fragments of a text; a problem in it is reported once and not for each item."""
        try:
            fragments = split_text(text)
        except ValueError as error:
            finding = Finding(str(error), next_step=_ESCAPE)
            self.template.findings.append(self.context.locate(finding, path))
            return (text,)
        names = [fragment.name for fragment in fragments if isinstance(fragment, Variable)]
        self.template.used.update(names)
        wrong = (self.context.check_name(name, path) for name in dict.fromkeys(names))
        self.template.findings += filter(None, wrong)
        return fragments

    def _count(self, size: int) -> None:
        self.template.size += size

    def _make_lookup(self, name: str, path: Path) -> Fill:
        """The function that returns the value of a name, of any type."""
        said = format_name(name, "value of that name")
        missing = self.context.locate_first(Finding(f"the item has no {said}"), path)

        def look_up(values: Values, problems: Problems) -> Json:
            value = values.get(name, ABSENT)
            if value is ABSENT:
                problems.append(missing)
                return None
            return value

        return look_up

    def _join(self, fragments: Sequence[Fragment], path: Path) -> Fill:
        """The function that makes one text, and refuses a text that looks like a secret."""
        parts = [
            one if isinstance(one, str) else self._make_speller(one.name, path) for one in fragments
        ]
        self._count(_NODE + sum(len(one) for one in fragments if isinstance(one, str)))
        secret = self.context.locate(_SECRET, path)

        def fill(values: Values, problems: Problems) -> Json:
            made = [one if isinstance(one, str) else one(values, problems) for one in parts]
            text = "".join(made)
            if len(text) > 20 and is_suspicious(text):
                problems.append(secret)
            return text

        return fill

    def _make_speller(self, name: str, path: Path) -> Callable[[Values, Problems], str]:
        """The function that formats a value as part of a text."""
        look_up, called = self._make_lookup(name, path), format_name(name, "a value")
        empty, several = (
            self.context.locate_first(Finding(f"{called} {said}, and it is part of a text"), path)
            for said in ("is empty", "is not a single value")
        )

        def spell(values: Values, problems: Problems) -> str:
            value = look_up(values, problems)
            if isinstance(value, str) and value:
                return value
            if isinstance(value, bool):
                return str(value).lower()
            if isinstance(value, int | float):
                return str(value)
            if name in values:
                problems.append(several if isinstance(value, dict | list) else empty)
            return ""

        return spell


_NODE: Final = 64
_TWICE: Final = Finding("two keys become the same")
_SECRET: Final = Finding(SUSPICIOUS, next_step=REFER)
_ESCAPE: Final = "To write a literal ${, use $${."
