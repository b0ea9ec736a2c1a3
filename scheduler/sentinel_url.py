"""``redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/database]``: an address that Sentinels know."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEME = "redis+sentinel"
PORT = 26379
FORM = "redis+sentinel://host:26379,host:26379/SERVICE"
_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


class SentinelUrl(NamedTuple):
    """
    Where the Sentinels are, and what they are asked for.

    Attributes:
        service: The name under which they watch the primary.
        user: For Redis, with *password*; for the Sentinels there are those below.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    user: str | None
    password: str | None
    sentinel_user: str | None
    sentinel_password: str | None


def read_sentinel_url(url: str) -> SentinelUrl:
    """
    *url*, taken apart.

    Raises:
        ValueError: It cannot be used; the message says why and repeats no secret.
    """
    parts = urlsplit(url)
    login, _, netloc = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    options = dict(parse_qsl(parts.query))
    if not service:
        raise ValueError(f"the name of the service is missing after the hosts, as in {FORM}")
    if database and not database.isdecimal():
        raise ValueError(f"the database after the service is a number, not {unquote(database)!r}")
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ValueError(f"unknown option {unknown[0]!r}; there are {' and '.join(sorted(_OPTIONS))}")
    return SentinelUrl(
        hosts=tuple(_host(text) for text in netloc.split(",")),
        service=unquote(service),
        database=int(database or 0),
        user=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_user=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _host(text: str) -> tuple[str, int]:
    host, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if not colon:
        host, port = text, str(PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is no host of a Sentinel, as in {FORM}")
    return host.strip("[]"), int(port)
