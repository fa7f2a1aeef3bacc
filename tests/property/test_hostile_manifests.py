"""Manifests, project files and definitions from strange hands: what is wrong is told, with where."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import VALUES, bent, encode, examples, renamed, torn
from tests.hostile_project import World, make_wanted

pytestmark = pytest.mark.property
Json = Any


def write_yaml(document: Json) -> bytes:
    """YAML with all that its writer can write: any text, any nesting, aliases."""
    text = yaml.dump(document, Dumper=yaml.CDumper, allow_unicode=True, sort_keys=False)
    return text.encode("utf-8", "surrogatepass")
