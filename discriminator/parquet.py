"""Rows in Parquet, by pyarrow, which is an extra. Its cells are text alone: see `spelled`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from data_tools.errors import UserError
from data_tools.files import whole
from data_tools.rows import spelled, unspelled

_ROW_GROUP = 65_536  # rows that are held at a time


def pyarrow() -> Any:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise UserError(
            "parquet needs pyarrow; pip install 'jazz-gan[parquet]', or use csv or jsonl"
        ) from None


def write(path: Path, rows: Iterable[Sequence[object]], columns: Mapping[str, str]) -> None:
    """Writes a table whole or not at all.

    Args:
        path: where; its folder is made if missing.
        rows: taken as they are needed.
        columns: names and Arrow's names of their types, in the rows' order.
    """
    arrow = pyarrow()
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in columns.items()])
    with whole(path) as partial, arrow.parquet.ParquetWriter(partial, schema) as writer:
        stream = iter(rows)
        while group := list(islice(stream, _ROW_GROUP)):
            cells = [[_cell(value, spelled) for value in column]
                     for column in zip(*group, strict=True)]  # fmt: skip
            writer.write_table(arrow.table(cells, schema=schema))


def read(path: Path, check: Callable[[Iterable[str]], None]) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Args:
        path: the file.
        check: gets the names of its columns, and raises where one is missing.

    Raises:
        UserError: no Parquet, or what `check` raises.
    """
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as table:
            check(table.schema_arrow.names)
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    yield {name: _cell(value, unspelled) for name, value in row.items()}
    except arrow.ArrowException as error:
        raise UserError(f"{path}: not readable as parquet ({error})") from None


def _cell(value: Any, change: Callable[[str], str]) -> Any:
    return change(value) if isinstance(value, str) else value
