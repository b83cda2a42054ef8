"""A bucket that fails as told, in front of one that works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from atelier.contracts.errors import ServiceUnavailable
from tasks.ports import ObjectInfo, Objects


@dataclass
class FailingObjects:
    """Fails the next `failures` writes, and tells in `written` and `deleted` what reached it."""

    objects: Objects
    failures: int = 0
    changes: list[tuple[str, str]] = field(default_factory=list)

    def put(self, key: str, body: bytes, **more) -> ObjectInfo:
        self._fail()
        self.changes.append(("put", key))
        return self.objects.put(key, body, **more)

    def delete(self, key: str) -> None:
        self._fail()
        self.changes.append(("delete", key))
        self.objects.delete(key)

    def read(self, key: str, **more) -> bytes:
        return self.objects.read(key, **more)

    def info(self, key: str) -> ObjectInfo | None:
        return self.objects.info(key)

    def list(self, prefix: str, **more) -> Sequence[ObjectInfo]:
        return self.objects.list(prefix, **more)

    def upload_form(self, key: str, **more):
        return self.objects.upload_form(key, **more)

    def _fail(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise ServiceUnavailable("the disk is full")
