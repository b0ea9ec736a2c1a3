"""
Finding the app that ``-A`` names, as Celery does: ``module``, ``module:app``, ``module.app``; of a package, the app may stand in its
module `celery`, as in ``proj/celery.py``.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import ModuleType

from scheduler.app import App
from scheduler.conf import imported
from scheduler.errors import ConfigError


def find_app(spec: str) -> App:
    """
    The app that ``-A`` names. The working directory is on the path, as it is with ``python -m``.

    Without a name it is the module's `app` or `celery`, or the only App in it; of a package without one, that of its module
    `celery`.

    Raises:
        ConfigError: There is no such module, it cannot be imported, or there is no App of that name in it.
    """
    name, colon, attribute = spec.partition(":")
    if not name or (colon and not attribute):
        raise ConfigError(f"-A {spec!r}: expected module or module:app, as in shop.tasks:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if attribute:
        return _named(imported(name, f"-A {spec!r}"), attribute, spec)
    try:
        module = imported(name, f"-A {spec!r}")
    except ConfigError:
        parent, _, last = name.rpartition(".")
        if parent in sys.modules and isinstance(found := getattr(sys.modules[parent], last, None), App):
            return found
        raise
    return _only(module, spec)


def _named(module: ModuleType, attribute: str, spec: str) -> App:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, App):
        return found
    why = "there is no" if found is None else f"a {type(found).__name__} is no App, as is"
    raise ConfigError(f"-A {spec!r}: {why} {attribute!r} in {module.__name__}{_listed(module)}")


def _only(module: ModuleType, spec: str) -> App:
    """The app of *module* that is meant without saying so."""
    apps = _apps(module)
    for usual in ("app", "celery"):
        if usual in apps:
            return apps[usual]
    if hasattr(module, "__path__"):
        inner = f"{module.__name__}.celery"
        if find_spec(inner) is not None:
            return _only(imported(inner, f"-A {spec!r}"), spec)
    distinct = list({id(app): app for app in apps.values()}.values())
    if len(distinct) == 1:
        return distinct[0]
    if not apps:
        raise ConfigError(f"-A {spec!r}: there is no App in {module.__name__}{_listed(module)}")
    several = ", ".join(f"{module.__name__}:{name}" for name in sorted(apps))
    raise ConfigError(f"-A {spec!r}: {module.__name__} has several Apps; say which: {several}")


def _apps(module: ModuleType) -> dict[str, App]:
    return {key: value for key, value in vars(module).items() if isinstance(value, App)}


def _listed(module: ModuleType) -> str:
    apps = _apps(module)
    return f"; it has {', '.join(sorted(apps))}" if apps else "; it has none (app = App(…))"
