"""Shard ranges: what operators write, and what they are told when it is wrong."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.shard_ranges import MAX_SHARD_COUNT, format_shards, parse_shard_range

shard_ids = st.integers(0, MAX_SHARD_COUNT - 1)


@pytest.mark.parametrize(
    ("text", "shards"),
    [
        ("0", {0}),
        ("0-15", set(range(16))),
        ("0,3,7-9", {0, 3, 7, 8, 9}),
        (" 1 , 2-3 ", {1, 2, 3}),
        ("5,5,4-6", {4, 5, 6}),
        ("7-7", {7}),
        (f"{MAX_SHARD_COUNT - 1}", {MAX_SHARD_COUNT - 1}),
    ],
)
def test_a_range_names_its_shards(text: str, shards: set[int]) -> None:
    assert parse_shard_range(text) == frozenset(shards)


@pytest.mark.parametrize("text", ["auto", "AUTO", " Auto "])
def test_auto_names_no_shards_in_particular(text: str) -> None:
    assert parse_shard_range(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "1,",
        ",1",
        "1,,2",
        "a",
        "-1",
        "1-",
        "1--2",
        "1-2-3",
        "0x1",
        "1.0",
        "+1",
        "1;2",
        "auto,1",
        "\u0661",
        "1 2",
    ],
)
def test_what_is_no_range_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 0-15, 0,3,7-9 or auto"):
        parse_shard_range(text)


def test_a_range_that_runs_backwards_is_shown_the_right_way_round() -> None:
    with pytest.raises(ValueError, match="'9-3' runs backwards: write 3-9"):
        parse_shard_range("0,9-3")


@pytest.mark.parametrize("text", [f"{MAX_SHARD_COUNT}", f"0-{MAX_SHARD_COUNT}", "999999", "0-9999999"])
def test_too_large_a_shard_id_is_refused_before_it_takes_memory(text: str) -> None:
    with pytest.raises(ValueError, match=r"too large|is not a shard range"):
        parse_shard_range(text)


@given(st.sets(shard_ids, min_size=1, max_size=60))
def test_what_is_formatted_parses_to_the_same_shards(shards: set[int]) -> None:
    assert parse_shard_range(format_shards(shards)) == frozenset(shards)


@given(st.lists(st.tuples(shard_ids, st.integers(0, 40)), min_size=1, max_size=20))
def test_a_range_text_names_the_union_of_its_parts(parts: list[tuple[int, int]]) -> None:
    ranges = [(first, min(first + length, MAX_SHARD_COUNT - 1)) for first, length in parts]
    text = ",".join(f"{first}-{last}" for first, last in ranges)
    assert parse_shard_range(text) == frozenset(shard for first, last in ranges for shard in range(first, last + 1))


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_formatted_range_is_ascending_and_as_short_as_can_be(shards: set[int]) -> None:
    parts = [part.split("-") for part in format_shards(shards).split(",")]
    bounds = [(int(part[0]), int(part[-1])) for part in parts]
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(bounds))
    assert all(len(part) == 1 or int(part[0]) < int(part[1]) for part in parts)


def test_no_shards_are_called_none() -> None:
    assert format_shards(()) == "none"
    assert format_shards([2, 2, 0, 1]) == "0-2"
