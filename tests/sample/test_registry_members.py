from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extracted_services.registry.members import Check, Full, Members, Service, Unknown

A, B = Service("a-1", "a", "10.0.0.1", 8101), Service("a-2", "a", "10.0.0.2", 8101, ("blue",))
TTL = Check(ttl_s=3, remove_after_s=30)
READY = Check(ttl_s=3, remove_after_s=30, passing=True)


@pytest.fixture
def members():
    return Members()


def living(members, now, name="a"):
    return [service.id for service, passes in members.look(name, now).entries if passes is not False]


def listed(members, now, name="a"):
    return [service.id for service, _ in members.look(name, now).entries]


def test_with_a_check_it_is_critical_until_the_first_pass(members):
    members.register(A, TTL, 100)
    assert (living(members, 100), listed(members, 100)) == ([], ["a-1"])
    assert members.passed("a-1", 101)
    assert living(members, 101) == ["a-1"]


def test_with_a_check_that_says_passing_it_lives_from_the_start_for_one_ttl(members):
    members.register(A, READY, 100)
    assert [living(members, now) for now in (100, 102.9, 103)] == [["a-1"], ["a-1"], []]


def test_without_a_check_it_lives_for_ever(members):
    members.register(A, None, 100)
    assert living(members, 1e9) == ["a-1"]
    with pytest.raises(Unknown, match="'a-1' with a check"):
        members.passed("a-1", 101)


def test_every_pass_is_good_for_one_ttl(members):
    members.register(A, READY, 100)
    assert not members.passed("a-1", 102)
    assert [living(members, now) for now in (104.9, 105)] == [["a-1"], []]
    assert members.passed("a-1", 110)
    assert living(members, 112.9) == ["a-1"]


def test_critical_for_too_long_it_is_removed_and_must_register_again(members):
    members.register(A, READY, 100)
    assert [listed(members, now) for now in (132.9, 133)] == [["a-1"], []]
    with pytest.raises(Unknown):
        members.passed("a-1", 133)


def test_one_that_is_due_for_removal_is_unknown_also_if_nobody_has_looked(members):
    members.register(A, READY, 100)
    with pytest.raises(Unknown, match="'a-1' with a check is registered: register it again"):
        members.passed("a-1", 133)


def test_without_a_time_for_removal_it_stays_critical(members):
    members.register(A, Check(ttl_s=3), 100)
    assert listed(members, 1e9) == ["a-1"]


def test_a_view_says_until_when_it_stands_if_nobody_calls(members):
    members.register(A, READY, 100)
    members.register(B, READY, 101)
    assert [members.look("a", now).until for now in (101, 103, 104)] == [103, 104, 133]
    members.register(Service("b-1", "b", "h", 1), None, 100)
    assert members.look("b", 101).until == float("inf")


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.register(B, READY, 101),
        lambda members: members.register(Service("a-1", "a", "10.0.0.1", 8102), READY, 101),
        lambda members: members.register(Service("a-1", "a", "10.0.0.1", 8101, ("x",)), READY, 101),
        lambda members: members.register(A, None, 101),
        lambda members: members.register(A, TTL, 101),
        lambda members: members.register(Service("a-1", "b", "10.0.0.1", 8101), READY, 101),
        lambda members: members.deregister("a-1"),
    ],
)
def test_the_index_rises_with_every_change_that_is_seen(members, change):
    members.register(A, READY, 100)
    before = members.look("a", 101).index
    change(members)
    assert members.look("a", 101).index > before


def test_the_index_rises_when_a_ttl_runs_out_and_when_the_instance_is_removed(members):
    members.register(A, READY, 100)
    first, second, third = (members.look("a", now).index for now in (101, 103, 133))
    assert first < second < third


def test_the_index_stands_where_nothing_is_seen(members):
    members.register(A, READY, 100)
    before = members.look("a", 100).index
    members.passed("a-1", 101)
    members.register(A, READY, 102)
    members.register(Service("b-1", "b", "h", 1), None, 102)
    assert members.look("a", 102).index == before


def test_indexes_begin_where_they_are_told_to(members):
    assert members.look("nobody", 100).index == 1
    assert Members(first_index=5000).look("nobody", 100).index == 5000


def test_a_service_that_comes_back_has_a_later_index_than_it_ever_had(members):
    members.register(A, None, 100)
    there = members.look("a", 100).index
    members.deregister("a-1")
    away = members.look("a", 100).index
    members.register(A, None, 101)
    assert there < away < members.look("a", 101).index


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["register", "pass", "leave", "wait", "look"]), st.integers(0, 2), st.integers(0, 2)),
    max_size=40,
)


@given(OPERATIONS)
def test_the_index_moves_exactly_with_what_is_seen(operations):
    members, now, seen = Members(), 100.0, {}
    for what, number, name in operations:
        service = Service(f"id-{number}", f"name-{name}", "h", 1)
        if what == "register":
            members.register(service, Check(2, 3, passing=number == 0) if number else None, now)
        elif what == "wait":
            now += name
        elif what == "look":
            view = members.look(service.name, now)
            before = seen.get(service.name, view)
            assert view.index >= max(before.index, 1)
            assert (view.index > before.index) or view.entries == before.entries
            assert (view.index == before.index) or view.entries != before.entries or not view.entries
            seen[service.name] = view
        else:
            with suppress(Unknown):
                members.passed(service.id, now) if what == "pass" else members.deregister(service.id)


def test_the_same_id_under_another_name_has_moved(members):
    members.register(A, None, 100)
    members.register(Service("a-1", "b", "10.0.0.1", 8101), None, 100)
    assert (listed(members, 100), listed(members, 100, "b")) == ([], ["a-1"])


def test_what_is_not_there_cannot_be_taken_away(members):
    with pytest.raises(Unknown, match="'a-1'"):
        members.deregister("a-1")


def test_names_have_the_tags_of_all_their_instances(members):
    members.register(B, None, 100)
    members.register(Service("a-3", "a", "h", 1, ("green", "blue")), READY, 100)
    members.register(Service("b-1", "b", "h", 1), None, 100)
    assert members.names(100) == {"a": ["blue", "green"], "b": []}
    assert members.names(133) == {"a": ["blue"], "b": []}


def test_a_full_registry_takes_replacements_and_has_room_again_for_the_dead():
    members = Members(limit=2)
    members.register(A, READY, 100)
    members.register(B, None, 100)
    members.register(A, READY, 101)
    with pytest.raises(Full, match="2 instances are registered, which is the limit"):
        members.register(Service("b-1", "b", "h", 1), None, 101)
    members.register(Service("b-1", "b", "h", 1), None, 134)
    assert (listed(members, 134), listed(members, 134, "b")) == (["a-2"], ["b-1"])


def test_nothing_is_kept_of_names_that_nobody_bears_any_more(members):
    for number in range(100):
        members.register(Service("a-1", f"name-{number}", "h", 1), None, 100)
        members.look(f"name-{number}", 100)
    assert len(members._shown) <= 2
