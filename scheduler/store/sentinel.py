"""
Connections to whichever server the Sentinels call the primary now.

Each new connection asks them; one that finds itself with a former primary (READONLY) is closed. So a failover is followed as soon as
the Sentinels have agreed on it, and until then a call is repeated like any other that finds nobody.
"""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from scheduler.sentinel_url import read_sentinel_url

ANSWER_S_MAX = 0.3
"""A Sentinel that does not answer for so long is passed over for the next."""


class _Sentinels(Sentinel):
    """Those of one address. What goes wrong is said in a line."""

    def discover_master(self, service_name: str) -> Any:
        """The primary's host and port."""
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            raise MasterNotFoundError(
                f"none of the Sentinels answers, or none knows a live primary called {service_name!r}"
            ) from None


def sentinel_pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    """
    A pool for the service in *url*.

    Args:
        options: Of connections to the primary.

    Raises:
        ValueError: The URL cannot be used.
    """
    read = read_sentinel_url(url)
    asking: dict[str, Any] = {
        "socket_timeout": ANSWER_S_MAX,
        "socket_connect_timeout": ANSWER_S_MAX,
        "username": read.sentinel_user,
        "password": read.sentinel_password,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),  # the next one is asked, and the whole call is repeated
    }
    # redis-py types these two no further.
    sentinel = _Sentinels(list(read.hosts), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    found: dict[str, Any] = {"db": read.database, "username": read.user, "password": read.password}
    # A password of the options comes from the file, and is the newer one.
    return SentinelConnectionPool(read.service, sentinel, **found | options)  # type: ignore[no-untyped-call]
