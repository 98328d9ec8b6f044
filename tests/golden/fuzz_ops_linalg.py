"""Random nodes of random numbers, linear algebra and special functions, for `fuzz.py`."""

import numpy as np

from fuzz_ops import axes_of, broadcast_pair, maker

FLOATS = ["float32", "float64"]


# ---- random numbers -------------------------------------------------------------------------------------------------


def seeds(g):
    return {"seed": g.int(1, 1000), "seed2": g.int(-3, 1000)}


def pair(g):
    return g.ints([g.int(-5, 99), g.int(-5, 99)], g.pick(["int32", "int64"]))


def key(g):
    if g.chance(0.5):
        return g.call("StatelessRandomGetKeyCounterAlg", pair(g))
    return g.call("StatelessRandomGetKeyCounter", pair(g)) + g.call("StatelessRandomGetAlg")


@maker("StatelessRandomGetKeyCounter", "StatelessRandomGetKeyCounterAlg", "StatelessRandomGetAlg")
def keys(g, name):
    made = g.call(name, *([] if name.endswith("GetAlg") else [pair(g)]))
    return [g.call("Bitcast", t, type="int64")[0] if t.dtype == "uint64" else t for t in made]


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


@maker("RandomGamma", "RandomPoissonV2", "RandomPoisson")
def samples(g, name):
    dtype = g.pick(FLOATS + ["float16"])
    of = g.input(dtype, g.shape(0, 2, 1), 0.1, g.pick([0.9, 5, 40]), special=0.05, huge=False)
    more = {"dtype": g.dtype(name, "dtype")} if name == "RandomPoissonV2" else {}
    return g.call(name, g.ints(g.shape(0, 3)), of, **seeds(g), **more)


@maker("StatelessRandomGammaV2", "StatelessRandomGammaV3", "StatelessRandomPoisson")
def stateless_samples(g, name):
    dtype, shape = g.pick(FLOATS + ["float16"]), g.shape(0, 2, 1)
    of = g.input(dtype, shape, 0.1, g.pick([0.9, 5, 40]), special=0.05, huge=False)
    by = key(g) if name.endswith("V3") else [pair(g)]
    more = {"dtype": g.dtype(name, "dtype")} if name == "StatelessRandomPoisson" else {}
    return g.call(name, g.ints(g.shape(0, 1) + shape), *by, of, **more)


@maker("StatelessRandomBinomial")
def binomial(g, name):
    dtype, out = g.pick(FLOATS), g.shape(0, 3, 1)
    counts, p = (g.input(dtype, out[g.int(0, len(out)):], low, high, special=0, huge=False) for low, high in ((0, g.pick([3, 60])), (0, 1)))
    return g.call(name, g.ints(out), pair(g), counts, p, dtype=g.dtype(name, "dtype"))


@maker("ParameterizedTruncatedNormal")
def truncated(g, name):
    shape = [g.int(0, 4)] + g.shape(0, 2)
    dtype = g.pick(FLOATS)
    each = lambda low, high: g.input(dtype, g.pick([[], [1], shape[:1]]), low, high, special=0, huge=False)
    return g.call(name, g.ints(shape), each(-1, 1), each(0.1, 3), each(-4, 1), each(1.1, 5), **seeds(g))


@maker("StatelessMultinomial")
def stateless_classes(g, name):
    logits = g.input(g.dtype(name), [g.int(0, 3), g.int(1, 6)], special=0.2, huge=False)
    return g.call(name, logits, g.ints(g.int(0, 9), "int32"), pair(g), output_dtype=g.pick(["int32", "int64"]))


@maker("StatelessShuffle")
def stateless_shuffled(g, name):
    return g.call(name, g.input(g.dtype(name), g.shape(0, 4)), *key(g))


@maker("Multinomial")
def classes(g, name):
    logits = g.input(g.dtype(name), [g.int(1, 3), g.int(1, 6)], special=0.2, huge=False)
    return g.call(name, logits, g.ints(g.int(0, 9), "int32"), output_dtype=g.pick(["int32", "int64"]), **seeds(g))


@maker("RandomShuffle")
def shuffled(g, name):
    return g.call(name, g.input(g.dtype(name), g.shape(0, 4)), **seeds(g))


# ---- linear algebra -------------------------------------------------------------------------------------------------


def matrices(g, batch, rows, cols, op=None):
    """Of floats and of complex numbers, where the operator takes them."""
    kinds = [kind for kind in FLOATS + FLOATS + ["complex64", "complex128"] if op is None or kind in g.allowed(op)]
    return g.input(g.pick(kinds), batch + [rows, cols], special=0, huge=False)


def batch_of(g):
    return [g.int(0, 3) for _ in range(g.int(0, 2))]


@maker("MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu", "BatchMatrixInverse", "BatchMatrixDeterminant")
def of_square(g, name):
    n = g.int(0, 6)
    more = {"adjoint": g.chance(0.5)} if name.endswith("MatrixInverse") else {}
    if name == "Lu":
        more["output_idx_type"] = g.pick(["int32", "int64"])
    return g.call(name, matrices(g, batch_of(g), n, n, name), **more)


