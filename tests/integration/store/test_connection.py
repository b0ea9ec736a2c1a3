"""The connection: what it refuses, what it repeats, what it never says."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import msgspec
import pytest

from scheduler.config import Config
from scheduler.errors import ResultTimeoutError, StoreRefusedError, StoreUnavailableError
from scheduler.store import Store, open_store
from scheduler.store.connection import Connection
from scheduler.store.sessions import Flight
from scheduler.wire import new_id
from tests.support.bench import Bench
from tests.support.server import DebianRedis, ValkeyServer, raw
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def own(own_config: Config) -> Iterator[Bench]:
    """A workbench on the test's own server."""
    store = open_store(own_config)
    yield Bench(store)
    store.close()


class TestRefused:
    """What waiting cannot mend is told at once, with the remedy, and is not repeated."""

    @pytest.fixture
    def guarded(self, own_server: ValkeyServer) -> ValkeyServer:
        """A server with a password."""
        raw(own_server.url).call("CONFIG", "SET", "requirepass", SECRET)
        return own_server

    @pytest.mark.parametrize("password", [None, "wr0ng-w0rd"])
    def test_a_wrong_or_missing_password(self, guarded: ValkeyServer, password: str | None) -> None:
        """P12: the message names the remedy, and no secret."""
        began_mono_s = time.monotonic()
        with pytest.raises(StoreRefusedError, match="redis_password_file") as refusal:
            Connection(guarded.url, password=password).call("PING")
        assert time.monotonic() - began_mono_s < 4
        assert "w0rd" not in str(refusal.value)
        assert "w0rd" not in repr(refusal.value.__cause__) + repr(refusal.value.__context__)

    def test_the_right_password_from_a_file_wins_over_the_one_in_the_url(self, guarded: ValkeyServer) -> None:
        """The file's is the newer one."""
        url = guarded.url.replace("unix://", "unix://:wr0ng-w0rd@")
        assert Connection(url, password=SECRET).call("PING") == b"PONG"

    def test_an_evicting_policy(self, own_server: ValkeyServer) -> None:
        """It would drop fires silently."""
        raw(own_server.url).call("CONFIG", "SET", "maxmemory", "100mb")
        raw(own_server.url).call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(StoreRefusedError, match="noeviction"):
            Connection(own_server.url).call("PING")

    def test_an_evicting_policy_without_a_limit_is_fine(self, own_server: ValkeyServer) -> None:
        """It never evicts."""
        raw(own_server.url).call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        Connection(own_server.url).check()

    def test_a_command_that_an_acl_forbids(self, own_server: ValkeyServer) -> None:
        """P12."""
        raw(own_server.url).call("ACL", "SETUSER", "default", "-@all", "+info", "+ping", "+client")
        with pytest.raises(StoreRefusedError, match="refuses"):
            Connection(own_server.url).call("GET", "x")


def test_no_message_carries_a_password() -> None:
    """Nobody there: the address is told without its secret."""
    for url in (f"redis://:{SECRET}@127.0.0.1:1/0", f"redis://user:{SECRET}@127.0.0.1:1/0?password={SECRET}"):
        connection = Connection(url, timeout_s=0.2)
        with pytest.raises(StoreUnavailableError) as error:
            connection.call("PING")
        shown = str(error.value) + repr(error.value) + connection.where
        assert SECRET not in shown
        assert "127.0.0.1:1" in shown


