"""
The options that Celery has for tasks, in our words, so that a task written for it is declared as it stands.

Three kinds: those that have a counterpart under another name; those that say what is so here anyway, or tune something that we do
not have, of which one line is told (`Task.notes`: workers and beats log it when they start, `sched check` shows it); and those whose
value asks for something that cannot be, which are complaints. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

RENAMED = {"autoretry_for": "retry_for", "dont_autoretry_for": "dont_retry_for"}
"""Celery's name → ours; the value means the same."""

ALIASES = frozenset({*RENAMED, "acks_late", "default_retry_delay", "retry_kwargs", "typing"})
"""Celery's names for which there is a counterpart."""


class Passed(NamedTuple):
    """
    An option without a counterpart.

    Attributes:
        true_here: The value that says what is so here anyway; it needs no line. `...`: there is none.
        why: The line, for every other value.
    """

    true_here: Any
    why: str


_FAILED = "a run that fails for good has ended, and `sched runs --state failure` shows it; nothing is redelivered"
_LOST = "a run whose process dies runs again, up to max_deliveries; ack='early' makes a task at most once"

_MODELS = "arguments are always made into the models that their annotations name, as these are configured; models travel as mappings"

PASSED: Mapping[str, Passed] = {
    "acks_on_failure_or_timeout": Passed(True, _FAILED),
    "acks_on_failure": Passed(True, _FAILED),
    "acks_on_timeout": Passed(True, _FAILED),
    "reject_on_worker_lost": Passed(True, _LOST),
    "retry_on_worker_lost": Passed(True, _LOST),
    "store_errors_even_if_ignored": Passed(
        False,
        "why a run failed is in its history (`sched runs`, `sched show`), whether its result is kept or not",
    ),
    "track_started": Passed(True, "STARTED is always known: it costs nothing here"),
    "send_events": Passed(..., "what a worker does is on Redis, for `sched runs`, `sched workers` and `sched inspect`"),
    "trail": Passed(False, "a run knows who called it (`parent_id`, `root_id`); results list no children"),
    "throws": Passed((), "every failure is recorded with its traceback, expected or not"),
    "compression": Passed(None, "messages are not compressed: pass a reference to what is large"),
    "backend": Passed(None, "results stand on the same Redis as the messages"),
    "pydantic": Passed(True, _MODELS),
    "pydantic_strict": Passed(None, _MODELS),
    "pydantic_context": Passed(None, _MODELS),
    "pydantic_dump_kwargs": Passed(None, _MODELS),
    "Strategy": Passed(..., "how a worker handles a message is not to be replaced"),
    "Request": Passed(..., "how a worker handles a message is not to be replaced"),
    "resultrepr_maxsize": Passed(..., "logs do not show results"),
    "abstract": Passed(False, "a base class needs no mark here"),
    "shared": Passed(..., "tasks belong to the App that declares them; shared_task is for any"),
    "lazy": Passed(..., "a task is made at once"),
}


def translate_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """
    *given* in our words: the options, the complaints, and the lines about what has no meaning here.

    Unknown names are left as they are: whoever reads the options says what is wrong with them.
    """
    if ALIASES.isdisjoint(given) and PASSED.keys().isdisjoint(given):
        return dict(given), [], []
    found: dict[str, Any] = {}
    complaints: list[str] = []
    notes: list[str] = []
    said_by: dict[str, str] = {}

    def say(name: str, value: Any, *, by: str) -> None:
        if name in said_by and found[name] != value:
            complaints.append(
                f"{said_by[name]} and {by} say different things ({found[name]!r}, {value!r}); give one of them"
            )
        found[name], said_by[name] = value, by

    for name, value in given.items():
        if name in RENAMED:
            say(RENAMED[name], value, by=name)
        elif name in _READERS:
            for ours, meant in _READERS[name](value, complaints).items():
                say(ours, meant, by=name)
        elif name in PASSED:
            passed = PASSED[name]
            if passed.true_here is ... or value != passed.true_here:
                notes.append(f"{name}={_shown(value)} has no meaning here: {passed.why}")
        else:
            say(name, value, by=name)
    if "default_retry_delay" in found:
        notes += _settle_delay(found)
    if said_by.get("ack") == "acks_late" and found["ack"] == "early" and found.get("retry_for"):
        del found["ack"]
        complaints.append(
            f"acks_late=False is ack='early' here, at most once, so {said_by['retry_for']} cannot stand beside it"
        )
    return found, complaints, notes


def _acks_late(value: Any, complaints: list[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, bool):
        complaints.append(f"acks_late {value!r}: expected True or False")
        return {}
    return {"ack": "late" if value else "early"}


def _retry_kwargs(value: Any, complaints: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        complaints.append(f"retry_kwargs {value!r}: expected a mapping with max_retries, countdown")
        return {}
    known = {"max_retries": "max_retries", "countdown": "default_retry_delay"}
    if unknown := sorted(str(key) for key in value if key not in known):
        complaints.append(
            f"retry_kwargs: {', '.join(unknown)}: expected max_retries, countdown; call self.retry() for more"
        )
    return {known[key]: meant for key, meant in value.items() if key in known}


def _typing(value: Any, complaints: list[str]) -> dict[str, Any]:
    if not isinstance(value, bool | None):
        complaints.append(f"typing {value!r}: expected True or False")
    return {} if value is None else {"typing": value}


_READERS: Mapping[str, Callable[[Any, list[str]], dict[str, Any]]] = {
    "acks_late": _acks_late,
    "default_retry_delay": lambda value, _: {"default_retry_delay": value},
    "retry_kwargs": _retry_kwargs,
    "typing": _typing,
}


def _settle_delay(found: dict[str, Any]) -> list[str]:
    """A pause that is always the same is a backoff that does not grow; the line about it, where a real one is given too."""
    delay = found.pop("default_retry_delay")
    if found.get("retry_backoff") not in (None, False):
        return [f"default_retry_delay={_shown(delay)} gives way to retry_backoff, which holds for self.retry() too"]
    found |= {"retry_backoff": delay, "retry_backoff_max": delay, "retry_jitter": False}
    return []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
