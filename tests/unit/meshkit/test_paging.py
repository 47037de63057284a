import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit import ids, paging
from meshkit.errors import InvalidInput


@given(st.text(), st.lists(st.text()))
def test_a_token_leads_behind_the_item_it_was_made_for(after, fields):
    assert paging.read_token(paging.next_token(after, *fields), *fields) == after


@given(st.text(min_size=1))
def test_a_damaged_token_is_refused_and_nothing_else_happens(token):
    with pytest.raises(InvalidInput):
        paging.read_token(token, "parent")


def test_a_token_for_another_question_is_refused():
    token = paging.next_token("x", "tenants/a")

    with pytest.raises(InvalidInput):
        paging.read_token(token, "tenants/b")


def test_a_page_has_a_default_and_a_largest_size():
    assert paging.page_size(0) == 50
    assert paging.page_size(10_000) == 500
    with pytest.raises(InvalidInput):
        paging.page_size(-1)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_ids_sort_by_time_and_are_version_7(earlier, later, chance):
    first, second = sorted((earlier, later))

    assert ids.new_id(first, chance) <= ids.new_id(second, chance)
    assert uuid.UUID(ids.new_id(first, chance)).version == 7
    assert uuid.UUID(ids.new_id(first, chance)).variant == uuid.RFC_4122
