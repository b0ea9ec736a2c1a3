"""Addresses that Sentinels know."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config import load_config
from scheduler.errors import ConfigError, StoreUnavailableError
from scheduler.sentinel_url import SentinelUrl, read_sentinel_url
from scheduler.store.connection import Connection


def test_an_address_is_taken_apart() -> None:
    """Several Sentinels, their port where none is said, a database, and two logins."""
    assert read_sentinel_url("redis+sentinel://a,b:7000,[::1]:7001/main") == SentinelUrl(
        (("a", 26379), ("b", 7000), ("::1", 7001)), "main", 0, None, None, None, None
    )
    url = "redis+sentinel://me:p%40ss@a/main/3?sentinel_username=s&sentinel_password=t"
    assert read_sentinel_url(url) == SentinelUrl((("a", 26379),), "main", 3, "me", "p@ss", "s", "t")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis+sentinel://a:26379", "the name of the service is missing"),
        ("redis+sentinel://a/main/x", "the database after the service is a number, not 'x'"),
        ("redis+sentinel://a:x/main", "'a:x' is no host of a Sentinel"),
        ("redis+sentinel://a,,b/main", "'' is no host of a Sentinel"),
        ("redis+sentinel://a/main?db=1", "unknown option 'db'"),
    ],
)
def test_what_is_wrong_with_one_is_told_without_its_secrets(tmp_path: Path, url: str, complaint: str) -> None:
    """At start, with the name of the setting."""
    secret = url.replace("://", "://me:secret@")
    with pytest.raises(ConfigError) as told:
        load_config(environ={"SCHED_REDIS_URL": secret}, cwd=tmp_path)
    assert complaint in str(told.value)
    assert "redis_url" in str(told.value)
    assert "secret" not in str(told.value)


def test_its_password_is_not_shown(tmp_path: Path) -> None:
    """Nor that of the Sentinels."""
    url = "redis+sentinel://me:secret@a,b/main?sentinel_password=secret"
    config = load_config(environ={"SCHED_REDIS_URL": url}, cwd=tmp_path)
    assert config.redacted_url == "redis+sentinel://me:***@a,b/main?sentinel_password=***"


def test_sentinels_that_do_not_answer_are_told_in_a_line() -> None:
    """redis-py shows every client with all its settings."""
    connection = Connection("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", timeout_s=0.2)
    with pytest.raises(StoreUnavailableError, match=r"none knows a live primary called 'main'$"):
        connection.call("PING")
    connection.close()
