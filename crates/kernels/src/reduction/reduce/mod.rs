//! Reductions over any set of axes.
//!
//! Dimensions are merged until reduced and kept ones alternate. If the innermost is reduced, each output is one pass
//! over contiguous runs; if it is kept, rows are added up side by side. Floats are added up in float64, in an order
//! that depends on the shape alone, so results are the same for any number of threads.

use half::{bf16, f16};
use tightfit_core::{DType, MAX_RANK, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::complex::{Complex, Wide, complex};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};

/// A reduction. Those without a word on types take every number. Integers wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceOp {
    /// The sum.
    Sum,
    /// The sum over the count; of integers, rounded towards zero.
    Mean,
    /// The product.
    Prod,
    /// The largest, NaN if one is; of none, the type's lowest.
    Max,
    /// The smallest, NaN if one is; of none, the type's highest.
    Min,
    /// Whether any is true; of bools.
    Any,
    /// Whether all are true; of bools.
    All,
    /// Half the sum of squares; of floats.
    L2Loss,
    /// The square root of the sum of squares.
    EuclideanNorm,
}

impl ReduceOp {
    /// The variant's name.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "Sum",
            ReduceOp::Mean => "Mean",
            ReduceOp::Prod => "Prod",
            ReduceOp::Max => "Max",
            ReduceOp::Min => "Min",
            ReduceOp::Any => "Any",
            ReduceOp::All => "All",
            ReduceOp::L2Loss => "L2Loss",
            ReduceOp::EuclideanNorm => "EuclideanNorm",
        }
    }
}

/// Accumulators side by side: as many independent chains as hide an addition's latency, and columns of a row.
const LANES: usize = 32;

