"""Raw records as one Parquet table, a row a record; needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from synflow_bench.errors import UsageError
from synflow_bench.records import Record

if TYPE_CHECKING:
    import pyarrow as pa


def parquet(records: Iterable[Record]) -> bytes:
    """The file: columns are the record's fields, parts dotted (`metrics.test_top1`), lists nested.

    Mappings, and whatever has no type of its own in Arrow, are JSON text. Raises `UsageError` where pyarrow
    is missing.
    """
    pa, pq = _pyarrow()
    kind = _struct(Record)
    rows = (record.model_dump(mode="json", by_alias=True) for record in records)
    column = pa.array([_shaped(kind, row) for row in rows], kind)
    table = pa.Table.from_struct_array(column)
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            "parquet needs pyarrow; install it with: pip install 'synflow-bench[parquet]'"
        ) from error
    return pa, pq


def _struct(model: type[BaseModel]) -> pa.StructType:
    import pyarrow as pa

    fields = model.model_fields.items()
    return pa.struct([pa.field(field.alias or name, _type(field.annotation)) for name, field in fields])


def _type(annotation: Any) -> pa.DataType:
    """The Arrow type of a field; text, which holds JSON, for what has none."""
    import pyarrow as pa

    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    arguments = [each for each in get_args(annotation) if each is not NoneType]
    origin = get_origin(annotation)
    if origin is Annotated or (origin in {Union, UnionType} and len(arguments) == 1):
        return _type(arguments[0])
    if origin is tuple:
        return pa.list_(_type(arguments[0]))
    if origin is Literal and {type(each) for each in arguments} == {int}:
        return pa.int64()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    return plain.get(annotation, pa.string())


def _shaped(kind: pa.DataType, value: Any) -> Any:
    """`value` as `kind` takes it."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _shaped(field.type, value.get(field.name)) for field in kind}
    if pa.types.is_list(kind):
        return [_shaped(kind.value_type, each) for each in value]
    return (
        value if isinstance(value, str) or not pa.types.is_string(kind) else json.dumps(value, sort_keys=True)
    )
