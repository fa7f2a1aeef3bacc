"""Texts that were read as a user would before they were kept. `pytest --bless` writes them anew."""

import os
import re
from pathlib import Path

GOLDEN = Path(__file__).parent / "unit" / "golden"


def check(name: str, text: str) -> None:
    text = re.sub(r"(Digest of \w+ \w+:? sha256:)[0-9a-f]{64}", r"\1…", text)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("RECONCILER_BLESS") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text + "\n"