/// An element with the type it is added up in.
pub(super) trait Element: Copy + Send + Sync {
    type Sum: Copy + Send + Sync + PartialOrd;
    fn widen(self) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
    fn zero() -> Self::Sum;
    fn one() -> Self::Sum;
    fn lowest() -> Self::Sum;
    fn highest() -> Self::Sum;
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn mul(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn max(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn min(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn mean(sum: Self::Sum, count: usize) -> Self::Sum;
    fn sqrt(sum: Self::Sum) -> Self::Sum;
    /// The square as an element is one: a float16 has none of more than 65504.
    fn square(self) -> Self::Sum;
    fn half(sum: Self::Sum) -> Self::Sum;
    /// The other number on its circle that makes a real product with it: its conjugate, and a real number itself.
    #[inline(always)]
    fn mirrored(x: Self::Sum) -> Self::Sum {
        x
    }
}

macro_rules! element {
    ($T:ty, $S:ty, $x:ident, $widen:expr, $narrow:expr, $zero:expr, $one:expr, $low:expr, $high:expr,
     $a:ident $b:ident $add:expr, $mul:expr, $max:expr, $min:expr, $count:ident $mean:expr, $sqrt:expr, $half:expr
     $(, $mirrored:expr)?) => {
        impl Element for $T {
            type Sum = $S;
            #[inline(always)]
            fn widen(self) -> $S {
                let $x = self;
                $widen
            }
            #[inline(always)]
            fn narrow($x: $S) -> Self {
                $narrow
            }
            #[inline(always)]
            fn zero() -> $S {
                $zero
            }
            #[inline(always)]
            fn one() -> $S {
                $one
            }
            #[inline(always)]
            fn lowest() -> $S {
                $low
            }
            #[inline(always)]
            fn highest() -> $S {
                $high
            }
            #[inline(always)]
            fn add($a: $S, $b: $S) -> $S {
                $add
            }
            #[inline(always)]
            fn mul($a: $S, $b: $S) -> $S {
                $mul
            }
            #[inline(always)]
            fn max($a: $S, $b: $S) -> $S {
                $max
            }
            #[inline(always)]
            fn min($a: $S, $b: $S) -> $S {
                $min
            }
            fn mean($a: $S, $count: usize) -> $S {
                $mean
            }
            fn sqrt($x: $S) -> $S {
                $sqrt
            }
            #[inline(always)]
            fn square(self) -> $S {
                let x = self.widen();
                Self::narrow(Self::mul(x, Self::mirrored(x))).widen()
            }
            #[inline(always)]
            fn half($x: $S) -> $S {
                $half
            }
            $(#[inline(always)]
            fn mirrored($x: $S) -> $S {
                $mirrored
            })?
        }
    };
}

macro_rules! float_element {
    ($($T:ty, $x:ident, $widen:expr, $narrow:expr;)*) => { $(
        element!($T, f64, $x, $widen, $narrow, 0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY,
            a b a + b, a * b, if a > b || a.is_nan() { a } else { b }, if a < b || a.is_nan() { a } else { b },
            // The sum is an element before it is divided or its root taken: infinite where the type ends.
            count <$T>::narrow(a).widen() / count as f64, <$T>::narrow($x).widen().sqrt(), $x * 0.5);
    )* };
}

float_element! {
    f32, x, x as f64, x as f32;
    f64, x, x, x;
    f16, x, x.to_f64(), f16::from_f32(x as f32);
    bf16, x, x.to_f64(), bf16::from_f32(x as f32);
}

macro_rules! integer_element {
    ($($T:ident $S:ident)*) => { $(
        element!($T, $S, x, x as $S, x as $T, 0, 1, $T::MIN as $S, $T::MAX as $S,
            a b a.wrapping_add(b), a.wrapping_mul(b), if a > b { a } else { b }, if a < b { a } else { b },
            count if count == 0 { 0 } else { a.wrapping_div(count as $S) }, {
                let root = (x as $T as f64).sqrt();
                // What a processor makes of no number.
                let none = if size_of::<$T>() == 8 { $S::MIN } else { i32::MIN as $S };
                if root.is_nan() { none } else { root as $S }
            }, x / 2);
    )* };
}

integer_element!(i8 i64 i16 i64 i32 i64 i64 i64 u8 u64 u16 u64 u32 u64 u64 u64);

macro_rules! complex_element {
    ($($F:ty)*) => { $(
        // None is the largest: what asks for it is refused before.
        element!(Complex<$F>, Wide, x, x.wide(), Complex::of(x), Wide::ZERO, Wide::ONE, Wide::ZERO, Wide::ZERO,
            a b a + b, a * b, if a > b { a } else { b }, if a < b { a } else { b },
            // Of none TensorFlow makes 0, unlike of real numbers.
            count if count == 0 { Wide::ZERO } else { complex(a.re / count as f64, a.im / count as f64) }, x.sqrt(), x, x.conj());
    )* };
}

complex_element!(f32 f64);

/// What is done with one more element, and with two partial results.
trait Step<T: Element>: Copy + Sync {
    fn start() -> T::Sum;
    fn merge(a: T::Sum, b: T::Sum) -> T::Sum;
    #[inline(always)]
    fn take(x: T) -> T::Sum {
        x.widen()
    }
}

macro_rules! step {
    ($($name:ident $start:ident $merge:ident $(, $x:ident $take:expr)?;)*) => { $(
        #[derive(Clone, Copy)]
        struct $name;
        impl<T: Element> Step<T> for $name {
            #[inline(always)]
            fn start() -> T::Sum {
                T::$start()
            }
            #[inline(always)]
            fn merge(a: T::Sum, b: T::Sum) -> T::Sum {
                T::$merge(a, b)
            }
            $(#[inline(always)]
            fn take($x: T) -> T::Sum {
                $take
            })?
        }
    )* };
}

step! {
    Sum zero add;
    Product one mul;
    Largest lowest max;
    Smallest highest min;
    Squares zero add, x x.square();
}

/// The input's dimensions, merged until kept and reduced ones alternate.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Length and stride in elements of the kept dimensions, the outermost first.
    kept: [(usize, usize); MAX_RANK],
    kept_rank: usize,
    /// And of the reduced ones.
    reduced: [(usize, usize); MAX_RANK],
    reduced_rank: usize,
}

impl Plan {
    fn new(shape: &[usize], axes: &[usize]) -> Plan {
        let none = [(1, 0); MAX_RANK];
        let mut plan = Plan { kept: none, kept_rank: 0, reduced: none, reduced_rank: 0 };
        let mut stride = 1;
        let mut last = None;
        // From the innermost out; reversed at the end.
        for (axis, len) in shape.iter().enumerate().rev() {
            if *len != 1 {
                let is_reduced = axes.contains(&axis);
                let (dims, rank) = if is_reduced {
                    (&mut plan.reduced, &mut plan.reduced_rank)
                } else {
                    (&mut plan.kept, &mut plan.kept_rank)
                };
                if last == Some(is_reduced) {
                    dims[*rank - 1].0 *= len;
                } else {
                    dims[*rank] = (*len, stride);
                    *rank += 1;
                }
                last = Some(is_reduced);
            }
            stride *= len;
        }
        plan.kept[..plan.kept_rank].reverse();
        plan.reduced[..plan.reduced_rank].reverse();
        plan
    }

    fn inner(dims: &[(usize, usize)]) -> (usize, usize) {
        dims.last().copied().unwrap_or((1, 0))
    }

    /// The offset of flat position `at` along `dims`.
    fn offset(dims: &[(usize, usize)], at: usize) -> usize {
        let mut at = at;
        let mut offset = 0;
        for (len, stride) in dims.iter().rev() {
            offset += at % len * stride;
            at /= len;
        }
        offset
    }

    fn kept(&self) -> &[(usize, usize)] {
        &self.kept[..self.kept_rank]
    }

    fn reduced(&self) -> &[(usize, usize)] {
        &self.reduced[..self.reduced_rank]
    }
}

/// Adds a contiguous run to `lanes`: element `i` to lane `i % LANES`.
struct RunLoop<'a, T: Element, S>(&'a [T], &'a mut [T::Sum; LANES], S);

impl<T: Element, S: Step<T>> Loop for RunLoop<'_, T, S> {
    #[inline(always)]
    fn run(self) {
        let mut lanes = *self.1;
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for chunk in whole {
            for i in 0..LANES {
                lanes[i] = S::merge(lanes[i], S::take(chunk[i]));
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = S::merge(*lane, S::take(*x));
        }
        *self.1 = lanes;
    }
}

/// Adds the rows at `start`, `start + stride` ... (`count` of them) to `lanes`, column by column.
struct RowsLoop<'a, T: Element, S> {
    src: &'a [T],
    stride: usize,
    count: usize,
    lanes: &'a mut [T::Sum; LANES],
    width: usize,
    step: S,
}

impl<T: Element, S: Step<T>> Loop for RowsLoop<'_, T, S> {
    #[inline(always)]
    fn run(self) {
        let _ = self.step;
        let mut lanes = *self.lanes;
        if self.width == LANES {
            for row in 0..self.count {
                let at = row * self.stride;
                if let Some(row) = self.src[at..].first_chunk::<LANES>() {
                    for i in 0..LANES {
                        lanes[i] = S::merge(lanes[i], S::take(row[i]));
                    }
                }
            }
        } else {
            for row in 0..self.count {
                let at = row * self.stride;
                for (lane, x) in lanes.iter_mut().zip(&self.src[at..at + self.width]) {
                    *lane = S::merge(*lane, S::take(*x));
                }
            }
        }
        *self.lanes = lanes;
    }
}

