"""The life of a beat: boot, follow, lead, exit. See the package's docstring for the states."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from functools import cache
from importlib.metadata import version

import msgspec

from scheduler.beat.election import Candidate, Won, newer_beats
from scheduler.beat.load import Loaded, Loading, LoadReply, LoadRequest
from scheduler.beat.lookout import Lookout
from scheduler.beat.promoter import FOLLOWER_LAG_MS, Promoter
from scheduler.beat.reign import Reign
from scheduler.beat.standby import Standby
from scheduler.beat.tick import Ticker
from scheduler.config import Config
from scheduler.errors import FencedError, StoreError, StoreRefusedError, StoreUnavailableError
from scheduler.log import event
from scheduler.notify import notify, watchdog_s
from scheduler.server_clock import ServerClock
from scheduler.store import Store, open_store
from scheduler.store.loads import Published, Publishing
from scheduler.store.presence import BeatInfo
from scheduler.timing.zones import tzdata_version
from scheduler.wire import new_id

HOUSE_S = 1.0
LOOK_S = 0.5
"""How often a follower looks at the leader's counter: with a lease of 5 s, a dead leader is replaced within 6 s."""
SPARE_ENTRIES_MIN = 10_000
"""With so many entries, the process for the next load waits beforehand: then a change is in force that much sooner."""
LOADING_LOOK_S = 0.02
"""How often we look whether the files have been loaded."""
AWAY_S = 0.5
"""How long a beat waits before it asks a lost Redis again."""
RESIGN_S_MAX = 1.0
OVERDUE_SHOWN = 5
EXIT_NO_REDIS = 69

log = logging.getLogger("scheduler.beat")


