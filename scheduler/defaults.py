"""
What the options of a task come to: what its declaration said, over what the settings say, under `task_annotations`.

    a default here  <  a `task_…` setting  <  the declaration  <  an annotation

An annotation is for whoever runs the service and does not own the code. The setting maps names of tasks, or globs, to options;
or it is a list of such mappings, or of objects whose ``annotate(task)`` answers one (Celery's form). Among several that fit, the
later one counts. Hooks may be annotated too: ``{"*": {"on_failure": function}}``; the function gets the task first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from scheduler.celery_options import translate_options
from scheduler.config import Config
from scheduler.errors import ConfigError
from scheduler.model import Ack
from scheduler.options import TaskOptions, limits_complaint, read_options

HOOKS = frozenset({"before_start", "on_success", "on_failure", "on_retry", "after_return"})
"""The methods of a task that are called around its runs."""

_PLAIN = TaskOptions()

Hooks = Mapping[str, Callable[..., Any]]


def in_force(task: object, name: str, said: Mapping[str, Any], config: Config) -> tuple[TaskOptions, Hooks]:
    """
    The options of the task called *name* under *config*, and the hooks that annotations give it.

    Args:
        task: For annotations that want to look at it; None where its code is not here.
        said: Fields of `TaskOptions`, as the declaration gave them.

    Raises:
        ConfigError: An annotation names no option, or one that is out of range, or limits contradict each other.
    """
    values = {**_of_settings(config), **said}
    if said.get("retry_for") and "ack" not in said:
        values.pop("ack", None)  # at most once is no default for a task that asks to be repeated
    hooks: dict[str, Callable[..., Any]] = {}
    for annotation in _annotations_for(task, name, config.task_annotations):
        options = {key: value for key, value in annotation.items() if key not in HOOKS}
        ours, complaints, _ = translate_options(options)
        found, more = read_options(ours)
        if complaints or more:
            raise ConfigError([f"task_annotations: task {name!r}: {line}" for line in (*complaints, *more)])
        values |= found
        hooks |= {key: value for key, value in annotation.items() if key in HOOKS}
    if complaint := limits_complaint(values.get("time_limit_ms"), values.get("soft_time_limit_ms")):
        if values["soft_time_limit_ms"] != config.task_soft_time_limit_ms:
            raise ConfigError(f"task {name!r}: {complaint} (task_time_limit, where the task says nothing itself)")
        # The settings' soft limit is for tasks that may take longer than this one.
        values["soft_time_limit_ms"] = None
    if config.disable_rate_limits:
        values.pop("rate_limit", None)
    return (TaskOptions(**values) if values else _PLAIN), hooks


def _of_settings(config: Config) -> dict[str, Any]:
    """The fields of `TaskOptions` for which *config* has something else than a default."""
    found: dict[str, Any] = {
        "time_limit_ms": config.task_time_limit_ms or None,
        "soft_time_limit_ms": config.task_soft_time_limit_ms or None,
        "ack": Ack(config.task_ack),
        "ignore_result": config.task_ignore_result,
        "rate_limit": config.task_rate_limit,
    }
    return {field: value for field, value in found.items() if value != getattr(_PLAIN, field)}


def _annotations_for(task: object, name: str, annotations: Any) -> Iterator[Mapping[str, Any]]:
    """The options that *annotations* give the task called *name*, the weaker ones first."""
    for one in annotations if isinstance(annotations, list | tuple) else (annotations,):
        if isinstance(one, Mapping):
            yield from (options for pattern, options in one.items() if fnmatchcase(name, pattern) and pattern != name)
            if name in one:
                yield one[name]
        elif task is not None and (options := one.annotate(task)):
            yield options
