"""The table of commands: where each lives and its line of help, so that `sched --help` imports none of them."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """
    One command.

    Attributes:
        home: Its module in this package and its name there, ``module:name``.
        family: The heading it stands under in the help.
        help: One line; the command's own docstring says the rest.
    """

    home: str
    family: str
    help: str


_RUN, _LOOK, _STEER, _SERVICE = "Run", "Look", "Steer", "The service"

COMMANDS: dict[str, Row] = {
    "dev": Row("dev:dev", _RUN, "Beat, worker and embedded server in one go."),
    "beat": Row("processes:beat", _RUN, "Run a beat: one of them leads, the others stand by."),
    "worker": Row("processes:worker", _RUN, "Run a worker."),
    "list": Row("entries:list_entries", _LOOK, "The entries, and when each fires next."),
    "show": Row("entries:show", _LOOK, "One entry: its schedule, options, counters and last runs."),
    "next": Row("upcoming:upcoming", _LOOK, "The next fires of an entry or of an expression."),
    "runs": Row("runs:runs", _LOOK, "What ran, what runs, and what was skipped and why."),
    "why": Row("why:why", _LOOK, "What became of a due time of an entry, or what will."),
    "result": Row("runs:result", _LOOK, "One run, with its result or traceback."),
    "alerts": Row("alerts:alerts", _LOOK, "What is wrong now, and what was told about it."),
    "audit": Row("audit:audit", _LOOK, "Who changed what, when and why."),
    "check": Row("check:check", _LOOK, "Every mistake in the schedule files; needs no Redis."),
    "plan": Row("plan:plan", _LOOK, "What a load of the schedule files would change, before it does."),
    "explain": Row("explain:explain", _LOOK, "An expression in words, and as croniter and Celery would read it."),
    "simulate": Row("simulate:simulate", _LOOK, "The load to come: worst minutes, crowds, and what jitter would do."),
    "trigger": Row("send:trigger", _STEER, "Run an entry now, or at a time."),
    "call": Row("send:call", _STEER, "Run a task by its name."),
    "backfill": Row("backfill:backfill", _STEER, "Run an entry for due times that are past."),
    "pause": Row("pause:pause", _STEER, "Stop an entry from firing, until a time or until resumed."),
    "resume": Row("pause:resume", _STEER, "Let a paused entry fire again."),
    "skip": Row("skip:skip", _STEER, "Leave out the next fire of an entry, and only that."),
    "cancel": Row("cancel:cancel", _STEER, "Cancel a run that waits, or stop one that runs."),
    "retry": Row("retry:retry", _STEER, "Run again what has failed, as a new run."),
    "dead": Row("dead:dead", _STEER, "Messages that were given up: list, show, put back, purge."),
    "purge": Row("queues:purge", _STEER, "End every call that waits in a queue."),
    "add": Row("add:add", _STEER, "Add an entry without a schedule file."),
    "edit": Row("edit:edit", _STEER, "Change an entry that was added so."),
    "remove": Row("edit:remove", _STEER, "Remove an entry that was added so."),
    "reload": Row("service:reload", _STEER, "Ask the beats to load the schedule files again."),
    "status": Row("service:status", _SERVICE, "Leader, beats, workers and queues at a glance."),
    "leader": Row("leadership:leader", _SERVICE, "Who leads, who led, and asking the leader to step down."),
    "workers": Row("workers:workers", _SERVICE, "The live workers: what they run, and how they are."),
    "inspect": Row("inspect:inspect", _SERVICE, "Ask a worker what it is, and where its running tasks are."),
    "queues": Row("queues:queues", _SERVICE, "The queues and how full they are."),
}

DEAD_COMMANDS: dict[str, Row] = {
    "list": Row("dead:list_dead", _LOOK, "The newest of them, or those of a task, an entry, a queue."),
    "show": Row("dead:show", _LOOK, "One of them, with its whole story."),
    "requeue": Row("dead:requeue", _STEER, "Put them back on their queues, as new runs."),
    "purge": Row("dead:purge", _STEER, "Keep them no longer."),
}
"""Those below `sched dead`."""

_STEER_WORKERS = "Steer workers that run"

WORKER_COMMANDS: dict[str, Row] = {
    "drain": Row("steer:drain", _STEER_WORKERS, "Let them take nothing more; what runs goes on."),
    "resume": Row("steer:resume", _STEER_WORKERS, "Let drained ones take again."),
    "stop": Row("steer:stop", _STEER_WORKERS, "Let them end, as SIGTERM does."),
    "grow": Row("steer:grow", _STEER_WORKERS, "Let them run more tasks at once."),
    "shrink": Row("steer:shrink", _STEER_WORKERS, "Let them run fewer."),
    "concurrency": Row("steer:concurrency", _STEER_WORKERS, "How many tasks they run at once."),
    "queues": Row("steer:queues", _STEER_WORKERS, "Let them take from more queues, or from fewer."),
    "log-level": Row("steer:log_level", _STEER_WORKERS, "How much they log."),
    "restart-children": Row("steer:restart_children", _STEER_WORKERS, "Replace each child when its task is over."),
}
"""Those below `sched worker`."""

CELERYS: dict[str, str] = {
    "amqp": "`sched queues` shows the queues; there is no AMQP here",
    "control": "sched worker drain|resume|stop|grow|shrink|queues …, and sched cancel for revoke",
    "events": "sched status, sched workers and sched runs: no events are sent",
    "flower": "sched status, sched workers and sched runs show what workers do",
    "graph": "`sched workers` shows the workers, `sched list` the entries",
    "logtool": "logs can be written as JSON lines (log_format), for any tool",
    "migrate": "messages of Celery are not read; let its workers empty their queues first",
    "multi": "start one unit for each worker: sched-worker@NAME.service in systemd/",
    "report": "sched inspect NAME, for a worker; sched status",
    "shell": "python -i, and import your app",
    "upgrade": "settings are understood under their old names too: sched check",
}
"""Commands of Celery that there are not here → what to do instead."""

CELERYS_INSPECT: dict[str, str] = {
    "active": "sched workers",
    "active_queues": "sched workers",
    "conf": "sched inspect NAME",
    "ping": "sched workers",
    "query_task": "sched result ID",
    "registered": "sched inspect NAME",
    "report": "sched inspect NAME",
    "reserved": "sched workers",
    "revoked": "sched runs --state revoked",
    "scheduled": "sched queues",
    "stats": "sched workers",
}
"""What `celery inspect` is asked → what to do instead."""
