"""What is open in TensorFlow itself, so that no answer is right or wrong: each line is a narrow condition and why."""


def find(graph, kind, want, got, why):
    """The reason for which a difference counts for nothing, or None."""
    for reason, holds in EXCLUSIONS:
        if holds(graph, kind, str(want) if isinstance(want, str) else "", str(got) if isinstance(got, str) else "", why):
            return reason
    return None


def refused(*texts):
    """TensorFlow refuses what the program computes, with one of these texts."""
    return lambda g, kind, want, got, why: kind == "accepted" and any(text in want for text in texts)


EXCLUSIONS = [
    ("TensorFlow has no kernel for a CPU, though other devices have one",
     refused("No OpKernel was registered", "OpKernel 'TopK' has constraint on attr 'index_type' not in NodeDef")),
    ("TensorFlow's kernel is for fewer dimensions",
     refused("rank not in [0,8]", "rank not in [0,5]", "Unhandled input dimensions", "is not supported yet", "Unhandled dimensions",
             "dimensions not supported", "Unsupported rank", "more than 8 dimensions")),
    ("TensorFlow's kernel is for fewer strides and dilations",
     refused("Current implementation only supports equal length strides", "Current CPU implementations do not yet support dilation",
             "Current kernel implementation does not support dilations")),
    ("TensorFlow needs these shapes before anything is fed",
     refused("All input shapes must be fully defined", "block_shape must have known size", "Shape must be rank -1 but is rank",
             "block_shape must have rank 1", "num_diags = -1", "min_num_cols = -1", "min_num_rows = -1")),
    ("TensorFlow takes a k of MatrixSetDiag that it does not know yet for a single diagonal",
     lambda g, kind, want, got, why: kind == "accepted" and g.op.startswith("MatrixSetDiag") and "Shapes must be equal rank" in want),
    ("A value midway between two steps of FakeQuant goes to either, by how the compiler contracts",
     lambda g, kind, want, got, why: kind == "wrong" and g.op.startswith("FakeQuant") and why.endswith((" 1 differ", " 2 differ"))),
    ("TensorFlow takes sizes of SplitV with a -1 only where it knows the axis",
     refused("Split size at index")),
    ("The sign of a zero that comes from several is that of any",
     lambda g, kind, want, got, why: kind == "wrong" and "inf != " in why and any(n.op in ("Rsqrt", "Reciprocal", "Inv", "RealDiv", "Div")
         for n in g.graph_def.node) and g.op in ("Min", "Max", "Einsum", "Minimum", "Maximum", "SegmentMin", "SegmentMax", "MaxPool")),
    ("TensorFlow's ScatterNd takes a shape of int16 only where it does not know it",
     refused("Input tensor must be int32 or int64, but was int16")),
    ("TensorFlow has no Where of float16 on a CPU", refused("No WhereOp available for float16/half type on CPU")),
    ("TensorFlow reads an axis of int16 from more bytes than it has",
     lambda g, kind, want, got, why: any(n.op == "ArgMax" and n.attr["Tidx"].type == 5 for n in g.graph_def.node)),
    ("TensorFlow runs out of memory", lambda g, kind, want, got, why: "ResourceExhausted" in want),
]
