"""
The tables of docs/coming-from-celery.md, from the code itself: ``python -m tests.support.celery_page`` writes them anew.

What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is a table of here; the words around it are written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from scheduler.calls import _NOT_OF_CALLS, PASSED_OVER
from scheduler.celery_options import ALIASES, RENAMED
from scheduler.celery_options import PASSED as OPTIONS_PASSED
from scheduler.celery_settings import BACKEND_FAMILIES, COUNTERPARTS, PASSED, SAME, SPECIAL
from scheduler.cli import celery_flags
from scheduler.cli.commands import CELERYS
from scheduler.control import _REFUSED, _UNTOLD
from tests.support.celery_names import TODAY

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-celery.md"

REMARKS = {
    "accept_content": "MIME types are understood; `yaml` is refused",
    "beat_schedule": "entries; may be changed in place",
    "broker_transport_options": "`global_keyprefix` is `namespace`, `master_name` is in the address; the others are told in a line",
    "broker_url": "`redis+socket://…`, `sentinel://…;sentinel://…` and a list of one are understood",
    **dict.fromkeys(
        ("broker_host", "broker_password", "broker_port", "broker_transport", "broker_user", "broker_vhost"),
        "parts of `redis_url`, where no URL is given",
    ),
    "broker_use_ssl": "`redis_url` with `rediss://` and its files",
    "enable_utc": "`False` without `timezone`: the zone of this host",
    "include": "adds to `imports`",
    "result_accept_content": "must name serializers that there are; `accept_content` counts",
    "result_backend": "results stand beside the messages; another address is told in a line",
    "result_expires": "`None` and 0 (for ever): ten years",
    "task_acks_late": "`True`: `late`; `False`: `early`",
    "task_always_eager": "through the steps of a worker, as `scheduler.testing.eager`",
    "task_annotations": "globs too; hooks too",
    "task_soft_time_limit": "`None`: none",
    "task_time_limit": "`None`: none",
    "worker_concurrency": "`None`, 0 and `auto`: one for each processor",
    "worker_max_memory_per_child": "in KiB; here also `200MB`",
    "worker_pool": "`processes` is `prefork`; `gevent` and `eventlet` are refused",
    "worker_redirect_stdouts": "stdout at info, stderr at warning",
}
"""What is to be said of a setting's value."""

OPTION_REMARKS = {
    "acks_late": "`ack='late'`, the default; `False`: `ack='early'`, at most once",
    "default_retry_delay": "`retry_backoff` and `retry_backoff_max` of the same length, without jitter",
    "retry_kwargs": "`max_retries`; its `countdown` is a `default_retry_delay`",
    "typing": "`False`: the worker finds out what is wrong with arguments",
}


def tables() -> dict[str, str]:
    """Each table by its name."""
    return {
        "settings": _settings(),
        "settings-without-meaning": _reasons(
            {name: passed.why for name, passed in PASSED.items() if name in TODAY}, _families()
        ),
        "options": _options(),
        "options-without-meaning": _reasons({name: passed.why for name, passed in OPTIONS_PASSED.items()}),
        "flags": _reasons(
            {
                flag: f"refused: {why}" if flag in celery_flags._REFUSED else why
                for flag, why in {
                    **celery_flags._WORKERS_PASSED,
                    **celery_flags._BEATS_PASSED,
                    **celery_flags._REFUSED,
                }.items()
            }
        ),
        "calls": _rows(
            ("`apply_async(…)`", ""),
            (
                (", ".join(f"`{name}`" for name in sorted(PASSED_OVER)), "accepted, and changes nothing"),
                *((f"`{name}`", f"refused: {why}") for name, why in _NOT_OF_CALLS.items()),
            ),
        ),
        "commands": _rows(("celery …", "here"), ((f"`{name}`", text) for name, text in CELERYS.items())),
        "control": _rows(
            ("there is no", "because"),
            (
                *((f"`control.{name}`", why) for name, why in _REFUSED.items()),
                *((f"`inspect().{name}`", why) for name, why in _UNTOLD.items()),
            ),
        ),
    }


def _settings() -> str:
    ours = {name: means.ours for name, means in COUNTERPARTS.items()} | {name: name for name in SAME}
    ours |= dict.fromkeys(SPECIAL, "")
    rows = []
    for name in sorted(ours):
        if name not in TODAY:
            continue
        here = f"`{ours[name]}`" if ours[name] else ""
        rows.append((f"`{name}`", here, REMARKS.get(name, "")))
    return _rows(("Celery", "here", ""), rows)


def _options() -> str:
    rows = [(f"`{name}`", OPTION_REMARKS.get(name) or f"`{RENAMED[name]}`") for name in sorted(ALIASES)]
    return _rows(("Celery", "here"), rows)


def _families() -> str:
    return ", ".join(f"`{family}…`" for family in BACKEND_FAMILIES)


def _reasons(told: Mapping[str, str], more: str = "") -> str:
    """Those with the same reason in one row."""
    by: dict[str, list[str]] = {}
    for name, why in told.items():
        by.setdefault(why, []).append(f"`{name}`")
    if more:
        by.setdefault(PASSED["result_exchange"].why, []).append(more)
    return _rows(("Celery", "why it has no meaning here"), ((", ".join(names), why) for why, names in by.items()))


def _rows(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def with_tables(text: str) -> str:
    """The page *text* with its tables as the code has them now."""
    for name, table in tables().items():
        head, rest = text.split(f"<!-- {name} -->\n")
        _, tail = rest.split(f"<!-- /{name} -->")
        text = f"{head}<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->{tail}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
