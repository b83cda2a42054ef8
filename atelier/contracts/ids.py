"""Names: of owners, requests, executions, batches, jobs, models and versions.

Ids that people bring (tenant, user, idempotency key) never become part of a path: they are hashed.
Every name derives from its input, so that a retry finds what it made.
"""

from __future__ import annotations

import base64
import hashlib
import re

TENANT_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MODEL_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
OWNER_PATTERN = re.compile(r"o[a-z2-7]{26}")
REQUEST_PATTERN = re.compile(r"r[a-z2-7]{26}")
BATCH_PATTERN = re.compile(r"b[a-z2-7]{20}")
VERSION_PATTERN = re.compile(r"v([1-9][0-9]{0,5})-([0-9a-f]{8})")
JOB_PATTERN = re.compile(r"atelier-(b[a-z2-7]{20})-([1-9][0-9]{0,5})")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
MAX_USER_ID_CHARACTERS = 256
MAX_IDEMPOTENCY_KEY_CHARACTERS = 255


def check_tenant(tenant: str) -> str:
    """Return `tenant` if it may name one: 1 to 63 of a-z, 0-9 and inner hyphens.

    Raises:
        ValueError: it may not; the message says what is allowed.
    """
    if not TENANT_PATTERN.fullmatch(tenant):
        raise ValueError(
            f"tenant {tenant[:80]!r}: 1 to 63 of a-z, 0-9 and hyphens inside are allowed"
        )
    return tenant


def check_user(user: str) -> str:
    """Return `user` as given if it may name a person: 1 to 256 characters, none of them control.

    Raises:
        ValueError: it may not.
    """
    if not 1 <= len(user) <= MAX_USER_ID_CHARACTERS or not user.isprintable():
        raise ValueError(
            f"user id {user[:80]!r} ({len(user)} characters): 1 to {MAX_USER_ID_CHARACTERS} "
            "printable characters are allowed"
        )
    return user


def check_model(model: str) -> str:
    """Return `model` if it may name one: 1 to 40 of a-z, 0-9 and inner hyphens.

    Raises:
        ValueError: it may not.
    """
    if not MODEL_PATTERN.fullmatch(model):
        raise ValueError(
            f"model name {model[:80]!r}: 1 to 40 of a-z, 0-9 and hyphens inside are allowed"
        )
    return model


def owner_of(tenant: str, user: str) -> str:
    """Return the owner: a hash of tenant and user id, the only form of either in keys and paths.

    Two tenants who both call their user `42` get two owners.
    """
    return "o" + _hash(26, "owner", check_tenant(tenant), check_user(user))


def request_from_key(owner: str, idempotency_key: str) -> str:
    """Return the request id of an idempotency key, which is the owner's own namespace.

    Raises:
        ValueError: the key is empty, too long or holds control characters.
    """
    if (
        not 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS
        or not idempotency_key.isprintable()
    ):
        raise ValueError(
            f"idempotency key of {len(idempotency_key)} characters: 1 to "
            f"{MAX_IDEMPOTENCY_KEY_CHARACTERS} printable characters are allowed"
        )
    return "r" + _hash(26, "key", owner, idempotency_key)


def request_from_input(owner: str, canonical_input: bytes) -> str:
    """Return the request id of an input without an idempotency key: same input, same request."""
    return "r" + _hash(26, "input", owner, hashlib.sha256(canonical_input).hexdigest())


def execution_name(request: str, attempt: int) -> str:
    """Return the onboarding execution's name, at most 80 characters of A-Z a-z 0-9 - _."""
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: attempts count from 1")
    return f"{request}-{attempt}"


def split_execution_name(name: str) -> tuple[str, int] | None:
    """Return (request, attempt) of an execution that we named, or None for a foreign name."""
    request, _, attempt = name.rpartition("-")
    if REQUEST_PATTERN.fullmatch(request) and re.fullmatch(r"[1-9][0-9]{0,5}", attempt):
        return request, int(attempt)
    return None


def batch_of(members: list[tuple[str, int]], *, again: int = 0) -> str:
    """Return the batch id of a set of (request, attempt): the same set is the same batch.

    `again` counts batches of that very set that were let go before.
    """
    if not members:
        raise ValueError("a batch has at least one member")
    repeated = [f"again-{again}"] if again else []
    return "b" + _hash(20, "batch", *(f"{r}-{a}" for r, a in sorted(members)), *repeated)


def job_name(batch: str, attempt: int) -> str:
    """Return the training job's name: SageMaker's pattern, well below its 63 characters."""
    return f"atelier-{batch}-{attempt}"


def version_name(number: int, artifact_digest: str) -> str:
    """Return `v<n>-<digest8>`: readable, and never the same for other weights."""
    if number < 1 or not DIGEST_PATTERN.fullmatch(artifact_digest):
        raise ValueError(f"version {number} of digest {artifact_digest[:80]!r}")
    return f"v{number}-{artifact_digest[:8]}"


def message_id(kind: str, *parts: str) -> str:
    """Return a deterministic id for a message, notification or upload set."""
    return "m" + _hash(26, "message", kind, *parts)


def digest_of(body: bytes) -> str:
    """Return the SHA-256 of bytes in hex: how files are named and bound in every contract."""
    return hashlib.sha256(body).hexdigest()


def _hash(characters: int, *parts: str) -> str:
    # Length prefixes: ("a", "bc") and ("ab", "c") must differ.
    joined = b"".join(
        len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts)
    )
    digest = hashlib.sha256(b"atelier/1" + joined).digest()
    return base64.b32encode(digest).decode().lower().rstrip("=")[:characters]
