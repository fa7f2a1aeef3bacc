"""Runs a forge as a process: `python -m reconciler.emulator.forges --forge github`.

It prints one line of JSON with `ready`, `url`, `token` and more as soon as it listens, and serves
until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from reconciler.emulator.forges import faults
from reconciler.emulator.forges.server import ForgeSettings, serve_forge


def _announce(about: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"ready": True, **about}) + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Serve a forge; return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m reconciler.emulator.forges",
        description="Run a local forge with the calls of pull requests, for tests and demos.",
        epilog=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forges = ("github", "azure-devops", "gitlab")
    parser.add_argument("--forge", choices=forges, required=True, help="whose API it has")
    parser.add_argument("--port", type=int, default=0, help="0 means a free port")
    parser.add_argument("--repository", type=Path, help="the bare repository; it may be new")
    parser.add_argument("--data", type=Path, help="keep the state in this file")
    parser.add_argument("--wait", type=int, default=1, help="seconds that a limit asks to wait")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[@CALL][:TIMES]",
        help="an error of the table below; may be repeated",
    )
    given = parser.parse_args(arguments)
    settings = ForgeSettings(
        given.forge,
        given.repository,
        given.data,
        tuple(given.fault),
        port=given.port,
        wait_s=given.wait,
    )
    try:
        serve_forge(settings, _announce)
    except (OSError, ValueError, LookupError) as error:
        sys.stderr.write(f"forge: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