class TestMemory:
    """A full Redis refuses what fills it, cleanly, and lets pass what empties it."""

    @pytest.fixture
    def full(self, own: Bench) -> Bench:
        """A server with two calls held, some work waiting, an entry, a term, and no memory left."""
        own.put()
        self.term = own.win()
        self.fire = own.fire(in_ms=60_000)
        self.session = own.open()
        own.calls(6)
        self.held = own.take(self.session, 4)
        self.waiting = own.message(in_ms=200)
        own.store.queues.enqueue([self.waiting], call_id="w")
        for script in ("enqueue", "trigger", "backfill"):  # so that their digests are known
            _load(own, script)
        own.call_redis("CONFIG", "SET", "maxmemory", "1")
        return own

    @pytest.mark.parametrize("what", ["enqueue", "arm", "trigger", "backfill"])
    def test_what_needs_memory_is_refused_and_nothing_is_half_written(self, full: Bench, what: str) -> None:
        """P5, P12."""
        message = full.message(entry="e")
        calls: dict[str, Callable[[], object]] = {
            "enqueue": lambda: full.store.queues.enqueue([message, full.message(in_ms=9_000)], call_id=new_id()),
            "arm": lambda: full.arm(self.term, [self.fire]),
            "backfill": full.backfill,
            "trigger": lambda: full.store.queues.trigger(message, entry="e", force=False, call_id=new_id()),
        }
        before = full.dump()
        with pytest.raises(StoreRefusedError, match="out of memory"):
            calls[what]()
        assert full.dump() == before

    def test_what_was_refused_passes_when_there_is_memory_again(self, full: Bench) -> None:
        """The same call, with the same call id."""
        message = full.message()
        with pytest.raises(StoreRefusedError):
            full.store.queues.enqueue([message], call_id="c")
        full.call_redis("CONFIG", "SET", "maxmemory", "0")
        assert full.store.queues.enqueue([message], call_id="c") == [True]
        assert full.arm(self.term, [self.fire]).armed == 1

    def test_what_empties_it_passes(self, full: Bench) -> None:
        """P6: a worker that renews keeps its messages; work is done and goes."""
        first, second, third, fourth = self.held
        session = self.session
        session.renew()
        wait_until(lambda: full.now_ms >= self.waiting.at_ms)
        assert full.promote() == 1
        full.finish(session, first, state="FAILURE", dead=True)
        body = full.store.queues.body(second)
        assert body
        assert session.retry(second, body, delay_ms=0, attempt=2, result=b"{}")
        assert session.release([third], lost=True) == 1
        assert full.store.queues.cancel(fourth).value == "requested"
        assert full.take(session, 1)
        session.reconcile([])
        newcomer = full.open()
        assert full.take(newcomer, 10)
        assert full.store.sessions.reclaim(session.id, full.store.sessions.observe()[session.id]) is not None
        newcomer.close()
        full.store.queues.purge("q")
        full.check_places()
        assert full.live() == set()

    def test_leadership_passes(self, full: Bench) -> None:
        """P4: a full Redis deposes nobody and keeps nobody from standing."""
        from scheduler.store.presence import BeatInfo  # noqa: PLC0415

        full.store.leadership.renew(self.term.number, self.term.holder, tick_age_ms=0)
        info = BeatInfo(id="b", name="b", host="h", pid=1, version="1", tzdata="1", role="follower", load=1)
        full.store.presence.show(info)
        assert full.store.leadership.resign(self.term.number, self.term.holder)
        full.win()

    def test_entries_can_be_paused(self, full: Bench) -> None:
        """What an operator does first."""
        full.store.registry.pause("e")
        full.store.registry.resume("e")

    def test_a_waiter_waits(self, full: Bench) -> None:
        """It only is not woken: it looks for itself once a second."""
        with pytest.raises(ResultTimeoutError):
            full.store.results.wait(self.held[0], 0.1)
        ending = threading.Timer(0.2, lambda: full.finish(self.session, self.held[0]))
        ending.start()
        assert full.store.results.wait(self.held[0], 5).state == "SUCCESS"
        ending.join()


def _load(bench: Bench, name: str) -> None:
    from scheduler.store.scripts import script  # noqa: PLC0415

    bench.call_redis("SCRIPT", "LOAD", script(name).text)


def _beside(bench: Bench) -> Connection:
    """Another connection to the same server."""
    return raw(f"unix://{bench.store.connection._pool.connection_kwargs['path']}")


