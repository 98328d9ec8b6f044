"""Writes golden/columns: Parquet and Arrow IPC files of one table, and what its rows are, by pyarrow.

    pip install pyarrow && python golden_parquet.py

`rows.jsonl` has for each row and each column the shape and the values: whole numbers as they are, others as
the bits of a double, strings as hexadecimal.
Every file holds the same values, written in another way. `nulls.parquet` has nulls, `nested.parquet` a type that no
field can be made of; `brotli.parquet` and `zstd.arrow` are compressed in ways that are not read.
"""

import datetime
import decimal
import json
import os
import random
import struct

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "columns")
ROWS = 60
EPOCH = datetime.datetime(1970, 1, 1)


def columns():
    rng = random.Random(7)
    word = lambda: "".join(rng.choice("abcdeé") for _ in range(rng.randrange(0, 20)))
    many = lambda make: [make() for _ in range(ROWS)]
    some = lambda make: [make() for _ in range(rng.randrange(0, 5))]
    ints = {}
    for bits in (8, 16, 32, 64):
        low = -(1 << (bits - 1))
        ints[f"i{bits}"] = pa.array(many(lambda: rng.randint(low, -low - 1)), getattr(pa, f"int{bits}")())
        ints[f"u{bits}"] = pa.array(many(lambda: rng.randint(0, -2 * low - 1)), getattr(pa, f"uint{bits}")())
    f16 = np.array(many(lambda: rng.uniform(-9, 9)), np.float16)
    return {
        **ints,
        "f16": pa.array(f16),
        "f32": pa.array(many(lambda: rng.uniform(-1, 1)), pa.float32()),
        "f64": pa.array(many(lambda: rng.uniform(-1, 1)), pa.float64()),
        "bool": pa.array(many(lambda: rng.random() < 0.3)),
        "utf8": pa.array(many(word)),
        "sorted": pa.array(sorted(many(lambda: "prefix" + word())), pa.string()),
        "binary": pa.array(many(lambda: rng.randbytes(rng.randrange(30)))),
        "large": pa.array(many(word), pa.large_string()),
        "fixed": pa.array(many(lambda: rng.randbytes(3)), pa.binary(3)),
        "dict": pa.array(many(lambda: rng.choice(["one", "two", "a third one, longer"]))).dictionary_encode(),
        "day": pa.array(many(lambda: rng.randrange(20000)), pa.int32()).cast(pa.date32()),
        "time": pa.array(many(lambda: rng.randrange(1 << 50)), pa.int64()).cast(pa.timestamp("us")),
        "price": pa.array(many(lambda: decimal.Decimal(rng.randrange(10**7)).scaleb(-2)), pa.decimal128(9, 2)),
        "mass": pa.array(many(lambda: decimal.Decimal(rng.randrange(10**15)).scaleb(-3)), pa.decimal128(18, 3)),
        "ints": pa.array(many(lambda: some(lambda: rng.randrange(1000))), pa.list_(pa.int32())),
        "words": pa.array(many(lambda: some(word)), pa.list_(pa.string())),
        "flags": pa.array(many(lambda: some(lambda: rng.random() < 0.5)), pa.list_(pa.bool_())),
        "point": pa.array(many(lambda: [rng.random() for _ in range(3)]), pa.list_(pa.float32(), 3)),
        "boxes": pa.array(
            many(lambda: some(lambda: [rng.random() for _ in range(4)])), pa.list_(pa.list_(pa.float32(), 4))
        ),
    }


def shape_of(value, kind):
    shape = []
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.list_size if pa.types.is_fixed_size_list(kind) else len(value)
        shape.append(inner)
        value = [v for row in value for v in row] if len(shape) > 1 else value
        kind = kind.value_type
    return shape


