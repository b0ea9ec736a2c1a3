"""The Lua files: complete, commented, and not larger than they must be."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from scheduler.store.scripts import script

TEXTS = {
    file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
    for file in files("scheduler.store").joinpath("lua").iterdir()
}
INCLUDED = {
    name
    for text in TEXTS.values()
    for line in re.findall(r"^--@include (.+)$", text, re.MULTILINE)
    for name in line.split()
}
SCRIPTS = sorted(set(TEXTS) - INCLUDED)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_sent_with_its_includes_and_without_comments(name: str) -> None:
    """And is called by the digest of just that."""
    sent = script(name)
    assert "@include" not in sent.text
    assert not re.search(r"^\s*--", sent.text, re.MULTILINE)
    assert sent.sha == hashlib.sha1(sent.text.encode()).hexdigest()
    assert script(name) is sent


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_takes_and_gives(name: str) -> None:
    """Its head names keys, arguments and replies."""
    head = TEXTS[name].split("\n\n", 1)[0] + TEXTS[name].split("--@include")[0]
    for word in ("KEYS", "ARGV", "Reply"):
        assert re.search(rf"^-- {word}\b", head, re.MULTILINE), f"{name}.lua does not tell its {word}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_included_includes_nothing_itself_and_comes_after_what_it_needs(name: str) -> None:
    """Local functions must be known before they are used."""
    line = re.findall(r"^--@include (.+)$", TEXTS[name], re.MULTILINE)
    order = line[0].split() if line else []
    assert len(line) <= 1
    for i, part in enumerate(order):
        assert "@include" not in TEXTS[part]
        needs = re.search(r"Needs ([a-z_., ]+)\.", TEXTS[part].replace(".lua", ""))
        for need in re.split(r", ?", needs.group(1)) if needs else []:
            assert need in order[:i], f"{name}.lua includes {part} before {need}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_include_is_used(name: str) -> None:
    """A script parses in microseconds because it carries nothing else."""
    line = re.findall(r"^--@include (.+)$", TEXTS[name], re.MULTILINE)
    for part in line[0].split() if line else []:
        defined = set(re.findall(r"^(?:local )?function (\w+)", TEXTS[part], re.MULTILINE))
        rest = "\n".join([TEXTS[name], *(TEXTS[other] for other in line[0].split() if other != part)])
        assert part == "core" or any(re.search(rf"\b{word}\(", rest) for word in defined), f"{name}.lua: {part}"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_clock_is_redis_own(name: str) -> None:
    """P10: scripts read TIME, never a clock of the host that calls them."""
    assert "os.time" not in TEXTS[name]
    assert "os.clock" not in TEXTS[name]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_script_searches_the_keyspace(name: str) -> None:
    """Its cost would grow with what others keep there."""
    assert not re.search(r"'(KEYS|SCAN|FLUSH\w+)'", TEXTS[name])
