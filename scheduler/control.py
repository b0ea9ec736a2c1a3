"""
`app.control`: orders to running workers, and what they say of themselves, in Celery's words.

What a worker does is read from Redis, where it keeps that up to date itself, so `active`, `reserved`, `stats` and `active_queues`
wait for nobody; `registered`, `conf` and `report` are asked of it. Answers are mappings from workers' names. An order to a worker
that is not there is refused, with the names of those that are; Celery would be silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from scheduler.errors import NotFoundError, RefusedError, UndecodableMessageError
from scheduler.home import Home
from scheduler.nearest import nearest
from scheduler.task import Task
from scheduler.who import who

if TYPE_CHECKING:
    from scheduler.store.orders import Replies, Slot, Verb
    from scheduler.store.sessions import LiveWorker

ANSWER_S = 1.0
"""How long answers are waited for: Celery's default."""

_REFUSED = {
    "autoscale": "a worker's size is an order: pool_grow, pool_shrink, or `sched worker concurrency NAME N`",
    "broadcast": "workers know the orders of `sched worker --help`, and no others",
    "disable_events": "no events are sent; what workers do is on Redis",
    "election": "beats elect their leader themselves: `sched leader`",
    "enable_events": "no events are sent; what workers do is on Redis, for `sched runs` and `sched workers`",
    "heartbeat": "a worker renews its lease by itself, each second",
    "rate_limit": "give the task another rate_limit, or the setting task_annotations, and restart the workers in turn",
    "revoke_by_stamped_headers": "messages carry no stamps; cancel runs by their ids",
    "time_limit": "give the task other limits, or the setting task_annotations, and restart the workers in turn",
}
_UNTOLD = {
    "clock": "there is no logical clock: Redis' time decides",
    "hello": "workers do not know each other",
    "memdump": "`sched workers` shows the memory of each",
    "memsample": "`sched workers` shows the memory of each",
    "objgraph": "`sched inspect NAME --stacks` shows where its tasks are",
    "revoked": "revocations stand on Redis with the runs: AsyncResult(id).state, `sched runs --state revoked`",
}


