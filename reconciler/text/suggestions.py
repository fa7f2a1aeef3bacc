"""Suggests a known name for an unknown one, and describes how two names that look alike differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice, zip_longest
from typing import Final

# A comparison of similar names takes up to 0.1 ms.
_MOST: Final = 10_000
_LEAST: Final = 0.6
# Letters of other alphabets and signs, and what they look like. NFKC does not join them.
_ALIKE: Final = str.maketrans(
    "авеёіјкмнорстухѕһԁԛԝαβεζηικμνορτυχıɡ\u2010\u2011\u2012\u2013\u2014\u2212\u2018\u2019",
    "abeeijkmhopctyxshdqwabezhikmvoptyxig------''",
)
_PLAIN_NAMES: Final = {"\n": "line break", "\r": "line break", "\t": "tab"}


def suggest(
    word: str,
    known: Iterable[str],
    *,
    never: Collection[str] = (),
    most: int = _MOST,
    least: float = _LEAST,
) -> str:
    """The known name that is most similar to a word in any case; "" when no name is similar.

    A name that only looks like the word comes first. Only the first `most` names are compared; a
    caller with many words gives a smaller number. Names in `never` are not suggested. If one of
    them is the most similar, no other is either. `least` is the ratio of equal characters that a
    similar name has, from 0 to 1.
    """
    import difflib  # noqa: PLC0415 - start-up: only a mistake needs it

    names: dict[str, str] = {}
    for name in islice(known, most):
        names.setdefault(_fold(name), name)
    folded = _fold(word)
    if folded in names:
        near = [folded]
    else:
        # A long word has few names of a similar length, and only those are compared.
        alike = [name for name in names if _may_be_similar(len(folded), len(name), least)]
        near = difflib.get_close_matches(folded, alike, 1, least) if alike else []
    return names[near[0]] if near and names[near[0]] not in never else ""


def _may_be_similar(one: int, other: int, least: float) -> bool:
    """Whether two texts of these lengths can have so many equal characters."""
    return 2 * min(one, other) / (one + other) >= least


def ask(word: str, near: str, form: str = '"{}"') -> str:
    """The question whether a near name was meant; it describes a difference that cannot be seen.

    `form` says how the question writes the name.
    """
    return f"Did you mean {form.format(near)}? {describe_difference(word, near)}".rstrip()


def looks_like(one: str, other: str) -> bool:
    """Whether two names look the same, in any case: the difference cannot be seen."""
    return _fold(one) == _fold(other)


def describe_difference(word: str, near: str) -> str:
    """Where two names differ, if that cannot be seen; "" for a difference that can be seen."""
    pairs = enumerate(zip_longest(word, near, fillvalue=""))
    at = next((n for n, (one, other) in pairs if one.casefold() != other.casefold()), -1)
    if at < 0 or not (looks_like(word, near) or _is_hidden(word, at) or _is_hidden(near, at)):
        return ""
    here, there = _describe_at(word, at), _describe_at(near, at)
    return f"They differ at character {at + 1}: {here} here, {there} there."


def describe_character(character: str) -> str:
    """The name of a character, such as `a no-break space (U+00A0)`; a letter is quoted."""
    import unicodedata  # noqa: PLC0415 - start-up: only a mistake needs it

    if character == " ":
        return "a space"
    if character.isascii() and character.isprintable():
        return f'"{character}"'
    name = _PLAIN_NAMES.get(character) or unicodedata.name(character, "unnamed character").lower()
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name} (U+{ord(character):04X})"


def _describe_at(text: str, at: int) -> str:
    import unicodedata  # noqa: PLC0415 - start-up: only a mistake needs it

    if at >= len(text):
        return "the end"
    accent = text[at + 1 : at + 2]
    follows = f" with {describe_character(accent)}" if unicodedata.combining(accent or "a") else ""
    return describe_character(text[at]) + follows


def _is_hidden(text: str, at: int) -> bool:
    """Whether a character cannot be seen: a strange blank, or a blank at an end or beside one."""
    around = text[max(at - 1, 0) : at + 2]
    blank = text[at : at + 1].isspace() and (around != around.strip() or "  " in around)
    return blank or not text[at : at + 1].isprintable()


def _fold(text: str) -> str:
    """The form in which names that look the same are equal."""
    if not text.isascii():
        import unicodedata  # noqa: PLC0415 - start-up: only a mistake needs it

        text = unicodedata.normalize("NFKC", text)
        text = "".join(one for one in text if unicodedata.category(one) != "Cf")
        text = text.casefold().translate(_ALIKE)
    return " ".join(text.split()).casefold()
