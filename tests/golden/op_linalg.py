"""Golden cases of random numbers, linear algebra and special functions."""

from op_cases import case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops

# ---- random numbers: TensorFlow's for the same seeds ----------------------------------------------------------------


@case(rtol=1e-6)
def random_seeded(g):
    """Whole groups of four, a rest, and empty; each float type."""
    shape = g.feed("shape", [3, 7], "int32")
    seeds = {"seed": 7, "seed2": 99}
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        g.out(
            **{
                f"uniform_{dtype}": raw.RandomUniform(shape=shape, dtype=dtype, **seeds),
                f"normal_{dtype}": raw.RandomStandardNormal(shape=shape, dtype=dtype, **seeds),
                f"truncated_{dtype}": raw.TruncatedNormal(shape=shape, dtype=dtype, **seeds),
            }
        )
    for dtype in ("int32", "int64"):
        low, high = tf.constant(-7, dtype), tf.constant(2**31 - 1, dtype)
        g.out(**{f"whole_{dtype}": raw.RandomUniformInt(shape=shape, minval=low, maxval=high, **seeds)})
    g.out(none=raw.RandomUniform(shape=[0, 3], dtype="float32", **seeds))


@case(rtol=1e-6)
def random_stateless(g):
    seed = g.feed("seed", [123, -456], "int64")
    shape = [2, 5]
    key, counter, alg = raw.StatelessRandomGetKeyCounterAlg(seed=seed)
    g.out(
        uniform=raw.StatelessRandomUniform(shape=shape, seed=seed, dtype="float64"),
        normal=raw.StatelessRandomNormal(shape=shape, seed=seed, dtype="float32"),
        truncated=raw.StatelessTruncatedNormalV2(shape=shape, key=key, counter=counter, alg=alg, dtype="float32"),
        whole=raw.StatelessRandomUniformInt(shape=shape, seed=seed, minval=tf.constant(3, "int64"), maxval=tf.constant(70, "int64")),
        bits=tf.cast(raw.StatelessRandomUniformFullInt(shape=shape, seed=seed, dtype="uint32"), "int64"),
        classes=raw.StatelessMultinomial(logits=[[0.0, 1.0, -1.0]], num_samples=6, seed=seed),
        shuffled=raw.StatelessShuffle(value=tf.range(9), key=key, counter=counter, alg=alg),
    )


@case(rtol=1e-6)
def random_samples(g):
    """A row of parameters for each sample; small and large ones take other ways."""
    of = g.feed("of", [0.3, 1.0, 4.5, 60.0], "float64")
    seeds = {"seed": 5, "seed2": 6}
    p = tf.constant([0.02, 0.4, 0.6, 0.97], "float64")
    g.out(
        gamma=raw.RandomGamma(shape=[5], alpha=of, **seeds),
        poisson=raw.RandomPoissonV2(shape=[5], rate=of, dtype="int64", **seeds),
        poisson_single=raw.RandomPoissonV2(shape=[5], rate=tf.cast(of, "float32"), dtype="float32", **seeds),
        stateless=raw.StatelessRandomGammaV2(shape=[3, 4], seed=[1, 2], alpha=of),
        binomial=raw.StatelessRandomBinomial(shape=[3, 4], seed=[1, 2], counts=tf.round(of * 3 + 1), probs=p, dtype="int32"),
        truncated=raw.ParameterizedTruncatedNormal(
            shape=[3, 5], means=tf.constant([0.0, 1.0, 2.0], "float64"), stdevs=tf.constant(1.5, "float64"),
            minvals=tf.constant([-9.0, 1.5, 6.0], "float64"), maxvals=tf.constant([1.0, 1.6, 9.0], "float64"), **seeds,
        ),
        classes=raw.Multinomial(logits=[[0.0, 1.0], [3.0, -1.0]], num_samples=4, **seeds),
        rows=raw.RandomShuffle(value=tf.reshape(tf.range(12), [6, 2]), **seeds),
    )


