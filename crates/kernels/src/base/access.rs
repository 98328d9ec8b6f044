//! How kernels get at memory: inputs that may be the output's own memory, typed slices of bytes, and ranges of an
//! output for the threads of a pool.

use bytemuck::Pod;
use tightfit_core::{DType, Shared, TensorView, TensorViewMut};

use crate::base::error::{KernelError, Result};
use crate::base::threads::{ThreadPool, share};

/// Where an elementwise kernel finds an input.
#[derive(Debug, Clone, Copy)]
pub enum Src<'a> {
    /// In memory apart from the output.
    View(TensorView<'a>),
    /// In the output, which the result overwrites: its shape is the output's, and its elements are as many bytes.
    InPlace(DType),
}

impl<'a> From<TensorView<'a>> for Src<'a> {
    fn from(view: TensorView<'a>) -> Self {
        Src::View(view)
    }
}

impl<'a> Src<'a> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Src::View(view) => view.dtype(),
            Src::InPlace(dtype) => *dtype,
        }
    }

    /// The shape, where `dst` is the output.
    pub fn shape<'b>(&'b self, dst: &'b TensorViewMut<'_>) -> &'b [usize] {
        match self {
            Src::View(view) => view.shape(),
            Src::InPlace(_) => dst.shape(),
        }
    }

    /// The bytes, or `None` if they are in the output.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Src::View(view) => Some(view.bytes()),
            Src::InPlace(_) => None,
        }
    }

    /// The elements, or `None` if they are in the output.
    pub(crate) fn values<T: Pod>(&self, kernel: &'static str) -> Result<Option<&'a [T]>> {
        self.bytes().map(|bytes| values(bytes, kernel)).transpose()
    }

    /// The elements of an input of one element for each of the output's.
    pub(crate) fn same_size<T: Pod>(&self, elements: usize, kernel: &'static str) -> Result<Option<&'a [T]>> {
        let values = self.values::<T>(kernel)?;
        let fits = match values {
            Some(values) => values.len() == elements,
            None => true,
        };
        if fits {
            Ok(values)
        } else {
            Err(KernelError::Invalid { kernel, rule: "the input and the output have as many elements" })
        }
    }
}

/// `bytes` as elements.
pub(crate) fn values<'a, T: Pod>(bytes: &'a [u8], kernel: &'static str) -> Result<&'a [T]> {
    bytemuck::try_cast_slice(bytes).map_err(|_| KernelError::Misaligned { kernel })
}

/// `bytes` as elements to write.
pub(crate) fn values_mut<'a, T: Pod>(bytes: &'a mut [u8], kernel: &'static str) -> Result<&'a mut [T]> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| KernelError::Misaligned { kernel })
}

/// The Rust type of each [`DType`], under its name; a bool is a `u8` of 0 or 1.
#[allow(missing_docs)]
pub(crate) mod types {
    pub type F32 = f32;
    pub type F64 = f64;
    pub type F16 = half::f16;
    pub type BF16 = half::bf16;
    pub type I8 = i8;
    pub type I16 = i16;
    pub type I32 = i32;
    pub type I64 = i64;
    pub type U8 = u8;
    pub type U16 = u16;
    pub type U32 = u32;
    pub type U64 = u64;
    pub type Bool = u8;
    pub(crate) type C64 = crate::base::complex::Complex<f32>;
    pub(crate) type C128 = crate::base::complex::Complex<f64>;
}

