from meshctl.demo.convergence import REMEMBERED_MAX, Trail, Verdict


def trail(*steps):
    made = Trail()
    for seq, state_hash in steps:
        made.stood(1, seq, state_hash)
    return made


def test_the_same_hash_at_the_same_place_is_equal():
    assert trail((3, b"c"), (5, b"e")).compare(1, 5, b"e") is Verdict.EQUAL


def test_a_device_is_compared_where_it_stood_when_the_server_was_there():
    assert trail((3, b"c"), (5, b"e")).compare(1, 3, b"c") is Verdict.EQUAL
    assert trail((3, b"c"), (5, b"e")).compare(1, 3, b"x") is Verdict.DIFFERENT


def test_a_device_that_is_not_there_yet_is_behind():
    assert trail((3, b"c")).compare(1, 4, b"d") is Verdict.BEHIND
    assert Trail().compare(1, 0, b"") is Verdict.BEHIND


def test_a_place_the_device_never_stood_at_says_nothing():
    assert trail((3, b"c"), (5, b"e")).compare(1, 4, b"d") is Verdict.PASSED


def test_another_life_of_the_space_is_another_trail():
    made = trail((3, b"c"))

    assert made.compare(2, 3, b"c") is Verdict.BEHIND
    made.stood(2, 1, b"a")
    assert made.compare(2, 1, b"a") is Verdict.EQUAL


def test_only_the_last_places_are_remembered():
    made = trail(*((n, b"h") for n in range(REMEMBERED_MAX + 5)))

    assert made.compare(1, 2, b"h") is Verdict.PASSED
    assert made.compare(1, REMEMBERED_MAX + 4, b"h") is Verdict.EQUAL
