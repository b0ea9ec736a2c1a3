"""Celery's settings: each has a counterpart, or a line that says why it has none; nothing is dropped without a word."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import Any

import pytest

from scheduler import App
from scheduler.celery_settings import (
    BACKEND_FAMILIES,
    COUNTERPARTS,
    KNOWN,
    OLD_NAMES,
    PASSED,
    SAME,
    SPECIAL,
    is_known,
    modern,
    todays,
    translate,
)
from scheduler.config import SETTINGS
from scheduler.errors import ConfigError
from tests.support.celery_names import OLD, TODAY


def test_every_setting_of_celery_is_one_of_the_three() -> None:
    """Celery's own list (5.7), and what its guide documents besides."""
    assert {name for name in TODAY if not is_known(name)} == set()
    ways = {
        name: (name in COUNTERPARTS)
        + (name in PASSED)
        + (name in SAME)
        + (name in SPECIAL)
        + name.startswith(BACKEND_FAMILIES)
        for name in TODAY
    }
    assert {name: n for name, n in ways.items() if n != 1} == {}


def test_every_old_name_is_known() -> None:
    """The table of Celery's guide, "New lowercase settings", and what its code reads besides."""
    assert {old: todays(old) for old, new in OLD.items() if todays(old) != new} == {}


def test_every_counterpart_is_a_setting_of_ours() -> None:
    assert {means.ours for means in COUNTERPARTS.values()} - {""} <= set(SETTINGS)
    assert set(SAME) <= set(SETTINGS)
    assert not set(PASSED) & set(SETTINGS)


def test_old_names_lead_nowhere_else() -> None:
    assert set(OLD_NAMES.values()) <= KNOWN | {n for n in OLD_NAMES.values() if n.startswith(BACKEND_FAMILIES)}


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ({"broker_url": "redis+socket:///run/redis.sock?virtual_host=2"}, {"redis_url": "unix:///run/redis.sock?db=2"}),
        ({"broker_url": ["redis://one/0"]}, {"redis_url": "redis://one/0"}),
        ({"include": ["a"], "imports": ("b",)}, {"imports": ["a", "b"]}),
        ({"task_acks_late": False}, {"task_ack": "early"}),
        ({"task_acks_late": True}, {"task_ack": "late"}),
        ({"result_expires": None}, {"result_expires": "3650d"}),
        ({"result_expires": timedelta(hours=1)}, {"result_expires": timedelta(hours=1)}),
        ({"task_time_limit": None, "task_soft_time_limit": 60}, {"task_time_limit": 0, "task_soft_time_limit": 60}),
        ({"worker_concurrency": "auto"}, {}),
        ({"worker_pool": "celery.concurrency.prefork:TaskPool"}, {"pool": "prefork"}),
        ({"worker_pool": "processes"}, {"pool": "prefork"}),
        ({"task_serializer": "application/json"}, {"task_serializer": "json"}),
        ({"timezone": None}, {}),
        (
            {
                "broker_transport": "redis",
                "broker_host": "h",
                "broker_port": 6380,
                "broker_password": "p@ss",
                "broker_vhost": "3",
            },
            {"redis_url": "redis://:p%40ss@h:6380/3"},
        ),
        (
            {
                "broker_url": "redis://h/1",
                "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/etc/ca.pem"},
            },
            {"redis_url": "rediss://h/1?ssl_cert_reqs=required&ssl_ca_certs=%2Fetc%2Fca.pem"},
        ),
        ({"broker_transport_options": {"global_keyprefix": "shop_"}}, {"namespace": "shop"}),
        (
            {
                "broker_url": "sentinel://:pw@a:26379/2;sentinel://b:26380",
                "broker_transport_options": {"master_name": "main", "sentinel_kwargs": {"password": "s"}},
            },
            {"redis_url": "redis+sentinel://:pw@a:26379,b:26380/main/2?sentinel_password=s"},
        ),
    ],
)
def test_a_setting_with_a_counterpart_is_converted(said: dict[str, Any], ours: dict[str, Any]) -> None:
    found = translate(said)
    assert (found.ours, found.complaints, found.notes) == (ours, [], [])


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (
            {"worker_prefetch_multiplier": 1},
            "worker_prefetch_multiplier has no meaning here: prefetch counts milliseconds",
        ),
        ({"cassandra_servers": ["h"]}, "cassandra_servers has no meaning here: results stand on the same Redis"),
        (
            {"broker_transport_options": {"visibility_timeout": 3600}},
            "broker_transport_options: visibility_timeout has no meaning here: there is none: a worker keeps",
        ),
        ({"result_backend": "django-db"}, "result_backend has no meaning here: results stand on the same Redis"),
        (
            {"beat_scheduler": "django_celery_beat.schedulers:DatabaseScheduler"},
            "beat_scheduler has no meaning here: beats elect",
        ),
    ],
)
def test_a_setting_without_meaning_has_one_line(said: dict[str, Any], note: str) -> None:
    found = translate(said)
    assert (found.ours, found.complaints, len(found.notes)) == ({}, [], 1)
    assert found.notes[0].startswith(note)


