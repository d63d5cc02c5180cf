"""The query string: what is accepted, and how a refusal names the parameter and what it accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest
from service.web.params import Query


def refusal(text: str, ask: str, *arguments: object) -> str:
    with pytest.raises(BadRequest) as caught:
        getattr(Query(text), ask)(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("period", ["live", "today", "yesterday", "last_week", "last_month", "7days", "30days"])
def test_every_period_is_accepted_as_it_is_written(period: str) -> None:
    assert Query(f"period={period}").period() == period


def test_a_choice_without_a_default_must_be_given() -> None:
    assert Query("type=b").choice("type", ("a", "b")) == "b"
    assert refusal("", "choice", "type", ("a", "b")) == "The parameter type is missing: use one of a, b."
    assert refusal("type=", "choice", "type", ("a", "b")) == "Invalid type '': use one of a, b."


def test_a_value_that_only_others_accept_is_called_unsupported() -> None:
    message = refusal("period=live", "choice", "period", ("today", "yesterday"), "today", ("live",))
    assert message == "The period 'live' is not supported here: use one of today, yesterday."


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", "", "101", "9" * 3000])
def test_a_strict_limit_is_not_clamped(value: str) -> None:
    assert refusal(f"limit={value}", "strict_limit", 50, 100).endswith("use a whole number from 1 to 100.")
    assert [Query(text).strict_limit(50, 100) for text in ("", "limit=1", "limit=100")] == [50, 1, 100]


def test_years_are_those_asked_for_in_their_order() -> None:
    assert Query("").years(2025) == [2025]
    assert Query("year=2023&year=2025&year=2024").years(2025) == [2023, 2025, 2024]


@pytest.mark.parametrize("text", [
    "year=", "year=1999", "year=2100", "year=02025", "year=2025.0", "year=2024,2025", "year=2024&year=x",
    "year=2024&year=2024", "&".join(f"year={year}" for year in range(2000, 2011)), "year=" + "9" * 3000,
])
def test_other_years_are_refused(text: str) -> None:
    message = refusal(text, "years", 2025)
    assert message.startswith("Invalid year ")
    assert message.endswith("or up to 10 of them, each once, as year=2024&year=2025.")


def test_without_a_period_it_is_live() -> None:
    assert Query("").period() == "live"


@pytest.mark.parametrize("value", ["", "Live", "live ", "%20live", "tomorrow", "7days,30days", "%F0%9F%8E%A2"])
def test_any_other_period_is_refused_with_what_is_accepted(value: str) -> None:
    message = refusal(f"period={value}", "period")
    assert message.startswith("Invalid period ")
    assert message.endswith("use one of live, today, yesterday, last_week, last_month, 7days, 30days.")


def test_filter_is_all_parks_unless_asked() -> None:
    assert Query("").filter() == "all-parks"
    assert Query("filter=disney-universal").filter() == "disney-universal"
    assert "use one of disney-universal, all-parks" in refusal("filter=disney", "filter")


@pytest.mark.parametrize(("period", "mode"), [
    ("live", "live"), ("7days", "last_week"), ("30days", "last_month"), ("last_week", "last_week"),
])
def test_mode_is_the_canonical_period_unless_asked(period: str, mode: str) -> None:
    assert Query("").mode(period) == mode
    assert Query("mode=peak-times").mode(period) == "peak-times"
    assert Query("mode=7day-average").mode(period) == "7day-average"


@pytest.mark.parametrize("value", ["", "7days", "average"])
def test_any_other_mode_is_refused(value: str) -> None:
    assert refusal(f"mode={value}", "mode", "live").startswith(f"Invalid mode '{value}': use one of live, today,")


def test_choice_has_its_default_and_names_itself() -> None:
    assert Query("").choice("sort_by", ("a", "b"), "b") == "b"
    assert Query("sort_by=a").choice("sort_by", ("a", "b"), "b") == "a"
    assert refusal("sort_by=c", "choice", "sort_by", ("a", "b"), "b") == "Invalid sort_by 'c': use one of a, b."


@pytest.mark.parametrize(("value", "rows"), [
    ("1", 1), ("007", 7), ("99", 99), ("100", 100), ("101", 100), ("9" * 30, 100), ("9" * 3000, 100),
    ("0" * 3000 + "5", 5),
])
def test_limit_is_clamped_at_its_maximum(value: str, rows: int) -> None:
    assert Query(f"limit={value}").limit(50, 100) == rows


@pytest.mark.parametrize("value", [
    "", "0", "000", "-1", "-0", "%2B5", "1.0", "1e2", "0x10", "abc", "1 0", "%205", "5%20", "1_0", "%D9%A3",
    "%EF%BC%95", "NaN", "5%0A",
])
def test_limit_that_is_no_positive_whole_number_is_refused(value: str) -> None:
    message = refusal(f"limit={value}", "limit", 50, 100)
    assert message.startswith("Invalid limit ")
    assert "whole number, 1 or more" in message


def test_limit_has_a_default() -> None:
    assert Query("").limit(50, 100) == 50


@pytest.mark.parametrize(("text", "weighted"), [
    ("", False), ("weighted=true", True), ("weighted=TrUe", True), ("weighted=1", False), ("weighted=", False),
    ("weighted=yes", False), ("weighted=true%20", False),
])
def test_only_true_is_weighted(text: str, weighted: bool) -> None:
    assert Query(text).weighted() is weighted


@pytest.mark.parametrize("value", ["true", "TRUE", "False", "false"])
def test_flag_is_true_or_false_in_any_case(value: str) -> None:
    for default in (True, False):
        assert Query(f"a={value}").flag("a", default=default) is (value.lower() == "true")
        assert Query("b=true").flag("a", default=default) is default


@pytest.mark.parametrize("value", ["", "maybe", "1", "0", "yes", "true%20", "truefalse"])
def test_any_other_flag_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="^Invalid a '.*': use true or false.$"):
        Query(f"a={value}").flag("a", default=True)


def test_park_id() -> None:
    assert Query("").park_id() is None
    assert Query("park_id=7").park_id() == 7
    assert Query("park_id=3000000000").park_id() == 3_000_000_000  # no park has it: it counts nothing


@pytest.mark.parametrize("value", ["", "0", "-1", "abc", "1.5", "1%20OR%201=1"])
def test_park_id_that_no_park_can_have_is_refused(value: str) -> None:
    assert "park_id" in refusal(f"park_id={value}", "park_id")


def test_known_parameter_given_twice_is_refused() -> None:
    assert refusal("period=live&period=live", "period") == "The parameter period is given 2 times: give it once."
    assert "limit" in refusal("limit=1&limit=2&limit=3", "limit", 50, 100)
    assert "weighted" in refusal("weighted=true&weighted=", "weighted")


def test_unknown_parameters_are_ignored_however_often() -> None:
    assert Query("utm=1&utm=2&&=x&period=today&q=%F0%9F%8E%A2").period() == "today"


@pytest.mark.parametrize("value", ["%", "%1", "%zz", "%ff", "\xff", "live%00", "live\0", "live%"])
def test_what_cannot_be_decoded_is_refused_where_it_matters(value: str) -> None:
    assert "period" in refusal(f"period={value}", "period")
    assert Query(f"utm={value}&period=today").period() == "today"


def test_utf8_may_be_written_with_or_without_escapes() -> None:
    raw = "café".encode().decode("latin-1")  # as WSGI gives it
    for text in (f"sort_by={raw}", "sort_by=caf%C3%A9"):
        assert Query(text).choice("sort_by", ("café",), "") == "café"


def test_long_value_is_shortened_in_the_message() -> None:
    assert len(refusal("period=" + "x" * 3000, "period")) < 200


@given(st.text(st.characters(max_codepoint=255)))
def test_any_query_string_is_read_or_refused(text: str) -> None:
    try:
        query = Query(text)
        query.period(), query.filter(), query.limit(50, 100), query.park_id(), query.weighted(), query.mode("live")
    except BadRequest as error:
        assert str(error)
