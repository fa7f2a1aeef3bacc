"""Opens the templates of HTML pages, which load nothing else and are accessible without a mouse.

All text from outside passes the environment's `finalize`, which escapes control characters and
cuts long text, and then the template's own HTML escaping. The content security policy allows only
the page's own script and style, by their digests. The pages of plans and drift reports call it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reconciler import __version__
from reconciler.model import Json
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count

_MOST_CHARACTERS: Final = 2_000


def render_page(
    template: str, values: Mapping[str, object], *, styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """Returns a page; all names are of files below `render`, such as `plan/plan.html.j2`.

    Each page also has the style and the script that all pages share.
    """
    style = "".join(map(_read, ("pages/base.css", *styles)))
    script = "".join(map(_read, ("pages/theme.js", *scripts)))
    return (
        _make_templates()
        .get_template(template)
        .render(
            values,
            style=style,
            script=script,
            policy=_make_policy(style, script),
            version=__version__,
        )
    )


def render_part(template: str, values: Mapping[str, object]) -> str:
    """Returns a part of a page from a template without a style and a script."""
    return _make_templates().get_template(template).render(values)


@cache
def _make_templates() -> Environment:
    made = Environment(
        loader=PackageLoader("reconciler", "render"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_make_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.globals |= {"count": count, "thousands": "{:,}".format}
    return made


def write_data(value: Json) -> Markup:
    """Returns JSON for an inert script element; no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - no character of it is markup


def _read(name: str) -> str:
    return files("reconciler").joinpath(f"render/{name}").read_text("utf-8")


def _make_harmless(value: object) -> object:
    """The value escaped and cut; numbers and the page's own markup stay as they are."""
    if isinstance(value, (Markup, int)):
        return value
    return escape(cut(str(value), _MOST_CHARACTERS))


def _make_policy(style: str, script: str) -> str:
    """The content policy: nothing may load; an empty icon stops browsers from requesting one."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