def test_what_says_what_is_so_anyway_needs_no_line() -> None:
    said = {
        "enable_utc": True, "task_track_started": True, "broker_connection_retry_on_startup": True, "result_extended": True,
        "task_reject_on_worker_lost": True, "worker_send_task_events": False, "broker_url": "redis://h", "result_backend": "redis://h",
    }  # fmt: skip
    assert translate(said).notes == []


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (
            {"worker_pool": "gevent"},
            "worker_pool: gevent patches Python's own modules; take pool 'threads', or 'async'",
        ),
        ({"broker_url": "redis://a;redis://b"}, "broker_url: one address is expected"),
        ({"broker_transport": "amqp", "broker_host": "h"}, "broker_transport 'amqp': this version speaks redis"),
        ({"broker_url": "sentinel://a"}, "broker_transport_options: master_name is missing"),
        ({"task_serializer": "yaml"}, "task_serializer: yaml is not spoken here"),
        ({"task_acks_late": 1}, "task_acks_late: 1: expected True or False"),
    ],
)
def test_what_cannot_be_is_a_complaint(said: dict[str, Any], complaint: str) -> None:
    found = translate(said)
    assert len(found.complaints) == 1
    assert found.complaints[0].startswith(complaint)


def test_two_names_of_one_setting_that_disagree_are_refused() -> None:
    """Celery refuses any mixture; here only what contradicts itself is."""
    app = App()
    app.config_from_object({"CELERY_DEFAULT_QUEUE": "a", "task_default_queue": "a"})
    with pytest.raises(
        ConfigError, match="CELERY_DEFAULT_QUEUE and task_default_queue say different things of one setting"
    ):
        app.config_from_object({"CELERY_DEFAULT_QUEUE": "a", "task_default_queue": "b"})


def test_an_unknown_name_in_capitals_is_refused_in_a_module_too() -> None:
    """It can be nothing else than a setting."""
    with pytest.raises(
        ConfigError, match="unknown setting 'CELERY_DEFUALT_QUEUE'; did you mean 'CELERY_DEFAULT_QUEUE'"
    ):
        App().config_from_object(type("config", (), {"CELERY_DEFUALT_QUEUE": "a"}))


def test_a_setting_reads_back_as_it_was_written_and_in_our_words() -> None:
    app = App()
    app.conf.task_acks_late = False
    assert (app.conf.task_acks_late, app.conf.CELERY_ACKS_LATE, app.conf.task_ack) == (False, False, "early")
    assert app.conf.worker_prefetch_multiplier if "worker_prefetch_multiplier" in app.conf else True
    with pytest.raises(AttributeError, match="nobody has set it, and it says nothing here"):
        _ = app.conf.worker_prefetch_multiplier


def test_beat_schedule_can_be_changed_in_place() -> None:
    """``app.conf.beat_schedule["x"] = …`` and ``.update``, as programs do that collect their entries in several modules."""
    app = App()
    app.conf.beat_schedule["a"] = {"task": "t", "schedule": 5.0}
    app.conf.beat_schedule.update(b={"task": "t", "schedule": 6.0}, c={"task": "t", "schedule": 7.0})
    del app.conf.beat_schedule["b"]
    assert [one.name for one in app.declared] == ["a", "c"]
    assert list(app.conf.beat_schedule) == ["a", "c"]


def test_settings_as_text_hide_passwords() -> None:
    app = App(broker="redis://:hunter2@h/0", security_key_password="hunter2")
    shown = app.conf.humanize(with_defaults=True)
    assert "hunter2" not in shown + str(app.conf.table())
    assert "task_ack: 'late'" in shown
    assert modern("include") == "include"
