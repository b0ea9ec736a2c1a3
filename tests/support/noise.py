"""What this machine does to a thread that only sleeps: nothing on it can be more punctual than that."""

from __future__ import annotations

import threading
import time


class Noise:
    """A context manager; `late_ms` grows meanwhile: by how much each wake-up came late."""

    def __init__(self, pause_s: float = 0.005) -> None:
        self.late_ms: list[float] = []
        self._pause_s = pause_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Noise:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def max_ms(self) -> float:
        """The worst so far."""
        return max(self.late_ms, default=0.0)

    def _run(self) -> None:
        while not self._end.is_set():
            before = time.perf_counter()
            time.sleep(self._pause_s)
            self.late_ms.append((time.perf_counter() - before - self._pause_s) * 1000)
