"""`docs/routing.md`: its settings are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import scheduler
from scheduler.config import Config, load_config
from scheduler.routes import Said
from scheduler.routing import Router

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The blocks of code in one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def settings(text: str, folder: Path) -> Config:
    """What a file says."""
    (folder / "sched.toml").write_text(text, encoding="utf-8")
    return load_config(environ={}, cwd=folder)


def test_the_files_of_the_page_can_be_read(tmp_path: Path) -> None:
    """People copy them."""
    routes, declared = blocks("toml")
    router = Router(settings(routes, tmp_path))
    assert router.destination("jobs.send_mail").queues == ("mail",)
    assert router.destination("reports.daily")[::3] == (("reports",), 3)
    assert router.destination("image.shrink").queues == ("media",)
    router = Router(settings(declared, tmp_path))
    assert router.destination("jobs.video_shrink").queues == ("video", "archive")
    assert router.destination("jobs.count", (Said(routing_key="order.paid"),)).queues == ("default",)


def test_python_says_the_same_as_the_file(tmp_path: Path) -> None:
    """Two ways to write one thing."""
    [code] = [block for block in blocks("python") if "app = App(" in block]
    names: dict[str, Any] = {"App": scheduler.App}
    exec(code, names)
    assert names["app"].conf.queues == list(settings(blocks("toml")[1], tmp_path).queues)
