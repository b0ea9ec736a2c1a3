"""Each field of a crontab in words."""

from __future__ import annotations

import pytest

from scheduler import crontab
from scheduler.timing.cron_words import field_words


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("*/7 9-17 1,15,L jan-mar,dec 1-5", [
            "0, 7, 14, 21, 28, 35, 42, 49, 56", "9–17", "1, 15, the last day of the month", "January–March, December",
            "Monday–Friday",
        ]),
        ("* 22-4/3 15W * 5#2,1L", [
            "every minute", "1, 4, 22", "the working day nearest to the 15th", "every month",
            "the 2nd Friday of the month, the last Monday of the month",
        ]),
        ("H 0 LW 2 7", [
            "hashed from the entry's name", "0", "the last working day of the month", "February", "Sunday",
        ]),
        ("1-59/2 * ? * sat,sun", [
            "1, 3, 5, …, 59 (30 values)", "every hour", "every day", "every month", "Sunday, Saturday",
        ]),
    ],
)  # fmt: skip
def test_a_field_is_told_by_what_it_matches(expr: str, words: list[str]) -> None:
    """Not by how it was written: that is what people misread."""
    fields = tuple(crontab(expr).text.split())
    assert [meaning for _, _, meaning in field_words(fields)] == words


def test_six_fields_begin_with_the_second() -> None:
    """The names say which field is which."""
    names = [name for name, _, _ in field_words(("0", "*", "*", "*", "*", "*"))]
    assert names == ["second", "minute", "hour", "day-of-month", "month", "day-of-week"]