def run_beat(config: Config, *, name: str, load: LoadRequest) -> int:
    """
    Run a beat until SIGTERM or SIGINT; its exit code. SIGHUP loads the files again.

    Redis may be absent or vanish: the beat says so and waits. Only what waiting cannot mend (a wrong password, a server that
    evicts keys) ends it, at its start.
    """
    # A call that hangs must not outlast the stall limit: the loop has to come round.
    patience_ms = min(config.store_timeout_ms, config.stall_ms // 2)
    for what, remedy in config.open_secrets():
        event(log, "secret.open", level=logging.WARNING, what=what, remedy=remedy)
    store = open_store(msgspec.structs.replace(config, store_timeout_ms=patience_ms), role="beat")
    beat = Beat(config, store, name=name, load=load)
    beat.listen()
    try:
        return beat.run()
    finally:
        store.close()


class Beat:
    """One beat process."""

    def __init__(self, config: Config, store: Store, *, name: str, load: LoadRequest) -> None:
        self._config = config
        self._store = store
        self._name = name
        self._id = new_id()
        self._request = load
        self._clock = ServerClock()
        self._candidate = Candidate(store, holder=self._id, name=name, lease_s=config.leader_lease_ms / 1000)
        self._promoter = Promoter(store, self._clock, default_queue=config.default_queue, lag_ms=FOLLOWER_LAG_MS)
        self._standby = Standby(store, self._clock, config)
        self._loading: Loading | None = None
        self._reload_wanted = False
        self._spare: Loading | None = None
        self._unpublished: Loaded | None = None
        self._publishing: Publishing | None = None
        self._is_published = False
        """What renews tables after it may have failed, and is repeated; this is not."""
        self._loaded = False
        """Whether a load of ours has been published."""
        self._load_number = 0
        self._files, self._declared = "", 0
        """A digest of what the files said in that load, and how many entries they declared."""
        self._only_renews = False
        """What is being loaded, or waits to be published, is to renew tables and nothing else."""
        self._asked: set[str] = set()
        """The entries that hold tables, see `scheduler.timing.table`."""
        self._renew_at_ms: int | None = None
        self._overdue: tuple[str, ...] = ()
        self._reloads_seen: int | None = None
        self._role = "follower"
        self._stopping = ""
        self._away = False
        self._limits_told = False
        """Whether the limits of the declared queues stand on Redis, as far as we know: it may have lost them while it was away."""
        self._status = ""
        self._shown_mono_s = 0.0
        self._outdated_by = ""
        self._bell = store.leadership.bell()
        self._pipe_out, self._pipe_in = os.pipe()
        os.set_blocking(self._pipe_out, False)
        os.set_blocking(self._pipe_in, False)
        self._fed_mono_s = 0.0
        self._watchdog_s = watchdog_s()
        self._lookout = Lookout(config, store, name=name, load=load)

    def listen(self) -> None:
        """Take signals. To be called in the main thread."""
        signal.set_wakeup_fd(self._pipe_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, lambda *_: self.reload())

    def reload(self) -> None:
        """Load the files again, at the next turn. A load that is running gives way: it may have read what has changed."""
        self._reload_wanted = True

    def run(self) -> int:
        """Until somebody stops us."""
        try:
            self._store.connection.check()
        except StoreRefusedError as error:
            event(log, "store.refused", level=logging.CRITICAL, error=str(error))
            return EXIT_NO_REDIS
        except StoreUnavailableError as error:
            self._say_away(error)
        self.reload()
        self._lookout.start()
        self._ready()
        while not self._stopping:
            try:
                won = self._follow()
                if won is not None:
                    self._lead(won)
            except StoreError as error:
                self._candidate.forget()
                self._standby.forget()
                self._say_away(error)
                self._wait(AWAY_S, "")
        notify("STOPPING=1")
        self._leave()
        event(log, "beat.stopped", name=self._name)
        return 0

    def _follow(self) -> Won | None:
        """One turn of a follower: keep house, stand if the term is to be had; help to promote until it is time to look again."""
        self._role = "follower"
        self._house()
        won = None if self._outdated() or not self._loaded else self._candidate.try_to_win()
        self._say_back()
        self._feed()
        self._standby.look()
        again_mono_s = time.monotonic() + min(LOOK_S, self._config.leader_lease_ms / 10_000)
        while won is None and not self._stopping and (left_s := again_mono_s - time.monotonic()) > 0:
            more = self._promoter.promote() or self._standby.step()
            pause_s = 0.0 if more else self._promoter.pause_s()
            if self._unpublished is not None or (pause_s > 0 and self._wait(min(left_s, pause_s), "baton")):
                break
            if self._loading is not None and self._loading.ended:
                break
        return won

    def _lead(self, won: Won) -> None:
        """Reign, until the term is lost or given up."""
        config = self._config
        reign = Reign(
            self._store, won, holder=self._id, lease_s=config.leader_lease_ms / 1000, stall_s=config.stall_ms / 1000,
            clock=self._clock, on_change=self._ring,
        )  # fmt: skip
        plan = self._standby.take_plan()
        promoter = Promoter(self._store, self._clock, default_queue=config.default_queue)
        ticker = Ticker(self._store, reign, plan, self._clock, promoter, late_limit_ms=config.late_limit_ms)
        self._role = "leader"
        self._bell.close()
        event(log, "term.won", term=won.number, name=self._name, gap_ms=won.gap_ms)
        reign.start()
        try:
            reign.renew()
            self._store.history.keep(config.history)
            ticker.load()
            self._reign(reign, ticker)
            self._resign(reign)
        except FencedError as error:
            event(log, "term.lost", level=logging.WARNING, term=won.number, reason=str(error))
        finally:
            reign.stop()
            self._bell.close()
            self._say_status("following")

    def _reign(self, reign: Reign, ticker: Ticker) -> None:
        """Tick until the reign ends."""
        caught_up = False
        while not self._stopping and reign.lost is None and not reign.step_down:
            try:
                self._house()
                pause_s = ticker.tick() if reign.trusted else self._regain(reign)
                self._say_back()
                if pause_s > 0:
                    self._say_status(f"leading, term {reign.number}, {ticker.entries} entries")
                    if not caught_up:
                        caught_up, reign.caught_up = True, ticker.armed_count
                # The loop has come round: also where it found Redis away.
                reign.ticked()
                self._feed()
                if pause_s > 0 and self._wait(pause_s, "nudge"):
                    ticker.refresh()
            except StoreUnavailableError as error:
                self._say_away(error)
                reign.ticked()
                self._wait(AWAY_S, "")
            except StoreRefusedError as error:
                event(log, "store.refused", level=logging.ERROR, error=str(error))
                reign.ticked()
                self._wait(AWAY_S, "")

    def _regain(self, reign: Reign) -> float:
        """We may have been overtaken while we could not look: ask before doing anything."""
        reign.renew()
        return 0.0

    def _resign(self, reign: Reign) -> None:
        if reign.lost is not None:
            event(log, "term.lost", level=logging.WARNING, term=reign.number, reason=reign.lost)
            self._candidate.rest(self._config.leader_lease_ms / 1000)
        reason = self._stopping or ("asked to step down" if reign.step_down else "")
        if reign.step_down:
            self._candidate.rest(self._config.leader_lease_ms / 1000)
        try:
            if self._store.leadership.resign(reign.number, self._id, timeout_s=RESIGN_S_MAX):
                event(log, "term.resigned", term=reign.number, reason=reason or reign.lost)
        except StoreError as error:
            event(log, "term.abandoned", level=logging.WARNING, term=reign.number, reason=str(error))

    def _house(self) -> None:
        """Once a second: say that we live, look whether a reload was asked for; and publish what was loaded."""
        if self._reload_wanted:
            self._reload_wanted = False
            if self._loading is not None:
                self._loading.kill()
            self._loading, self._only_renews = self._load(), False
        if self._loading is not None and (loaded := self._loading.poll()) is not None:
            self._loading, self._unpublished = None, loaded
            self._publishing, self._is_published = None, False
            _tell_load(loaded.reply)
        if self._unpublished is not None and self._publish(self._unpublished):
            # Kept until it is published: Redis may be away just now.
            if self._unpublished.reply.entries >= SPARE_ENTRIES_MIN and self._spare is None:
                self._spare = Loading()
            self._unpublished = self._publishing = None
            self._shown_mono_s = 0.0
        if time.monotonic() - self._shown_mono_s < HOUSE_S:
            return
        self._store.presence.show(self._info())
        if not self._limits_told:
            self._store.limits.tell(self._config.queues)
            self._limits_told = True
        self._heed_reloads()
        self._heed_tables()
        self._shown_mono_s = time.monotonic()

    def _load(self) -> Loading:
        """Begin to load the files, in the process that waits for this if there is one."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.ended:
            spare.kill()
            spare = None
        return (spare or Loading()).ask(self._request)

    def _heed_tables(self) -> None:
        """Load again before a table is used up. What else the files say now waits until somebody asks for a load."""
        is_time = self._renew_at_ms is not None and self._clock.known and self._clock.now_ms() >= self._renew_at_ms
        if is_time and not self._reload_wanted and self._loading is None and self._unpublished is None:
            self._loading, self._only_renews = self._load(), True

    def _renew(self, reply: LoadReply) -> None:
        entries = {entry.name: entry for entry in reply.asked}
        self._asked |= entries.keys()
        if not self._asked:
            return
        renewed = self._store.loads.renew(self._asked, entries)
        self._renew_at_ms = renewed.again_at_ms
        self._overdue = renewed.overdue[:OVERDUE_SHOWN]
        if renewed.names:
            event(log, "tables.renewed", entries=len(renewed.names))
        if renewed.overdue:
            event(
                log, "tables.overdue", level=logging.WARNING, entries=", ".join(self._overdue),
                count=len(renewed.overdue), remedy="triggers or calendars have to be asked again: mend the files, then sched reload",
            )  # fmt: skip

    def _heed_reloads(self) -> None:
        """Load again when somebody asks for it, or when Redis has lost what we published."""
        requests, newest = self._store.loads.reload_requests(), self._store.loads.info().number
        if self._reloads_seen is not None and requests > self._reloads_seen:
            self.reload()
        self._reloads_seen = requests
        if newest < self._load_number:
            event(log, "load.lost", level=logging.WARNING, load=self._load_number, newest=newest)
            self._load_number = newest
            self.reload()

    def _publish(self, loaded: Loaded) -> bool:
        """Publish the next part of *loaded*; whether that was all."""
        if not self._only_renews and not self._is_published:
            if self._publishing is None:
                reply = loaded.reply
                self._publishing = self._store.loads.publishing(
                    loaded.definitions,
                    clean=reply.clean,
                    mistakes=[reply.failed] if reply.failed else reply.mistakes,
                    by=self._name,
                )
            published = self._publishing.step()
            if published is None:
                return False
            self._tell_published(published)
            self._loaded, self._load_number = True, published.load
            self._files, self._declared = loaded.reply.digest, loaded.reply.entries
            self._is_published = True
        self._renew(loaded.reply)
        return True

    def _tell_published(self, published: Published) -> None:
        event(
            log, "registry.published", load=published.load, added=len(published.added), changed=len(published.changed),
            removed=len(published.removed), kept=len(published.kept), superseded=published.superseded or None,
        )  # fmt: skip
        for name in published.clashes:
            event(
                log, "entry.refused", level=logging.ERROR, entry=name, reason="an entry of this name was made by hand"
            )

    def _info(self) -> BeatInfo:
        return BeatInfo(
            id=self._id, name=self._name, host=socket.gethostname(), pid=os.getpid(), version=_version(),
            tzdata=tzdata_version(), role=self._role, load=self._load_number,
            files=self._files, entries=self._declared, overdue=self._overdue,
        )  # fmt: skip

    def _outdated(self) -> bool:
        newer = newer_beats(self._info(), self._store.presence.beats())
        if newer and newer[0].name != self._outdated_by:
            event(
                log, "beat.outdated", level=logging.WARNING, newer=newer[0].name, tzdata=newer[0].tzdata,
                version=newer[0].version, remedy="upgrade this beat; it does not stand while a newer one lives",
            )  # fmt: skip
        self._outdated_by = newer[0].name if newer else ""
        return bool(newer)

    def _leave(self) -> None:
        self._lookout.stop()
        for loading in (self._loading, self._spare):
            if loading is not None:
                loading.kill()
        try:
            self._store.presence.leave(self._id)
        except StoreError:
            return

    def _wait(self, seconds: float, tune: str) -> bool:
        """Until *seconds* have passed, a signal came, or the bell rang (True)."""
        if self._stopping:
            return False
        if self._loading is not None:
            seconds = min(seconds, LOADING_LOOK_S)
        if self._unpublished is not None:
            seconds = 0.0
        files: list[int] = [self._pipe_out]
        if tune:
            self._bell.arm([tune])
            files.append(self._bell.fileno())
        readable, _, _ = select.select(files, [], [], seconds)
        if self._pipe_out in readable:
            _drain(self._pipe_out)
        return len(files) > 1 and files[1] in readable and self._bell.read()

    def _ring(self) -> None:
        """From the renewal thread: look."""
        try:
            os.write(self._pipe_in, b"!")
        except BlockingIOError:
            return

    def _on_stop(self, number: int, _frame: object) -> None:
        self._stopping = signal.Signals(number).name

    def _ready(self) -> None:
        notify("READY=1")
        self._say_status("waiting for Redis" if self._away else "following")
        event(log, "beat.ready", name=self._name, pid=os.getpid())

    def _feed(self) -> None:
        """The systemd watchdog gets only completed turns to eat."""
        if self._watchdog_s is not None and time.monotonic() - self._fed_mono_s > self._watchdog_s / 4:
            self._fed_mono_s = time.monotonic()
            notify("WATCHDOG=1")

    def _say_status(self, status: str) -> None:
        """For `systemctl status`."""
        if status != self._status:
            self._status = status
            notify(f"STATUS={status}")

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away, self._limits_told = True, False
            self._say_status("waiting for Redis")
            event(log, "store.lost", level=logging.WARNING, error=str(error))
        self._feed()

    def _say_back(self) -> None:
        if self._away:
            self._away = False
            self._say_status("following" if self._role == "follower" else "leading")
            event(log, "store.back")


def _tell_load(reply: LoadReply) -> None:
    if reply.failed:
        event(log, "files.unloadable", level=logging.ERROR, error=reply.failed)
    for mistake in reply.mistakes:
        event(log, "file.broken", level=logging.ERROR, mistake=mistake)


@cache
def _version() -> str:
    return version("steadybeat")


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        return
