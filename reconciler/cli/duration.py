"""Lengths of time as Terraform's flags have them."""

from __future__ import annotations

import click

from reconciler.text.durations import parse_duration


def read_duration(_: click.Context, __: click.Parameter, text: str) -> float:
    """The seconds that a flag is given; fails with how they are written."""
    try:
        return parse_duration(text)
    except ValueError as error:
        said = f"{text!r} is no length of time, such as 90s, 2m or 1m30s"
        raise click.BadParameter(said) from error
