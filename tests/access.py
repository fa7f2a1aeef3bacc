"""What a provider reaches a scripted service by."""

from reconciler.model import Cloud, SecretReference
from reconciler.ports import Access
from reconciler.secrets.redaction import Redaction
from reconciler.transport import CommandRateLimiter

PLANES = ("resourceManager", "studioManagement", "services")


def access(url: str, deadline_s: float = 60.0, secret: str = "token") -> Access:
    """All planes at one address. `secret` is what MODELS_SAS holds, or else any reference."""

    def resolve(reference: SecretReference) -> str:
        return secret if reference.env == "MODELS_SAS" else "workspace-token"

    rate_limiter = CommandRateLimiter(lambda _: None)
    return Access(
        Cloud(url, dict.fromkeys(PLANES, url)),
        lambda _: None,
        rate_limiter,
        deadline_s,
        resolve,
        Redaction(),
    )