def flat(value):
    if isinstance(value, (list, np.ndarray)):
        return [v for part in value for v in flat(part)]
    if isinstance(value, str):
        return [value.encode().hex()]
    if isinstance(value, bytes):
        return [value.hex()]
    if isinstance(value, bool):
        return [int(value)]
    if isinstance(value, decimal.Decimal):
        return [int(value.scaleb(-value.as_tuple().exponent))]
    if isinstance(value, datetime.datetime):
        return [(value - EPOCH) // datetime.timedelta(microseconds=1)]
    if isinstance(value, datetime.date):
        return [(value - EPOCH.date()).days]
    is_float = isinstance(value, (float, np.floating))
    return list(struct.unpack("<q", struct.pack("<d", value))) if is_float else [value]


def write_rows(table):
    with open(os.path.join(FOLDER, "rows.jsonl"), "w") as out:
        for row in table.to_pylist():
            fields = {}
            for name, value in row.items():
                fields[name] = [shape_of(value, table.schema.field(name).type), flat(value)]
            out.write(json.dumps(fields) + "\n")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    table = pa.table(columns())
    write_rows(table)

    def parquet(name, table=table, **options):
        options = {"row_group_size": 25, "write_batch_size": 8, "data_page_size": 60, "compression": "none", **options}
        pq.write_table(table, os.path.join(FOLDER, name + ".parquet"), **options)

    parquet("plain", use_dictionary=False, write_page_checksum=True, write_page_index=True)
    for codec in ("snappy", "gzip", "lz4", "zstd"):
        parquet(codec, compression=codec)
    parquet("v2", compression="snappy", data_page_version="2.0", version="2.6")
    parquet("bare", store_schema=False, row_group_size=1000, data_page_size=1 << 20,
            table=table.drop_columns(["point", "boxes"]))
    delta = {n: "DELTA_BINARY_PACKED" for n in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "time")}
    delta |= {n: "BYTE_STREAM_SPLIT" for n in ("f16", "f32", "f64", "fixed")}
    delta |= {"utf8": "DELTA_LENGTH_BYTE_ARRAY", "sorted": "DELTA_BYTE_ARRAY", "binary": "DELTA_BYTE_ARRAY"}
    delta |= {"words.list.element": "DELTA_BYTE_ARRAY", "bool": "RLE", "ints.list.element": "DELTA_BINARY_PACKED"}
    for version in ("1.0", "2.0"):
        parquet("delta" + version[0], use_dictionary=False, column_encoding=delta, data_page_version=version)
    small = table.select(["i32", "utf8"])
    parquet("brotli", small, compression="brotli")
    nulls = pa.table({
        "x": pa.array([1, None, 3, None, 5], pa.int32()),
        "s": pa.array(["a", "b", None, "d", "e"]),
        "l": pa.array([[1, None], [2], None, [], [5.0]], pa.list_(pa.float32())),
        "d": pa.array(["u", None, "u", "v", "v"]).dictionary_encode(),
    })
    parquet("nulls", nulls, row_group_size=3)
    parquet("nested", pa.table({"x": pa.array([1, 2]), "s": pa.array([{"a": 1}, {"a": 2}])}))

    def arrow(name, table=table, new=ipc.new_file, compression=None):
        options = ipc.IpcWriteOptions(compression=compression)
        with new(os.path.join(FOLDER, name), table.schema, options=options) as out:
            out.write_table(table, max_chunksize=25)

    arrow("file.arrow")
    arrow("stream.arrows", new=ipc.new_stream)
    arrow("lz4.arrow", compression="lz4")
    arrow("zstd.arrow", small, compression="zstd")
    arrow("nulls.arrow", nulls)
    views = {"utf8": pa.string_view(), "binary": pa.binary_view(), "ints": pa.large_list(pa.int32()),
             "fixed": pa.large_binary()}
    cast = lambda field: field.with_type(views.get(field.name, field.type))
    arrow("views.arrows", table.cast(pa.schema([cast(field) for field in table.schema])), new=ipc.new_stream)


if __name__ == "__main__":
    main()
