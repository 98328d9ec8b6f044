"""Random nodes of lookup tables, for `fuzz.py`: tables that are filled once, and those that change as they are used."""

import hashlib
import pathlib
import tempfile

import numpy as np

from fuzz_ops import maker

PAIRS = [("string", "int64"), ("string", "int64"), ("int64", "string"), ("int64", "int64"), ("string", "string"), ("string", "float32"),
         ("int64", "float32"), ("int32", "int32"), ("string", "int32"), ("int32", "string"), ("string", "bool"), ("int64", "float64"),
         ("string", "float64"), ("int32", "float32"), ("int64", "int32"), ("int32", "float64")]
WORDS = [b"", b"a", b"b", b"bc", b"\xff\x00x", b"\xc3\xa9", b"a b", b"x" * 30]


def elements(g, dtype, shape):
    """Few different ones, so that keys are found."""
    if dtype == "string":
        out = np.empty(int(np.prod(shape)), dtype=object)
        out[:] = [g.pick(WORDS) for _ in range(out.size)]
        return out.reshape([int(d) for d in shape])
    if dtype == "bool":
        return g.rng.random([int(d) for d in shape]) < 0.5
    return g.rng.integers(-4, 9, [int(d) for d in shape]).astype(dtype)


def distinct(g, dtype, count):
    keys = elements(g, dtype, [count * 3])
    return np.array(list(dict.fromkeys(keys.tolist()))[:count], dtype=object if dtype == "string" else dtype)


def after(g, *nodes):
    """Makes the node that was written last wait for these."""
    g.graph_def.node[-1].input.extend("^" + node for node in nodes)


def in_order(g, exported):
    """What is told of an export whose order is open: its elements, or their lengths, from the largest on."""
    made = []
    for tensor in exported:
        if tensor.dtype == "string":
            tensor = g.call("StringLength", tensor)[0]
        elif tensor.dtype in ("bool", "complex64", "complex128"):
            tensor = g.call("Cast", tensor, DstT="int32", Truncate=False)[0]
        flat = g.call("Reshape", tensor, g.feed(np.array([-1], "int32"), const=True, derive=False))[0]
        made.append(g.call("TopKV2", flat, g.call("Size", flat, out_type="int32")[0], sorted=True)[0])
    return made


def ask(g, table, kinds, version, width=()):
    """A lookup, a size or an export."""
    key, value = kinds
    what = g.pick(["find", "find", "find", "size", "export"])
    if what == "size":
        return g.call(f"LookupTableSize{version}", table)
    if what == "export":
        return g.call(f"LookupTableExport{version}", table, Tkeys=key, Tvalues=value)
    shape = g.shape(0, 3)
    default = g.pick([[], [], shape]) if version == "V2" and not width and g.chance(0.2) else []
    return g.call(f"LookupTableFind{version}", table, g.feed(elements(g, key, shape), key),
                  g.feed(elements(g, value, [*default, *width]), value))


@maker("HashTable", "HashTableV2", "AnonymousHashTable", "InitializeTable", "InitializeTableV2", "LookupTableFind", "LookupTableFindV2",
       "LookupTableSize", "LookupTableSizeV2", "LookupTableExport", "LookupTableExportV2")
def filled_once(g, name):
    kinds = g.pick(PAIRS)
    version = "V2" if name.endswith("V2") or name.startswith("Anonymous") else ""
    held = name if "HashTable" in name else f"HashTable{version}"
    table = g.call(held, key_dtype=kinds[0], value_dtype=kinds[1])[0]
    keys = distinct(g, kinds[0], g.int(0, 6))
    values = elements(g, kinds[1], [len(keys)])
    if len(keys) and g.chance(0.1):  # twice the same is no harm, two values for one key are
        keys, values = np.append(keys, keys[:1]), np.append(values, values[:1] if g.chance(0.7) else elements(g, kinds[1], [1]))
    const = g.chance(0.8)
    g.call(f"InitializeTable{version}", table, g.feed(keys, kinds[0], const, derive=False), g.feed(values, kinds[1], const, derive=False))
    first, made = g.graph_def.node[-1].name, []
    for _ in range(g.int(1, 2)):
        out = ask(g, table, kinds, version)
        after(g, first)
        made += in_order(g, out) if len(out) > 1 else out
    return made


