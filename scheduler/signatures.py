"""
A signature: a call that has not been made yet. A task, arguments, and how it is to be sent; it can be passed around.

    add.s(2, 2).delay()
    add.s(2).delay(4)                        # add(4, 2): arguments that come later stand in front, as in Celery
    signature("tasks.add", args=(2, 2), countdown=10).apply_async()

It is a value: nothing changes it, and its methods give new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from scheduler.result import AsyncResult


class Signature:
    """
    A call to come.

    Args:
        task: The task, or the name of one whose code need not be here.
        options: The keywords of `Task.apply_async`.
        immutable: It takes no further arguments (`Task.si`).
        app: Whose Redis, for a task given by its name; None: the process' own.

    Attributes:
        task: The task's name.
    """

    __slots__ = ("_app", "_task", "args", "immutable", "kwargs", "options")

    def __init__(
        self,
        task: Any,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        app: Any = None,
    ) -> None:
        self._task, self._app = task, app
        self.args = tuple(args or ())
        self.kwargs = dict(kwargs or {})
        self.options = dict(options or {})
        self.immutable = immutable

    @property
    def task(self) -> str:
        """The task's name."""
        return self._task if isinstance(self._task, str) else str(self._task.name)

    @property
    def type(self) -> Any:
        """
        The task itself.

        Raises:
            KeyError: Its code is not here.
        """
        return self._declarations().tasks[self._task] if isinstance(self._task, str) else self._task

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function in this process, now."""
        whole = self.clone(args, kwargs)
        return self.type(*whole.args, **whole.kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Ask for the run, with these arguments before its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Ask for the run; see `Task.apply_async`, whose keywords override those of the signature."""
        whole = self.clone(args, kwargs, **options)
        if not isinstance(self._task, str):
            return whole._task.apply_async(whole.args, whole.kwargs, **whole.options)  # type: ignore[no-any-return]
        sent: AsyncResult = self._declarations().send_task(self._task, whole.args, whole.kwargs, **whole.options)
        return sent

    def apply(self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None) -> AsyncResult:
        """Run it in this process, through the steps of a worker; see `Task.apply`."""
        whole = self.clone(args, kwargs)
        return self.type.apply(whole.args, whole.kwargs)  # type: ignore[no-any-return]

    def clone(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """The same with more said: *args* before its own, *kwargs* and *options* over its own; only options, if it is immutable."""
        if self.immutable:
            args, kwargs = (), {}
        return Signature(
            self._task,
            (*(args or ()), *self.args),
            {**self.kwargs, **(kwargs or {})},
            {**self.options, **options},
            immutable=self.immutable,
            app=self._app,
        )

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """The same with these options: ``add.s(2, 2).set(countdown=10)``."""
        made = self.clone(**options)
        made.immutable = self.immutable if immutable is None else immutable
        return made

    def _declarations(self) -> Any:
        if self._app is not None:
            return self._app.declarations
        from scheduler.declare import current  # noqa: PLC0415 - it stands above us

        return current()

    def __or__(self, other: object) -> NoReturn:
        raise TypeError(
            "chains (`a.s() | b.s()`) are not in this version: let the first task call the next one, as in b.delay(result)"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self.task)

    def _said(self) -> tuple[Any, ...]:
        return (self.task, self.args, self.kwargs, self.options, self.immutable)

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.task}({', '.join(shown)})"


def signature(
    task: Any,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    app: Any = None,
    **options: Any,
) -> Signature:
    """The signature of *task*, given itself or by its name; options are the keywords of `Task.apply_async`."""
    if isinstance(task, Signature):
        return task.clone(args, kwargs, **options)
    return Signature(task, args, kwargs, options, immutable=immutable, app=app)