@maker("MatrixSolve", "MatrixTriangularSolve", "BatchMatrixSolve", "BatchMatrixTriangularSolve", "BandedTriangularSolve")
def equations(g, name):
    n, batch = g.int(0, 6), batch_of(g)
    bands = g.int(1, max(n, 1)) if name.startswith("Banded") else n
    a = matrices(g, batch, bands, n, name)
    other = [d if g.chance(0.7) else 1 for d in batch] if name in ("MatrixTriangularSolve", "BandedTriangularSolve") else batch
    b = g.input(a.dtype, other + [n, g.int(0, 4)], special=0, huge=False)
    more = {"lower": g.chance(0.5)} if "Triangular" in name else {}
    return g.call(name, a, b, adjoint=g.chance(0.5), **more)


@maker("MatrixSolveLs", "BatchMatrixSolveLs")
def least_squares(g, name):
    rows, cols, batch = g.int(0, 6), g.int(0, 6), batch_of(g)
    a = matrices(g, batch, rows, cols, name)
    b = g.input(a.dtype, batch + [rows, g.int(0, 3)], special=0, huge=False)
    return g.call(name, a, b, g.input("float64", [], 0.1, 2, special=0), fast=g.chance(0.7))


@maker("Cholesky", "BatchCholesky", "SelfAdjointEigV2", "BatchSelfAdjointEigV2", "SelfAdjointEig", "BatchSelfAdjointEig")
def of_definite(g, name):
    n, batch = g.int(0, 6), batch_of(g)
    kinds = [kind for kind in FLOATS + ["complex64", "complex128"] if kind in g.allowed(name)]
    half = g.value(kind := g.pick(kinds), batch + [n, n], special=0)
    value = half @ np.conj(np.swapaxes(half, -1, -2)) + np.eye(n)
    if g.chance(0.05):
        value = value - 3 * np.eye(n)
    a = g.feed(value.astype(kind), kind)
    if name.endswith("Cholesky"):
        return g.call(name, a)
    if name.endswith("Eig"):  # of the vectors the sign is open
        made = g.call(name, a)[0]
        ones = lambda *values: g.feed(np.array([0] * len(batch) + list(values), "int32"), const=True, derive=False)
        return g.call("Slice", made, ones(0, 0), ones(1, n) if not batch else g.feed(np.array([*batch, 1, n], "int32"), const=True, derive=False))
    return g.call(name, a, compute_v=g.chance(0.5))[:1]


@maker("Eig")
def any_eigen(g, name):
    """Of which the order is open: their sum and the sum of their squares."""
    n = g.int(0, 5)
    a = matrices(g, batch_of(g), n, n, name)
    e = g.call(name, a, compute_v=False, Tout="complex64" if a.dtype in ("float32", "complex64") else "complex128")[0]
    last = lambda: g.feed(np.array([-1], "int32"), const=True, derive=False)
    return g.call("Sum", e, last(), keep_dims=False) + g.call("Sum", g.call("Square", e)[0], last(), keep_dims=False)


@maker("Qr", "Svd", "BatchSvd")
def factors(g, name):
    a = matrices(g, batch_of(g), g.int(1, 6), g.int(1, 6))
    if name != "Qr":
        compute = g.chance(0.7)
        made = g.call(name, a, compute_uv=compute, full_matrices=g.chance(0.5))
        return made[:3] if compute else made[:1]
    return g.call(name, a, full_matrices=g.chance(0.5))


@maker("TridiagonalSolve", "TridiagonalMatMul")
def tridiagonal(g, name):
    n, batch = g.int(1, 6), batch_of(g)
    kind = g.pick(g.allowed(name))
    value = lambda shape, low=-3, high=3: g.input(kind, batch + shape, low, high, special=0, huge=False)
    rhs = value([n, g.int(0, 3)])
    if name == "TridiagonalSolve":
        return g.call(name, value([3, n], 1, 4), rhs, partial_pivoting=g.chance(0.7), perturb_singular=False)
    return g.call(name, value([1, n]), value([1, n]), value([1, n]), rhs)


@maker("SparseMatMul")
def sparse_product(g, name):
    m, k, n = g.dim(1), g.dim(1), g.dim(1)
    ta, tb = g.chance(0.4), g.chance(0.4)
    kind = lambda: g.pick(["float32", "float32", "bfloat16"])
    a, b = (g.input(kind(), shape, special=0, huge=False) for shape in ([k, m] if ta else [m, k], [n, k] if tb else [k, n]))
    return g.call(name, a, b, transpose_a=ta, transpose_b=tb, a_is_sparse=g.chance(0.3), b_is_sparse=g.chance(0.3))


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


@maker("DataFormatVecPermute")
def permuted_sizes(g, name):
    kind, formats = g.pick(["int32", "int64"]), g.pick([["NHWC", "NCHW", "HWNC"], ["NDHWC", "NCDHW"], ["NHWC", "NCHW"]])
    rank = len(formats[0])
    shape = g.pick([[rank], [rank], [rank, 2], [rank - 2], [rank - 2, 2]])
    return g.call(name, g.input(kind, shape, 0, 9, special=0), src_format=g.pick(formats), dst_format=g.pick(formats))


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
