"""What is refused when it is declared: in one class of error, in words that help, and at once."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError, ScheduleError
from scheduler.timing import crontab, every, schedule_from_data

NESTED: Any = []
for _ in range(5000):
    NESTED = [NESTED]

NO_FIELDS = "where five are needed (minute hour day-of-month month day-of-week), or six with the second first"
FORM = "write numbers, ranges, steps or lists, such as 1-5, */10 or 1,15"


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("61 * * * *", "crontab '61 * * * *': minute 61 is outside 0–59"),
        ("* 24 * * *", "crontab '* 24 * * *': hour 24 is outside 0–23"),
        ("* * 0 * *", "crontab '* * 0 * *': day-of-month 0 is outside 1–31"),
        ("* * 32W * *", "crontab '* * 32W * *': day-of-month 32 is outside 1–31"),
        ("* * * 13 *", "crontab '* * * 13 *': month 13 is outside 1–12"),
        ("* * * * 8", "crontab '* * * * 8': day-of-week 8 is outside 0–7"),
        ("60 * * * * *", "crontab '60 * * * * *': second 60 is outside 0–59"),
        ("*/0 * * * *", "crontab '*/0 * * * *': minute step 0 is outside 1–9999"),
        (
            "00001 * * * *",
            "crontab '00001 * * * *': minute '00001' is outside 0–59; a number has at most 4 digits",
        ),
        ("1-5!! * * * *", f"crontab '1-5!! * * * *': minute '1-5!!' is not within 0–59; {FORM}"),
        ("1_0 * * * *", f"crontab '1_0 * * * *': minute '1_0' is not within 0–59; {FORM}"),
        ("-1 * * * *", f"crontab '-1 * * * *': minute '-1' is not within 0–59; {FORM}"),
        ("1, * * * *", "crontab '1, * * * *': minute '1,' has an empty part; check its commas"),
        ("jan * * * *", "crontab 'jan * * * *': minute 'jan' is not a number within 0–59"),
        (
            "* * * foo *",
            "crontab '* * * foo *': month 'foo' is outside 1–12, and no name; "
            "the names are jan feb mar apr may jun jul aug sep oct nov dec",
        ),
        ("? * * * *", "crontab '? * * * *': minute '?' has no meaning; '?' stands only in a day field, write '*'"),
        ("* * ?/2 * *", "crontab '* * ?/2 * *': day-of-month '?/2' is not within 1–31; '?' stands alone"),
        (
            "* * * * L",
            "crontab '* * * * L': day-of-week 'L' alone is ambiguous; "
            "write 5L for the last Friday, or L as the day-of-month",
        ),
        ("* * L-3 * *", f"crontab '* * L-3 * *': day-of-month 'l-3' is not within 1–31; {FORM}"),
        ("* * 3#2 * *", "crontab '* * 3#2 * *': day-of-month '3#2' is not within 1–31; '#' stands only in day-of-week"),
        ("* * * * 3#6", "crontab '* * * * 3#6': day-of-week '3#6': 6 after '#' is outside 1–5"),
        ("H(9-5) * * * *", "crontab 'H(9-5) * * * *': minute 'H(9-5)': 9 is above 5; H takes no wrapped range"),
        (
            "٣ * * * *",
            r"crontab '٣ * * * *': character 1, '\u0663', is outside printable ASCII; "
            "only blanks and tabs separate fields",
        ),
        (
            "*\xa0* * * * *",
            "crontab '*\\xa0* * * * *': character 2, '\\xa0', is outside printable ASCII; "
            "only blanks and tabs separate fields",
        ),
        (
            "* * * * *\n",
            "crontab '* * * * *\\n': character 10, '\\n', is outside printable ASCII; "
            "only blanks and tabs separate fields",
        ),
        ("", f"crontab '': no field {NO_FIELDS}"),
        ("*/5", f"crontab '*/5': 1 field {NO_FIELDS}; for one field alone write minute='…' or hour='…'"),
        ("* * * *", f"crontab '* * * *': 4 fields {NO_FIELDS}"),
        ("* * * * * * *", f"crontab '* * * * * * *': 7 fields {NO_FIELDS}"),
        (
            "@reboot",
            "crontab '@reboot': a schedule knows no boot; start the command from systemd, or use once(…)",
        ),
        (
            "@often",
            "crontab '@often': the aliases are @yearly @annually @monthly @weekly @daily @midnight @hourly",
        ),
        (
            "0 0 30 2 *",
            "crontab '0 0 30 2 *': day-of-month '30', month '2' and day-of-week '*' "
            "never meet in the 400 years after which the calendar repeats",
        ),
        (
            "0 0 */100 * mon#4",
            "crontab '0 0 */100 * mon#4': day-of-month '*/100', month '*' and day-of-week 'mon#4' "
            "never meet in the 400 years after which the calendar repeats",
        ),
        (
            "0 9 * * mon-fri 0",
            "crontab '0 9 * * mon-fri 0': month 'mon' is outside 1–12, and no name; "
            "the names are jan feb mar apr may jun jul aug sep oct nov dec; six fields put the second first",
        ),
        (None, "crontab: the expression is None; give text of five or six fields, such as '*/5 * * * *'"),
        (
            b"* * * * *",
            "crontab: the expression is a value of type bytes; give text of five or six fields, such as '*/5 * * * *'",
        ),
        (True, "crontab: the expression is True; give text of five or six fields, such as '*/5 * * * *'"),
        (
            NESTED,
            "crontab: the expression is a value of type list; give text of five or six fields, such as '*/5 * * * *'",
        ),
        ("*" * 2_000_000, f"crontab '{'*' * 60}'…: 2000000 characters are outside 1–1024"),
    ],
)
def test_message(expr: Any, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        crontab(expr)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"minute": 60}, "crontab: minute 60 is outside 0–59"),
        ({"minute": 10**5000}, "crontab: minute a number of more than 38 digits is outside 0–59"),
        ({"minute": True}, "crontab: minute is True; give text, a number within 0–59, or a list of those"),
        ({"minute": None}, "crontab: minute is None; give text, a number within 0–59, or a list of those"),
        ({"minute": 1.5}, "crontab: minute is 1.5; give text, a number within 0–59, or a list of those"),
        ({"minute": []}, "crontab: minute has 0 items, which is outside 1–256"),
        ({"minute": range(10**12)}, "crontab: minute has 1000000000000 items, which is outside 1–256"),
        (
            {"minute": [[1]]},
            "crontab: minute is a value of type list; give text, a number within 0–59, or a list of those",
        ),
        ({"hour": "1 2"}, "crontab: hour '1 2' has a blank inside; one field has none"),
        (
            {"hour": "٣"},
            "crontab: hour '٣' is not within 0–23; give 1 to 1024 characters of printable ASCII",
        ),
        ({"hour": "25"}, "crontab('* 25 * * *'): hour 25 is outside 0–23"),
        ({"expr": "* * * * *", "gap": "jump"}, "crontab: gap is 'jump'; known: 'run', 'skip'"),
        ({"expr": "* * * * *", "fold": []}, "crontab: fold is a value of type list; known: 'first', 'both'"),
        ({"expr": "* * * * *", "day_match": "or"}, "crontab: day_match is 'or'; known: None, 'vixie', 'and'"),
        ({"expr": "* * * * *", "dialect": "quartz"}, "crontab: dialect is 'quartz'; known: 'croniter'"),
        (
            {"expr": "* * * * *", "minute": 5},
            "crontab '* * * * *': give an expression or the keywords minute, hour, …, not both",
        ),
    ],
)
def test_message_of_options(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        crontab(**keywords)
    assert message == str(caught.value)


WEIRD: list[Any] = [
    None,
    b"",
    b"* * * * *",
    [],
    {},
    object(),
    NESTED,
    3.5,
    float("nan"),
    10**5000,
    "\x00" * 5,
    "\ud800 * * * *",
    "*" * 2_000_000,
    "1," * 1_000_000,
    " ".join(["1-5/2," * 33 + "1"] * 5),
    "1-1-1 * * * *",
    "H(((( * * * *",
    "*/-1 * * * *",
    "* * * * 1#",
    "* * * * #1",
    "* * W * *",
    "9" * 1000 + " * * * *",
    " " * 1024,
]


@pytest.mark.parametrize("value", WEIRD, ids=range(len(WEIRD)))
def test_nothing_costs_more_than_a_few_milliseconds_to_refuse(value: Any) -> None:
    """However long or odd, for every function that takes input; the bound is generous for a shared machine."""
    calls = [
        lambda: crontab(value),
        lambda: crontab(minute=value),
        lambda: crontab("* * * * *", tz=value or 0),
        lambda: every(value if value is not None else "x"),
        lambda: every(days=value if value is not None else "x"),
        lambda: every(days=1, at=value if value is not None else "x"),
        lambda: every(days=1, anchor=value if value is not None else "x"),
        lambda: schedule_from_data(value),
        lambda: schedule_from_data({"kind": value}),
    ]
    for index, call in enumerate(calls):
        fastest_s = 1e9
        for _ in range(3):
            started_s = time.perf_counter()
            with contextlib.suppress(ScheduleError):  # A few of them can be read, which may not take longer.
                call()
            fastest_s = min(fastest_s, time.perf_counter() - started_s)
        assert fastest_s < 0.02, (index, fastest_s)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text("0123456789*-/,LWH#?()@ monfrijal", max_size=30)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but our own error; and what is read can be read again from its own text."""
    try:
        schedule = crontab(text)
    except InvalidScheduleError as error:
        message = str(error)
    else:
        message = "crontab"
        assert crontab(schedule.text) == schedule
    assert message.startswith("crontab")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0123456789*-/,LWH#? monfri", min_size=1, max_size=5), min_size=5, max_size=6))
def test_any_fields_are_read_or_refused(fields: list[str]) -> None:
    try:
        schedule = crontab(" ".join(fields))
    except InvalidScheduleError:
        return
    assert crontab(schedule.text) == schedule
