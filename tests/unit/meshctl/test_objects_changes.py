"""What becomes of objects, as it is told."""

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshctl.objects.changes import NOT_SHOWN, UNSET, counted, differing, told
from meshctl.objects.write import as_yaml, in_a_line, plain


def change(action, before=None, after=None, fields=()):
    made = {"name": "services/shop", "action": f"ACTION_{action}", "fields": list(fields)}
    for side, content in (("before", before), ("after", after)):
        if content is not None:
            made[side] = {"service": {"name": "services/shop", **content}}
    return told(json_format.ParseDict(made, rpc.ObjectChange()))


def rows(told_change):
    return [(one.path, one.before, one.after) for one in told_change.fields]


def test_a_new_object_is_told_field_by_field():
    found = change("CREATE", after={"endpoints": [{"address": "127.0.0.1", "port": 1}]})

    assert found.action == "create"
    assert rows(found) == [("endpoints", UNSET, [{"address": "127.0.0.1", "port": 1}])]


def test_an_update_is_told_down_to_what_has_no_parts():
    found = change(
        "UPDATE",
        {"unary_timeout": "5s", "rate_limit": {"burst": 10, "per_second": 5}, "reflect": True},
        {"unary_timeout": "2s", "rate_limit": {"burst": 10, "per_second": 7}},
    )

    assert rows(found) == [
        ("unary_timeout", "5s", "2s"),
        ("rate_limit.per_second", 5, 7),
        ("reflect", True, UNSET),
    ]


def test_items_of_lists_are_found_wherever_they_stand():
    a, b, c = ({"address": "127.0.0.1", "port": port} for port in (1, 2, 3))
    found = change("UPDATE", {"endpoints": [a, b]}, {"endpoints": [c, a, b]})
    gone = change("UPDATE", {"endpoints": [a, b, c]}, {"endpoints": [a, c]})
    other = change("UPDATE", {"endpoints": [a, b]}, {"endpoints": [a, c]})

    assert rows(found) == [("endpoints[0]", UNSET, c)]
    assert rows(gone) == [("endpoints[1]", b, UNSET)]
    assert rows(other) == [("endpoints[1].port", 2, 3)]


def test_what_the_gateway_does_not_show_is_told_as_changed():
    found = change("UPDATE", {}, {}, fields=["descriptor_set"])

    assert rows(found) == [("descriptor_set", NOT_SHOWN, NOT_SHOWN)]


def test_what_nobody_sets_and_what_is_so_anyway_is_not_told():
    found = change(
        "CREATE",
        after={
            "etag": "x",
            "revision": 3,
            "update_time": "2027-01-31T00:00:00Z",
            "identity": "shop",
            "unary_timeout": "30s",
            "endpoints": [{"address": "a", "port": 1, "weight": 1, "health": "HEALTH_HEALTHY"}],
        },
    )

    assert rows(found) == [("endpoints", UNSET, [{"address": "a", "port": 1}])]


def test_the_sum_says_how_many_of_what():
    made = change("CREATE", after={})
    gone = change("DELETE", {})

    assert counted([made, gone, gone]) == "1 to create, 2 to delete"
    assert counted([]) == "nothing to change"


nested = st.recursive(
    st.one_of(st.integers(0, 5), st.text("ab", max_size=2), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nested, nested)
def test_there_is_a_difference_exactly_where_two_values_differ(one, other):
    found = list(differing(one, other, "x"))

    assert bool(found) == (one != other)
    assert all(change.before != change.after for change in found)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("a", "a"),
        ("", '""'),
        ("a\nb", '"a\\nb"'),
        (b"xyz", "(3 bytes)"),
        (b"x" * 2048, "(2.0 KiB)"),
        (True, "true"),
        ({"a": [1, "b"]}, "{a: [1, b]}"),
    ],
)
def test_a_value_fits_a_line(value, line):
    assert in_a_line(value) == line


def test_texts_of_several_lines_are_blocks():
    assert as_yaml({"pem": "A\nB\n"}) == "pem: |\n  A\n  B\n"


def test_plain_values_leave_out_what_is_derived():
    message = rpc.ObjectChange()
    message.after.certificate.name = "certificates/a"
    message.after.certificate.domains.append("shop.example")

    assert plain(message.after.certificate) == {"name": "certificates/a"}
