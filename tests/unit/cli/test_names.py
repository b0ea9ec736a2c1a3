"""Which entry a name on the command line means."""

from __future__ import annotations

import click
import pytest

from scheduler.cli.names import matching, not_found, resolve
from scheduler.errors import NotFoundError

KNOWN = ["mail-birthday", "mail-weekly", "report", "report-daily"]


def test_a_whole_name_wins_over_names_that_begin_with_it() -> None:
    assert resolve("report", KNOWN) == "report"


def test_a_unique_beginning_is_enough_where_nothing_is_changed() -> None:
    assert resolve("mail-w", KNOWN) == "mail-weekly"


def test_an_ambiguous_beginning_lists_what_it_could_be() -> None:
    with pytest.raises(click.UsageError, match=r"'mail' could be mail-birthday, mail-weekly; give the whole name"):
        resolve("mail", KNOWN)


def test_a_long_list_of_candidates_is_cut_and_counted() -> None:
    with pytest.raises(click.UsageError, match=r"e4 and 3 more"):
        resolve("e", [f"e{n}" for n in range(8)])


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"there is no entry 'mail-weakly'; did you mean mail-weekly"):
        resolve("mail-weakly", KNOWN)


def test_an_empty_name_is_nobodys_beginning() -> None:
    with pytest.raises(NotFoundError, match=r"`sched list`"):
        resolve("", KNOWN)


def test_an_empty_registry_is_said_to_be_empty() -> None:
    with pytest.raises(NotFoundError, match="there is no queue at all yet"):
        not_found("x", [], what="queue")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(None, KNOWN), ("mail-*", KNOWN[:2]), ("*daily", ["report-daily"]), ("dai", ["report-daily"]), ("x", [])],
)
def test_a_pattern_is_a_glob_or_a_part_of_the_name(pattern: str | None, expected: list[str]) -> None:
    assert expected == matching(pattern, KNOWN)
