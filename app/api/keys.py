"""API keys: who calls. A key names its tenant, perhaps one user, and carries a signature.

    atl.<tenant>.<signature>                  acts for every user of the tenant
    atl.<tenant>.<user, base32>.<signature>   acts for that user alone

The signature is an HMAC-SHA256 under the deployment's secret, so that no table of keys is needed;
changing the secret revokes them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from atelier.contracts import ids
from atelier.contracts.errors import InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a credential speaks for: a tenant, and one of its users or None for all of them."""

    tenant: str
    user: str | None = None

    def owner(self, user: str) -> str:
        """Return the owner of a user of this caller's.

        Raises:
            NotFound: the credential speaks for another user; what is foreign does not exist.
            InvalidRequest: the user id is malformed.
        """
        if self.user is not None and user != self.user:
            raise NotFound(f"no user {user[:80]!r}", kind="user", name=user[:80])
        try:
            return ids.owner_of(self.tenant, user)
        except ValueError as problem:
            raise InvalidRequest(str(problem), where="user_id", found=user[:80]) from problem


def mint(secret: bytes, tenant: str, user: str | None = None) -> str:
    """Return a key for a tenant, or for one user of it.

    Raises:
        ValueError: tenant or user is malformed.
    """
    claims = ["atl", ids.check_tenant(tenant)]
    if user is not None:
        claims.append(base64.b32encode(ids.check_user(user).encode()).decode().rstrip("=").lower())
    return ".".join([*claims, _signature(secret, claims)])


def verify(secret: bytes, key: str) -> Caller | None:
    """Return who a key speaks for, or None when it is no key of this deployment."""
    *claims, signature = key.split(".")
    if len(claims) not in {2, 3} or claims[0] != "atl":
        return None
    if not hmac.compare_digest(signature.encode(), _signature(secret, claims).encode()):
        return None
    if len(claims) == 2:
        return Caller(claims[1])
    encoded = claims[2].upper()
    padding = "=" * (-len(encoded) % 8)
    return Caller(claims[1], base64.b32decode(encoded + padding).decode())


def _signature(secret: bytes, claims: list[str]) -> str:
    digest = hmac.new(secret, ".".join(claims).encode(), hashlib.sha256).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()
