from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_core.changes import apply_changes, differences, growth, json_size
from state_core.exceptions import DamagedError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=5)


@given(documents, documents)
def test_the_differences_between_two_documents_turn_one_into_the_other(old, new):
    document = deepcopy(old)
    apply_changes(document, list(differences(old, new)))
    assert document == new


@given(documents)
def test_equal_documents_have_no_differences(document):
    assert list(differences(document, deepcopy(document))) == []


def test_true_and_one_are_different_values():
    assert list(differences({"a": 1}, {"a": True})) == [["set", ["a"], True]]


def test_a_list_that_grew_costs_only_what_was_added():
    assert list(differences({"a": [1, 2]}, {"a": [1, 2, 3]})) == [["append", ["a"], [3]]]


def test_a_list_that_changed_in_the_middle_is_written_from_there_on():
    changes = list(differences({"a": [1, 2, 3]}, {"a": [1, 9, 3]}))
    assert changes == [["truncate", ["a"], 1], ["append", ["a"], [9, 3]]]


def test_a_change_that_leads_nowhere_is_reported_as_damage():
    with pytest.raises(DamagedError, match="leads nowhere"):
        apply_changes({"session_id": "s"}, [["set", ["branches", "gone", "x"], 1]])


def test_an_operation_that_is_not_known_is_reported_as_damage():
    with pytest.raises(DamagedError):
        apply_changes({"session_id": "s"}, [["multiply", ["a"], 2]])


@given(st.dictionaries(st.text(max_size=3), values, min_size=1, max_size=5))
def test_the_growth_of_a_change_is_given_back_by_its_removal(content):
    document = {"context": {}}
    [(key, value), *_] = content.items()
    setting = [["set", ["context", key], value]]
    grown = growth(document, setting)
    apply_changes(document, setting)
    removed = growth(document, [["remove", ["context", key]]])
    assert grown == -removed or value is None


def test_growth_follows_the_size_of_the_json():
    document = {"memory": []}
    items = [{"role": "user", "content": "x" * 100}] * 50
    grown = growth(document, [["append", ["memory"], items]])
    assert abs(grown - json_size(items)) <= 2
