"""Both databases find the same rows, in the same order, whatever people type: letters, signs, wildcards, NUL, long names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.events import KeyTerms
from projections.database import Folder
from projections.dialects import json_without_nul, without_nul
from projections.paging import MAX_PATTERN_CHARACTERS, containing
from projections.readmodel import LogFilter, ReadModel
from tests.projections.house import House
from tests.projections.whereabouts import KINDS, ON_BOTH, whereabouts

LETTERS = "aAbÄäßſKÅé_%\\'\"{},; \t\n🦊\ufffd\u0130ı"
texts = st.text(alphabet=LETTERS, max_size=8)
LONG = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(4_000))
"""Twelve kilobytes that do not compress into an entry of an index."""


@pytest.fixture(scope="module")
def both() -> Iterator[list[Folder]]:
    with ExitStack() as stack:
        folders: list[Folder] = []
        for kind in KINDS:
            name = stack.enter_context(tempfile.TemporaryDirectory())
            where = stack.enter_context(whereabouts(kind, Path(name)))
            folder = stack.enter_context(closing(where.folding()))
            with folder.transaction() as cursor:
                cursor.execute(folder.dialect.ddl("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"))
            folders.append(folder)
        yield folders


def asked(folder: Folder, names: list[str], condition: str, *values: str) -> list[tuple[int, str]]:
    """Rows under a condition, in the order of their names."""
    with folder.transaction() as cursor:
        cursor.execute("DELETE FROM t")
        cursor.executemany("INSERT INTO t (id, name) VALUES (?, ?)", list(enumerate(names)))
    with folder.reading() as reader:
        return reader.execute(f"SELECT id, name FROM t WHERE {condition} ORDER BY name, id", values).fetchall()


@settings(max_examples=60, deadline=None)
@given(names=st.lists(texts, min_size=1, max_size=6), keyword=texts)
@example(names=["K", "k", "K"], keyword="k")
def test_a_keyword_finds_the_same_names(both: list[Folder], names: list[str], keyword: str) -> None:
    ours, theirs = (asked(one, names, one.dialect.like("name", escaped=True), containing(keyword)) for one in both)

    assert ours == theirs
    assert {number for number, _ in ours} >= {number for number, name in enumerate(names) if keyword in name}


@settings(max_examples=60, deadline=None)
@given(names=st.lists(texts, min_size=1, max_size=6), pattern=texts)
@example(names=["\\", "a\\", "%"], pattern="\\")
def test_a_pattern_finds_the_same_names(both: list[Folder], names: list[str], pattern: str) -> None:
    ours, theirs = (asked(one, names, one.dialect.like("name", escaped=False), pattern) for one in both)

    assert ours == theirs


@settings(max_examples=60, deadline=None)
@given(names=st.lists(texts, min_size=1, max_size=8, unique=True))
def test_names_stand_in_the_same_order_and_are_found_among_others(both: list[Folder], names: list[str]) -> None:
    some = names[::2]

    found = [asked(one, names, one.dialect.among("name"), one.dialect.values_of(some)) for one in both]

    wanted = sorted(((number, name) for number, name in enumerate(names) if name in some), key=lambda row: row[1])
    assert found == [wanted, wanted]


@given(st.text(alphabet='\0\\u0a"', max_size=12))
def test_a_nul_is_replaced_in_a_json_text_as_in_a_text(text: str) -> None:
    found = msgspec.json.decode(json_without_nul(msgspec.json.encode(text)))

    assert found == without_nul(text)


@ON_BOTH
def test_a_name_with_a_nul_and_one_longer_than_an_index_takes_are_shown_and_found(
    house: House, read: ReadModel
) -> None:
    ada = house.user("a\0da")
    odd, long = house.key(ada, "n\0ul"), house.key(ada, terms=KeyTerms(name=LONG))
    house.call(ada, odd)
    house.call(ada, long)

    read.await_head()

    row = read.user(ada)
    assert row is not None
    assert row.username == "a\ufffdda"
    assert [key.id for key in read.search_keys(ada, "n\0u")] == [odd]
    assert [key.id for key in read.search_keys(ada, LONG[-MAX_PATTERN_CHARACTERS:])] == [long]
    assert [log.token_id for log in read.page_logs(LogFilter(token_name=LONG), page=1, size=9).items] == [long]
    assert [log.token_id for log in read.page_logs(LogFilter(token_name="n\0ul"), page=1, size=9).items] == [odd]
    assert read.page_logs(LogFilter(token_name=LONG[:-1]), page=1, size=9).items == []
    assert read.page_users(page=1, size=9, keyword="\0").total == 1
