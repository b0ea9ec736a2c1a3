"""`sched leader`, and what `sched status` says of the term."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.output import Column
from scheduler.clock import iso
from scheduler.errors import RefusedError

if TYPE_CHECKING:
    from scheduler.store.leadership import TermHistory, TermRecord

HISTORY_MAX = 100


class Leader(msgspec.Struct, frozen=True):
    """
    The beat that leads, as Redis' clock sees it.

    Attributes:
        lease_left_ms: How long the others will wait for its next sign of life.
        tick_age_ms: How long ago its last tick was completed; None before the first.
    """

    name: str
    term: int
    holder: str
    won_ms: int
    lease_left_ms: int
    tick_age_ms: int | None


def leader_of(term: TermRecord | None, *, now_ms: int, lease_ms: int) -> Leader | None:
    """The leader under *term*, or None where nobody holds it or its holder has been silent for the whole lease."""
    if term is None or not term.holder or now_ms - term.renewed_ms >= lease_ms:
        return None
    return Leader(
        name=term.name,
        term=term.number,
        holder=term.holder,
        won_ms=term.won_ms,
        lease_left_ms=min(lease_ms, lease_ms - now_ms + term.renewed_ms),
        tick_age_ms=max(0, now_ms - term.ticked_ms) if term.ticked_ms else None,
    )


def why_none(term: TermRecord | None, *, now_ms: int) -> str:
    """Why nobody leads, and what to do."""
    if term is None:
        return "no leader: no beat has ever led this namespace; start one with `sched beat`"
    if not term.holder:
        return "no leader: the last one resigned and no beat stands; start one with `sched beat`"
    silent = show_span(max(0, now_ms - term.renewed_ms))
    return f"no leader: {term.name} (term {term.number}) has been silent for {silent} and no beat has taken over yet"


def leader_data(leader: Leader | None) -> dict[str, Any] | None:
    """``{name, term, lease_left_s, last_tick_age_s}`` and more."""
    if leader is None:
        return None
    return {
        "name": leader.name,
        "term": leader.term,
        "lease_left_s": leader.lease_left_ms / 1000,
        "last_tick_age_s": None if leader.tick_age_ms is None else leader.tick_age_ms / 1000,
        "holder": leader.holder,
        "won_at": iso(leader.won_ms),
    }


@click.command("leader", cls=Command)
@click.option("--history", is_flag=True, help="Who led before, newest first.")
@click.option("--step-down", is_flag=True, help="Ask the leader to resign; another beat takes over.")
@click.option(
    "-n", "--number", "n", type=click.IntRange(1, HISTORY_MAX), default=20, show_default=True, help="How many."
)
@click.pass_obj
def leader(sched: Invocation, history: bool, step_down: bool, n: int) -> int:
    """Who leads; exit code 1 if nobody does."""
    if history and step_down:
        raise click.UsageError("--history and --step-down are two different things; give one of them")
    if history:
        terms = sched.store.leadership.history(n)
        if not terms:
            say("sched: nobody has led yet")
        sched.out.many(terms, data=term_data, columns=_history_columns(sched))
        return Exit.OK
    term = sched.store.leadership.observe()
    now_ms = int(sched.store.queues.time_ms())
    found = leader_of(term, now_ms=now_ms, lease_ms=sched.config.leader_lease_ms)
    if step_down:
        if found is None:
            raise RefusedError(why_none(term, now_ms=now_ms))
        _step_down(sched, found)
    elif found is None:
        say(f"sched: {why_none(term, now_ms=now_ms)}")
    if found is not None or sched.wants_json:
        sched.out.one(found, data=leader_data, facts=lambda leader: leader_facts(leader, sched))
    return Exit.OK if found is not None else Exit.FAILED


def _step_down(sched: Invocation, found: Leader) -> None:
    sched.store.leadership.step_down()
    others = [beat for beat in sched.store.presence.beats() if beat.id != found.holder]
    say(f"sched: {found.name} (term {found.term}) was asked to step down at its next renewal")
    if not others:
        say("sched: no other beat stands by: it will most likely lead again")


def leader_facts(leader: Leader | None, sched: Invocation) -> Iterator[tuple[str, str]]:
    """The leader, for people."""
    if leader is not None:
        yield "leader", f"{leader.name}, term {leader.term}, since {show_moment(leader.won_ms, sched.zone)}"
        tick = "none yet" if leader.tick_age_ms is None else f"{show_span(leader.tick_age_ms)} ago"
        yield "lease", f"{show_span(leader.lease_left_ms)} left; last tick {tick}"


def term_data(term: TermHistory) -> dict[str, Any]:
    """One reign, for programs."""
    return {
        "term": term.number,
        "name": term.name,
        "holder": term.holder,
        "won_at": iso(term.won_ms),
        "reason": term.reason,
        "gap_s": term.gap_ms / 1000,
        "caught_up": term.caught_up,
    }


def _history_columns(sched: Invocation) -> list[Column[TermHistory]]:
    return [
        Column("TERM", lambda term: str(term.number)),
        Column("LEADER", lambda term: term.name),
        Column("SINCE", lambda term: show_moment(term.won_ms, sched.zone)),
        Column("GAP", lambda term: show_span(term.gap_ms)),
        Column("CAUGHT UP", lambda term: "" if term.caught_up is None else str(term.caught_up)),
        Column("REASON", lambda term: term.reason, wide=True),
    ]