@case(rtol=1e-6)
def random_in_a_loop(g):
    """Each turn draws the next numbers."""
    x = g.feed("x", [1.0, 2.0], "float32")

    def turn(i, sum):
        return i + 1, sum * 2.0 + raw.RandomUniform(shape=[2], dtype="float32", seed=3, seed2=4)

    _, total = tf.while_loop(lambda i, _: i < 3, turn, [0, x])
    g.out(total=total)


# ---- linear algebra -------------------------------------------------------------------------------------------------


@case_per(("float32", "float64"), looser=100)
def linear_algebra(g, dtype):
    """Batches of square, tall and wide matrices."""
    a, b = g.input("a", (2, 4, 4), dtype), g.input("b", (2, 4, 3), dtype)
    wide = g.input("wide", (3, 5), dtype)
    definite = tf.matmul(a, a, adjoint_b=True) + tf.eye(4, dtype=dtype)
    sign, log = raw.LogMatrixDeterminant(input=a)
    q, r = raw.Qr(input=b)
    full_q, full_r = raw.Qr(input=b, full_matrices=True)
    s, u, v = raw.Svd(input=b)
    wide_s, wide_u, wide_v = raw.Svd(input=wide, full_matrices=True)
    e, vectors = raw.SelfAdjointEigV2(input=definite)
    packed, order = raw.Lu(input=a)
    weight = tf.constant(0.1, "float64")
    g.out(
        inverse=raw.MatrixInverse(input=a), inverse_of_adjoint=raw.MatrixInverse(input=a, adjoint=True),
        determinant=raw.MatrixDeterminant(input=a), sign=sign, log=log, solved=raw.MatrixSolve(matrix=a, rhs=b),
        least=raw.MatrixSolveLs(matrix=b, rhs=b, l2_regularizer=weight),
        least_wide=raw.MatrixSolveLs(matrix=wide, rhs=wide, l2_regularizer=weight, fast=False),
        lower=raw.MatrixTriangularSolve(matrix=definite, rhs=b),
        upper=raw.MatrixTriangularSolve(matrix=definite[0], rhs=b, lower=False, adjoint=True),
        cholesky=raw.Cholesky(input=definite), q=q, r=r, full_q=full_q, full_r=full_r, s=s, u=u, v=v, wide_s=wide_s,
        wide_u=wide_u, wide_v=wide_v, e=e, vectors=vectors, packed=packed, order=order,
        cross=raw.Cross(a=b, b=b[:, ::-1]),
    )


@case(rtol=1e-9)
def few_diagonals(g):
    diagonals, rhs = g.input("diagonals", (2, 3, 5), "float64", 1.0, 2.0), g.input("rhs", (2, 5, 2), "float64")
    row = [g.input(f"row{i}", (2, 1, 5), "float64") for i in range(3)]
    bands = g.input("bands", (3, 5), "float64", 1.0, 2.0)
    g.out(
        solved=raw.TridiagonalSolve(diagonals=diagonals, rhs=rhs),
        plain=raw.TridiagonalSolve(diagonals=diagonals, rhs=rhs, partial_pivoting=False),
        product=raw.TridiagonalMatMul(superdiag=row[0], maindiag=row[1], subdiag=row[2], rhs=rhs),
        lower=raw.BandedTriangularSolve(matrix=bands, rhs=rhs),
        upper=raw.BandedTriangularSolve(matrix=bands, rhs=rhs, lower=False, adjoint=True),
    )


# ---- special functions and small ones ---------------------------------------------------------------------------------

ODD = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 2.0, 5.0, 8.0, 1e-8, 700.0, 3.5, -2.5]


