"""
The threads in which a beat looks after entries, and sends what is to be told. The loop of the beat knows nothing of them.

Both go on while the beat leads, follows, or cannot reach Redis; both end with it. Whatever goes wrong in them is said and
tried again: a mistake here must not end the looking.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from scheduler.alarm import Alert
from scheduler.beat.courier import LOOK_S, Courier
from scheduler.beat.hook_process import run_callable
from scheduler.beat.load import LoadRequest
from scheduler.beat.watchman import Watchman
from scheduler.config import Config
from scheduler.errors import StoreError
from scheduler.log import event
from scheduler.store import Store

STOP_S_MAX = 2.0
"""So long a beat that ends waits for what it is sending; what it does not wait for is sent again by another."""

log = logging.getLogger("scheduler.beat")


class Lookout:
    """Watchman and courier of one beat."""

    def __init__(self, config: Config, store: Store, *, name: str, load: LoadRequest) -> None:
        self._stopping = threading.Event()
        self._to_send = threading.Event()
        self._courier = Courier(
            store, hooks=config.alert_hooks, run_callable=partial(run_callable, load), more=self._to_send.set
        )
        self._watchman = Watchman(
            store, name=name, hooks=config.alert_hooks, outage_ms=config.alert_outage_ms, raised=self._to_send.set,
            tell_alone=self._tell_alone,
        )  # fmt: skip
        self._trouble: dict[str, str] = {}

    def start(self) -> None:
        """Begin."""
        for work in (self._watch, self._send):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def stop(self) -> None:
        """End; what is being sent may come to its end."""
        self._stopping.set()
        self._to_send.set()
        self._courier.wait(STOP_S_MAX)

    def _tell_alone(self, alert: Alert) -> None:
        self._courier.tell_alone(alert)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            began_mono_s = time.monotonic()
            self._guarded("watchman", self._watchman.look)
            self._stopping.wait(max(0.0, LOOK_S - (time.monotonic() - began_mono_s)))

    def _send(self) -> None:
        while not self._stopping.is_set():
            pause_s = self._guarded("courier", self._courier.turn)
            self._to_send.wait(LOOK_S if pause_s is None else pause_s)
            self._to_send.clear()

    def _guarded(self, who: str, work: Callable[[], float | None]) -> float | None:
        try:
            pause_s = work()
        except StoreError as error:
            # The loop of the beat says it, too; here it matters how long it lasts.
            if who == "watchman":
                self._watchman.blind(error)
            return None
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if self._trouble.get(who) != trouble:
                event(
                    log, f"{who}.failed", level=logging.ERROR, error=trouble, remedy="this is a bug; please report it"
                )
            self._trouble[who] = trouble
            return None
        self._trouble.pop(who, None)
        return pause_s
