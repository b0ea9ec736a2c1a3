"""
Finding things by name: the app of ``-A``, and the modules in which tasks are looked for.

``-A`` is read as Celery reads it: ``module``, ``module:app``, ``module.app``; of a package, the app may stand in its module
``celery`` (or ``app``), as in ``proj/celery.py``.
"""

from __future__ import annotations

import os
import sys

from scheduler.app import App
from scheduler.conf import imported
from scheduler.errors import ConfigError


def find_app(spec: str) -> App:
    """
    The app that ``-A module[:app]`` names. The working directory is on the path, as it is with ``python -m``.

    Without a name it is the module's `app` or `celery`, or the only App in it.

    Raises:
        ConfigError: There is no such module, it cannot be imported, or there is no App of that name in it.
    """
    name, colon, attribute = spec.partition(":")
    if not name or (colon and not attribute):
        raise ConfigError(f"-A {spec!r}: expected module or module:app, as in shop.tasks:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = imported(name, f"-A {spec!r}")
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    listed = f"; it has {', '.join(sorted(apps))}" if apps else "; it has none (app = App(…))"
    if attribute:
        found = module
        for part in attribute.split("."):
            found = getattr(found, part, None)  # type: ignore[assignment]
        if isinstance(found, App):
            return found
        why = "there is no" if found is None else f"a {type(found).__name__} is no App, as is"
        raise ConfigError(f"-A {spec!r}: {why} {attribute!r} in {name}{listed}")
    for usual in ("app", "celery"):
        if usual in apps:
            return apps[usual]
    distinct = list({id(app): app for app in apps.values()}.values())
    if len(distinct) == 1:
        return distinct[0]
    if not apps:
        raise ConfigError(f"-A {spec!r}: there is no App in {name}{listed}")
    raise ConfigError(
        f"-A {spec!r}: {name} has several Apps; say which: {', '.join(f'{name}:{k}' for k in sorted(apps))}"
    )