/// The reduction of one output element, whose reduced elements come in contiguous runs.
fn along_runs<T: Element, S: Step<T>>(isa: Isa, plan: &Plan, src: &[T], base: usize, step: S) -> T::Sum {
    let reduced = plan.reduced();
    let (run, _) = Plan::inner(reduced);
    let outer = &reduced[..reduced.len().saturating_sub(1)];
    let runs: usize = outer.iter().map(|d| d.0).product();
    let mut lanes = [S::start(); LANES];
    for n in 0..runs {
        let at = base + Plan::offset(outer, n);
        vectorised(isa, RunLoop(&src[at..at + run], &mut lanes, step));
    }
    let mut len = LANES;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            lanes[i] = S::merge(lanes[i], lanes[i + len]);
        }
    }
    lanes[0]
}

/// The reductions of up to `LANES` neighbouring output elements, whose columns lie side by side from `base` on.
fn along_rows<T: Element, S: Step<T>>(
    isa: Isa,
    plan: &Plan,
    src: &[T],
    base: usize,
    width: usize,
    step: S,
) -> [T::Sum; LANES] {
    let reduced = plan.reduced();
    let (count, stride) = Plan::inner(reduced);
    let outer = &reduced[..reduced.len().saturating_sub(1)];
    let blocks: usize = outer.iter().map(|d| d.0).product();
    let mut lanes = [S::start(); LANES];
    for n in 0..blocks {
        let src = &src[base + Plan::offset(outer, n)..];
        vectorised(isa, RowsLoop { src, stride, count, lanes: &mut lanes, width, step });
    }
    lanes
}

/// The most partial results that a reduction to one element is split into, whatever the number of threads.
const PARTS: usize = 32;

fn reduce_all<T: Element, S: Step<T>>(pool: &ThreadPool, src: &[T], step: S) -> T::Sum {
    let piece = src.len().div_ceil(PARTS).next_multiple_of(LANES).max(1 << 14);
    let parts = src.len().div_ceil(piece);
    let mut partial = [S::start(); PARTS];
    split_with_cost(pool, &mut partial[..parts], 1, piece, &|first, dst| {
        for (n, dst) in dst.iter_mut().enumerate() {
            let start = (first + n) * piece;
            let part = &src[start..src.len().min(start + piece)];
            let plan = Plan::new(&[part.len()], &[0]);
            *dst = along_runs(pool.isa(), &plan, part, 0, step);
        }
    });
    partial.into_iter().fold(S::start(), S::merge)
}

