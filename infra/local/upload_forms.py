"""Upload forms of the local platform: S3's POST policy in small, signed with our own secret.

A form lets its holder write one key, with one content type, up to a size, until it expires; like
S3 (AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy) every field must stand in the policy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from atelier.contracts.clock import from_iso, to_iso
from atelier.contracts.documents import DocumentError, canonical_json, decode, parse_json
from atelier.contracts.errors import InvalidRequest

Sign = Callable[[bytes], str]
"""Turns a message into a signature that only who knows the platform's secret can make."""

FIELDS = frozenset({"key", "content-type", "policy", "signature"})
_IGNORED = "x-ignore-"
_NEW_FORM = "Ask for a new upload form and send its fields unchanged, then the file."


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """What a form allows.

    Attributes:
        key: the one key that may be written.
        content_type: the one content type.
        max_bytes: largest body; the smallest is 1 byte.
        expires_at: from then on it allows nothing.
    """

    key: str
    content_type: str
    max_bytes: int
    expires_at: datetime

    def fields(self, sign: Sign) -> Mapping[str, str]:
        """Return the form's fields."""
        document = {
            "expiration": to_iso(self.expires_at),
            "conditions": [
                {"key": self.key},
                {"content-type": self.content_type},
                ["content-length-range", 1, self.max_bytes],
            ],
        }
        policy = base64.b64encode(canonical_json(document)).decode()
        return {
            "key": self.key,
            "content-type": self.content_type,
            "policy": policy,
            "signature": _signature(sign, policy),
        }


def hmac_signer(secret: bytes) -> Sign:
    """Return HMAC-SHA256 under `secret`, in hex."""
    if len(secret) < 16:
        raise ValueError(f"a secret of {len(secret)} bytes; at least 16 are needed")
    return lambda message: hmac.new(secret, message, hashlib.sha256).hexdigest()


def check_upload(
    fields: Mapping[str, str], *, body_bytes: int, sign: Sign, now: datetime
) -> UploadPolicy:
    """Return the policy under which a form with a body of `body_bytes` may be stored.

    Raises:
        InvalidRequest: the form is not ours, was changed, has expired, or the body does not fit.
    """
    given = {name.lower(): value for name, value in fields.items()}
    given = {name: value for name, value in given.items() if not name.startswith(_IGNORED)}
    if missing := sorted(FIELDS - set(given)):
        raise _refused("form", f"misses the fields {missing}")
    if unknown := sorted(set(given) - FIELDS):
        raise _refused(unknown[0][:80], "stands in no condition of the policy")
    expected = _signature(sign, given["policy"])
    if not hmac.compare_digest(_bytes(expected), _bytes(given["signature"])):
        raise _refused("signature", "does not belong to this policy")
    policy = _read(given["policy"])
    if now >= policy.expires_at:
        raise _refused("policy", f"expired at {to_iso(policy.expires_at)}")
    for name, allowed in (("key", policy.key), ("content-type", policy.content_type)):
        if given[name] != allowed:
            raise _refused(name, f"is {given[name][:80]!r}; the policy allows {allowed!r} only")
    if not 1 <= body_bytes <= policy.max_bytes:
        raise InvalidRequest(
            f"{policy.key}: a file of {body_bytes:,} bytes; 1 to {policy.max_bytes:,} are allowed",
            do="Send a smaller image, and none that is empty.",
            where="file",
            found=body_bytes,
            allowed=policy.max_bytes,
        )
    return policy


def _signature(sign: Sign, policy: str) -> str:
    # The purpose is part of the message: the secret signs other things, too.
    return sign(b"atelier.upload-policy/1\n" + _bytes(policy))


def _bytes(text: str) -> bytes:
    # A form may hold anything, also what UTF-8 cannot write.
    return text.encode(errors="replace")


def _read(policy: str) -> UploadPolicy:
    try:
        document = parse_json(base64.b64decode(policy, validate=True))
        named: dict[str, Any] = {**document["conditions"][0], **document["conditions"][1]}
        _, _, max_bytes = document["conditions"][2]
        return UploadPolicy(
            key=decode(str, named["key"]),
            content_type=decode(str, named["content-type"]),
            max_bytes=decode(int, max_bytes),
            expires_at=from_iso(document["expiration"]),
        )
    except (DocumentError, binascii.Error, ValueError, TypeError, LookupError) as problem:
        raise _refused("policy", "does not read") from problem


def _refused(where: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"upload form: {where} {problem}", do=_NEW_FORM, where=where)
