"""Which entry a name on the command line means."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Sequence
from typing import NoReturn

import click

from scheduler.errors import NotFoundError

SHOWN_MAX = 5
_WILDCARDS = frozenset("*?[")


def resolve(name: str, known: Collection[str], *, what: str = "entry") -> str:
    """
    The one of *known* that *name* is, or is the beginning of. Only for commands that change nothing.

    Raises:
        click.UsageError: It is the beginning of several; the message lists them.
        NotFoundError: It is the beginning of none.
    """
    if name in known:
        return name
    found = sorted(candidate for candidate in known if candidate.startswith(name)) if name else []
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        raise click.UsageError(f"{what} {name!r} could be {', '.join(found[:SHOWN_MAX])}{more}; give the whole name")
    return not_found(name, known, what=what)


def not_found(name: str, known: Collection[str], *, what: str = "entry") -> NoReturn:
    """
    Say that there is no *name*, and what comes near it.

    Raises:
        NotFoundError: Always.
    """
    near = nearest(name, known)
    if near:
        raise NotFoundError(f"there is no {what} {name!r}; did you mean {' or '.join(near)}?")
    hint = f"`sched {_LISTS[what]}` shows what there is" if known else f"there is no {what} at all yet"
    raise NotFoundError(f"there is no {what} {name!r}; {hint}")


def nearest(name: str, known: Collection[str]) -> list[str]:
    """At most three of *known* that somebody who typed *name* may have meant."""
    begun = [candidate for candidate in sorted(known) if name and candidate.startswith(name)]
    return begun[:3] or difflib.get_close_matches(name, known, n=3)


def matching(pattern: str | None, names: Sequence[str]) -> list[str]:
    """Those of *names* that fit *pattern*: a glob such as ``mail-*``, or text that the name contains."""
    if not pattern:
        return list(names)
    if _WILDCARDS & set(pattern):
        return fnmatch.filter(names, pattern)
    return [name for name in names if pattern in name]


def redis_glob(pattern: str | None) -> str:
    """What Redis is asked for so that all names that fit *pattern* (see `matching`) are among its answers."""
    if not pattern:
        return "*"
    if _WILDCARDS & set(pattern):
        return pattern.replace("\\", "\\\\").replace("[!", "[^")
    return f"*{pattern.replace(chr(92), chr(92) * 2)}*"


_LISTS = {"entry": "list", "queue": "queues", "run": "runs", "worker": "workers"}
