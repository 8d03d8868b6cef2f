"""The layout of a group: a code of its own for each, and the options that choose it."""

from __future__ import annotations

from consumers.bot import Options
from consumers.settings import GroupSettings
from eventbus.group_layout import MAX_PARTITIONS, GroupLayout, Ordering

LAYOUTS = [GroupLayout(), *(GroupLayout(one, n) for one in ("guild", "shard") for n in range(1, MAX_PARTITIONS + 1))]
LAYOUTS = [GroupLayout(Ordering(one.ordering), one.partition_count) for one in LAYOUTS]


def test_every_layout_has_a_code_of_its_own_which_says_what_it_is() -> None:
    assert len({one.code for one in LAYOUTS}) == len(LAYOUTS)
    assert all(GroupLayout.from_code(one.code) == one and one.code > 0 for one in LAYOUTS)


def test_the_count_of_partitions_does_not_matter_to_a_group_without_them() -> None:
    assert GroupLayout(Ordering.NONE, 16).code == GroupLayout(Ordering.NONE, 4).code


def test_a_layout_is_written_as_the_options_that_choose_it() -> None:
    assert str(GroupLayout(Ordering.GUILD, 16)) == "--ordering guild --partitions 16"
    assert str(GroupLayout()) == "--ordering none"


def test_a_bot_of_ones_own_has_the_options_of_the_command() -> None:
    """Bot.from_settings takes what the class of options names: a setting that it forgot would silently not count."""
    by_hikaris_name = {"amqp_url", "token", "members_as_sent"}  # arguments of hikari's own, or beside them
    fields = GroupSettings.model_fields.keys() - by_hikaris_name
    assert fields == Options.__annotations__.keys()
