"""Writes frozen graphs of dense layers as TensorFlow's GraphDef, a weight at a time, with neither TensorFlow nor protobuf."""

import os

import numpy as np

# Numbers of fields in graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto.
NODE, VERSIONS = 1, 4
NAME, OP, INPUT, ATTR = 1, 2, 3, 5
KEY, VALUE = 1, 2
TYPE, SHAPE, TENSOR = 6, 7, 8
DT_FLOAT = 1


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, value):
    """A field of a message: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return head(number, len(value)) + value


def head(number, size):
    """What stands before a field of ``size`` bytes."""
    return varint(number << 3 | 2) + varint(size)


def shape_of(dims):
    return b"".join(field(2, field(1, dim)) for dim in dims)


def attr(name, value):
    return field(ATTR, field(KEY, name.encode()) + field(VALUE, value))


def node(name, op, inputs=(), **attrs):
    """A node; ``attrs`` are messages AttrValue."""
    body = field(NAME, name.encode()) + field(OP, op.encode())
    body += b"".join(field(INPUT, tensor.encode()) for tensor in inputs)
    body += b"".join(attr(key, value) for key, value in attrs.items())
    return field(NODE, body)


FLOAT = field(TYPE, DT_FLOAT)


def write_dense_layers(path, width, layers, weights):
    """Writes x -> x @ w0 -> relu -> x @ w1 -> relu .. with matrices of ``width`` x ``width``.

    ``weights(number, file)`` writes the bytes of a matrix, or leaves a hole of as many that are zero.
    """
    size = 4 * width * width
    with open(path, "wb") as file:
        file.write(node("x", "Placeholder", dtype=FLOAT, shape=field(SHAPE, shape_of([-1, width]))))
        value = "x"
        for number in range(layers):
            name = f"w{number}"
            # The matrix is the last field of messages in messages, each of which has a length before it.
            tensor = field(1, DT_FLOAT) + field(2, shape_of([width, width])) + head(4, size)
            value_head = head(TENSOR, len(tensor) + size) + tensor
            pair = field(KEY, b"value") + head(VALUE, len(value_head) + size) + value_head
            body = field(NAME, name.encode()) + field(OP, b"Const") + attr("dtype", FLOAT)
            body += head(ATTR, len(pair) + size) + pair
            file.write(head(NODE, len(body) + size) + body)
            begin = file.tell()
            weights(number, file)
            file.seek(begin + size)
            file.write(node(f"product{number}", "MatMul", [value, name], T=FLOAT))
            file.write(node(f"relu{number}", "Relu", [f"product{number}"], T=FLOAT))
            value = f"relu{number}"
        file.write(node("y", "Identity", [value], T=FLOAT))
        file.write(field(VERSIONS, field(1, 1087)))
    return os.path.getsize(path)


def random_weights(seed, width):
    """Weights that keep values about as large as they are."""
    def write(number, file):
        rng = np.random.default_rng([seed, number])
        scale = np.float32((2 / width) ** 0.5)
        for _ in range(width):
            file.write((rng.standard_normal(width, np.float32) * scale).tobytes())

    return write
