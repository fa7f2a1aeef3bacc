"""YAML and JSON as people write them: one document in many hands, comments and all."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from reconciler.manifests.editing.style import write_block, write_text
from reconciler.model import Json

NAMES = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "uri",
        "a/b~c",
        "x y",
        "no",
        "12",
        "é",
        "Model [v1]",
        "k: v",
        "#",
        "-",
        "\U0001f600",
    ]
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "x", "no", "012", "a b", "a: b", "a #b", "it's", '"', "two\nlines\n", "two\n\n  lines",
         "x\n", " x ", "[a]", "{", "a, b", "2026-11-20", "é\u202e\U0001f600", "y" * 90, "- a", "\t"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0="), max_size=6),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([0.5, 1e22, -2.0]), TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(NAMES, below, max_size=4)),
    max_leaves=8,
)
DOCUMENTS = st.one_of(
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=5), st.lists(VALUES, min_size=1, max_size=4)
)


@dataclass
class Hand:
    """One writer. Comments are numbered, so that each is known again."""

    draw: st.DrawFn
    comments: int = 0
    step: int = 2
    lines: list[str] = field(default_factory=list)

    def one(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def may(self) -> bool:
        return self.draw(st.integers(0, 3)) == 0

    def comment(self) -> str:
        self.comments += 1
        return f"# comment {self.comments}: {{[' - x"

    def behind(self) -> str:
        return f"{self.one(' ', '   ')}{self.comment()}" if self.may() else self.one("", "", " ")

    def above(self, indent: int) -> None:
        if self.may():
            self.lines.append(" " * self.draw(st.sampled_from([0, indent])) + self.comment())
        if self.may():
            self.lines.append(self.one("", "", " " * indent))

    def scalar(self, value: Json, *, flow: bool) -> str:
        if isinstance(value, str):
            return write_text(value, self.one("", "'", '"'), flow=flow)
        if value is None:
            return self.one("null", "~")
        return json.dumps(value) if value != 1e22 else "1.0e+22"

    def key(self, name: str, *, flow: bool) -> str:
        return write_text(name, self.one("", "", "'", '"'), flow=flow, key=True)

    def flow(self, value: Json) -> str:
        """Between brackets, on one line or on several; the latter begin with a break."""
        if not isinstance(value, dict | list) or not value:
            return (
                self.scalar(value, flow=True)
                if not isinstance(value, dict | list)
                else self.empty(value)
            )
        entries = (
            [f"{self.key(name, flow=True)}: {self.flow(below)}" for name, below in value.items()]
            if isinstance(value, dict)
            else [self.flow(item) for item in value]
        )
        start, end = ("{", "}") if isinstance(value, dict) else ("[", "]")
        trailing = self.may()
        if self.may():
            rows = [
                f"\n      {entry}{',' if trailing or at < len(entries) - 1 else ''}{self.behind()}"
                for at, entry in enumerate(entries)
            ]
            above = f" {self.comment()}" if self.may() else ""
            return start + above + "".join(rows) + f"\n    {end}"
        inner = self.one(", ", ",  ").join(entries)
        pad = self.one("", " ")
        return f"{start}{pad}{inner}{',' if trailing else ''}{pad}{end}"

    def empty(self, value: Json) -> str:
        return self.one("{}", "{ }") if isinstance(value, dict) else self.one("[]", "[ ]")

    def block(self, value: Json, indent: int) -> None:
        """A mapping or a list in lines, each entry on lines of its own."""
        entries = value.items() if isinstance(value, dict) else [(None, item) for item in value]
        for name, below in entries:
            self.above(indent)
            head = "-" if name is None else f"{self.key(name, flow=False)}:"
            self.entry(head, below, indent)

    def entry(self, head: str, value: Json, indent: int) -> None:
        margin = " " * indent
        if isinstance(value, dict | list) and value and not self.may():
            self.below(head, value, indent)
            return
        if isinstance(value, dict | list):
            self.lines.append(f"{margin}{head} {self.flow(value)}{self.behind()}")
            return
        inside = indent + self.step
        block = write_block(value, self.one("|", ">"), inside) if isinstance(value, str) else None
        if block and not self.may():
            header, body = block
            self.lines.append(f"{margin}{head} {header}{self.behind()}")
            self.lines.extend(body)
            self.lines.extend([""] * self.draw(st.sampled_from([0, 0, 1, 2])))
        elif value is None and self.may():
            self.lines.append(f"{margin}{head}{self.behind()}")
        else:
            gap = self.one(" ", " ", "  ")
            self.lines.append(f"{margin}{head}{gap}{self.scalar(value, flow=False)}{self.behind()}")

    def below(self, head: str, value: Json, indent: int) -> None:
        margin = " " * indent
        if head == "-" and not self.may():
            at = len(self.lines)
            self.block(value, indent + 2)
            first = next(n for n in range(at, len(self.lines)) if is_content(self.lines[n]))
            if first == at:
                self.lines[at] = f"{margin}- {self.lines[at][indent + 2 :]}"
            else:
                self.lines.insert(at, f"{margin}-{self.behind()}")
            return
        self.lines.append(f"{margin}{head}{self.behind()}")
        indentless = isinstance(value, list) and head != "-" and self.may()
        self.block(value, indent if indentless else indent + self.step)


def is_content(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


BLOCK = re.compile(r"[:-] +[|>][-+0-9]*( +#.*)?$", re.MULTILINE)


@st.composite
def manuscripts(draw: st.DrawFn) -> tuple[str, Json, int]:
    """A YAML text, the value of one of its documents, and which one that is."""
    document = draw(DOCUMENTS)
    hand = Hand(draw, step=draw(st.sampled_from([2, 2, 3, 4])))
    hand.above(0)
    if draw(st.integers(0, 5)) == 0:
        hand.lines.append(hand.flow(document) + hand.behind())
    else:
        hand.block(document, 0)
    hand.above(0)
    text = "\n".join(hand.lines) + "\n"
    before = draw(
        st.sampled_from(["", "", "---\n", "a: &x 1\nb: [*x, !t no]\n---\n", "# x\n---\n#y\n---\n"])
    )
    after = draw(st.sampled_from(["", "", "...\n", "---\nz: 1 # z\n", "---\n"]))
    # Documents without a value do not count.
    index = 1 if before.startswith("a:") else 0
    return finish(draw, before + text + after), document, index


def finish(draw: st.DrawFn, text: str) -> str:
    return draw(finishes())(text)


@st.composite
def finishes(draw: st.DrawFn) -> Callable[[str], str]:
    """With a BOM or without, with these line ends or those, with the last one or without."""
    bom, end = (
        draw(st.sampled_from(["", "", "\ufeff"])),
        draw(st.sampled_from(["\n", "\n", "\r\n"])),
    )
    bare = draw(st.integers(0, 3)) == 0

    def finish(text: str) -> str:
        # The end of the file may be the end of a block of text, and part of its value.
        whole = text.endswith("\n\n") or BLOCK.search(text) is not None
        cut = text.removesuffix("\n") if bare and not whole else text
        return bom + cut.replace("\n", end)

    return finish


@st.composite
def json_manuscripts(draw: st.DrawFn) -> tuple[str, Json, Callable[[Json], str]]:
    """A JSON text, its value, and the program that wrote it."""
    step = draw(st.sampled_from([None, 0, 1, 2, 4, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    finish = draw(finishes())

    def write(value: Json) -> str:
        separated = separators if step is None else (",", separators[1])
        text = json.dumps(value, indent=step, separators=separated, ensure_ascii=False)
        return finish(text + "\n")

    document = draw(DOCUMENTS)
    if step is None or separators[1] == ":":
        document = {"a": document}  # a text without a colon does not tell its writer's habits
    return write(document), document, write
