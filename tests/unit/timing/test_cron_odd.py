"""What is legal in a crontab and rarely meant."""

from __future__ import annotations

import pytest

from scheduler import crontab


@pytest.mark.parametrize(
    ("expr", "part"),
    [
        ("* 3 * * *", "minute * beside hour 3 fires in each minute of it, 60 times; '0 3 …' fires at its beginning"),
        ("* 0,12 * * *", "60 times"),
        ("* 0 3 * * *", "second * beside minute 0 fires in each second of it, 60 times"),
        ("0 0 31 * *", "day-of-month 31 is not in five of the months; L is the last day of every month"),
        ("0 0 30 * *", "day-of-month 30 is not in February"),
        (
            "*/7 * * * *",
            "minute */7 begins anew with each hour, 4 minutes after the last; every('7m') keeps the distance",
        ),
        ("0 */5 * * *", "hour */5 begins anew with each day, 4 hours after the last; every('5h')"),
        ("0 0 */2 * *", "day-of-month */2 begins anew with each month, whatever its length; every(days=2)"),
        ("0 0 * * */2", "day-of-week */2 begins anew with each Sunday, 1 day after the last"),
        ("0 0 1 */5 *", "month */5 begins anew with each year, 2 months after the last"),
        ("0 0 */2 * 1", "as one of them begins with '*', a day has to match both"),
        ("0 0 13 * 5", "both restricted"),
        ("*/90 * * * *", "step 90 is larger than the range"),
        ("0 9 * * 1-5 0", "croniter's order with the second last"),
    ],
)
def test_a_slip_is_told(expr: str, part: str) -> None:
    """People make these again and again, and find out at night."""
    (warning,) = crontab(expr).warnings()
    assert part in warning


@pytest.mark.parametrize(
    "expr",
    [
        "0 0 * * *", "*/15 * * * *", "* 9-17 * * *", "* * * * *", "*/7 9 * * *", "0 0 L * *", "0 0 31 12 *", "0 0 ? * 1",
        "H * * * *", "*/10 * * * * *", "0 30 9 * * 1-5", "0 */6 * * *", "0 0 1 */3 *", "@daily", "30 2 29 2 *",
    ],
)  # fmt: skip
def test_what_people_mean_is_not_warned_about(expr: str) -> None:
    """A warning that is usually wrong teaches people to read none."""
    assert crontab(expr).warnings() == ()


def test_the_keywords_of_celery_ask_for_both_days_and_are_not_warned_about() -> None:
    """There the rule is and, and says so."""
    assert crontab(minute=0, hour=0, day_of_month="13", day_of_week="fri").warnings() == ()
