"""The answers to verbs and flags of Terraform, kubectl, Argo CD and octoDNS that reconciler lacks.

No answer names a command or flag that destroys, except for a verb that asks for exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

_VERBS: Final = {
    "check": "Use 'reconciler validate'.",
    "create": "Use 'reconciler apply': it creates what a manifest declares.",
    "delete": "Use 'reconciler apply --destroy --target ADDRESS', or 'reconciler forget ADDRESS' to"
    " keep the service.",
    "describe": "Use 'reconciler export ADDRESS --format json' for the live definition, or"
    " 'reconciler history ADDRESS'.",
    "destroy": "Use 'reconciler apply --destroy'.",
    "diff": "Use 'reconciler plan'.",
    "edit": "Edit the manifest, then use 'reconciler plan'.",
    "explain": "Use 'reconciler schema KIND --fields'.",
    "fmt": "reconciler does not format YAML: it keeps the bytes of your files.",
    "generate": "Use 'reconciler export'.",
    "get": "Use 'reconciler list', or 'reconciler export ADDRESS --format json' for the live"
    " definition.",
    "graph": "reconciler has no graph: resources do not depend on each other.",
    "log": "Use 'reconciler history'.",
    "logs": "Use 'reconciler history'.",
    "login": "reconciler does not log in: it uses the credentials that azure-identity finds, for"
    " example those of 'az login'.",
    "ls": "Use 'reconciler list'.",
    "output": "Use 'reconciler list --format json'.",
    "preview": "Use 'reconciler plan'.",
    "providers": "Use 'reconciler schema': it lists the kinds.",
    "refresh": "Use 'reconciler drift'. Each plan reads the services again.",
    "rm": "Use 'reconciler forget ADDRESS'.",
    "rollout": "Use 'reconciler rollback ADDRESS', or 'reconciler history ADDRESS'.",
    "state": "Use 'reconciler list', 'reconciler history' or 'reconciler forget ADDRESS'.",
    "status": "Use 'reconciler drift'.",
    "sync": "Use 'reconciler apply'.",
    "taint": "Use 'reconciler apply --rotate ADDRESS' to write secrets again. A resource is"
    " replaced when an immutable value changes.",
    "undo": "Use 'reconciler rollback ADDRESS'.",
    "unlock": "Use 'reconciler force-unlock ID'.",
    "untaint": "reconciler does not taint resources. Use 'reconciler plan'.",
    "up": "Use 'reconciler apply'.",
    "upgrade": "Use 'pip install --upgrade reconciler'.",
    "workspace": "Use one project file for each environment: 'reconciler --project FILE plan'.",
}
_PATH: Final = "Give the file or the folder without a flag: 'reconciler plan PATH'."
_JSON: Final = "Use '--format json'."
_EVERYWHERE: Final = "A command covers the whole project; '--target ADDRESS' selects a part."
_SCOPE: Final = "Use spec.resource in the manifest, or spec.defaults in the project file."
_LEDGER: Final = "Use spec.ledger in the project file."
_VARIABLES: Final = (
    "reconciler does not have variables. The template of a Fleet takes values of its items: ${…}."
)
_REPLACE: Final = (
    "Use '--rotate ADDRESS' to write secrets again. A resource is replaced when an immutable value"
    " changes."
)
_DEBUG: Final = "Set RECONCILER_LOG=debug in the environment."
_AGAIN: Final = "Run 'reconciler drift' again when you want to know."
_APPROVAL: Final = "'reconciler apply' asks once. Its help names the flag for automation."
_FLAGS: Final = {
    "A": _EVERYWHERE,
    "all-namespaces": _EVERYWHERE,
    "backend-config": _LEDGER,
    "backup": "The ledger keeps every entry: use 'reconciler history'.",
    "compact-warnings": "Use '--summary'.",
    "concurrency": "Use '--parallelism'.",
    "context": "Use 'reconciler --project FILE'.",
    "dry-run": "Use 'reconciler plan': it is the dry run, and changes nothing.",
    "f": _PATH,
    "filename": _PATH,
    "generate-config-out": "Use 'reconciler export', or 'reconciler import ADDRESS ID'.",
    "input": "Set RECONCILER_INPUT=0 in the environment.",
    "json": _JSON,
    "k": _PATH,
    "kubeconfig": "Use 'reconciler --project FILE'.",
    "kustomize": _PATH,
    "lock": "apply always takes the lock, and plan takes none.",
    "migrate-state": _LEDGER,
    "n": _SCOPE,
    "namespace": _SCOPE,
    "o": _JSON,
    "only": "Use '--target ADDRESS'.",
    "output": _JSON,
    "reconfigure": _LEDGER,
    "refresh-only": "Use 'reconciler drift', and 'reconciler drift --accept ADDRESS' to keep what"
    " moved.",
    "replace": _REPLACE,
    "show-sensitive": "A secret is never shown.",
    "skip": "Use '--exclude ADDRESS'.",
    "state": _LEDGER,
    "state-out": _LEDGER,
    "timeout": "Use '--step-timeout' for one operation, or '--lock-timeout' for the lock.",
    "upgrade": "Use 'pip install --upgrade reconciler'.",
    "v": _DEBUG,
    "var": _VARIABLES,
    "var-file": _VARIABLES,
    "verbose": _DEBUG,
    "w": _AGAIN,
    "watch": _AGAIN,
    "y": _APPROVAL,
    "yes": _APPROVAL,
}
# A flag of the command itself, at the start of a quoted text.
_NAMED: Final = re.compile(r"'(--[a-z-]+)")
_FLAG: Final = re.compile(r"--?([A-Za-z][A-Za-z-]*)(=.*)?", re.DOTALL)


def answer_verb(word: str) -> str:
    """What reconciler has in place of another tool's verb; "" for an unknown one."""
    return _VERBS.get(word.lower(), "")


def answer_flag(flag: str, known: Collection[str]) -> str:
    """What reconciler has in place of another tool's flag, given with its dashes; "" if unknown.

    `known` are the flags of the command: an answer with one that the command lacks is not given.
    """
    found = _FLAG.fullmatch(flag)
    answer = _FLAGS.get(found[1], "") if found else ""
    return answer if set(_NAMED.findall(answer)).issubset(known) else ""


def find_typed(flag: str, arguments: Sequence[str]) -> str:
    """The flag as it was typed, without its value.

    click takes `-var x=y` for the flag `-v`, and reports only that.
    """
    if flag.startswith("--"):
        return flag
    words = (found for found in map(_FLAG.fullmatch, arguments) if found)
    typed = (f"-{found[1]}" for found in words if not found[0].startswith("--"))
    return next((one for one in typed if one.startswith(flag)), flag)
