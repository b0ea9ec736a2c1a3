"""Recurrence rules in plain English."""

from __future__ import annotations

from datetime import date
from typing import Final

from scheduler.timing.moment import Moment, clock_text
from scheduler.timing.months import DAY_S, EPOCH_ORDINAL
from scheduler.timing.rrule_text import HOURLY, MONTHLY, SECONDLY, WEEKLY, YEARLY, Rule

_UNITS: Final = ("year", "month", "week", "day", "hour", "minute", "second")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_TIMES_MAX: Final = 6


def rule_words(rule: Rule, local_s: int, *, has_start: bool) -> str:
    """
    Return *rule* in words: ``every month on the last Friday at 09:00``.

    Args:
        local_s: The start as a local time, which says what the rule leaves open.
        has_start: The author gave it.
    """
    unit = _UNITS[rule.freq]
    words = [f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"]
    words += _day_words(rule, local_s, has_start)
    words += _time_words(rule, local_s)
    if rule.bysetpos:
        words.append(f"(of these only the {_listed([_ordinal(n) for n in rule.bysetpos])} in each {unit})")
    if rule.count is not None:
        words.append("once" if rule.count == 1 else f"{rule.count} times")
    if rule.until is not None:
        words.append(f"until {_moment_words(rule.until)}")
    return " ".join(words)


def _day_words(rule: Rule, local_s: int, has_start: bool) -> list[str]:
    words = []
    start = _date_of(local_s)
    names_none = not (rule.byweekno or rule.byyearday or rule.bymonthday or rule.byday)
    of_month = rule.freq == MONTHLY or bool(rule.bymonth)
    weekday = start.weekday() if has_start else rule.wkst
    if rule.byday:
        days = [_DAYS[day] if n == 0 else f"the {_ordinal(n)} {_DAYS[day]}" for n, day in rule.byday]
        if any(n for n, _ in rule.byday) and not of_month:
            days = [f"{day} of the year" for day in days]
        words.append(f"on {_listed(days)}")
    elif rule.freq == WEEKLY or (rule.byweekno and not (rule.bymonthday or rule.byyearday)):
        words.append(f"on {_DAYS[weekday]}")
    if rule.bymonthday:
        words.append(f"on {_listed([_day_word(day) for day in rule.bymonthday])} of the month")
    elif names_none and rule.freq in (YEARLY, MONTHLY):
        words.append(f"on day {start.day} of the month")
    if rule.byyearday:
        words.append(f"on {_listed([_day_word(day) for day in rule.byyearday])} of the year")
    if rule.byweekno:
        words.append(f"in week {_listed([_number_word(week) for week in rule.byweekno])} of the year")
    months = rule.bymonth or ((start.month,) if names_none and rule.freq == YEARLY else ())
    if months:
        words.append(f"in {_listed([_MONTHS[month - 1] for month in months])}")
    return words


def _time_words(rule: Rule, local_s: int) -> list[str]:
    if rule.freq < HOURLY:
        hours = rule.byhour or (local_s // 3600 % 24,)
        minutes = rule.byminute or (local_s // 60 % 60,)
        seconds = rule.bysecond or (local_s % 60,)
        if len(hours) * len(minutes) * len(seconds) <= _TIMES_MAX:
            times = [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]
            return [f"at {_listed([clock_text(time_s) for time_s in times])}"]
    words = []
    if rule.byhour:
        words.append(f"in the hours {_listed([f'{hour:02}' for hour in rule.byhour])}")
    if rule.byminute:
        words.append(f"at minute {_listed([str(minute) for minute in rule.byminute])}")
    if rule.bysecond and (rule.freq == SECONDLY or rule.bysecond != (0,)):
        words.append(f"at second {_listed([str(second) for second in rule.bysecond])}")
    return words


def _date_of(local_s: int) -> date:
    return date.fromordinal(local_s // DAY_S + EPOCH_ORDINAL)


def _moment_words(moment: Moment) -> str:
    return moment.iso().replace("T", " ")


def _day_word(day: int) -> str:
    return f"day {day}" if day > 0 else "the last day" if day == -1 else f"the {_ordinal(day)} day"


def _number_word(number: int) -> str:
    return str(number) if number > 0 else f"the {_ordinal(number)}"


def _ordinal(number: int) -> str:
    """Return ``2nd``, ``last``, ``3rd to last``."""
    if number == -1:
        return "last"
    count = abs(number)
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}" if number > 0 else f"{count}{ending} to last"


def _listed(words: list[str]) -> str:
    if len(words) > 12:
        words = [*words[:10], f"{len(words) - 10} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
