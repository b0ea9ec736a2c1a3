"""The frame of `sched`: commands imported when they are used, and options that may stand before or after them."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from scheduler.cli.commands import CELERYS, COMMANDS, Row
from scheduler.cli.invocation import FORMATS, Invocation, say


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and param.name is not None:
        ctx.ensure_object(Invocation).told[param.name] = value


def _global_options() -> list[click.Option]:
    options: tuple[tuple[list[str], str, str | click.Choice[str]], ...] = (
        (["-A", "--app"], "The App to work for: MODULE or MODULE:APP.", "MODULE[:APP]"),
        (
            ["--config", "config_file"],
            "The settings (default: sched.toml, or [tool.sched] in pyproject.toml).",
            "FILE",
        ),
        (
            ["--redis-url", "-b", "--broker", "redis_url"],
            "Redis or Valkey: redis:// rediss:// unix:// redis+sentinel://",
            "URL",
        ),
        (["--namespace"], "What the keys on Redis begin with.", "NAME"),
        (["--tz"], "Show and read times in this zone.", "ZONE"),
        (["-o", "--output"], "How to print.", click.Choice(FORMATS)),
    )
    return [
        click.Option(
            names,
            help=text,
            metavar=kind if isinstance(kind, str) else None,
            type=str if isinstance(kind, str) else kind,
            expose_value=False,
            callback=_remember,
        )
        for names, text, kind in options
    ] + [
        click.Option(
            list(names),
            hidden=True,
            expose_value=False,
            is_flag=why is None or names[0] == "--quiet",
            callback=_pass_over,
        )
        for names, why in _CELERYS_OPTIONS.items()
    ]


_CELERYS_OPTIONS: dict[tuple[str, ...], str | None] = {
    ("--no-color", "-C"): None,
    ("--quiet", "-q"): "there is no banner; --loglevel says how much is logged",
    ("--result-backend",): "results stand on the same Redis as the messages",
    ("--loader",): "the parts of a worker or beat are not to be replaced",
}
"""Global options of `celery` → why they have no meaning here; None: they have one."""


def _pass_over(_ctx: click.Context, param: click.Parameter, value: str | bool | None) -> None:
    if value is None or value is False:
        return
    why = _CELERYS_OPTIONS[tuple(param.opts)]
    if why is None:
        os.environ["NO_COLOR"] = "1"
    else:
        say(f"sched: {param.opts[0]} has no meaning here: {why}")


class Command(click.Command):
    """A command of `sched`: it takes the global options too, as people type them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {name for param in self.params for name in param.opts}
        self.global_options = [option for option in _global_options() if not own & set(option.opts)]
        self.params = [*self.params, *self.global_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then those of every command."""
        _write(formatter, "Options", _records(ctx, self._own_options(ctx)))
        _write(formatter, "Options of every command", _records(ctx, self.global_options))

    def _own_options(self, ctx: click.Context) -> list[click.Parameter]:
        params = self.get_params(ctx)
        return [p for p in params if isinstance(p, click.Option) and p not in self.global_options]


class _Table(click.Group):
    """Commands known from a table, imported when they are used."""

    table: Mapping[str, Row]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the help."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command called *cmd_name*, imported now."""
        row = self.table.get(cmd_name)
        if row is None:
            return None
        module, _, name = row.home.partition(":")
        command = getattr(importlib.import_module(f"scheduler.cli.{module}"), name)
        assert isinstance(command, click.Command), row.home
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that *args* begin with; a wrong name is refused with the nearest right ones."""
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.table, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            if self.table is COMMANDS and name in CELERYS:
                hint = f", which is Celery's; here: {CELERYS[name]}"
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - see above
        """The table, by family."""
        for family in dict.fromkeys(row.family for row in self.table.values()):
            _write(formatter, family, [(name, row.help) for name, row in self.table.items() if row.family == family])


class CommandGroup(Command, _Table):
    """A command that does something by itself and has commands below it; they take none of its own options."""

    def __init__(self, *args: Any, table: Mapping[str, Row], callback: Callable[..., Any], **kwargs: Any) -> None:
        def alone(*args: Any, **kwargs: Any) -> Any:
            """*callback*, unless a command below us was called: then click asks us first all the same."""
            return None if click.get_current_context().invoked_subcommand else callback(*args, **kwargs)

        super().__init__(*args, callback=alone, invoke_without_command=True, subcommand_metavar="[COMMAND …]", **kwargs)
        self.table = table

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in `_Table`; our own options are refused in front of a command, where they would mean nothing."""
        name, command, rest = super().resolve_command(ctx, args)
        for param in self._own_options(ctx):
            if param.name and ctx.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{param.opts[0]} is for `{ctx.command_path}` itself, not for {name!r}", ctx)
        return name, command, rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands first, then the options."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)


class Sched(_Table):
    """`sched` itself: it knows its commands from the table, and imports the one that is used."""

    table = COMMANDS

    def __init__(self) -> None:
        super().__init__(
            name="sched",
            help="Steadybeat: fire every entry exactly once, whoever leads.",
            params=[
                *_global_options(),
                click.Option(
                    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
                    help="Print the version.",
                ),
            ],
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )  # fmt: skip


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and asked for once in a while

        click.echo(f"sched {version('steadybeat')}")
        ctx.exit()


def _records(ctx: click.Context, params: Iterable[click.Parameter]) -> list[tuple[str, str]]:
    return [record for param in params if (record := param.get_help_record(ctx)) is not None]


def _write(formatter: click.HelpFormatter, title: str, records: list[tuple[str, str]]) -> None:
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
