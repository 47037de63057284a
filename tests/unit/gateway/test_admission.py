"""Few clients begin at a time, and those that hold nothing come first."""

from gateway.xds.admission import Admission


def ask(admission, name, order, *, empty=False):
    return admission.ask(lambda: order.append(name), empty=empty)


def test_as_many_begin_as_may():
    order, admission = [], Admission(2)
    turns = [ask(admission, n, order) for n in range(4)]
    assert [turn.waits for turn in turns] == [False, False, True, True]
    assert (order, admission.waiting) == ([0, 1], 2)
    turns[0].leave()
    turns[0].leave()  # Once.
    assert (order, admission.waiting) == ([0, 1, 2], 1)


def test_who_holds_nothing_comes_first_and_else_it_is_who_came_first():
    order, admission = [], Admission(1)
    first = ask(admission, "first", order)
    turns = {
        "serves": ask(admission, "serves", order),
        "serves too": ask(admission, "serves too", order),
        "empty": ask(admission, "empty", order, empty=True),
        "empty too": ask(admission, "empty too", order, empty=True),
    }
    first.leave()
    for name in ("empty", "empty too", "serves"):
        turns[name].leave()
    assert order == ["first", "empty", "empty too", "serves", "serves too"]


def test_who_goes_while_waiting_takes_no_place():
    order, admission = [], Admission(1)
    first, second, third = (ask(admission, n, order) for n in range(3))
    second.leave()
    assert admission.waiting == 1
    first.leave()
    assert (order, third.waits) == ([0, 2], False)
    third.leave()
    assert not ask(admission, 3, order).waits
