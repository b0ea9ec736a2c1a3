"""Lending: for a while, the tasks that a test names send somewhere else than to where their settings say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from scheduler.app import App
from scheduler.declare import Declarations, current, set_current
from scheduler.home import Home

H = TypeVar("H", bound=Home)


def declarations_of(apps: Sequence[App]) -> list[Declarations]:
    """What the process itself declares (schedule files, its first App), and what *apps* do; each once."""
    default = set_current(None)
    set_current(default)
    found = [*([default] if default is not None else []), *(app.declarations for app in apps)]
    return list({id(each): each for each in found or [current()]}.values())


@contextmanager
def lent(
    declared: Sequence[Declarations], apps: Sequence[App], make: Callable[[Home], H]
) -> Iterator[Callable[[Home], H]]:
    """
    Within it, the tasks of *declared*, what they declare meanwhile, and *apps* send to the homes that *make* gives for theirs.

    Yields:
        What tells the home that stands for another one.
    """
    made: dict[int, tuple[Home, H]] = {}

    def instead(home: Home) -> H:
        # The real one is kept beside: its id must not be given to another meanwhile.
        return made.setdefault(id(home), (home, make(home)))[1]

    held: list[tuple[Any, str, Home]] = [(each, "home", each.home) for each in declared]
    held += [(task, "_home", task._home) for each in declared for task in each.tasks.values()]
    held += [(app, "_home", app._home) for app in apps]
    try:
        for owner, attribute, home in held:
            setattr(owner, attribute, instead(home))
        yield instead
    finally:
        for owner, attribute, home in held:
            setattr(owner, attribute, home)
        real = {id(ours): theirs for theirs, ours in made.values()}
        for task in (task for each in declared for task in each.tasks.values()):
            task._home = real.get(id(task._home), task._home)  # those that were declared meanwhile
