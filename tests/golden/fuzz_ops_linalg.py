"""Random nodes of random numbers, linear algebra and special functions, for `fuzz.py`."""

import numpy as np

from fuzz_ops import axes_of, broadcast_pair, maker

FLOATS = ["float32", "float64"]


# ---- random numbers -------------------------------------------------------------------------------------------------


def seeds(g):
    return {"seed": g.int(1, 1000), "seed2": g.int(-3, 1000)}


def key(g):
    pair = g.ints([g.int(-5, 99), g.int(-5, 99)], g.pick(["int32", "int64"]))
    outputs = g.call("StatelessRandomGetKeyCounter", pair)
    return outputs + g.call("StatelessRandomGetAlg")


@maker("RandomUniform", "RandomStandardNormal", "TruncatedNormal")
def drawn(g, name):
    return g.call(name, g.ints(g.shape(0, 4)), dtype=g.dtype(name, "dtype"), **seeds(g))


@maker("StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal", "StatelessRandomUniformFullInt")
def drawn_stateless(g, name):
    pair = g.ints([g.int(-5, 99), g.int(-5, 99)])
    return g.call(name, g.ints(g.shape(0, 4)), pair, dtype=g.dtype(name, "dtype"))


@maker("StatelessRandomUniformV2", "StatelessRandomNormalV2", "StatelessTruncatedNormalV2", "StatelessRandomUniformFullIntV2")
def drawn_by_key(g, name):
    return g.call(name, g.ints(g.shape(0, 4)), *key(g), dtype=g.dtype(name, "dtype"))


@maker("RandomUniformInt", "StatelessRandomUniformInt", "StatelessRandomUniformIntV2")
def whole(g, name):
    dtype = g.pick(["int32", "int64"])
    low = g.int(-1000, 1000)
    ends = [g.ints(low, dtype), g.ints(low + g.int(0 if g.wild else 1, 2**20), dtype)]
    shape = g.ints(g.shape(0, 4))
    if name == "RandomUniformInt":
        return g.call(name, shape, *ends, **seeds(g))
    by = key(g) if name.endswith("V2") else [g.ints([g.int(-5, 99), 3])]
    return g.call(name, shape, *by, *ends)


@maker("RandomGamma", "RandomPoissonV2")
def samples(g, name):
    dtype = g.pick(FLOATS)
    of = g.input(dtype, g.shape(0, 2, 1), 0.1, g.pick([0.9, 5, 40]), special=0, huge=False)
    more = {"dtype": g.dtype(name, "dtype")} if name == "RandomPoissonV2" else {}
    return g.call(name, g.ints(g.shape(0, 3)), of, **seeds(g), **more)


@maker("Multinomial")
def classes(g, name):
    logits = g.input(g.dtype(name), [g.int(1, 3), g.int(1, 6)], special=0.2, huge=False)
    return g.call(name, logits, g.ints(g.int(0, 9), "int32"), output_dtype=g.pick(["int32", "int64"]), **seeds(g))


@maker("RandomShuffle")
def shuffled(g, name):
    return g.call(name, g.input(g.dtype(name), g.shape(0, 4)), **seeds(g))


# ---- linear algebra -------------------------------------------------------------------------------------------------


def matrices(g, batch, rows, cols):
    return g.input(g.pick(FLOATS), batch + [rows, cols], special=0, huge=False)


def batch_of(g):
    return [g.int(0, 3) for _ in range(g.int(0, 2))]


@maker("MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu")
def of_square(g, name):
    n = g.int(0, 6)
    more = {"adjoint": g.chance(0.5)} if name == "MatrixInverse" else {}
    if name == "Lu":
        more["output_idx_type"] = g.pick(["int32", "int64"])
    return g.call(name, matrices(g, batch_of(g), n, n), **more)


@maker("MatrixSolve", "MatrixTriangularSolve")
def equations(g, name):
    n, batch = g.int(1, 6), batch_of(g)
    a = matrices(g, batch, n, n)
    b = g.input(a.dtype, batch + [n, g.int(0, 4)], special=0, huge=False)
    more = {"lower": g.chance(0.5)} if name == "MatrixTriangularSolve" else {}
    return g.call(name, a, b, adjoint=g.chance(0.5), **more)


