"""The last event of each address: of every address the last, and a reader that goes slowly misses none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fanout.event import EVENT_BYTES, Event
from fanout.retained import LOOK_AT_ONCE, Retained, Slice

MANY = 1 << 30
ADDRESSES = ["a", "b", "c", "d", "e"]


def event(address: str, offset: int, size: int = 1, **fields: object) -> Event:
    return Event(address, offset, "", b"x" * size, **fields)  # type: ignore[arg-type]


def offsets(part: Slice) -> list[int]:
    return [event.offset for event in part.events]


def test_an_event_takes_the_place_of_the_one_before_at_its_address() -> None:
    retained = Retained(10, MANY, [event("a", 1), event("b", 2), event("a", 3)])
    assert [each.offset for each in retained] == [2, 3]
    assert retained.after(0, 3, MANY) == Slice([*retained], 3)


def test_an_empty_payload_clears_its_address() -> None:
    retained = Retained(10, MANY, [event("a", 1), event("b", 2), event("a", 3, size=0)])
    assert [each.offset for each in retained] == [2]
    assert retained.get("a") is None


def test_one_that_is_not_to_be_retained_leaves_the_address_as_it_is() -> None:
    retained = Retained(
        10, MANY, [event("a", 1), event("a", 2, is_retained=False), event("a", 3, 0, is_retained=False)]
    )
    assert [each.offset for each in retained] == [1]


def test_the_expired_are_forgotten() -> None:
    retained = Retained(10, MANY, [event("a", 1, expires_at=5.0), event("b", 2)])
    retained.prune(4.9)
    assert offsets(retained.after(0, 2, MANY)) == [1, 2]
    retained.prune(5.0)
    assert offsets(retained.after(0, 2, MANY)) == [2]


def test_there_is_room_for_so_many_addresses_and_bytes_and_always_for_less() -> None:
    retained = Retained(2, 10, [event("a", 1, 4), event("b", 2, 4)])
    assert not retained.has_room("c", 1)
    assert retained.has_room("c", 0)
    assert [size for size in (0, 4, 6, 7) if retained.has_room("a", size)] == [0, 4, 6]
    assert retained.forget("b")
    assert not retained.forget("b")
    assert retained.has_room("c", 6)
    assert not retained.has_room("c", 7)


def test_a_slice_is_bounded_in_bytes_and_in_what_is_looked_at() -> None:
    retained = Retained(MANY, MANY, [event(f"a/{n}", n) for n in range(1, 2 * LOOK_AT_ONCE)])
    assert retained.after(0, MANY, 2 * (EVENT_BYTES + 1)).reached == 2
    assert retained.after(0, MANY, MANY).reached == LOOK_AT_ONCE
    assert retained.after(LOOK_AT_ONCE, MANY, MANY).reached == MANY


@given(
    before=st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans()), max_size=60),
    meanwhile=st.lists(st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans()), max_size=30), max_size=20),
)
def test_whoever_reads_it_slice_by_slice_and_then_what_came_since_knows_the_last_of_every_address(
    before: list[tuple[str, bool]], meanwhile: list[list[tuple[str, bool]]]
) -> None:
    """What changes while it is read is not given twice, and comes with what follows."""
    retained, head = Retained(10, MANY), 0
    truth: dict[str, int] = {}
    known: dict[str, int] = {}
    since: list[Event] = []

    def publish(address: str, is_empty: bool) -> Event:
        nonlocal head
        head += 1
        made = event(address, head, 0 if is_empty else 1)
        retained.take([made])
        truth.pop(address, None)
        if not is_empty:
            truth[address] = head
        return made

    for address, is_empty in before:
        publish(address, is_empty)
    up_to, place = head, 0
    turns = iter(meanwhile)
    while place < up_to:
        part = retained.after(place, up_to, 1)
        assert part.reached > place
        assert all(place < each.offset <= part.reached for each in part.events)
        known |= {each.address: each.offset for each in part.events}
        place = part.reached
        since += [publish(*said) for said in next(turns, [])]
    for each in since:
        known.pop(each.address, None)
        if each.payload:
            known[each.address] = each.offset
    assert known == truth
    assert {each.address: each.offset for each in retained} == truth