/// `body` with `$T` the Rust type of `dtype`, if that is among the named ones, and an error if not.
macro_rules! for_dtype {
    ($dtype:expr, $kernel:expr, [$($D:ident),+ $(,)?], $T:ident => $body:expr) => {
        match $dtype {
            $(tightfit_core::DType::$D => {
                type $T = $crate::base::access::types::$D;
                $body
            })+
            #[allow(unreachable_patterns)]
            dtype => Err($crate::KernelError::DType { kernel: $kernel, dtype }),
        }
    };
    ($dtype:expr, $kernel:expr, integers, $T:ident => $body:expr) => {
        for_dtype!($dtype, $kernel, [I8, I16, I32, I64, U8, U16, U32, U64], $T => $body)
    };
    ($dtype:expr, $kernel:expr, natives, $T:ident => $body:expr) => {
        for_dtype!($dtype, $kernel, [F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, Bool], $T => $body)
    };
    ($dtype:expr, $kernel:expr, floats, $T:ident => $body:expr) => {
        for_dtype!($dtype, $kernel, [F32, F64, F16, BF16], $T => $body)
    };
    ($dtype:expr, $kernel:expr, numbers, $T:ident => $body:expr) => {
        for_dtype!($dtype, $kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64], $T => $body)
    };
}
pub(crate) use for_dtype;

/// Output elements below which a kernel stays on the calling thread: waking another costs more.
pub(crate) const INLINE_ELEMENTS: usize = 16 << 10;

/// Calls `f(first, units)` with consecutive ranges that make up `0..units`, on the pool's threads if a unit's
/// `cost`, in elements touched, makes that worth while.
pub(crate) fn split_range(pool: &ThreadPool, units: usize, cost: usize, f: &(dyn Fn(usize, usize) + Sync)) {
    if units == 0 {
        return;
    }
    let work = units.saturating_mul(cost.max(1));
    let tasks = (work / INLINE_ELEMENTS).min(pool.threads() * 4).min(units);
    if tasks < 2 || pool.threads() == 1 {
        return f(0, units);
    }
    pool.run(tasks, &|task, _worker| {
        let own = share(units, tasks, task);
        f(own.start, own.len());
    });
}

/// Calls `f(first_unit, values)` with consecutive ranges of `dst`, each of whole units of `unit` elements, on the
/// pool's threads if the output is large.
pub(crate) fn split<T: Send>(
    pool: &ThreadPool,
    dst: &mut [T],
    unit: usize,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    split_with_cost(pool, dst, unit, unit, f);
}

/// What [`for_each_row`] does with a row: its number, its elements, and a thread's scratch.
pub type EachRow<'f, T, S> = dyn Fn(usize, &mut [T], &mut [S]) + Sync + 'f;

/// Calls `f(row, values, scratch)` for each row of `dst`, of `row` elements each, on the pool's threads. The scratch is dealt
/// out among the threads: each call has its thread's part of it alone, with whatever an earlier call left there.
///
/// # Panics
/// When `dst` is not of whole rows.
pub fn for_each_row<T: Send, S: Send>(
    pool: &ThreadPool,
    dst: &mut [T],
    row: usize,
    scratch: &mut [S],
    f: &EachRow<'_, T, S>,
) {
    if dst.is_empty() {
        return;
    }
    assert!(row > 0 && dst.len().is_multiple_of(row), "the elements are no whole rows");
    let (rows, own) = (dst.len() / row, scratch.len() / pool.threads());
    let tasks = rows.min(pool.threads() * 4);
    let (dst, scratch) = (Shared::new(dst), Shared::new(scratch));
    pool.run(tasks, &|task, worker| {
        // SAFETY: no two tasks at a time have one worker, so none has another's part.
        let mut scratch = unsafe { scratch.part(worker * own, own) };
        for at in share(rows, tasks, task) {
            // SAFETY: the tasks' ranges are disjoint, and so are the rows in one.
            f(at, &mut unsafe { dst.part(at * row, row) }, &mut scratch);
        }
    });
}

/// [`split`] where a unit takes `cost` elements to be read or written.
pub(crate) fn split_with_cost<T: Send>(
    pool: &ThreadPool,
    dst: &mut [T],
    unit: usize,
    cost: usize,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    if dst.is_empty() || unit == 0 {
        return;
    }
    let units = dst.len() / unit;
    let dst = Shared::new(dst);
    split_range(pool, units, cost, &|first, count| {
        // SAFETY: the ranges of `split_range` are disjoint, and `dst` outlives the call.
        f(first, &mut unsafe { dst.part(first * unit, count * unit) })
    });
}
