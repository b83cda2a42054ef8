"""Task tokens: they name their execution and attempt, and only this engine can make them.

A token is Base64 of `<execution ARN>#<attempt>#<signature>`. So none has to be stored, and a
token that was never handed out can be told from one whose attempt is over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from workflows.engine.errors import InvalidToken


def issue_token(key: bytes, execution_arn: str, attempt: int) -> str:
    """Make the token of one task attempt."""
    claim = f"{execution_arn}#{attempt}"
    return base64.urlsafe_b64encode(f"{claim}#{_sign(key, claim)}".encode()).decode()


def read_token(key: bytes, token: str) -> tuple[str, int]:
    """Return the execution's ARN and the attempt that a token names.

    Raises:
        InvalidToken: it is no token, or not one of ours.
    """
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        claim, signature = text.rsplit("#", 1)
        execution_arn, attempt = claim.rsplit("#", 1)
        genuine = hmac.compare_digest(signature.encode(), _sign(key, claim).encode())
        if genuine:
            return execution_arn, int(attempt)
    except (binascii.Error, ValueError):
        pass
    raise InvalidToken("This is no task token of this engine; send the one that the task was given")


def _sign(key: bytes, claim: str) -> str:
    return hmac.new(key, claim.encode(), hashlib.sha256).hexdigest()[:32]