class Inspect:
    """
    What workers say.

    Args:
        destination: The names of those that are meant; None: all.
        timeout: How long to wait for answers, in seconds.
    """

    def __init__(self, home: Home, destination: Iterable[str] | str | None, timeout: float) -> None:
        self._home = home
        self._destination = [destination] if isinstance(destination, str) else destination and list(destination)
        self._timeout_s = timeout

    def ping(self, destination: Iterable[str] | str | None = None) -> dict[str, Any] | None:
        """Who is there and renews its lease: ``{name: {"ok": "pong"}}``; None if nobody is."""
        asked = self if destination is None else Inspect(self._home, destination, self._timeout_s)
        return asked._of_each(lambda _: {"ok": "pong"})

    def active(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:  # noqa: ARG002 - Celery's
        """The runs that go on: ``id name args kwargs time_start hostname worker_pid delivery_info``."""
        return self._of_each(lambda worker: [self._run(worker, slot) for slot in _slots(worker)])

    def reserved(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:  # noqa: ARG002
        """What workers hold and have not started."""

        def held(worker: LiveWorker) -> list[dict[str, Any]]:
            running = {slot.id for slot in _slots(worker)}
            return [
                {"id": id_, "hostname": worker.info.name, "delivery_info": {"queue": queue}} | self._call(id_)
                for id_, (queue, _) in worker.held.items()
                if id_ not in running
            ]

        return self._of_each(held)

    def scheduled(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:  # noqa: ARG002
        """Nothing: what has an ETA waits on Redis, not in a worker."""
        return self._of_each(lambda _: [])

    def registered(self, *taskinfoitems: str) -> dict[str, list[str]] | None:
        """The names of the tasks that each one knows; with options behind them, ``tasks.add [priority=3]``, if they are named."""

        def told(data: Mapping[str, Any]) -> list[str]:
            listed = []
            for task in data["tasks"]:
                said = [f"{item}={task['options'][item]}" for item in taskinfoitems if item in task["options"]]
                listed.append(f"{task['name']} [{' '.join(said)}]" if said else task["name"])
            return listed

        return self._asked(told)

    registered_tasks = registered

    def active_queues(self) -> dict[str, list[dict[str, Any]]] | None:
        """Where each one takes from: ``name``, ``routing_key``."""

        def queues(worker: LiveWorker) -> list[dict[str, Any]]:
            names = worker.info.queues if worker.state is None else worker.state.queues
            return [{"name": name, "routing_key": name} for name in names]

        return self._of_each(queues)

    def stats(self) -> dict[str, dict[str, Any]] | None:
        """Process, pool, uptime in seconds, and how much each one has done."""
        now_ms = self._home.server_now_ms()

        def told(worker: LiveWorker) -> dict[str, Any]:
            info, state = worker.info, worker.state
            found: dict[str, Any] = {
                "pid": info.pid,
                "hostname": info.host,
                "version": info.version,
                "uptime": max(0, now_ms - info.started_ms) // 1000,
                "pool": {"implementation": info.pool, "max-concurrency": info.concurrency},
            }
            if state is not None:
                found["pool"] |= {"max-concurrency": state.concurrency, "processes": state.children}
                found |= {
                    "total": {"finished": state.finished, "failed": state.failed, "retried": state.retried},
                    "stage": str(state.stage),
                    "memory_kib": sum(state.memory_kib),
                }
            return found

        return self._of_each(told)

    def conf(self, with_defaults: bool = False) -> dict[str, dict[str, Any]] | None:  # noqa: ARG002 - all are told
        """The settings in force, without their secrets."""
        return self._asked(lambda data: dict(data["settings"]))

    def report(self) -> dict[str, Any] | None:
        """What each one runs on."""
        return self._asked(lambda data: {"ok": data["system"]})

    def query_task(self, *ids: Any) -> dict[str, dict[str, Any]] | None:
        """Who holds these runs: ``{worker: {id: ["active" | "reserved", {…}]}}``."""
        wanted = {id_ for one in ids for id_ in ([one] if isinstance(one, str) else one)}

        def found(worker: LiveWorker) -> dict[str, Any]:
            running = {slot.id: slot for slot in _slots(worker)}
            return {
                id_: ["active", self._run(worker, running[id_])] if id_ in running else ["reserved", self._call(id_)]
                for id_ in worker.held
                if id_ in wanted
            }

        return self._of_each(found)

    def __getattr__(self, name: str) -> NoReturn:
        why = f": {_UNTOLD[name]}" if name in _UNTOLD else nearest(name, [m for m in dir(Inspect) if m[0] != "_"])
        raise AttributeError(f"inspect() has no {name!r}{why}")

    # ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _workers(self) -> list[LiveWorker]:
        return live_workers(self._home, self._destination)

    def _of_each(self, tell: Callable[[LiveWorker], Any]) -> dict[str, Any] | None:
        return {worker.info.name: tell(worker) for worker in self._workers()} or None

    def _asked(self, tell: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any] | None:
        from scheduler.store.orders import Verb, new_order  # noqa: PLC0415 - whoever only declares needs no Redis client

        workers = self._workers()
        orders = self._home.store.orders
        given = orders.give(new_order(Verb.INSPECT, by=who()), [worker.session for worker in workers])
        answers = orders.wait(given, self._timeout_s).answers
        return {w.info.name: tell(answers[w.session].data) for w in workers if w.session in answers} or None

    def _run(self, worker: LiveWorker, slot: Slot) -> dict[str, Any]:
        queue = worker.held.get(slot.id, ("", 0))[0]
        return {
            "id": slot.id,
            "name": slot.task,
            "type": slot.task,
            "hostname": worker.info.name,
            "time_start": slot.since_ms / 1000,
            "worker_pid": slot.pid or worker.info.pid,
            "delivery_info": {"queue": queue},
        } | self._call(slot.id)

    def _call(self, id_: str) -> dict[str, Any]:
        """What stands in the message; nothing, once it has ended."""
        from scheduler.wire import decode_arguments, decode_header, decode_payload  # noqa: PLC0415

        body = self._home.store.queues.body(id_)
        if body is None:
            return {}
        try:
            header, at = decode_header(body)
            args, kwargs = decode_arguments(body, decode_payload(body, at))
        except UndecodableMessageError:
            return {}
        return {"name": header.task, "args": args, "kwargs": kwargs}


class Control:
    """
    Orders. Those with ``reply=True`` give a list of ``{worker: {"ok": text}}`` (or ``{"error": text}``); the others do not wait.

    Args:
        home: Whose workers.
        tasks: The App's own.
    """

    def __init__(self, home: Home, tasks: Mapping[str, Task]) -> None:
        self._home = home
        self._tasks = tasks

    def inspect(self, destination: Iterable[str] | str | None = None, timeout: float = ANSWER_S) -> Inspect:
        """What workers say; None or names of those that are meant."""
        return Inspect(self._home, destination, timeout)

    def ping(
        self, destination: Iterable[str] | str | None = None, timeout: float = ANSWER_S
    ) -> list[dict[str, dict[str, str]]]:
        """Who is there: ``[{name: {"ok": "pong"}}]``."""
        found = Inspect(self._home, destination, timeout).ping() or {}
        return [{name: answer} for name, answer in found.items()]

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,  # noqa: ARG002 - a run is where it is
        terminate: bool = False,
        signal: str | None = None,  # noqa: ARG002 - see below
        **_options: Any,
    ) -> None:
        """
        Cancel runs by their ids, wherever they are.

        Args:
            terminate: Also where they run already: the child is killed. The hard way is SIGKILL, always; *signal* changes nothing.
        """
        for id_ in [task_id] if isinstance(task_id, str) else list(task_id):
            self._home.store.queues.cancel(str(id_), terminate=terminate, by=who())

    def terminate(self, task_id: str | Iterable[str], **_options: Any) -> None:
        """Cancel runs, even where they run already."""
        self.revoke(task_id, terminate=True)

    def shutdown(self, destination: Iterable[str] | str | None = None, **options: Any) -> list[dict[str, Any]] | None:
        """Let workers end, as SIGTERM does."""
        return self._order("STOP", destination, options)

    def pool_grow(
        self, n: int = 1, destination: Iterable[str] | str | None = None, **options: Any
    ) -> list[dict[str, Any]] | None:
        """Run *n* more tasks at once."""
        return self._order("GROW", destination, options, number=n)

    def pool_shrink(
        self, n: int = 1, destination: Iterable[str] | str | None = None, **options: Any
    ) -> list[dict[str, Any]] | None:
        """Run *n* tasks fewer at once."""
        return self._order("SHRINK", destination, options, number=n)

    def pool_restart(
        self,
        modules: Any = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Iterable[str] | str | None = None,
        **options: Any,
    ) -> list[dict[str, Any]] | None:
        """
        Replace the children, each one when it is idle.

        Raises:
            RefusedError: Modules are to be loaded anew: a child has what its worker imported. Restart the worker.
        """
        if modules or reload or reloader:
            raise RefusedError(
                "pool_restart: children have what their worker imported; to load code anew restart the worker"
            )
        return self._order("RESTART_CHILDREN", destination, options)

    def add_consumer(
        self, queue: str, *_amqp: Any, destination: Iterable[str] | str | None = None, **options: Any
    ) -> list[dict[str, Any]] | None:
        """Take from *queue* too."""
        return self._order("QUEUES_ADD", destination, options, queues=(queue,))

    def cancel_consumer(
        self, queue: str, destination: Iterable[str] | str | None = None, **options: Any
    ) -> list[dict[str, Any]] | None:
        """Take from *queue* no longer."""
        return self._order("QUEUES_REMOVE", destination, options, queues=(queue,))

    def purge(self, connection: Any = None) -> int:  # noqa: ARG002 - Celery's
        """End every call that waits in the declared queues and the default one; how many. Armed fires stay."""
        from scheduler.store.audit import Note  # noqa: PLC0415

        config, queues = self._home.config, self._home.store.queues
        ended = 0
        for name in dict.fromkeys((config.default_queue, *config.queue_names)):
            ended += queues.purge(name, note=Note(verb="purge", by=who(), what=f"queue {name}"))
        return ended

    discard_all = purge

    def __getattr__(self, name: str) -> Any:
        if name in _REFUSED:
            why = f"{name}: {_REFUSED[name]}"

            def refuse(*_args: Any, **_options: Any) -> NoReturn:
                raise RefusedError(why)

            return refuse
        raise AttributeError(f"control has no {name!r}{nearest(name, [m for m in dir(Control) if m[0] != '_'])}")

    def _order(
        self, verb: str, destination: Iterable[str] | str | None, options: Mapping[str, Any], **fields: Any
    ) -> list[dict[str, Any]] | None:
        """Give an order; the answers, if they were asked for."""
        from scheduler.store.audit import Note, encode_note  # noqa: PLC0415
        from scheduler.store.orders import Verb, new_order  # noqa: PLC0415

        workers = live_workers(self._home, [destination] if isinstance(destination, str) else destination)
        orders = self._home.store.orders
        named = ", ".join(sorted({worker.info.name for worker in workers}))
        chosen: Verb = Verb[verb]
        note = encode_note(Note(verb=chosen, by=who(), what=f"worker {named}"))
        given = orders.give(
            new_order(chosen, by=who(), **fields), [worker.session for worker in workers], note=note if workers else b""
        )
        if not options.get("reply"):
            return None
        return _replies(workers, orders.wait(given, float(options.get("timeout", ANSWER_S))))


def live_workers(home: Home, destination: Iterable[str] | None) -> list[LiveWorker]:
    """
    The workers called so; None: all.

    Raises:
        NotFoundError: There is none of such a name.
    """
    workers: list[LiveWorker] = home.store.sessions.workers()
    if destination is None:
        return workers
    names = list(destination)
    known = sorted({worker.info.name for worker in workers})
    if missing := [name for name in names if name not in known]:
        there = f"; there are {', '.join(known)}" if known else "; there is none"
        raise NotFoundError(f"there is no worker {', '.join(map(repr, missing))}{there}")
    return [worker for worker in workers if worker.info.name in names]


def _slots(worker: LiveWorker) -> Sequence[Slot]:
    return () if worker.state is None else worker.state.slots


def _replies(workers: Sequence[LiveWorker], replies: Replies) -> list[dict[str, Any]]:
    found = []
    for worker in workers:
        answer = replies.answers.get(worker.session)
        if answer is not None:
            found.append({worker.info.name: {"ok" if answer.done else "error": answer.text}})
        elif worker.session in replies.missing:
            found.append({worker.info.name: {"error": f"no answer: {replies.missing[worker.session]}"}})
    return found
