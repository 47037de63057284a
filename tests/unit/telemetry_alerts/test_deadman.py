"""Whoever watches pages in time, once, and says when it is over."""

from telemetry.deadman.judging import Heard, Watch, judge


def played(*given):
    """Play (second, heard) one after the other; return (second, stalled) of each page."""
    watch, pages = Watch(good_ms=0), []
    for second, heard in given:
        watch, page = judge(
            watch, heard, second * 1_000, stalled_after_ms=20_000, repeat_ms=900_000
        )
        if page is not None:
            pages.append((second, page.stalled))
    return pages


def evaluated(second, groups=3, interval=1):
    return Heard(groups=groups, evaluated_ms=second * 1_000, due_ms=(second + interval) * 1_000)


def test_all_is_well_while_rules_are_evaluated():
    assert played(*((second, evaluated(second - 1)) for second in range(0, 100, 5))) == []


def test_silence_is_paged_once_and_its_end_is_told():
    silence = [(second, None) for second in range(10, 60, 5)]
    pages = played((5, evaluated(4)), *silence, (60, evaluated(59)), (65, evaluated(64)))
    assert pages == [(25, True), (60, False)]


def test_what_answers_and_stands_still_is_paged_within_thirty_seconds():
    pages = played(*((second, evaluated(10)) for second in range(10, 60, 5)))
    assert pages == [(35, True)]


def test_rules_that_are_evaluated_each_minute_do_not_stand_still_between():
    each_minute = [
        (second, evaluated(second // 60 * 60, interval=60)) for second in range(0, 300, 5)
    ]
    assert played(*each_minute) == []

    pages = played(*((second, evaluated(60, interval=60)) for second in range(60, 300, 5)))
    assert pages == [(140, True)]


def test_rules_none_of_which_was_ever_evaluated_stand_still():
    assert played((25, Heard(groups=1, evaluated_ms=0, due_ms=0))) == [(25, True)]


def test_it_is_paged_again_while_it_lasts():
    assert played(*((second, None) for second in range(0, 2000, 5))) == [
        (20, True),
        (920, True),
        (1820, True),
    ]


def test_where_there_are_no_rules_nothing_stands_still():
    assert played(*((second, evaluated(0, groups=0)) for second in range(0, 100, 5))) == []


def test_who_watches_from_before_the_start_has_patience():
    watch = Watch(good_ms=60_000)  # a grace of a minute
    pages = []
    for second in range(0, 100, 5):
        watch, page = judge(watch, None, second * 1_000, stalled_after_ms=20_000, repeat_ms=900_000)
        pages += [second] if page is not None else []
    assert pages == [80]
