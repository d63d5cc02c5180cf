"""The constitution: what a reading means and how a number is made. Each rule is here once.

Predicates take the columns of a query and give an SQL expression, or take the values of one reading and give a bool:
the same definition judges both. Formulas are pure functions on whole counts; they give exact fractions, which are
rounded once, at the edge, by `rounded`.
"""

from collections.abc import Mapping
from enum import IntEnum
from fractions import Fraction
from typing import Any

from peewee import Node, fn

METRICS_VERSION = 1  # raise it when a rule below changes what a stored day would say

MAX_WAIT_MINUTES = 480  # feeds use 995 and the like for "unknown"
LIVE_WINDOW_SECONDS = 2 * 3600
OUTAGE_GAP_SECONDS = 30 * 60  # readings missing for longer than this end an outage
ROSTER_DAYS = 7
SCHEDULE_REACH_DAYS = 7  # a park with a schedule row this near is open only when its schedule says so
SCORE_SCALE = 10
STALE_FLAG_SECONDS = 30 * 60  # Queue-Times hears of every ride each five minutes
STALE_STATUS_SECONDS = 24 * 3600  # what runs, or is down, is closed at night and told anew
FROZEN_SECONDS = 3600  # an open park that posts waits changes one of them every few minutes
CLOCKS_APART_SECONDS = 5 * 60  # what a source heard later than this from now tells nothing of its age
FROZEN_WAITS = 5  # so many rides have to post one for that to be sure
EDGE_SECONDS = 30 * 60  # so soon after opening and before closing every ride may be closed
FEWEST_TELLING = 4  # rides of a park from which their being closed, or missing, tells something


class Status(IntEnum):
    """What a feed says of a ride; NULL where the feed gives only a flag and a wait."""

    OPERATING = 1
    DOWN = 2
    CLOSED = 3
    REFURBISHMENT = 4


class ParkType(IntEnum):
    """Whose park it is: Disney and Universal tell a breakdown from a closure, the others do not."""

    DISNEY = 1
    UNIVERSAL = 2
    OTHER = 3


class Category(IntEnum):
    """Only attractions are ranked."""

    ATTRACTION = 1
    MEET_AND_GREET = 2
    SHOW = 3
    EXPERIENCE = 4


class ScheduleType(IntEnum):
    """Only OPERATING opens a park; CLOSED is a day that was fetched and has no opening."""

    OPERATING = 1
    TICKETED_EVENT = 2
    PRIVATE_EVENT = 3
    EXTRA_HOURS = 4
    INFO = 5
    CLOSED = 6


class Source(IntEnum):
    """Where a slot's readings came from; every answer names them."""

    THEMEPARKS_WIKI = 1
    QUEUE_TIMES = 2
    SIMULATION = 3


# --- one reading -----------------------------------------------------------------------------------------------------


def _known(value: Any, default: int) -> Any:
    """`value` with NULL read as `default`, so that no predicate below is ever NULL itself."""
    if isinstance(value, Node):
        return fn.COALESCE(value, default)
    return default if value is None else value


def is_operating(status: Any, is_open: Any, wait_time: Any) -> Any:
    """Status OPERATING; without a status, an open flag or a posted wait."""
    told = _known(status, 0)
    return (told == Status.OPERATING) | ((told == 0) & ((_known(is_open, 0) == 1) | (_known(wait_time, 0) > 0)))


def is_told_down(status: Any) -> Any:
    """The feed says DOWN; that counts in any park."""
    return _known(status, 0) == Status.DOWN


def is_possibly_down(park_type: ParkType, status: Any, is_open: Any, wait_time: Any) -> Any:
    """Not running, and the feed does not tell why: down only if the ride reopens the same day (`is_down`)."""
    told = _known(status, 0)
    silent = (told == 0) & (_known(is_open, 0) == 0) & (_known(wait_time, 0) <= 0)
    if park_type is ParkType.OTHER:
        return silent | (told == Status.CLOSED)
    return silent


def is_down(slot: int, told: bool, first_operating: int | None, last_operating: int | None) -> bool:
    """Whether a told or possibly down slot, inside the open intervals, is downtime, given the ride's service window.

    OPEN -> CLOSED -> OPEN: the reopening proves the outage; late openings and early closings are none.
    """
    if told:
        return True
    return first_operating is not None and last_operating is not None and first_operating < slot < last_operating


def counts_as_wait(status: Any, is_open: Any, wait_time: Any) -> Any:
    """An operating ride's posted wait. 0 is a walk-on where the feed gives a status, unknown where it does not."""
    posted = (_known(wait_time, -1) > 0) | ((_known(wait_time, -1) == 0) & (_known(status, 0) != 0))
    return is_operating(status, is_open, wait_time) & posted


def plausible_wait(wait_time: int | None) -> int | None:
    """The wait to store: None for a negative one and for the sentinels some feeds use."""
    return wait_time if wait_time is not None and 0 <= wait_time <= MAX_WAIT_MINUTES else None


# --- what a source says of a park ------------------------------------------------------------------------------------


def is_believed(source: Source, status: Status | None, age_seconds: int | None) -> bool:
    """Whether a source's word of a ride counts, given how long ago it last heard of the ride; None: it does not say.

    A flag that is not refreshed says nothing of now, nor does a breakdown that is told for days. A status may be old:
    ThemeParks.wiki gives the time of the last change.
    """
    if age_seconds is None:
        return True
    if status is None:
        return source is not Source.QUEUE_TIMES or age_seconds <= STALE_FLAG_SECONDS
    return status is not Status.DOWN or age_seconds <= STALE_STATUS_SECONDS


