"""When a process sends its commands: once for each group, and never older ones over newer ones that run."""

from __future__ import annotations

from consumers.command_decision import Sync, decide
from eventbus.command_record import CommandsSynced, of_scope

OLD, NEW, OTHER = "0" * 32, "1" * 32, "2" * 32
MADE_OLD, MADE_NEW, FOREIGN = "a" * 32, "b" * 32, "c" * 32


def record(wanted: str, made: str, scope: str = "1") -> CommandsSynced:
    return CommandsSynced(scope=scope, wanted=wanted, made=made)


def test_the_first_process_sends() -> None:
    assert decide([], wanted=NEW, made=FOREIGN, is_newest_run=False) is Sync.SEND


def test_the_others_of_the_group_do_not() -> None:
    assert decide([record(NEW, MADE_NEW)], wanted=NEW, made=MADE_NEW, is_newest_run=True) is Sync.ALREADY_SENT


def test_it_is_sent_again_when_somebody_else_changed_what_discord_has() -> None:
    assert decide([record(NEW, MADE_NEW)], wanted=NEW, made=FOREIGN, is_newest_run=True) is Sync.SEND


def test_a_new_set_is_sent_while_the_old_one_still_runs() -> None:
    assert decide([record(OLD, MADE_OLD)], wanted=NEW, made=MADE_OLD, is_newest_run=True) is Sync.SEND


def test_an_old_process_that_restarts_does_not_overwrite_the_newer_set() -> None:
    records = [record(OLD, MADE_OLD), record(NEW, MADE_NEW)]
    assert decide(records, wanted=OLD, made=MADE_NEW, is_newest_run=True) is Sync.SUPERSEDED


def test_when_nobody_runs_the_newer_set_any_more_the_old_one_is_sent() -> None:
    records = [record(OLD, MADE_OLD), record(NEW, MADE_NEW)]
    assert decide(records, wanted=OLD, made=MADE_NEW, is_newest_run=False) is Sync.SEND


def test_a_newer_set_that_discord_has_lost_supersedes_nothing() -> None:
    records = [record(OLD, MADE_OLD), record(NEW, MADE_NEW)]
    assert decide(records, wanted=OLD, made=FOREIGN, is_newest_run=True) is Sync.SEND


def test_the_newest_record_counts_and_not_an_equal_older_one() -> None:
    records = [record(OLD, MADE_OLD), record(NEW, MADE_NEW), record(OLD, MADE_OLD)]
    assert decide(records, wanted=OLD, made=MADE_OLD, is_newest_run=True) is Sync.ALREADY_SENT


def test_guilds_and_global_commands_are_apart() -> None:
    records = [record(OLD, MADE_OLD, "1"), record(NEW, MADE_NEW, "1/2"), record(OTHER, MADE_NEW, "1")]
    assert [one.wanted for one in of_scope(records, "1")] == [OLD, OTHER]
    assert [one.wanted for one in of_scope(records, "1/2")] == [NEW]
