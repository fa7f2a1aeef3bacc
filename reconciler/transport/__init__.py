"""HTTP calls to any service that follows Resource Manager's conventions.

Only this folder imports requests and azure-identity. It sends a token to one origin only, shares
one rate limiter among all workers, bounds replies, retries where that is safe, follows pages and
long-running operations, and raises errors with the service's own code. It must not know a kind of
resource.
"""

from reconciler.secrets.sas import check_validity, find_end, read_signature
from reconciler.transport.client import Client
from reconciler.transport.connections import TransportError
from reconciler.transport.credentials import Tokens, check_sendable, token_credential
from reconciler.transport.operations import (
    count_polls,
    finish_operation,
    follow_operation,
    is_unsettled,
    wait_until_idle,
    wait_while,
)
from reconciler.transport.origins import is_address, is_loopback, origin_of
from reconciler.transport.rate_limit import CommandRateLimiter
from reconciler.transport.replies import NOT_MODIFIED, Reply, check_complete, clean, read_date
from reconciler.transport.storage import (
    SAS_VARIABLE,
    Where,
    explain_failure,
    find_credential,
    is_azure_storage,
    name_credential,
    split_address,
    storage_credential,
)
from reconciler.transport.timeouts import limit_timeouts, read_timeouts
from reconciler.transport.token_bucket import READS, WRITES

__all__ = [
    "NOT_MODIFIED",
    "READS",
    "SAS_VARIABLE",
    "WRITES",
    "Client",
    "CommandRateLimiter",
    "Reply",
    "Tokens",
    "TransportError",
    "Where",
    "check_complete",
    "check_sendable",
    "check_validity",
    "clean",
    "count_polls",
    "explain_failure",
    "find_credential",
    "find_end",
    "finish_operation",
    "follow_operation",
    "is_address",
    "is_azure_storage",
    "is_loopback",
    "is_unsettled",
    "limit_timeouts",
    "name_credential",
    "origin_of",
    "read_date",
    "read_signature",
    "read_timeouts",
    "split_address",
    "storage_credential",
    "token_credential",
    "wait_until_idle",
    "wait_while",
]
