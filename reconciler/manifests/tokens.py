"""Replaces `${env.…}` and `${values.…}` in the nodes of a manifest by the values of an environment.

The loader calls it before a document is checked. Only these tokens are known; `$${env.…}` is the
text `${env.…}`. Variables of the process are never read: a plan depends on files alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import yaml

from reconciler.model import Environment, Finding, Json, SourceLocation
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import quote_word
from reconciler.text.suggestions import ask, suggest

Scalar: TypeAlias = str | int | float | bool

OPENING: Final = "${"
# Of a project without environments: its texts stay as they are.
NO_TOKENS: Final[Mapping[str, Scalar]] = {}
_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final = ("env", "values")
# What people write in place of these two words.
_NEAR: Final[Mapping[str, str]] = {
    **dict.fromkeys(("env", "envs", "environ", "environment", "environments"), "env"),
    **dict.fromkeys(("value", "values", "val", "vals", "var", "vars", "variables"), "values"),
}
_TOKEN: Final = re.compile(
    rf"(\$?)\$\{{(\s*(?:{'|'.join(_NEAR)})(?![A-Za-z0-9_-])[^{{}}$\r\n]*)(\}}?)", re.IGNORECASE
)
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Token:
    """A token in a text: its name, and where it starts and ends."""

    name: str
    start: int
    end: int


def find_tokens(text: str) -> list[Token]:
    """Returns the tokens of a text, without what is escaped."""
    if OPENING not in text:
        return []
    return [
        Token(found[2], found.start(), found.end())
        for found in _TOKEN.finditer(text)
        if not found[1] and found[3]
    ]


def unescape(text: str) -> str:
    """Returns a text in which no token is escaped any more."""
    return _TOKEN.sub(lambda found: found[0][1:] if found[1] else found[0], text)


def fill(text: str, known: Mapping[str, Scalar]) -> str:
    """Returns a text with the values of its tokens; without any known one, as it is."""
    if not known:
        return text
    made, end = "", 0
    for token in find_tokens(text):
        value = _write(known[token.name]) if token.name in known else text[token.start : token.end]
        made += unescape(text[end : token.start]) + value
        end = token.end
    return made + unescape(text[end:])


def list_tokens(environment: Environment, defaults: Mapping[str, Json]) -> dict[str, Scalar]:
    """Returns the value of each token, by the token's name, such as `values.sku`.

    `defaults` are those of the project with those of the environment over them.
    """
    scalars = {name: value for name, value in defaults.items() if isinstance(value, Scalar)}
    return {
        "env.name": environment.name,
        **{f"env.labels.{name}": value for name, value in environment.labels.items()},
        **{f"env.defaults.{name}": value for name, value in scalars.items()},
        **{f"values.{name}": value for name, value in environment.values.items()},
    }


def replace_tokens(
    file: str, node: yaml.Node, known: Mapping[str, Scalar], source: str
) -> list[Finding]:
    """Replaces the tokens in a document's texts in place; returns a finding for each wrong one.

    `source` is the file of the environment. The template of a fleet unescapes its texts itself.
    """
    template = _find(_find(node, "spec"), "template") if _is_fleet(node) else None
    findings: list[Finding] = []
    for scalar, in_template in _list_scalars(node, template):
        findings += _replace(file, scalar, known, source, in_template=in_template)
    return findings


def refuse_tokens(file: str, node: yaml.Node, next_step: str) -> Iterator[Finding]:
    """Yields a finding for each token in a document in which none is replaced."""
    for scalar, _ in _list_scalars(node, None):
        for token in find_tokens(str(scalar.value)):
            said = f"${{{token.name}}} is replaced only in manifests"
            place = _place(file, scalar, str(scalar.value), token.start)
            yield Finding(said, place=place, next_step=next_step)


def _is_fleet(node: yaml.Node) -> bool:
    kind = _find(node, "kind")
    return isinstance(kind, yaml.ScalarNode) and kind.value == "Fleet"


def _find(node: yaml.Node | None, name: str) -> yaml.Node | None:
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in entries if key.value == name), None)


def _list_scalars(
    node: yaml.Node, template: yaml.Node | None
) -> Iterator[tuple[yaml.ScalarNode, bool]]:
    """Yields each text with a `${` once, in order, and whether it is in the template."""
    left, seen = [(node, False)], set[int]()
    while left:
        one, inside = left.pop()
        inside = inside or one is template
        if id(one) in seen:  # an alias
            continue
        seen.add(id(one))
        if isinstance(one, yaml.ScalarNode):
            if one.tag == f"{_TAG}str" and OPENING in one.value:
                yield one, inside
        elif isinstance(one, yaml.MappingNode):
            below = [part for entry in one.value for part in entry]
            left += [(part, inside) for part in reversed(below)]
        else:
            left += [(part, inside) for part in reversed(one.value)]


def _replace(
    file: str,
    node: yaml.ScalarNode,
    known: Mapping[str, Scalar],
    source: str,
    *,
    in_template: bool,
) -> Iterator[Finding]:
    text, made, end = str(node.value), "", 0
    for token in _TOKEN.finditer(text):
        escaped, name, closing = token.groups()
        made += text[end : token.start()]
        end = token.end()
        if escaped:
            made += token[0] if in_template else token[0][1:]
        elif closing and name in known:
            if token[0] == text:
                _set_value(node, known[name])
                return
            made += _write(known[name])
        else:
            place = _place(file, node, text, token.start())
            yield _explain(name, known, source, place, is_closed=bool(closing))
    node.value = made + text[end:]


def _set_value(node: yaml.ScalarNode, value: Scalar) -> None:
    """A text that is one token has the value's own type."""
    types = {bool: "bool", int: "int", float: "float"}
    node.tag = f"{_TAG}{types.get(type(value), 'str')}"
    node.value = _write(value)


def _write(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _place(file: str, node: yaml.ScalarNode, text: str, at: int) -> SourceLocation:
    """The place of a token, or of its text if the text is not written as it is read."""
    start, end = node.start_mark, node.end_mark
    quotes = 1 if node.style in {"'", '"'} else 0
    if end.index - start.index == len(text) + 2 * quotes and start.line == end.line:
        return SourceLocation(file, start.line + 1, start.column + 1 + quotes + at)
    return SourceLocation(file, start.line + 1, start.column + 1)


def _explain(
    name: str,
    known: Mapping[str, Scalar],
    source: str,
    place: SourceLocation,
    *,
    is_closed: bool,
) -> Finding:
    if not is_closed:
        return Finding("a ${ has no } after the name", place=place, next_step="Add the }.")
    word, _, rest = name.strip().partition(".")
    word = _NEAR[word.casefold()]
    names = [one for one in known if one.partition(".")[0] == word]
    near = suggest(rest, [one.partition(".")[2] for one in names])
    said = f"{source} has no{quote_word(name) or ' such value'}"
    if near:
        return Finding(said, place=place, next_step=ask(name, f"{word}.{near}", "${{{}}}"))
    some = ", ".join(f"${{{one}}}" for one in names[:_MOST_NAMED])
    step = f"Add it in {source}, or write $${{ for a text.{some and f' Known: {some}.'}"
    return Finding(said, place=place, next_step=step)
