"""Loads `lua/` once; one `Script` for each verb, with its includes put in place."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^--@include (.+)$", re.MULTILINE)


class Script:
    """
    One Lua file, ready to be called by its digest.

    Attributes:
        name: The verb, which is the file's name.
        text: What Redis gets: the file with its includes, without comments.
        sha: The digest `EVALSHA` wants.
    """

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@cache
def script(name: str) -> Script:
    """The script in ``lua/<name>.lua``."""
    return Script(name, _strip(_expand(_read(name))))


def _read(name: str) -> str:
    return files("scheduler.store").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _expand(text: str) -> str:
    return _INCLUDE.sub(lambda match: "\n".join(_read(name) for name in match.group(1).split()), text)


def _strip(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))
