"""`sched dev`: beat, worker and embedded server in one go, with what happens on the screen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from scheduler.cli.dev_lines import Line
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation

if TYPE_CHECKING:
    from scheduler.config import Config
    from scheduler.embedded import EmbeddedServer

_HANDED_ON = {"app": "--app", "config_file": "--config", "redis_url": "--redis-url", "namespace": "--namespace"}


@click.command(cls=Command)
@click.option("-c", "--concurrency", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N",
              help="Children of the worker.")  # fmt: skip
@click.pass_obj
def dev(invocation: Invocation, concurrency: int) -> int:
    """
    Beat, worker and embedded server in one go.

    Prints who leads, each fire, and each result with its lateness and duration. Loads the schedule files again when they
    change. Ctrl-C stops everything; what it was told stays in the state directory.
    """
    from scheduler.cli.dev_loop import Dev  # noqa: PLC0415 - the other commands start without it
    from scheduler.store import open_store  # noqa: PLC0415

    config = invocation.config
    show = _printer()
    with _server(config) as server:
        where = f"Valkey in {_short(config.state_dir)}" if server else config.redacted_url
        show(Line.now("dev", "bold", f"schedules from {_short(config.schedules)} · {where} · Ctrl-C stops everything"))
        # Asked from the loop that also hears Ctrl-C: it must not wait long.
        store = open_store(msgspec.structs.replace(config, store_timeout_ms=1000), role="cli")
        arguments = [word for name, flag in _HANDED_ON.items() if name in invocation.told
                     for word in (flag, invocation.told[name])]  # fmt: skip
        loop = Dev(config, store, arguments=arguments, concurrency=concurrency, server=server, show=show)
        loop.listen()
        try:
            return loop.run()
        finally:
            store.close()


@contextmanager
def _server(config: Config) -> Iterator[EmbeddedServer | None]:
    """The embedded server, unless the settings name another Redis."""
    if config.redis_url != f"unix://{(config.state_dir / 'valkey.sock').absolute()}":
        yield None
        return
    from scheduler.embedded import EmbeddedServer  # noqa: PLC0415 - an extra

    with EmbeddedServer(config.state_dir) as server:
        yield server


def _printer() -> Callable[[Line], None]:
    """What prints a line: coloured on a terminal (unless `NO_COLOR` is set), plain elsewhere; never wrapped by us."""
    from rich.console import Console  # noqa: PLC0415 - slow, and needed here only
    from rich.text import Text  # noqa: PLC0415

    plain = bool(os.environ.get("NO_COLOR"))  # by itself rich would still print bold and dim
    console = Console(highlight=False, soft_wrap=True, color_system=None if plain else "auto")

    def show(line: Line) -> None:
        moment, badge, text = line.parts
        console.print(Text.assemble((moment, "dim"), (badge, line.style), (text, line.style if line.loud else "")))

    return show


def _short(path: os.PathLike[str]) -> str:
    """*path* from here, if that is shorter."""
    return min(os.path.relpath(path), os.fspath(path), key=len)
