"""Bringing adapters into host memory, for both doors.

The platform's door names a folder on the disk; a second load of the name is refused. The artifact
door names an object and a digest; however many ask for it at once, it is read once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from atelier.contracts import keys
from atelier.contracts.archive import MAX_ARCHIVE_BYTES
from atelier.contracts.errors import (
    AdapterRejected,
    ContractBroken,
    InvalidRequest,
    NotFound,
)
from atelier.objects import ObjectReader
from serving_image import artifact
from serving_image.artifact import Artifact
from serving_image.drawer import Drawer
from serving_image.residency import AdapterKey, Door, Residency

log = logging.getLogger("atelier.serving.loading")

LOADS_AT_ONCE = 2
"""Reading and checking take a core each; drawing needs the others."""


class Loading:
    """Reads, checks and stages adapters, off the event loop.

    Args:
        residency: where they are registered and staged.
        drawer: gives what checks their tensors; raises ServiceUnavailable before it is ready.
        objects: below the one prefix that `/invocations` reads; None closes that door.
    """

    def __init__(
        self,
        *,
        residency: Residency,
        drawer: Callable[[], Drawer],
        objects: ObjectReader | None,
    ) -> None:
        self._residency = residency
        self._drawer = drawer
        self._objects = objects
        self._at_once = asyncio.Semaphore(LOADS_AT_ONCE)
        self._arriving: dict[AdapterKey, asyncio.Task[None]] = {}

    async def load_folder(self, name: str, url: object) -> AdapterKey:
        """Stage the artifact that the platform unpacked at `url` as `name`.

        Raises:
            AlreadyExists: the name is loaded, or is being loaded or unloaded.
            InvalidRequest: no folder that may be read.
            AdapterRejected: the artifact breaks a rule.
            MemoryExhausted: no host memory for it.
        """
        drawer = self._drawer()
        key = AdapterKey(Door.PLATFORM, name)
        async with self._at_once:
            await asyncio.to_thread(
                self._stage, drawer, key, str(url), lambda: artifact.read_url(url)
            )
        return key

    async def load_artifact(self, path: str, digest: str) -> AdapterKey:
        """Stage the artifact at a relative path below the prefix, unless it is here already.

        `digest` is that of the adapter file in it.

        Raises:
            InvalidRequest: the door is closed, or the path is none of ours.
            NotFound: there is no such artifact.
            AdapterRejected: the artifact breaks a rule, or holds another adapter file.
            MemoryExhausted: no host memory for it.
        """
        objects = self._objects
        if objects is None:
            raise InvalidRequest("this server reads no artifacts: ATELIER_OBJECTS is not set")
        try:
            keys.check_key(path)
        except ValueError as problem:
            raise InvalidRequest(str(problem), where="artifact", found=path[:200]) from problem
        drawer = self._drawer()
        # The path is part of the name: the same digest elsewhere is read there, not trusted here.
        key = AdapterKey(Door.ARTIFACT, f"{digest}/{path}")
        if self._is_staged(key):
            return key
        if key not in self._arriving:
            task = asyncio.create_task(self._arrive(drawer, key, objects, path, digest))
            self._arriving[key] = task
            task.add_done_callback(lambda done: self._arrived(key, done))
        # Shielded: one who goes away must not take it from the others.
        await asyncio.shield(self._arriving[key])
        return key

    async def _arrive(
        self, drawer: Drawer, key: AdapterKey, objects: ObjectReader, path: str, digest: str
    ) -> None:
        def read() -> Artifact:
            try:
                body = objects.read(path, max_bytes=MAX_ARCHIVE_BYTES)
            except ContractBroken as problem:
                raise AdapterRejected(problem.message, where="artifact") from problem
            found = artifact.read_archive(body)
            if found.card.file_digest != digest:
                raise AdapterRejected(
                    f"artifact {path!r} holds another adapter file",
                    where="digest",
                    found=found.card.file_digest,
                    allowed=digest,
                )
            return found

        async with self._at_once:
            await asyncio.to_thread(self._stage, drawer, key, path, read)

    def _stage(
        self, drawer: Drawer, key: AdapterKey, source: str, read: Callable[[], Artifact]
    ) -> None:
        """Take the name, read, check, keep; a failure gives the name back."""
        self._residency.register(key, source=source)
        try:
            found = read()
            self._residency.stage(key, found.card, drawer.stage(found))
        except BaseException:
            self._residency.forget(key)
            raise

    def _arrived(self, key: AdapterKey, done: asyncio.Task[None]) -> None:
        del self._arriving[key]
        if not done.cancelled() and done.exception() is not None:
            log.info("artifact %s was not staged: %r", key.name, done.exception())

    def _is_staged(self, key: AdapterKey) -> bool:
        try:
            self._residency.find(key)
        except NotFound:
            return False
        return True
