"""
A second reading of the rules, slow and plain, to hold the engine against.

It walks through real time minute by minute (or second by second), asks `zoneinfo` what the clock on the wall shows,
and keeps the *virtual time* of Debian's cron(8): how far the fixed jobs have come. It shares no code with
`scheduler.timing`, down to the parsing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1)
NAMES = {
    name: number
    for names, first in (("sun mon tue wed thu fri sat", 0), ("jan feb mar apr may jun jul aug sep oct nov dec", 1))
    for number, name in enumerate(names.split(), start=first)
}
BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))

ZONES = (
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "America/Caracas",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Europe/Berlin",
    "Asia/Shanghai",
    "America/Nuuk",
    "Antarctica/Casey",
    "Antarctica/Troll",
)


class Brute:
    """A crontab by the letter of TIME.md, for plain values, ranges, steps, lists, ``L LW nW d#n dL``."""

    def __init__(self, expr: str, zone: str, *, gap: str = "run", fold: str = "first", day_match: str = "vixie"):
        texts = expr.split()
        self.by_second = len(texts) == 6
        self.texts = texts if self.by_second else ["0", *texts]
        self.zone = zone_info(zone)
        self.gap, self.fold, self.day_match = gap, fold, day_match
        self.wild = self.texts[1][0] == "*" or self.texts[2][0] == "*"
        self.values = [values(text, *BOUNDS[index]) for index, text in enumerate(self.texts)]
        self.values[5] = {value % 7 for value in self.values[5]}

    def day(self, day: date) -> bool:
        """Say whether a date matches, by counting its month out."""
        if day.month not in self.values[4]:
            return False
        dom_text, dow_text = self.texts[3], self.texts[5]
        by_date = day.day in self.values[3] or any(self._odd_date(term, day) for term in dom_text.split(","))
        by_weekday = day.isoweekday() % 7 in self.values[5] or any(
            self._odd_weekday(term, day) for term in dow_text.split(",")
        )
        if self.day_match == "and" or dom_text[0] in "*?" or dow_text[0] in "*?":
            return by_date and by_weekday
        return by_date or by_weekday

    def _odd_date(self, term: str, day: date) -> bool:
        month = [d for d in month_of(day) if d.isoweekday() <= 5]
        if term == "L":
            return day == month_of(day)[-1]
        if term == "LW":
            return day == month[-1]
        if term.endswith("W"):
            wanted = int(term[:-1])
            if wanted > len(month_of(day)):
                return False
            # Saturday goes back and Sunday forth, unless that leaves the month; either way it is the nearest.
            return day == min(month, key=lambda d: abs(d.day - wanted))
        return False

    def _odd_weekday(self, term: str, day: date) -> bool:
        if "#" in term:
            weekday, nth = term.split("#")
            same = [d for d in month_of(day) if d.isoweekday() % 7 == number(weekday) % 7]
            return day in same and same.index(day) == int(nth) - 1
        if term.endswith("L"):
            same = [d for d in month_of(day) if d.isoweekday() % 7 == number(term[:-1]) % 7]
            return day == same[-1]
        return False

    def local(self, moment: datetime) -> bool:
        """Say whether a local time matches."""
        return (
            moment.minute in self.values[1]
            and moment.hour in self.values[2]
            and (moment.second in self.values[0])
            and self.day(moment.date())
        )

    def fires(self, start: datetime, end: datetime) -> list[datetime]:
        """
        Return the fires in (*start*, *end*].

        The walk begins 30 hours early, so that virtual time is right when it comes to *start*.
        """
        unit = timedelta(seconds=1 if self.by_second else 60)
        three_hours = timedelta(hours=3)
        now = (start - timedelta(hours=30)).replace(second=0, microsecond=0)
        virtual = wall(now, self.zone)
        offset = virtual - now.replace(tzinfo=None)
        found = []
        while now < end:
            now += unit
            local = wall(now, self.zone)
            jump = (local - now.replace(tzinfo=None)) - offset
            offset += jump
            if self.wild or abs(jump) >= three_hours or (jump < timedelta(0) and self.fold == "both"):
                virtual = local
                due = self.local(local)
            elif local <= virtual:
                due = False  # The second pass: virtual time waits until the wall has caught up.
            else:
                due = self.local(local)
                skipped = virtual + unit
                while self.gap == "run" and not due and skipped < local:
                    due = self.local(skipped)
                    skipped += unit
                virtual = local
            if due and now > start:
                found.append(now)
        return found


@cache
def zone_info(zone: str) -> ZoneInfo:
    """Return *zone* from the `tzdata` package, which is not older than what this host has."""
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=zone)


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clock shows, as a naive datetime."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def number(text: str) -> int:
    return NAMES[text.lower()] if text.lower() in NAMES else int(text)


def values(text: str, low: int, high: int) -> set[int]:
    """Return the plain values a field names; terms of other kinds name none."""
    found: set[int] = set()
    last = 6 if high == 7 else high
    for term in text.split(","):
        body, _, step = term.partition("/")
        if any(mark in term for mark in ("L", "W", "#")):
            continue
        if body in ("*", "?"):
            sequence = list(range(low, last + 1))
        elif "-" in body:
            first, second = (number(part) for part in body.split("-"))
            if high == 7 and first > second:
                first %= 7  # 7-1 begins on Sunday, which is the day before Monday and not two before.
            sequence = [first]
            while sequence[-1] != second:
                following = sequence[-1] + 1
                # A weekday range may run up to 7, but a wrapped one goes from Saturday to Sunday.
                limit = high if first <= second else last
                sequence.append(low if following > limit else following)
        elif step:
            sequence = list(range(number(body), high + 1))
        else:
            sequence = [number(body)]
        found.update(sequence[:: int(step or 1)])
    return found


@cache
def month_of(day: date) -> tuple[date, ...]:
    if day.day != 1:
        return month_of(day.replace(day=1))
    days = [day]
    while (following := days[-1] + timedelta(days=1)).month == day.month:
        days.append(following)
    return tuple(days)


@cache
def transitions(zone: str, first_year: int = 1990, last_year: int = 2040) -> tuple[datetime, ...]:
    """Return the instants at which the offset of *zone* changes, found by asking `zoneinfo` for each day."""
    info = zone_info(zone)
    found = []
    day = datetime(first_year, 1, 1, tzinfo=UTC)
    while day.year < last_year:
        following = day + timedelta(days=1)
        if day.astimezone(info).utcoffset() != following.astimezone(info).utcoffset():
            low, high = day, following
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                if middle.astimezone(info).utcoffset() == low.astimezone(info).utcoffset():
                    low = middle
                else:
                    high = middle
            found.append(high)
        day = following
    return tuple(found)
