"""The three forges behind one protocol: a module for each, and the choice among them.

A module knows the calls of its forge and what their answers mean. It must not know what a comment
says, and it keeps nothing between two jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from reconciler.gitops.forge import Forge
from reconciler.gitops.jobs import ForgeName, Job
from reconciler.ports import Emit
from reconciler.secrets.redaction import Redaction
from reconciler.transport.forge import ForgeToken

_MODULES: Final[dict[ForgeName, str]] = {
    "github": "github",
    "azure-devops": "azure_devops",
    "gitlab": "gitlab",
}


def open_forge(
    job: Job,
    token: ForgeToken,
    redaction: Redaction,
    emit: Emit,
    *,
    print_request: Callable[[str], None] | None = None,
    **speaker: Any,
) -> Forge:
    """The forge of a job; the redaction knows its token from now on.

    With `print_request` it is a dry run: each request is given to it as one text, without the
    token, and only reads are sent. `speaker` are other parameters of a Speaker, for tests. Raises
    ReconcilerError for an address, a repository or a token that cannot be used.
    """
    module = import_module(f"{__name__}.{_MODULES[job.forge]}")
    speaks = module.make_speaker(
        job, token, emit, redaction=redaction, print_request=print_request, **speaker
    )
    forge: Forge = module.make_forge(job, speaks)
    return forge
