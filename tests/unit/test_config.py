"""Settings: where they come from, what is refused, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from scheduler.config import Config, load_config, redact_url
from scheduler.errors import ConfigError


def complaints(**arguments: object) -> tuple[str, ...]:
    """What `load_config` complains about."""
    with pytest.raises(ConfigError) as caught:
        load_config(**{"environ": {}, **arguments})  # type: ignore[arg-type]
    return caught.value.complaints


def test_without_any_file_the_contracts_defaults_hold(tmp_path: Path) -> None:
    """A newcomer sets nothing: the embedded server in the state directory, the folder `schedules`."""
    config = load_config(environ={}, cwd=tmp_path)
    assert f"unix://{tmp_path}/.steadybeat/valkey.sock" == config.redis_url
    assert tmp_path / "schedules" == config.schedules
    assert (
        config.namespace, config.timezone, config.default_queue, config.horizon_ms, config.late_limit_ms,
    ) == ("sched", "UTC", "default", 15_000, 15_000)  # fmt: skip


def test_a_variable_weighs_more_than_a_file_and_a_flag_more_than_both(tmp_path: Path) -> None:
    """The contract's order."""
    (tmp_path / "sched.toml").write_text('horizon = "20s"\nstall = "3s"\ngrace = 7\n[routes]\n"a.*" = "slow"\n')
    config = load_config(environ={"SCHED_HORIZON": "30s", "SCHED_STALL": "2"}, overrides={"horizon": 40}, cwd=tmp_path)
    assert (config.horizon_ms, config.stall_ms, config.grace_ms) == (40_000, 2_000, 7_000)
    assert config.routes == {"a.*": "slow"}


def test_pyproject_may_hold_the_settings(tmp_path: Path) -> None:
    """One file less in a project that has one."""
    (tmp_path / "pyproject.toml").write_text('[tool.sched]\nnamespace = "shop"\nqueues = ["mail", "default"]\n')
    config = load_config(environ={}, cwd=tmp_path)
    assert (config.namespace, config.queue_names) == ("shop", ("mail", "default"))


def test_two_files_with_settings_are_a_contradiction(tmp_path: Path) -> None:
    """Nobody should have to guess which of them counts."""
    (tmp_path / "pyproject.toml").write_text("[tool.sched]\n")
    (tmp_path / "sched.toml").write_text("")
    assert complaints(cwd=tmp_path) == (
        "settings in sched.toml and in [tool.sched] of pyproject.toml: keep one of the two",
    )


def test_every_complaint_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    """P12: one run of `sched` shows all that is to be mended."""
    (tmp_path / "sched.toml").write_text('horzon = "15s"\ntimezone = "Europe/Berln"\nleader_lease = "soon"\n')
    told = complaints(
        cwd=tmp_path, environ={"SCHED_CONCURRENCY": "many"}, overrides={"redis_url": "http://x", "pool": "fibers"}
    )
    assert told[0] == "sched.toml: unknown setting 'horzon'; did you mean 'horizon'?"
    assert told[1].startswith("sched.toml: timezone: timezone 'Europe/Berln' is not known; the nearest")
    assert "Europe/Berlin" in told[1]
    assert told[2].startswith("sched.toml: leader_lease 'soon' is not a duration")
    assert told[3] == "SCHED_CONCURRENCY: concurrency 'many': expected a whole number"
    assert told[4] == "redis_url 'http://x': this version speaks redis://, rediss://, unix://, redis+sentinel://"
    assert told[5] == "pool 'fibers': this version knows prefork, threads, async, solo"
    assert len(told) == 6


