"""The answers to verbs and flags of Terraform, kubectl, kapp, Argo CD and octoDNS.

No answer names a command or flag that destroys, except for a verb that asks for exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from reconciler.text.suggestions import suggest

# A word of another tool is often a little like one of reconciler, and means something else.
_LEAST: Final = 0.75
_LIST: Final = "Use 'reconciler list'."
_PLAN: Final = "Use 'reconciler plan'."
_APPLY: Final = "Use 'reconciler apply'."
_DRIFT: Final = "Use 'reconciler drift'."
_EXPORT: Final = "Use 'reconciler export'."
_HISTORY: Final = "Use 'reconciler history'."
_VALIDATE: Final = "Use 'reconciler validate'."
_KINDS: Final = "Use 'reconciler schema': it lists the kinds."
_ENVIRONMENT: Final = "Write environments/NAME.yaml, and use 'reconciler plan --env NAME'."
_PROJECT: Final = "Name another project file: 'reconciler --project FILE plan'."
_LOGIN: Final = (
    "reconciler does not log in: it uses the credentials that azure-identity finds, for example"
    " those of 'az login'."
)
_DESTROYED: Final = (
    "The plan shows what an apply destroys. 'reconciler plan --help' has the flags for it."
)
_LOCK: Final = "apply always takes the lock, and plan takes none."
# The answers, each with the verbs that it answers.
_VERBS_BY_ANSWER: Final = {
    _APPLY: "converge deploy install push reconcile sync up update",
    _DESTROYED: "clean gc prune",
    _DRIFT: "compare monitor octodns-compare octodns-report report status watch",
    _EXPORT: "dump generate octodns-dump pull",
    _HISTORY: "log logs tail",
    _KINDS: "api-resources metadata providers",
    _LIST: "app apps endpoints inspect ls manifests models ps resources search services",
    _LOCK: "lock",
    _LOGIN: "auth login logout",
    _PLAN: "diff preview",
    _ENVIRONMENT: "env environment workspace",
    _PROJECT: "account cluster config context proj project",
    _VALIDATE: "check doctor lint octodns-validate test",
    "Edit the manifest, then use 'reconciler plan'.": "annotate autoscale edit label patch replace"
    " scale set unset",
    "One Fleet manifest declares many resources: 'reconciler schema Fleet'.": "modules template",
    "Press Ctrl-C in the apply: it finishes and records the running steps.": "terminate-op",
    "The services run in the cloud. 'reconciler list' and 'reconciler drift' show"
    " them.": "attach cluster-info console cordon cp debug drain exec port-forward proxy restart"
    " run start stop top uncordon",
    "Install the new version from where you installed this one.": "upgrade",
    "Use 'reconciler apply --destroy --target ADDRESS', or 'reconciler forget ADDRESS' to keep the"
    " service.": "delete down remove uninstall",
    "Use 'reconciler apply --destroy'.": "destroy",
    "Use 'reconciler apply --rotate ADDRESS' to write secrets again. A resource is replaced when an"
    " immutable value changes.": "rotate taint",
    "Use 'reconciler apply FILE' with the saved plan.": "merge",
    "Use 'reconciler apply': it creates what a manifest declares.": "create",
    "Use 'reconciler apply': it waits until each change took effect.": "wait",
    "Use 'reconciler drift'. Each plan reads the services again.": "refresh",
    "Use 'reconciler export ADDRESS --format json' for the live definition, or 'reconciler history"
    " ADDRESS'.": "describe",
    "Use 'reconciler force-unlock ID'.": "unlock",
    "Use 'reconciler forget ADDRESS'.": "rm",
    "Use 'reconciler init'.": "new",
    "Use 'reconciler list --format json'.": "output",
    "Use 'reconciler list', 'reconciler history' or 'reconciler forget ADDRESS'.": "state",
    "Use 'reconciler list', or 'reconciler export ADDRESS --format json' for the live"
    " definition.": "get",
    "Use 'reconciler plan', and then 'reconciler apply'.": "octodns-sync",
    "Use 'reconciler rollback ADDRESS', or 'reconciler history ADDRESS'.": "rollout",
    "Use 'reconciler rollback ADDRESS'.": "restore revert undo",
    "Use 'reconciler schema KIND --fields'.": "explain",
    "reconciler does not format YAML: it keeps the bytes of your files.": "fmt",
    "reconciler does not taint resources. Use 'reconciler plan'.": "untaint",
    "reconciler has no graph: resources do not depend on each other.": "graph",
    "reconciler scores rows only to prove which model answers: 'reconciler verify"
    " ADDRESS'.": "invoke predict score",
    "reconciler runs no server: a pipeline runs 'reconciler plan' and 'reconciler"
    " apply'.": "server",
}
_PATH: Final = "Give the file or the folder without a flag: '{command} PATH'."
_JSON: Final = "Use '--format json'."
_LEDGER: Final = "Use spec.ledger in the project file."
_PROJECT_FILE: Final = "Use 'reconciler --project FILE'."
_DRY_RUN: Final = "Use 'reconciler plan': it is the dry run, and changes nothing."
# The answer for a dry run of each command that can change a service, and of all others.
_DRY_RUNS: Final = {
    "reconciler plan": _DRY_RUN,
    "reconciler apply": _DRY_RUN,
    "reconciler rollback": "Use '--out FILE': it only saves the plan, and 'reconciler show FILE'"
    " prints it.",
    "reconciler watch": "Use '--mode report', which is the default: a cycle then changes nothing.",
}
_NO_DRY_RUN: Final = "This command changes no service. Its help says what it writes."
# The answers, each with the flags that it answers.
_FLAGS_BY_ANSWER: Final = {
    _DESTROYED: "cascade delete grace-period prune-allowlist prune-whitelist purge rm",
    _JSON: "json o output",
    _LEDGER: "backend backend-config migrate-state reconfigure state state-out",
    _PATH: "f filename k kustomize",
    _PROJECT_FILE: "cluster config config-file context kube-context kubeconfig user",
    "'reconciler apply' asks once. Its help names the flag for automation.": "y yes",
    "A command covers the whole project; '--target ADDRESS' selects a part.": "A all"
    " all-namespaces",
    "A folder is read with its subfolders.": "R recursive",
    "A secret is never shown.": "show-sensitive",
    "Every command checks the manifests first: see 'reconciler"
    " validate'.": "lenient strict validate",
    "No existing file is overwritten. The help of the command names the flag that allows"
    " it.": "overwrite",
    "Reads are repeated. A write is repeated only if it is proven that it was not"
    " done.": "retry-limit retry-strategy",
    "Set RECONCILER_INPUT=0 in the environment.": "input",
    "Set RECONCILER_LOG=debug in the environment.": "debug log-level loglevel v verbose",
    "The guards are in spec.guards of the project file.": "unsafe",
    "The ledger keeps every entry: use 'reconciler history'.": "backup record",
    "The messages name what prevents a step, and what lifts it.": "force",
    "The newest entry comes first. Use a program such as head.": "limit tail",
    "This command does not select by labels. 'reconciler list -l LABEL=VALUE' lists the"
    " addresses.": "l selector",
    "Use '--at TIME' for the state at a moment.": "follow since",
    "Use '--detailed-exitcode'.": "exit-code",
    "Use '--exclude ADDRESS'.": "skip",
    "Use '--format json' and a program such as jq.": "field-selector show-labels sort-by",
    "Use '--parallelism'.": "apply-concurrency concurrency max-workers",
    "Use '--refresh full'.": "hard-refresh",
    "Use '--rotate ADDRESS' to write secrets again. A resource is replaced when an immutable value"
    " changes.": "replace",
    "Use '--selector LABEL=VALUE'.": "filter-labels label labels",
    "Use '--step-timeout' for one operation, or '--lock-timeout' for the lock.": "timeout",
    "Use '--summary'.": "compact-warnings concise q quiet",
    "Use '--target ADDRESS'.": "only resource source",
    "Install the new version from where you installed this one.": "upgrade",
    "Use 'reconciler apply': it asks before it changes anything.": "doit",
    "Use 'reconciler drift', and 'reconciler drift --accept ADDRESS' to keep what"
    " moved.": "refresh-only",
    "Use 'reconciler export', or 'reconciler import ADDRESS ID'.": "generate-config-out",
    _DRY_RUN: "check check-only diff diff-changes diff-run dry-run dryrun no-op noop preview"
    " preview-changes simulate trial what-if whatif",
    "Use 'reconciler rollback ADDRESS --to N'. 'reconciler history' shows the numbers.": "revision"
    " to-revision",
    "Use 'reconciler watch'.": "w watch",
    "Use spec.resource in the manifest, or spec.defaults in the project file.": "n namespace",
    _LOCK: "lock",
    "apply waits until each change took effect.": "async no-wait wait",
    "Use '--env NAME': environments/NAME.yaml has the values for ${values.NAME} in"
    " manifests.": "e environment env-file var var-file varfile vars workspace",
    "reconciler uses the credentials that azure-identity finds, for example those of 'az"
    " login'.": "as insecure-skip-tls-verify password token username",
    "reconciler writes only what a manifest declares. 'reconciler drift' shows what others"
    " wrote.": "field-manager force-conflicts server-side",
}
_VERBS: Final = {word: said for said, words in _VERBS_BY_ANSWER.items() for word in words.split()}
_LEDGER_VERBS: Final = dict.fromkeys(("list", "log", "show"), _HISTORY)
_FLAGS: Final = {word: said for said, words in _FLAGS_BY_ANSWER.items() for word in words.split()}
# A flag of the command itself, at the start of a quoted text.
_NAMED: Final = re.compile(r"'(--[a-z-]+)")
_FLAG: Final = re.compile(r"--?([A-Za-z][A-Za-z-]*)(=.*)?", re.DOTALL)


def answer_verb(word: str, group: str = "reconciler") -> str:
    """What reconciler has in place of another tool's verb; "" for an unknown one.

    `group` is the command line before the verb.
    """
    known = _VERBS | _LEDGER_VERBS if group == "reconciler ledger" else _VERBS
    return known.get(word.lower(), "")


def answer_flag(flag: str, known: Collection[str], command: str, reader: str) -> str:
    """What reconciler has in place of another tool's flag, given with its dashes; "" if unknown.

    `known` are the flags of `command`: an answer with one that the command lacks is not given.
    `reader` is the command to read a manifest with.
    """
    found = _FLAG.fullmatch(flag)
    answer = _FLAGS.get(found[1], "") if found else ""
    if answer == _DRY_RUN:
        return _DRY_RUNS.get(command, _NO_DRY_RUN)
    fits = set(_NAMED.findall(answer)).issubset(known)
    return answer.replace("{command}", reader) if fits else ""


def suggest_word(word: str, known: Sequence[str], *, never: Collection[str]) -> str:
    """The command or flag that was probably meant; "" if none is nearly like it."""
    names = {one.lstrip("-"): one for one in known}
    barred = {one.lstrip("-") for one in never}
    near = suggest(word.lstrip("-"), names, never=barred, least=_LEAST)
    return names[near] if near else ""


def find_typed(flag: str, arguments: Sequence[str]) -> str:
    """The flag as it was typed, without its value.

    click takes `-var x=y` for the flag `-v`, and reports only that. It gets `-lock` as `--lock`.
    """
    words = [found for found in map(_FLAG.fullmatch, arguments) if found]
    typed = [f"-{found[1]}" for found in words if not found[0].startswith("--")]
    if flag.startswith("--"):
        return flag[1:] if flag[1:] in typed else flag
    return next((one for one in typed if one.startswith(flag)), flag)
