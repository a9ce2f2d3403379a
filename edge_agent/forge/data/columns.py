"""Which column holds the texts and which the labels, by the names that people give them."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import DataError
from edge_agent.forge.data.home_assistant import fold
from edge_agent.forge.data.tables import Table, is_json_lines

OWN_COLUMNS = frozenset({"slots", "lang", "weight", "probabilities"})
"""Columns that are read under these names wherever they stand."""


def _words(*rows: str) -> tuple[str, ...]:
    return tuple(" ".join(rows).split())


_TEXT_COLUMNS = _words(
    "text sentence utterance message query question review comment content body phrase tweet opinion input",
    "texto frase mensaje pregunta comentario resena consulta contenido",
)
_LABEL_COLUMNS = _words(
    "label intent category class sentiment polarity topic emotion target tag answer output",
    "etiqueta intencion categoria clase sentimiento polaridad tema",
)


def recognise_columns(table: Table, path: Path) -> tuple[str, str]:
    """The names of a table's text and label columns; no label column ("") where there are probabilities.

    Raises:
        DataError: one is not there; names the columns that are, unless they may be somebody's text.
    """
    by_name = {fold(column.strip()): column for column in reversed(table.columns)}
    text = next((by_name[name] for name in _TEXT_COLUMNS if name in by_name), None)
    label = next((by_name[name] for name in _LABEL_COLUMNS if name in by_name), None)
    if (text is None or label is None) and not _has_header(table, path):
        raise DataError(
            f"{path}: its first line is not a header",
            hint="write the names of the columns into the first line: text,label",
        )
    others = [column for column in table.columns if column not in {text, label, *OWN_COLUMNS}]
    if text is None and label is not None and len(others) == 1:
        text = others[0]
    if label is None and "probabilities" in table.columns:
        label = ""
    if text is not None and label is None and len(others) == 1:
        label = others[0]
    for column, what in ((text, "text"), (label, "label")):
        if column is None:
            saw = ", ".join(map(repr, table.columns))
            raise DataError(
                f"{path}: no column is recognised as the {what}; it has {saw}",
                hint=f"call the column {what!r}",
            )
    return str(text), str(label)


def _has_header(table: Table, path: Path) -> bool:
    """Whether the first line is names: short ones that are no values of their own columns."""
    return is_json_lines(path) or all(
        len(column) <= 40
        and len(column.split()) <= 3
        and bool(column)
        and not any(row.values.get(column) == column for row in table.rows)
        for column in table.columns
    )