def test_a_horizon_that_a_change_of_leader_outlasts_is_refused() -> None:
    """P4: a dead leader is not even late, and that rests on this relation."""
    with pytest.raises(ConfigError, match="horizon 10000 ms must be longer than stall 4000"):
        Config(horizon_ms=10_000)
    with pytest.raises(ConfigError, match="horizon 15000 ms must be longer"):
        msgspec.structs.replace(Config(), leader_lease_ms=10_000)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("redis_url", "redis://h:port/0", "redis_url 'redis://h:port/0': Port could not be cast"),
        ("redis_url", "redis://h/zero", "the database after the host is a number, not 'zero'"),
        ("redis_url", "unix://run/redis.sock", "a socket's path is absolute: three slashes"),
        ("redis_url", "unix://", "a socket's path is missing"),
        ("redis_url", "redis+sentinel://h", "the name of the service is missing"),
        ("redis_url", 5, "redis_url 5: expected text"),
        ("namespace", "a b", "namespace 'a b': use 1–64 letters"),
        ("default_queue", "-x", "default_queue '-x': use 1–128 letters"),
        ("queues", "a,b c", "queues: queue 'b c': use"),
        ("routes", {"a.*": "b c"}, "routes: 'a.*': queue 'b c': use"),
        ("routes", 5, "routes 5: expected task names or globs"),
        ("horizon", True, "horizon True is not a duration"),
        ("horizon", "0s", "horizon '0s': outside 1s–1d"),
        ("max_deliveries", 0, "max_deliveries 0: outside 1–1000"),
        ("message_bytes_max", 1.5, "message_bytes_max 1.5: expected a whole number"),
        ("task_serializer", "yaml", "task_serializer 'yaml': this version knows json, msgpack, pickle"),
        ("accept_content", "json,yaml", "accept_content 'yaml': this version knows json, msgpack, pickle"),
        ("accept_content", "", "accept_content '': nothing would be accepted"),
        ("redis_password_file", "/nowhere/secret", "redis_password_file '/nowhere/secret' cannot be read: No such"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: object, said: str) -> None:
    """A message is worth a test."""
    [told] = complaints(overrides={name: value})
    assert said in told


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host/0",
        "redis://user:hunter2@host/0",
        "redis://host/0?password=hunter2",
        "rediss://user:hunter2@host:6380/0?ssl_cert_reqs=none",
        "unix://user:hunter2@/run/redis.sock",
    ],
)
def test_a_password_is_in_no_repr_and_no_message(url: str) -> None:
    """Reprs end up in logs and trackers."""
    config = load_config(overrides={"redis_url": url}, environ={})
    assert url == config.redis_url
    for shown in (repr(config), str(config), config.redacted_url, repr(list(config.__rich_repr__()))):
        assert "hunter2" not in shown
        assert "***" in shown
    assert "hunter2" not in str(complaints(overrides={"redis_url": url.replace("redis", "http").replace("unix", "x")}))


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    """Who knows where its password stands."""
    assert redact_url("redis://[::1:hunter2@") == "(a URL that cannot be read)"