@case_per(("float32", "float64"), looser=10)
def special_functions(g, dtype):
    x = g.feed("x", ODD, dtype)
    near = g.input("near", (24,), dtype, 0.01, 12.0)
    share = g.input("share", (24,), dtype, 0.001, 0.999)
    names = "BesselI0e BesselI1e BesselK0 BesselK0e BesselK1 BesselK1e BesselJ0 BesselJ1 BesselY0 BesselY1 Dawsn FresnelCos FresnelSin Spence".split()
    for name in names:
        g.out(**{name: getattr(raw, name)(x=near)})
    g.out(
        ndtri=raw.Ndtri(x=share), erfinv=raw.Erfinv(x=2 * share - 1), expint=raw.Expint(x=near),
        i0=raw.BesselI0(x=near), i1=raw.BesselI1(x=-near), odd_ndtri=raw.Ndtri(x=x), odd_k0=raw.BesselK0(x=x),
        odd_i1=raw.BesselI1e(x=x), odd_dawsn=raw.Dawsn(x=x),
    )


@case_per(("float32", "float64"), looser=100)
def special_pairs(g, dtype):
    a, x = g.input("a", (24,), dtype, 0.1, 9.0), g.input("x", (24,), dtype, 0.1, 15.0)
    p = g.input("p", (24,), dtype, 0.01, 0.99)
    n = g.feed("n", np.arange(24) % 6, dtype)
    g.out(
        igamma=raw.Igamma(a=a, x=x), igammac=raw.Igammac(a=a, x=x), zeta=raw.Zeta(x=a + 1.5, q=x),
        polygamma=raw.Polygamma(a=n, x=x), betainc=raw.Betainc(a=a, b=x, x=p), next_up=raw.NextAfter(x1=a, x2=x),
        betainc_scalar=raw.Betainc(a=a[0], b=x, x=p[0]),
    )


@case(rtol=1e-5)
def small_ones(g):
    x = g.feed("x", [[3, 1, 3, 2], [3, 1, 3, 2], [0, 1, 0, 2]], "int32")
    f = g.input("f", (3, 4), open_dims=(0,))
    columns, places = raw.UniqueV2(x=x, axis=[1])
    rows, row_places, row_counts = raw.UniqueWithCountsV2(x=x, axis=[0])
    sorted_rows = tf.sort(f)
    nearest, runs = raw.IsotonicRegression(input=f)
    g.out(
        columns=columns, places=places, rows=rows, row_places=row_places, row_counts=row_counts,
        lower=raw.LowerBound(sorted_inputs=sorted_rows, values=f), nearest=nearest, runs=runs,
        upper=raw.UpperBound(sorted_inputs=sorted_rows, values=f, out_type="int64"),
        log_sums=raw.CumulativeLogsumexp(x=f, axis=1), log_sums_before=raw.CumulativeLogsumexp(x=f, axis=0, exclusive=True, reverse=True),
        nearly=raw.ApproximateEqual(x=f, y=f + 0.5, tolerance=0.6), bits=tf.cast(raw.PopulationCount(x=x), "int32"),
        sizes=raw.DataFormatVecPermute(x=[7, 4, 9, 3]), dims=raw.DataFormatDimMap(x=x),
    )


@case()
def array_that_grows(g):
    """Writes past the end, of places that the file says."""
    one, two = g.input("one", (2, 3)), g.input("two", (2, 3))

    def array(shape):
        return raw.TensorArrayV3(size=1, dtype=tf.float32, element_shape=shape, dynamic_size=True, clear_after_read=False)

    handle, flow = array([2, 3])
    flow = raw.TensorArrayWriteV3(handle=handle, index=0, value=one, flow_in=flow)
    flow = raw.TensorArrayWriteV3(handle=handle, index=2, value=two, flow_in=flow)
    pieces, of_pieces = array([1, 3])
    of_pieces = raw.TensorArraySplitV3(handle=pieces, value=two, lengths=tf.constant([1, 1], tf.int64), flow_in=of_pieces)
    g.out(
        size=raw.TensorArraySizeV3(handle=handle, flow_in=flow),
        last=raw.TensorArrayReadV3(handle=handle, index=2, flow_in=flow, dtype=tf.float32),
        pieces=raw.TensorArraySizeV3(handle=pieces, flow_in=of_pieces),
        piece=raw.TensorArrayReadV3(handle=pieces, index=1, flow_in=of_pieces, dtype=tf.float32),
    )