@maker("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
def filled_from_text(g, name):
    version = "V2" if name.endswith("V2") else ""
    lines = [g.pick(["a", "b", "bc", "x y", "7", "-3", "1.5", "", "q\tr"]) if g.chance(0.3) else f"w{i}" for i in range(g.int(0, 6))]
    columns = g.chance(0.5)
    delimiter = g.pick(["\t", "\t", ",", "|"])
    if columns:
        lines = [delimiter.join([f"w{i}", str(g.int(-9, 9)), g.pick(["x", "yz", ""])][:g.pick([3, 3, 3, 2])]) for i in range(len(lines))]
    text = "\n".join(lines) + g.pick(["", "\n"])
    text = text.replace("\n", "\r\n") if g.chance(0.05) else text
    path = pathlib.Path(tempfile.gettempdir()) / f"tightfit-words-{hashlib.sha1(text.encode()).hexdigest()[:16]}.txt"
    path.write_text(text, newline="")
    key_index = g.pick([-2, -2, 0, 0, -1, 1] if columns else [-2, -2, -1])
    value_index = g.pick([-1, -1, 1, 2] if columns else [-1, -1, -2])
    kinds = ("int64" if key_index == -1 else "string", "int64" if value_index in (-1, 1) else "string")
    if g.chance(0.1):
        kinds = g.pick(PAIRS)
    table = g.call(f"HashTable{version}", key_dtype=kinds[0], value_dtype=kinds[1])[0]
    at = g.feed(np.array(str(path).encode(), dtype=object), "string", const=True, derive=False)
    g.call(name, table, at, key_index=key_index, value_index=value_index, delimiter=delimiter,
           vocab_size=g.pick([-1, -1, -1, len(lines), len(lines) + 1, 1]), offset=g.pick([0, 0, 0, 1]))
    first = g.graph_def.node[-1].name
    size = g.call(f"LookupTableSize{version}", table)
    after(g, first)
    words = np.array([line.split(delimiter)[0].encode() for line in lines] + [b"none"], dtype=object)
    if kinds[0] == "int64":
        words = g.rng.integers(-1, len(lines) + 1, 4)
    elif kinds[0] != "string":
        return size
    found = g.call(f"LookupTableFind{version}", table, g.feed(words, kinds[0]), g.feed(elements(g, kinds[1], []), kinds[1]))
    after(g, first)
    return size + found


MUTABLE = ["MutableHashTable", "MutableHashTableV2", "AnonymousMutableHashTable", "MutableHashTableOfTensors",
           "MutableHashTableOfTensorsV2", "AnonymousMutableHashTableOfTensors"]


@maker(*MUTABLE, "LookupTableInsert", "LookupTableInsertV2", "LookupTableImport", "LookupTableImportV2", "LookupTableRemoveV2")
def changed(g, name):
    version = "V2" if name.endswith("V2") or name.startswith("Anonymous") else ""
    held = name if name in MUTABLE else g.pick([f"MutableHashTable{version}", f"MutableHashTableOfTensors{version}"])
    kinds, width = g.pick(PAIRS), []
    more = {}
    if "OfTensors" in held:
        width = [g.int(0, 3)]
        more["value_shape"] = width
    table = g.call(held, key_dtype=kinds[0], value_dtype=kinds[1], **more)[0]
    return changes(g, table, kinds, version, width)


def changes(g, table, kinds, version, width, of_keys=()):
    """Changes and questions, each after the one before."""
    made, last = [], None
    for number in range(g.int(2, 5)):
        kind = "insert" if number == 0 else g.pick(["insert", "import", "remove", "ask", "ask"])
        shape = [g.int(0, 4)] if kind == "import" or g.chance(0.7) else g.shape(0, 2)
        keys = lambda: g.feed(elements(g, kinds[0], [*shape, *of_keys]), kinds[0])
        out = []
        if kind in ("insert", "import"):
            if kind == "import":  # of one key twice it is open which value stays
                chosen = distinct(g, kinds[0], shape[0]) if not of_keys else elements(g, kinds[0], [0, *of_keys])
                shape = [len(chosen)]
                keys = lambda: g.feed(chosen, kinds[0])
            g.call(f"LookupTable{kind.title()}{version}", table, keys(), g.feed(elements(g, kinds[1], [*shape, *width]), kinds[1]))
        elif kind == "remove" and version == "V2":
            g.call("LookupTableRemoveV2", table, keys())
        elif of_keys:
            out = g.call(f"LookupTableFind{version}", table, keys(), g.feed(elements(g, kinds[1], width), kinds[1]))
        else:
            out = ask(g, table, kinds, version, width)
        if last:
            after(g, last)
        last = g.graph_def.node[-1].name
        made += in_order(g, out) if len(out) > 1 else out
    if not made:
        made = g.call(f"LookupTableSize{version}", table)
        after(g, last)
    return made


@maker("MutableDenseHashTable", "MutableDenseHashTableV2", "AnonymousMutableDenseHashTable")
def dense(g, name):
    version = "V2" if name != "MutableDenseHashTable" else ""
    kinds = g.pick([("int64", "int64"), ("int64", "float32"), ("string", "int64"), ("string", "float32"), ("int64", "bool"),
                    ("int32", "float32"), ("int64", "float64"), ("string", "bool"), ("int64", "int32"), ("int64", "string")])
    of_keys = [g.int(1, 3)] if g.chance(0.2) else []
    width = g.pick([[], [], [2], [0]])
    special = (lambda text, number: np.full(of_keys, np.array(text if kinds[0] == "string" else number, object if kinds[0] == "string" else kinds[0])))
    inputs = [g.feed(special(b"#empty", 100), kinds[0], const=True, derive=False)]
    if version:
        inputs.append(g.feed(special(b"#gone", g.pick([101, 101, 101, 100])), kinds[0], const=True, derive=False))
    table = g.call(name, *inputs, key_dtype=kinds[0], value_dtype=kinds[1], value_shape=width,
                   initial_num_buckets=g.pick([4, 16, 131072, 131072]), max_load_factor=g.pick([0.8, 0.8, 0.5]))[0]
    return changes(g, table, kinds, version, width, of_keys)
