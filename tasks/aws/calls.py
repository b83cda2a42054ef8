"""What AWS's answers mean: every error of a call becomes one of the tree's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from atelier.contracts.errors import AtelierError, ContractBroken, ServiceUnavailable, Throttled

THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the tree's error for any that a call raised and nobody expected.

    Args:
        what: what was called, for people: `DynamoDB`, `S3`.

    Raises:
        Throttled, ServiceUnavailable: later works.
        ContractBroken: the call itself is wrong: a missing table, right or field.
    """
    try:
        yield
    except ClientError as problem:
        raise _error(what, problem) from problem
    except BotoCoreError as problem:
        # No answer: a connection that failed, a timeout, credentials that could not be fetched.
        raise ServiceUnavailable(f"{what}: {problem}") from problem


def code_of(problem: ClientError) -> str:
    """Return AWS's error code; S3's HEAD has no body and gives its HTTP status."""
    return str(problem.response.get("Error", {}).get("Code", ""))


def _error(what: str, problem: ClientError) -> AtelierError:
    code = code_of(problem)
    status = int(problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in THROTTLED or status == 429:
        return Throttled(f"{what}: {problem}")
    if status >= 500:
        return ServiceUnavailable(f"{what}: {problem}")
    return ContractBroken(
        f"{what}: {problem}",
        do="Check the deployment: a table, bucket or right is missing, or it is an older one.",
        where=code,
    )
