"""What the page is made of: sections with words, tables and pictures. The template turns them into HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from chord_fl.report.page.charts import Picture


@dataclass(frozen=True)
class Cell:
    """A figure as it is printed; `best` is marked."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    head: str
    cells: tuple[Cell, ...]
    ends_group: bool = False  # a rule is drawn beneath


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows. `words` columns, counted behind that one, are set to the left."""

    heads: tuple[str, ...]  # the first may be empty
    rows: tuple[Row, ...]
    caption: str = ""
    words: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page. Its pieces come in this order: warnings, words, tables, pictures."""

    anchor: str
    title: str
    words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


def table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], caption: str = "", words: int = 0) -> Table:
    """A table of plain texts; the first `words` columns behind the head are texts, the others figures."""
    lines = tuple(Row(head, tuple(Cell(text) for text in cells)) for head, cells in rows)
    return Table(tuple(heads), lines, caption, tuple(range(words)))