def test_the_password_comes_from_systemds_credentials(tmp_path: Path) -> None:
    """`LoadCredential=redis-password:…` needs no further setting; the file is read when we connect."""
    (tmp_path / "redis-password").write_text("hunter2\n")
    config = load_config(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.redis_password() == "hunter2"
    assert "hunter2" not in repr(config)


def test_systemd_gives_the_state_directory(tmp_path: Path) -> None:
    """`StateDirectory=` may name several; the first is ours."""
    config = load_config(environ={"STATE_DIRECTORY": "/var/lib/steadybeat:/var/lib/other"}, cwd=tmp_path)
    assert Path("/var/lib/steadybeat") == config.state_dir
    assert config.redis_url == "unix:///var/lib/steadybeat/valkey.sock"


def test_relative_paths_start_from_the_file_that_names_them(tmp_path: Path) -> None:
    """A unit's working directory must not decide what a settings file means."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "sched.toml").write_text('schedules = "jobs"\n')
    config = load_config(config_file="etc/sched.toml", environ={}, cwd=tmp_path)
    assert tmp_path / "etc" / "jobs" == config.schedules


def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Falling back on defaults would start a second, empty service."""
    [told] = complaints(config_file="nowhere.toml", cwd=tmp_path)
    assert told.endswith("nowhere.toml: cannot be read: No such file or directory")


def test_a_settings_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """P12."""
    (tmp_path / "sched.toml").write_text("horizon = 15s\n")
    [told] = complaints(cwd=tmp_path)
    assert "sched.toml: cannot be read: " in told
    assert "line 1" in told


def test_an_unknown_variable_is_told(tmp_path: Path) -> None:
    """A slip in a unit file is as bad as one in a settings file."""
    [told] = complaints(environ={"SCHED_REDIS_ULR": "redis://h"}, cwd=tmp_path)
    assert told == "SCHED_REDIS_ULR: unknown setting 'redis_ulr'; did you mean 'redis_url'?"


def test_hooks_are_addresses_and_callables() -> None:
    """From a file as a list, from a variable with commas between."""
    hooks = "https://hooks.example.com/T1/secret,schedules.ops:page"
    config = load_config(environ={"SCHED_ALERT_HOOKS": hooks, "SCHED_ALERT_OUTAGE": "30s"})
    assert config.alert_hooks == ("https://hooks.example.com/T1/secret", "schedules.ops:page")
    assert config.alert_outage_ms == 30_000


@pytest.mark.parametrize(
    ("hook", "complaint"),
    [
        ("ftp://example.com/secret", "alert_hooks 'ftp://example.com/…': an address begins with http:// or https://"),
        ("https:///secret", "alert_hooks 'https:///…': its host is missing"),
        ("https://example.com/a secret", "neither blanks"),
        ("ops.page", "alert_hooks 'ops.page': expected an address (https://…) or a callable"),
        ("ops:page now", "or a callable"),
    ],
)
def test_what_cannot_be_called_is_refused_and_no_secret_is_repeated(hook: str, complaint: str) -> None:
    """P12: at the start, not when something is wrong already."""
    (told,) = complaints(overrides={"alert_hooks": [hook]})
    assert complaint in told
    assert "secret" not in told


def test_outage_shorter_than_a_takeover_is_refused() -> None:
    """Else a leader that dies, and is replaced as it should be, wakes somebody."""
    assert "leader_lease 5000 + takeover 1000 = 6000 ms" in complaints(overrides={"alert_outage": "6s"})[0]
    assert load_config(environ={}, overrides={"alert_outage": 0}).alert_outage_ms == 0


def test_a_hooks_secret_is_never_shown() -> None:
    """Settings end up in logs."""
    config = Config(alert_hooks=("https://user:pw@hooks.example.com:8443/secret?token=secret", "schedules.ops:page"))
    assert "('https://hooks.example.com:8443/…', 'schedules.ops:page')" in repr(config)
    assert "secret" not in repr(config)
    assert "pw" not in repr(config)


@pytest.mark.parametrize(
    ("said", "size_bytes"),
    [("200MB", 200_000_000), ("200 MiB", 209_715_200), (131_072, 134_217_728), ("262144", 268_435_456), (0, 0)],
)
def test_memory_is_a_size_or_a_number_of_kib(said: object, size_bytes: int, tmp_path: Path) -> None:
    """Text with a unit as people write it; a bare number as Celery reads it."""
    config = load_config(overrides={"max_memory_per_child": said}, environ={}, cwd=tmp_path)
    assert config.max_memory_per_child == size_bytes


@pytest.mark.parametrize(
    ("said", "why"),
    [("much", "expected a size such as 200MB, or a number of KiB"), ("3KB", "needs 16 MiB"), (True, "expected a size")],
)
def test_what_is_no_memory_is_refused(said: object, why: str, tmp_path: Path) -> None:
    """A limit below what a child starts with would replace children for ever."""
    with pytest.raises(ConfigError, match=why):
        load_config(overrides={"max_memory_per_child": said}, environ={}, cwd=tmp_path)


def test_keys_are_read_and_never_shown(tmp_path: Path) -> None:
    """One a line; a comment and blank lines may stand between them."""
    file = tmp_path / "keys"
    file.write_text("# rotated in May\n\n0123456789abcdef\n  fedcba9876543210  \n")
    file.chmod(0o600)
    config = Config(signing_key_file=str(file))
    assert config.signing_keys() == (b"0123456789abcdef", b"fedcba9876543210")
    assert config.open_secrets() == []
    assert "0123456789abcdef" not in repr(config) + str(config)
    file.chmod(0o644)
    ((what, remedy),) = config.open_secrets()
    assert (what, remedy) == (f"signing_key_file '{file}' can be read by others than its owner", f"chmod 600 {file}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key: write one a line"),
        ("# none\n", "holds no key"),
        ("short\n", "key 1 has fewer than 16 characters"),
    ],
)
def test_a_file_of_keys_that_holds_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Better than signing with nothing; the complaint repeats no key."""
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as refusal:
        Config(signing_key_file=str(file)).signing_keys()
    assert "short" not in str(refusal.value)


def test_the_key_may_be_a_credential(tmp_path: Path) -> None:
    """systemd hands it over as a file."""
    (tmp_path / "signing-key").write_text("0123456789abcdef\n")
    config = load_config(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}, cwd=tmp_path)
    assert config.signing_keys() == (b"0123456789abcdef",)
