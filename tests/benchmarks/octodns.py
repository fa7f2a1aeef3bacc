"""octoDNS, for the part of the work that needs no network: YAML read, compared, planned.

A thousand zones of three records each, from YAML to YAML; every hundredth has another address. It
comes from PyPI into an environment of its own in the user's cache folder, and is left there.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from tests.benchmarks.gauge import Usage, gauge, measured_environment

_CONFIG: Final = """
providers:
  config: {class: octodns.provider.yaml.YamlProvider, directory: ./config, default_ttl: 300}
  target: {class: octodns.provider.yaml.YamlProvider, directory: ./target, default_ttl: 300}
zones:
"""
_ZONE: Final = """
  zone{0:05}.test.: {{sources: [config], targets: [target]}}"""
_RECORDS: Final = """---
'': {{type: A, value: 192.0.2.{0}}}
mail: {{type: A, value: 192.0.2.2}}
www: {{type: CNAME, value: zone.test.}}
"""


class OctoDns:
    """octoDNS in a folder."""

    def __init__(self, environment: Path) -> None:
        self._program = environment / "bin" / "octodns-sync"
        python = str(environment / "bin" / "python")
        said = "import importlib.metadata as m; print(m.version('octodns'))"
        asked = subprocess.run([python, "-c", said], capture_output=True, text=True, check=True)
        self.name = f"octoDNS {asked.stdout.strip()}"

    def prepare(self, folder: Path, _url: str, zones: int) -> None:
        self._folder = folder
        for side in ("config", "target"):
            (folder / side).mkdir(parents=True)
            for number in range(zones):
                other = side == "config" and number % 100 == 0
                text = _RECORDS.format(9 if other else 1)
                (folder / side / f"zone{number:05}.test.yaml").write_text(text)
        listed = "".join(_ZONE.format(number) for number in range(zones))
        (folder / "config.yaml").write_text(_CONFIG + listed)

    def plan(self) -> Usage:
        command = [str(self._program), "--config-file", "config.yaml", "--quiet"]
        return gauge(command, self._folder, measured_environment())


def find_octodns() -> OctoDns | None:
    """octoDNS, where it is in the cache or can be brought there."""
    folder = user_cache_path("reconciler-benchmarks") / "octodns"
    if not (folder / "bin" / "octodns-sync").exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "octodns"]
        if subprocess.run(pip, check=False, stdout=sys.stderr).returncode:
            return None
    return OctoDns(folder)
