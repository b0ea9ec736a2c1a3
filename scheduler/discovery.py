"""Importing the modules of tasks that an app names by their packages; and Django, whose apps are such packages."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable

from scheduler.conf import imported
from scheduler.errors import ConfigError

DJANGO_VARIABLE = "DJANGO_SETTINGS_MODULE"


def discover(packages: Iterable[str] | Callable[[], Iterable[str]] | None, related_name: str | None) -> None:
    """
    Import the module called *related_name* of each package that has one.

    Args:
        packages: None: Django's INSTALLED_APPS.
        related_name: None: the packages themselves.

    Raises:
        ConfigError: A package is missing, or a module cannot be imported.
    """
    set_django_up()
    names = _django_packages() if packages is None else packages() if callable(packages) else packages
    for package in names:
        what = f"autodiscover_tasks: {package}"
        imported(package, what)
        if related_name is not None and importlib.util.find_spec(f"{package}.{related_name}") is not None:
            imported(f"{package}.{related_name}", what)


def set_django_up() -> None:
    """Where the environment names Django's settings: its models can be imported only then."""
    if os.environ.get(DJANGO_VARIABLE) and importlib.util.find_spec("django") is not None:
        importlib.import_module("django").setup()


def _django_packages() -> list[str]:
    if not os.environ.get(DJANGO_VARIABLE):
        raise ConfigError(
            f"autodiscover_tasks(): without packages it looks into Django's INSTALLED_APPS, and {DJANGO_VARIABLE} is not set"
        )
    apps = importlib.import_module("django.apps").apps
    return [config.name for config in apps.get_app_configs()]
