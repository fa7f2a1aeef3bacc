"""Which characters change when one value of a document does: as few as can be."""

from __future__ import annotations

from collections import Counter
from typing import Final, Never

from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing.block_style import (
    insert_in_block,
    remove_in_block,
    replace_in_block,
    replace_root,
)
from reconciler.manifests.editing.flow_style import (
    insert_in_brackets,
    remove_in_brackets,
    replace_in_brackets,
    write_json_root,
)
from reconciler.manifests.editing.layout import Piece
from reconciler.manifests.editing.style import Sheet, Splice, Spot
from reconciler.model import Absent, Finding, Json

_WRITE_OUT: Final = "Write the value out in each place, without anchor and alias."


def splice(text: str, splices: list[Splice]) -> str:
    """The text with splices made that do not overlap."""
    for start, end, put in sorted(splices, reverse=True):
        text = text[:start] + put + text[end:]
    return text


def find_splices(sheet: Sheet, path: tuple[str, ...], value: Json | Absent) -> list[Splice]:
    """What to change so that a value is at a path, or gone for ABSENT.

    The document must allow it: nothing but null may stand in the way, and what is to go must be
    there. Raises ManifestInvalid, without a place, where anchors and aliases do not allow it.
    """
    trail, piece, missing = _follow(sheet, path)
    spot = trail[-1] if trail else None
    if isinstance(value, Absent):
        _check_goes(sheet, piece)
        return _remove(sheet, trail)
    if missing and piece.entries:
        return _insert(sheet, piece, missing[0], nest(missing[1:], value))
    _check_goes(sheet, piece)
    if missing and piece.form == "sequence":
        return _replace(sheet, spot, [nest(missing[1:], value)])
    return _replace(sheet, spot, nest(missing, value))


def nest(path: tuple[str, ...], value: Json) -> Json:
    """A value inside the mappings that lead to it."""
    for segment in reversed(path):
        value = {segment: value}
    return value


def _follow(sheet: Sheet, path: tuple[str, ...]) -> tuple[list[Spot], Piece, tuple[str, ...]]:
    """The way to a path, what stands at its end, and the segments that are missing from there."""
    trail: list[Spot] = []
    piece = sheet.root
    for depth, segment in enumerate(path):
        _check_shared(sheet, piece)
        at = piece.index(segment)
        if at is None:
            return trail, piece, path[depth:]
        trail.append(Spot(piece, at))
        piece = trail[-1].entry.value
    return trail, piece, ()


def _check_shared(sheet: Sheet, piece: Piece) -> None:
    """Refuse to change a part of what stands in more than one place."""
    if piece.form == "alias":
        _refuse(f"the alias *{piece.anchor} stands here for what is written elsewhere")
    if sheet.aliases[piece.anchor]:
        _refuse_anchor(piece)


def _check_goes(sheet: Sheet, piece: Piece) -> None:
    """Refuse to take away an anchor that something outside refers to."""
    inside = list(piece.walk())
    within = Counter(one.anchor for one in inside if one.form == "alias")
    for one in inside:
        if one.form != "alias" and sheet.aliases[one.anchor] > within[one.anchor]:
            _refuse_anchor(one)


def _refuse_anchor(piece: Piece) -> Never:
    _refuse(f"the anchor &{piece.anchor} brings this to other places too")


def _refuse(message: str) -> Never:
    raise ManifestInvalid((Finding(message, next_step=_WRITE_OUT),))


def _insert(sheet: Sheet, holder: Piece, name: str, value: Json) -> list[Splice]:
    insert = insert_in_brackets if holder.flow else insert_in_block
    return insert(sheet, holder, name, value)


def _replace(sheet: Sheet, spot: Spot | None, value: Json) -> list[Splice]:
    if spot is not None:
        replace = replace_in_brackets if spot.holder.flow else replace_in_block
        return replace(sheet, spot, value)
    if sheet.json:
        return [(sheet.root.start, sheet.root.end, write_json_root(sheet, value))]
    return replace_root(sheet, value)


def _remove(sheet: Sheet, trail: list[Spot]) -> list[Splice]:
    """Take the trail's last entry away; what becomes empty is written `{}` or `[]`."""
    spot = trail[-1]
    if len(spot.holder.entries) == 1:
        empty: Json = {} if spot.holder.form == "mapping" else []
        return _replace(sheet, trail[-2] if len(trail) > 1 else None, empty)
    remove = remove_in_brackets if spot.holder.flow else remove_in_block
    return remove(sheet, spot)