fn run<T: Element, S: Step<T>>(
    pool: &ThreadPool,
    plan: &Plan,
    src: &[T],
    dst: &mut [T],
    step: S,
    finish: &(dyn Fn(T::Sum) -> T::Sum + Sync),
) {
    let count: usize = plan.reduced().iter().map(|d| d.0).product();
    if count == 0 {
        return dst.fill(T::narrow(finish(S::start())));
    }
    let (kept, isa) = (plan.kept(), pool.isa());
    if kept.is_empty() && plan.reduced_rank == 1 {
        dst[0] = T::narrow(finish(reduce_all(pool, src, step)));
        return;
    }
    let runs = plan.reduced_rank == 0 || Plan::inner(plan.reduced()).1 == 1;
    if runs {
        split_with_cost(pool, dst, 1, count, &|first, dst| {
            for (n, dst) in dst.iter_mut().enumerate() {
                *dst = T::narrow(finish(along_runs(isa, plan, src, Plan::offset(kept, first + n), step)));
            }
        });
        return;
    }
    // A unit is a column tile of a row of outputs. Rows are of one length, so tiles are found by division.
    let (row, _) = Plan::inner(kept);
    split_with_cost(pool, dst, 1, count, &|first, dst| {
        let mut done = 0;
        while done < dst.len() {
            let at = first + done;
            let width = LANES.min(row - at % row).min(dst.len() - done);
            let sums = along_rows(isa, plan, src, Plan::offset(kept, at), width, step);
            for (dst, sum) in dst[done..done + width].iter_mut().zip(sums) {
                *dst = T::narrow(finish(sum));
            }
            done += width;
        }
    });
}

/// Reduces `src` over `axes` (counted from 0; in any order). `dst` has the kept dimensions' elements, in whatever
/// shape, and the input's type.
///
/// # Errors
/// [`KernelError::DType`] for a type the reduction is not for, [`KernelError::Invalid`] for axes that are none of the
/// input's, and for an output of another size or type.
pub fn reduce(
    pool: &ThreadPool,
    op: ReduceOp,
    axes: &[usize],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (kernel, shape, dtype) = (op.name(), *src.shape(), src.dtype());
    ensure(dst.dtype() == dtype, kernel, "the input and the output have one element type")?;
    ensure(axes.iter().all(|a| *a < shape.rank()), kernel, "the axes are among the input's")?;
    let kept: usize = (0..shape.rank()).filter(|a| !axes.contains(a)).map(|a| shape[a]).product();
    ensure(kept == dst.shape().elements(), kernel, "the output has the kept dimensions")?;
    if kept == 0 {
        return Ok(());
    }
    let count =
        axes.iter().enumerate().filter(|(n, a)| !axes[..*n].contains(a)).map(|(_, a)| shape[*a]).product();
    let plan = Plan::new(&shape, axes);
    match (op, dtype) {
        (ReduceOp::Any, DType::Bool) => {
            run::<u8, _>(pool, &plan, src.bytes(), dst.bytes(), Sum, &|x| (x > 0) as u64);
            return Ok(());
        }
        (ReduceOp::All, DType::Bool) => {
            run::<u8, _>(pool, &plan, src.bytes(), dst.bytes(), Sum, &move |x| (x == count as u64) as u64);
            return Ok(());
        }
        (ReduceOp::Any | ReduceOp::All, dtype) => return Err(KernelError::DType { kernel, dtype }),
        _ => {}
    }
    if count == 1 && !matches!(op, ReduceOp::L2Loss | ReduceOp::EuclideanNorm) {
        // Nothing is added up: -0 and denormals stay what they are.
        dst.bytes().copy_from_slice(src.bytes());
        return Ok(());
    }
    if dtype.is_complex() && matches!(op, ReduceOp::Max | ReduceOp::Min | ReduceOp::L2Loss) {
        return Err(KernelError::DType { kernel, dtype });
    }
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, C64, C128], T => {
        let (src, dst) = (values::<T>(src.bytes(), kernel)?, values_mut::<T>(dst.bytes(), kernel)?);
        match op {
            ReduceOp::Sum => run(pool, &plan, src, dst, Sum, &|x| x),
            ReduceOp::Mean => run(pool, &plan, src, dst, Sum, &move |x| T::mean(x, count)),
            ReduceOp::Prod => run(pool, &plan, src, dst, Product, &|x| x),
            ReduceOp::Max => run(pool, &plan, src, dst, Largest, &|x| x),
            ReduceOp::Min => run(pool, &plan, src, dst, Smallest, &|x| x),
            ReduceOp::L2Loss => run(pool, &plan, src, dst, Squares, &|x| <T as Element>::half(x)),
            ReduceOp::EuclideanNorm => run(pool, &plan, src, dst, Squares, &|x| <T as Element>::sqrt(x)),
            ReduceOp::Any | ReduceOp::All => {}
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
