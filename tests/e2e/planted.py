"""A project with a secret wherever one can be, in front of a service that tells everything.

`python -m tests.e2e.planted FOLDER COMMAND…` is one command as a process of its own: what it writes
and takes away again is kept in the folder, and how it and its children are called.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from reconciler.cli import main
from tests.e2e.markers import Evidence, Marker, Watch, plant, read_titles
from tests.e2e.telltale import OWN, Telltale
from tests.e2e.world import Done, clean_environment, definition, in_environment
from tests.fork_server import start
from tests.scripted import Scripted

TOKEN = plant("the emulator's token", "{}+/=~")
SAS = plant(
    "the signature of models", "sv=2024-01-01&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig={}%2B%3D"
)
KEYS = {
    "/properties/keys/primary": ("env", "PRIMARY", plant("the primary key", "{}")),
    "/properties/keys/secondary": ("file", "secondary.key", plant("the secondary key")),
    "/properties/storageAccount/key": ("file", "storage.key", plant("the storage key", "{}+/==")),
    "/properties/assets/asset3/locationInfo/credentials": (
        "env",
        "CREDENTIALS",
        plant("the asset's credentials", "AccountName=a;AccountKey={}=="),
    ),
}
AROUND = {
    "AZURE_CLIENT_SECRET": plant("AZURE_CLIENT_SECRET"),
    "AZURE_STORAGE_KEY": plant("AZURE_STORAGE_KEY", "{}+/=="),
    "AZURE_STORAGE_SAS_TOKEN": plant("AZURE_STORAGE_SAS_TOKEN", "sv=1&sr=c&sp=r&sig={}"),
    "AZURE_STORAGE_CONNECTION_STRING": plant("the connection string", "AccountKey={}=="),
    "HTTPS_PROXY": plant("the proxy's password", "http://user:{}@127.0.0.1:9"),
    "ANOTHER_TOKEN": plant("a variable that nobody names"),
}
MARKERS: list[Marker] = [
    TOKEN,
    SAS,
    *(marker for _, _, marker in KEYS.values()),
    *AROUND.values(),
    *OWN.values(),
]
SENT = [TOKEN, SAS, *(marker for _, _, marker in KEYS.values())]
MODEL = "Census Model [trained model]"


@dataclass
class Stage:
    """A project in front of a service that tells everything, and all that came of it."""

    kind: ClassVar = "WebService"
    markers: ClassVar[list[Marker]] = MARKERS
    sent: ClassVar = SENT
    defaults: ClassVar = "subscription: s, resourceGroup: g"
    root: Path
    server: Scripted
    service: Telltale
    evidence: Evidence
    environment: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022

    @property
    def folder(self) -> Path:
        return self.root / "project"

    def __post_init__(self) -> None:
        for name in ("project/manifests", "project/secrets", "home", "tmp"):
            (self.root / name).mkdir(parents=True)
        self.environment = {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "RECONCILER_EMULATOR_TOKEN": TOKEN.value,
            "RECONCILER_LOG": "debug",
            "MODELS_SAS": SAS.value,
            **{name: marker.value for name, marker in AROUND.items()},
        }
        for kind, name, marker in KEYS.values():
            if kind == "env":
                self.environment[name] = marker.value
            else:
                self.hide(name, marker)
        (self.folder / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: census}\nspec:\n"
            f"  cloud: {{resourceManager: '{self.server.url}', blob: '{self.server.url}'}}\n"
            f"  defaults: {{{self.defaults}}}\n"
            "  guards: {blobs: warn, maxUpdates: 100%, maxDeletes: 100}\n"
        )

    def address(self, name: str) -> str:
        """What a service is called in a command."""
        return f"{self.kind}/{name}"

    def hide(self, name: str, marker: Marker) -> None:
        """Put a secret where a person would."""
        file = self.folder / "secrets" / name
        file.write_text(marker.value)
        self.evidence.allowed.add(file)

    def declare(self, name: str = "census", model: str = "new", **more: str) -> None:
        """A manifest with every secret there is."""
        secrets = "".join(
            f"    {pointer}: {{{kind}: {'../secrets/' if kind == 'file' else ''}{value},"
            " version: v1}\n"
            for pointer, (kind, value, _) in KEYS.items()
        )
        text = (
            "apiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: {name}}}\nspec:\n  trainedModels:\n"
            f"    {MODEL}: {{uri: '{self.server.url}/account/m/{model}.ilearner',"
            " sas: {env: MODELS_SAS}}\n"
            f"  secrets:\n{secrets}" + "".join(f"  {key}: {value}\n" for key, value in more.items())
        )
        file = self.folder / "manifests" / f"{name}.yaml"
        file.write_text(text)

    def declare_whole(self, name: str) -> None:
        """A manifest of a service that is not there yet."""
        body = definition(f"{self.server.url}/account/m/new.ilearner")
        body["properties"]["storageAccount"].pop("key")
        (self.folder / "manifests" / f"{name}.json").write_text(json.dumps(body))
        self.declare(name, definition=f"{{file: {name}.json}}")

    def deploy(self, name: str = "census", model: str = "old") -> None:
        self.service.deploy(name, definition(f"{self.server.url}/account/m/{model}.ilearner"))

    def run(self, *arguments: str, **environment: str) -> Done:
        """One command in this process; what it said is evidence."""
        self.service.forget(one.place for one in OWN.values())
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
        known = {**clean_environment(self.environment), **environment}
        before = os.umask(self.umask)
        with (
            contextlib.chdir(self.folder),
            in_environment(known),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(list(arguments))
        os.umask(before)
        done = Done(code, *(one.buffer.getvalue().decode() for one in (out, err)))
        self.evidence.add(f"what {' '.join(arguments)} said", done.said)
        return done

    def spawn(self, *arguments: str, **environment: str) -> Done:
        """One command as a process of its own, watched from within."""
        kept = self.root / "kept" / str(len(self.evidence.said))
        with start(
            self.folder,
            str(kept),
            *arguments,
            module="tests.e2e.planted",
            env={**clean_environment(self.environment), **environment},
            stderr=subprocess.PIPE,
        ) as process:
            out, err = process.communicate(timeout=120)
        done = Done(process.wait(), out, err)
        self.evidence.add(f"what {' '.join(arguments)} said", done.said)
        return done

    def misplace(self, name: str, text: str) -> None:
        """A file in which a slip has put a secret: S in quotes, W bare, and N as a number."""
        word = f"{SAS.core}{SAS.core.upper()}"
        filled = re.sub(r"\bW\b", word, text).replace("0xN", f"0x{SAS.core}")
        file = self.folder / "manifests" / name
        file.write_text(re.sub(r"\bS\b", lambda _: json.dumps(SAS.value), f"{filled}\n"))
        self.evidence.allowed.add(file)

    def refuse(self, command: str, *said: str) -> None:
        """See a command fail because of what a manifest holds, and say one of these."""
        for more in ([], ["--json"]) if command == "validate" else ([],):
            done = finish(self.run(command, *more), 1)
            assert any(one in done.said for one in said), done.said

    def check(self) -> None:
        found = self.evidence.find()
        assert not found, "\n".join(found)


NEW = (Stage, Telltale)


def finish(done: Done, code: int, *said: str) -> Done:
    """Hold a command to how it should end: a leak of what never ran would not be found."""
    assert (done.code, "Traceback (most recent" in done.said) == (code, False), done.said
    for text in said:
        assert text in done.said, done.said
    return done


if __name__ == "__main__":
    kept = Path(sys.argv[1])
    with Watch(kept) as watching:
        try:
            ended = main(sys.argv[2:])
        finally:
            reported = read_titles() + "\n".join(watching.started).encode()
            (kept / "titles").write_bytes(reported)
    sys.exit(ended)
