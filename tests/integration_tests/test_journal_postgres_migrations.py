"""How a database of PostgreSQL comes to have the journal's tables: it has to be empty before."""

import sys
from pathlib import Path

import pytest
from full import FULL
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).parents[1] / "unit_tests"))

from postgres import new_database, postgres_server
from test_journal_migrations import (
    test_a_later_step_works_on_old_and_new_journals,
    test_a_migrated_journal_is_like_a_new_one,
    test_a_step_that_fails_leaves_the_journal_as_it_was,
    test_calls_of_version_0_1_0_are_kept,
    test_the_guards_know_the_calls_of_version_0_1_0,
)

if FULL:
    from test_journal_migrations import *  # noqa: F403 - all of it is the same SQL on SQLite

__all__ = [
    "postgres_server",
    "test_a_later_step_works_on_old_and_new_journals",
    "test_a_migrated_journal_is_like_a_new_one",
    "test_a_step_that_fails_leaves_the_journal_as_it_was",
    "test_calls_of_version_0_1_0_are_kept",
    "test_the_guards_know_the_calls_of_version_0_1_0",
]


@pytest.fixture
def journal_url(postgres_server: URL) -> str:
    """Where the journal of a test is: in place of the one for SQLite."""
    return new_database(postgres_server).render_as_string(hide_password=False)


@pytest.fixture
def other_url(postgres_server: URL) -> str:
    """Where another journal is."""
    return new_database(postgres_server).render_as_string(hide_password=False)


@pytest.fixture
def tables_url(postgres_server: URL) -> str:
    """Where an empty database is."""
    return new_database(postgres_server).render_as_string(hide_password=False)
