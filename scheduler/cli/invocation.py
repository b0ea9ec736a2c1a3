"""One call of `sched`: what it was told, and what follows from that, made when it is first asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import click

from scheduler.who import who

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

    from scheduler.app import App
    from scheduler.cli.output import Output
    from scheduler.config import Config
    from scheduler.home import Home
    from scheduler.loader import Loaded
    from scheduler.store import Store

__all__ = ["FORMATS", "Invocation", "say", "who"]

FORMATS = ("table", "json", "jsonl")


class Invocation:
    """
    What this call of `sched` was told, and config, store, zone and output, each made at its first use.

    Attributes:
        told: The global options that were given, by name: app, config_file, redis_url, namespace, tz, output.
        settings: Settings that a command's own flags override, under the names that files use.
    """

    def __init__(self, app: App | None = None) -> None:
        self.told: dict[str, str] = {}
        self.settings: dict[str, object] = {}
        if app is not None:
            self.__dict__["app"] = app
            self.told["app"] = app.spec

    @property
    def output_format(self) -> str:
        """One of `FORMATS`."""
        return self.told.get("output", "table")

    @property
    def wants_json(self) -> bool:
        """Whether a program reads what we print."""
        return self.output_format != "table"

    @property
    def flags(self) -> dict[str, object]:
        """Every setting that this call overrides, under the names that files use."""
        return {name: self.told[name] for name in ("redis_url", "namespace") if name in self.told} | self.settings

    @property
    def app_spec(self) -> str | None:
        """``module[:app]``, from `-A` or `SCHED_APP`."""
        return self.told.get("app") or os.environ.get("SCHED_APP") or None

    @cached_property
    def app(self) -> App | None:
        """The App to work for, imported; None where none was named."""
        if self.app_spec is None:
            return None
        from scheduler.finding import find_app  # noqa: PLC0415

        return find_app(self.app_spec)

    @cached_property
    def config(self) -> Config:
        """The settings: file, environment, those of the App, then the flags of this call."""
        from scheduler.config import CONFIG_FILE_VARIABLE, load_config  # noqa: PLC0415

        if self.app is None:
            return load_config(config_file=self.told.get("config_file"), overrides=self.flags)
        if "config_file" in self.told:
            # An App reads its settings itself, and looks there.
            os.environ[CONFIG_FILE_VARIABLE] = os.path.abspath(self.told["config_file"])
        self.app.conf.update(self.flags)
        return self.app.config

    @cached_property
    def home(self) -> Home:
        """Where calls of tasks are sent from. Callables that `routes` names are found beside the schedule files, as in workers."""
        from scheduler.home import Home  # noqa: PLC0415

        beside = str(self.config.schedules.parent)
        if not isinstance(self.config.routes, Mapping) and beside not in sys.path:
            sys.path.append(beside)  # at the end, so that nothing of ours is shadowed
        return Home(lambda: self.config, role="cli")

    @property
    def store(self) -> Store:
        """The store; it connects at its first call."""
        return self.home.store

    @cached_property
    def zone(self) -> tzinfo:
        """The zone that people's times are shown and read in: `--tz`, else the `timezone` setting."""
        from scheduler.cli.moments import zone  # noqa: PLC0415

        return zone(self.told.get("tz") or self.config.timezone)

    @cached_property
    def out(self) -> Output:
        """Where data goes."""
        from scheduler.cli.output import Output  # noqa: PLC0415

        return Output(self.output_format)

    def load(self, folder: Path | None = None, *, imports: Sequence[str] = (), at_ms: int | None = None) -> Loaded:
        """
        What the schedule files say (as of *at_ms*): those in *folder*, or in the one that the settings name. Imports them, and the
        modules *imports*.
        """
        from scheduler.loader import load  # noqa: PLC0415

        return load(folder or self.config.schedules, self.config, imports=imports, app=self.app, at_ms=at_ms)

    @property
    def url(self) -> str:
        """Redis' address without its password, once the settings were read."""
        config: Config | None = self.__dict__.get("config")
        return "" if config is None else config.redacted_url

    def close(self) -> None:
        """Let go of Redis, if it was ever spoken to."""
        home: Home | None = self.__dict__.get("home")
        if home is not None:
            home.close()


def say(text: str) -> None:
    """A message for people: to stderr, so that data stays clean."""
    click.echo(text, err=True)