def is_frozen(newest_age_seconds: int | None, posting_waits: int) -> bool:
    """Whether a park's answer stands still: rides that post a wait, and the newest word of any ride is old."""
    return newest_age_seconds is not None and newest_age_seconds > FROZEN_SECONDS and posting_waits >= FROZEN_WAITS


def has_lost_rides(telling: int, usual: int) -> bool:
    """Whether a park's answer names far fewer attractions than it did in the day before."""
    return usual >= FEWEST_TELLING and 2 * telling < usual


def contradicts_schedule(operating: int, told_down: int, telling: int) -> bool:
    """Whether the attractions of a park that is open by its schedule, and not just opening or closing, are all closed:
    the answer is wrong, or the schedule is. Those told down are believed."""
    return telling >= FEWEST_TELLING and not operating and not told_down


# --- a park's slot and day -------------------------------------------------------------------------------------------


def opens(schedule_type: int, opening_at: int, closing_at: int) -> bool:
    """Whether a row of a schedule opens its park, from opening until just before closing."""
    return schedule_type == ScheduleType.OPERATING and opening_at < closing_at


def looks_open(operating: int, reporting: int) -> bool:
    """A park without a schedule is open while at least half of the attractions that report operate."""
    return reporting > 0 and 2 * operating >= reporting


def operated(operating_slots: int, told_down_slots: int) -> bool:
    """A ride that was expected to run that day: seen operating, or told down, while the park was open."""
    return operating_slots + told_down_slots > 0


def predominant(operating: int, down: int, known: int) -> Status:
    """What a ride did most in its `known` slots while its park was open: neither operating nor down is CLOSED. Of
    equals the better one; CLOSED without any."""
    closed = known - operating - down
    if operating and operating >= max(down, closed):
        return Status.OPERATING
    return Status.DOWN if down and down >= closed else Status.CLOSED


def weight_of(tier: int | None) -> int:
    """Importance of a ride: flagship 3, standard and unclassified 2, minor 1."""
    return {1: 3, 2: 2, 3: 1, None: 2}[tier]


# --- formulas --------------------------------------------------------------------------------------------------------


def shame_score(weighted_down: int, roster_weight: int, slots: int) -> Fraction | None:
    """10 x sum(weight x down slots) / (roster weight x observed open slots), 0-10; None without roster or open slot.

    With one ride's weighted down slots it is that ride's share: the shares of a park add up to its score.
    """
    if not roster_weight or not slots:
        return None
    return Fraction(SCORE_SCALE * weighted_down, roster_weight * slots)


def mean(values: list[Fraction]) -> Fraction | None:
    """Arithmetic mean; None of nothing. A week's, month's or year's score is the mean of its day scores."""
    if len(values) == 1:
        return values[0]  # most are of one day
    return sum(values, Fraction(0)) / len(values) if values else None


def uptime_percentage(operating: int, down: int) -> Fraction | None:
    """Share of the time a ride was expected to run that it ran; None if it was never expected to."""
    return Fraction(100 * operating, operating + down) if operating + down else None


def coverage(observed: int, open_slots: int) -> Fraction | None:
    """Share of the slots inside the open intervals that was observed, 0-1; None without any."""
    return Fraction(observed, open_slots) if open_slots else None


def average_wait(wait_sum: int, wait_samples: int) -> Fraction | None:
    """Pooled mean of the waits that count, in minutes; None without one."""
    return Fraction(wait_sum, wait_samples) if wait_samples else None


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """The value at the nearest rank, ceil(percent / 100 x n) of n in ascending order, given how often each value occurs
    (percent 1-100); None of nothing. It is always one of the values: Hyndman and Fan (1996), definition 1."""
    rank, passed = -(-percent * sum(counts.values()) // 100), 0
    for value in sorted(counts):
        passed += counts[value]
        if passed >= rank > 0:
            return value
    return None


def back_within(counts: Mapping[int, int], lasted: int, more: int) -> Fraction | None:
    """Of the outages that lasted `lasted` minutes or longer, the share that was over within `more` minutes after these;
    None without any. `counts`: how many outages had each length in minutes."""
    as_long = {minutes: count for minutes, count in counts.items() if minutes >= lasted}
    over = sum(count for minutes, count in as_long.items() if minutes <= lasted + more)
    return Fraction(over, sum(as_long.values())) if as_long else None


def trend_percentage(amount: int, over: int, earlier_amount: int, earlier_over: int) -> Fraction | None:
    """Percent change of amount/over against the span before; None where either has no base or the earlier was 0."""
    if not over or not earlier_over or not earlier_amount:
        return None
    return 100 * (Fraction(amount * earlier_over, over * earlier_amount) - 1)


def hours(minutes: int) -> Fraction:
    """Minutes as hours, exactly."""
    return Fraction(minutes, 60)


def slot_hours(slots: int, interval_minutes: int) -> Fraction:
    """Slots as hours: downtime is the down slots times the interval."""
    return hours(slots * interval_minutes)


def rounded(value: Fraction | None, places: int) -> float | None:
    """`value` rounded half up (a negative one half down) to `places` decimals, as a JSON number; None stays None."""
    if value is None:
        return None
    scale, numerator = int(10**places), abs(value.numerator)
    # Half up in whole numbers, which takes a third of the time of fractions.
    units = (2 * scale * numerator + value.denominator) // (2 * value.denominator)
    return (units if value >= 0 else -units) / scale