@maker("Qr", "Svd")
def factors(g, name):
    a = matrices(g, batch_of(g), g.int(1, 6), g.int(1, 6))
    more = {"compute_uv": g.chance(0.7)} if name == "Svd" else {}
    return g.call(name, a, full_matrices=g.chance(0.5), **more)[:1 if name == "Svd" and not more["compute_uv"] else 3]


@maker("SelfAdjointEigV2")
def eigen(g, name):
    n = g.int(1, 6)
    return g.call(name, matrices(g, batch_of(g), n, n), compute_v=g.chance(0.5))[:1]


@maker("Cross")
def cross(g, name):
    shape = g.shape(0, 3) + [3]
    dtype = g.dtype(name)
    return g.call(name, g.input(dtype, shape), g.input(dtype, shape))


# ---- special functions and small ones ---------------------------------------------------------------------------------

SPECIAL = """Ndtri Erfinv BesselI0e BesselI1e BesselK0 BesselK0e BesselK1 BesselK1e BesselJ0 BesselJ1 BesselY0 BesselY1
Dawsn Expint FresnelCos FresnelSin Spence BesselI0 BesselI1""".split()


@maker(*SPECIAL)
def special(g, name):
    low, high = g.pick([(0, 1), (-1, 1)]) if name in ("Ndtri", "Erfinv") else g.pick([(-3, 3), (0, 20)])
    return g.call(name, g.input(g.pick(FLOATS), g.shape(0, 4), low, high, special=0.2, huge=False))


@maker("Igamma", "Igammac", "Zeta", "Polygamma", "NextAfter")
def special_pair(g, name):
    one, two = broadcast_pair(g, 3)
    dtype = g.pick(FLOATS)
    if name == "Polygamma":
        a = g.feed(g.rng.integers(0, 5, one).astype(dtype), dtype)
    else:
        low = 1.5 if name == "Zeta" else 0.1
        a = g.input(dtype, one, low, 9, special=0.1, huge=False)
    return g.call(name, a, g.input(dtype, two, 0.1, 9, special=0.1, huge=False))


@maker("Betainc")
def beta(g, name):
    shape, dtype = g.shape(0, 3), g.pick(FLOATS)
    of = [g.input(dtype, [] if g.chance(0.2) else shape, 0.1, high, special=0.1, huge=False) for high in (9, 9, 1)]
    return g.call(name, *of)


@maker("CumulativeLogsumexp")
def log_sums(g, name):
    shape = g.shape(1, 4)
    x = g.input(g.dtype(name), shape, special=0.1, huge=False)
    return g.call(name, x, g.ints(g.int(-len(shape), len(shape) - 1)), exclusive=g.chance(0.3), reverse=g.chance(0.5))


@maker("UniqueV2", "UniqueWithCountsV2")
def told_apart(g, name):
    shape = g.shape(1, 4)
    axis = g.ints(axes_of(g, len(shape), 1) or [0], const=True)
    x = g.input(g.dtype(name), shape, 0, g.pick([1, 2]), special=0.1)
    return g.call(name, x, axis, out_idx=g.pick(["int32", "int64"]))


@maker("LowerBound", "UpperBound")
def sorted_search(g, name):
    rows, dtype = g.int(0, 3), g.dtype(name)
    with np.errstate(all="ignore"):
        row = np.sort(g.value(dtype, [rows, g.int(1, 7)], -9, 9, special=0), -1)
    return g.call(name, g.feed(row, dtype, derive=False), g.input(dtype, [rows, g.int(0, 5)], -9, 9), out_type=g.pick(["int32", "int64"]))


@maker("PopulationCount", "ApproximateEqual", "IsotonicRegression", "DataFormatDimMap")
def others(g, name):
    if name == "ApproximateEqual":
        shape, dtype = g.shape(0, 4), g.pick(FLOATS)
        return g.call(name, g.input(dtype, shape), g.input(dtype, shape), tolerance=float(g.pick([1e-5, 0.5, 2.0])))
    if name == "IsotonicRegression":
        dtype = g.pick(["float32", "float64"])
        return g.call(name, g.input(dtype, g.shape(1, 3), special=0, huge=False), output_dtype=dtype)
    if name == "DataFormatDimMap":
        return g.call(name, g.input(g.pick(["int32", "int64"]), g.shape(0, 2), -4, 3, special=0))
    return g.call(name, g.input(g.dtype(name), g.shape(0, 4)))