class TestHealed:
    """What can pass by itself is repeated until the deadline."""

    def test_forgotten_scripts_are_sent_again(self, bench: Bench) -> None:
        """NOSCRIPT, after a restart or a failover."""
        bench.call()
        bench.call_redis("SCRIPT", "FLUSH")
        bench.call()
        assert len(bench.take(bench.open())) == 2

    def test_a_killed_connection_is_replaced(self, own: Bench) -> None:
        """Also in the pool, where nobody sees it."""
        own.call()
        _beside(own).call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        own.call()
        assert len(own.take(own.open())) == 2

    def test_a_server_that_restarts_is_found_again(self, own_server: ValkeyServer, own: Bench) -> None:
        """Within the deadline of the call; what was accepted is there."""
        id_ = own.call()
        own_server.stop()
        starting = threading.Timer(0.3, own_server.start)
        starting.start()
        assert own.take(own.open()) == [id_]
        starting.join()

    def test_a_replica_that_becomes_primary_takes_the_call(self, own: Bench) -> None:
        """READONLY is repeated, not raised."""
        own.call()
        other = _beside(own)
        other.call("REPLICAOF", "127.0.0.1", "1")
        promoting = threading.Timer(0.3, lambda: other.call("REPLICAOF", "NO", "ONE"))
        promoting.start()
        own.call()
        promoting.join()
        assert len(own.live()) == 2

    def test_a_replica_that_stays_one_ends_in_time(self, own: Bench) -> None:
        """`StoreUnavailableError` after the deadline."""
        own.call()
        _beside(own).call("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError):
            own.store.connection.call("SET", "x", "y", timeout_s=0.3)
        with pytest.raises(StoreUnavailableError):
            own.store.connection.run("show", (own.keys.beats,), ("x", "y"), timeout_s=0.3)


class TestDeadline:
    """Nothing waits for ever."""

    @pytest.fixture
    def stopped(self, own_server: ValkeyServer, own_config: Config) -> Iterator[Store]:
        """A store whose server has been stopped by SIGSTOP; a deadline of a second."""
        store = open_store(msgspec.structs.replace(own_config, store_timeout_ms=1_000))
        store.connection.call("PING")
        os.kill(own_server.pid, signal.SIGSTOP)
        yield store
        os.kill(own_server.pid, signal.SIGCONT)
        store.close()

    def test_a_server_that_hangs(self, stopped: Store) -> None:
        """No answer on an open connection, nor on a new one."""
        for _ in range(2):
            began_mono_s = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                stopped.queues.time_ms()
            assert 0.4 < time.monotonic() - began_mono_s < 5

    def test_a_shorter_deadline_is_kept(self, stopped: Store, own_config: Config) -> None:
        """A beat that resigns, a worker that probes: on an open connection, and while it opens a new one."""
        patient = open_store(msgspec.structs.replace(own_config, store_timeout_ms=20_000))
        for connection in (stopped.connection, patient.connection, patient.connection):
            began_mono_s = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                connection.call("PING", timeout_s=0.1)
            assert time.monotonic() - began_mono_s < 0.9
        patient.close()

    def test_a_server_that_comes_back_answers(self, own_server: ValkeyServer, stopped: Store) -> None:
        """The reply to the abandoned request is not taken for that of the next."""
        with pytest.raises(StoreUnavailableError):
            stopped.connection.call("ECHO", "old", timeout_s=0.2)
        os.kill(own_server.pid, signal.SIGCONT)
        assert stopped.connection.call("ECHO", "new") == b"new"
        os.kill(own_server.pid, signal.SIGSTOP)


def test_an_exception_between_request_and_reply_leaves_no_reply_behind(store: Store) -> None:
    """A soft time limit may strike just when a task has sent its request; the next call must not read the old answer."""

    class Interrupted(Exception):
        pass

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "read_response":
            sys.setprofile(None)
            raise Interrupted

    store.connection.call("PING")
    sys.setprofile(interrupt)
    try:
        with pytest.raises(Interrupted):
            store.connection.call("BLPOP", store.keys.prefix + "nothing", 0.5)
    finally:
        sys.setprofile(None)
    assert store.connection.call("ECHO", "mine") == b"mine"


def test_threads_share_a_store(store: Store) -> None:
    """Each call has a connection of its own."""
    wrong = []

    def work(i: int) -> None:
        for j in range(200):
            text = f"{i}-{j}".encode()
            if store.connection.call("ECHO", text) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_opens_connections_of_its_own(store: Store) -> None:
    """Trap 8: two processes on one socket would read each other's replies."""
    store.connection.call("PING")
    before = store.connection.call("CLIENT", "ID")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            same = store.connection.call("CLIENT", "ID") == before
            echoes = all(store.connection.call("ECHO", str(i)) == str(i).encode() for i in range(200))
            code = 0 if echoes and not same else 2
        finally:
            os._exit(code)
    assert all(store.connection.call("ECHO", f"p{i}") == f"p{i}".encode() for i in range(200))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_closed_store_opens_again(store: Store) -> None:
    """By its next call."""
    store.connection.call("PING")
    store.close()
    assert store.connection.call("PING") == b"PONG"


def test_a_hundred_calls_need_one_connection(store: Store) -> None:
    """Each goes back to the pool."""
    for _ in range(100):
        store.queues.time_ms()
    assert len(store.connection._idle) == 1


def test_debians_redis_is_new_enough(debian_redis: DebianRedis) -> None:
    """The floor is 6.2."""
    Connection(debian_redis.url).check()


def test_a_connection_that_was_closed_while_idle_costs_no_call(own: Bench) -> None:
    """Redis drops idle clients (`timeout`) and restarts: the next call, after a while, notices and goes on with a new connection."""
    store = own.store
    store.queues.time_ms()
    ((idle, since_mono_s),) = store.connection._idle
    killer = raw(store.connection.where)
    killer.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    store.connection._idle[:] = [(idle, since_mono_s - 60)]
    store.queues.time_ms()
    store.close()
    assert store.connection._idle == []
    store.queues.time_ms()


def test_what_is_sent_ahead_is_answered_once_and_leaves_the_connection_in_step(bench: Bench) -> None:
    """`Connection.send`: its reply is read later, dropped, or asked for again where the connection is gone."""
    ids = bench.calls(4)
    session = bench.open()

    def ahead() -> Flight:
        return session.send_finish([], take=1, queues=(bench.queue,))

    def taken(flight: Flight) -> list[str]:
        found = flight.land().taken
        assert found is not None
        return [message.id for message in found.messages]

    assert taken(ahead()) == ids[:1]
    ahead().drop()
    cut = ahead()
    bench.call_redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert set(taken(cut)) < set(ids[1:])
    assert session.renew().went_back, "what two answers carried is held by nobody that knows"
    assert bench.call_redis("PING") == b"PONG"
    bench.check_places()
