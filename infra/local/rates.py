"""Token buckets: how often an operation may be called, as AWS throttles it."""

from __future__ import annotations

import threading

from atelier.contracts.clock import Clock


class TokenBucket:
    """A bucket of `size` tokens that fills at `per_second`; every call takes one.

    `per_second` 0 never refuses.
    """

    def __init__(self, per_second: float, *, size: float = 1.0, clock: Clock) -> None:
        """Begin with a full bucket."""
        self._per_second = per_second
        self._size = size
        self._clock = clock
        self._tokens = size
        self._filled_at = clock.monotonic_seconds()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        if self._per_second <= 0:
            return 0.0
        with self._lock:
            now = self._clock.monotonic_seconds()
            grown = (now - self._filled_at) * self._per_second
            self._tokens = min(self._size, self._tokens + grown)
            self._filled_at = now
            # Two instants exactly one interval apart may differ by a rounding error less.
            if self._tokens >= 1.0 - 1e-9:
                self._tokens = max(0.0, self._tokens - 1.0)
                return 0.0
            return (1.0 - self._tokens) / self._per_second
