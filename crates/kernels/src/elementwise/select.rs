//! Choosing between elements, and functions of several tensors made of functions of two.

use tightfit_core::{DType, TensorView, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values, values_mut};
use crate::base::broadcast::{Broadcast, Operand};
use crate::base::complex::{Complex, complex};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};
use crate::elementwise::binary::binary;
use crate::elementwise::binary_functions::BinaryOp;
use crate::movement::layout;

struct SelectLoop<'a, T> {
    dst: &'a mut [T],
    condition: &'a [u8],
    a: &'a [T],
    b: &'a [T],
}

impl<T: Copy> Loop for SelectLoop<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (((dst, condition), a), b) in self.dst.iter_mut().zip(self.condition).zip(self.a).zip(self.b) {
            *dst = if *condition != 0 { *a } else { *b };
        }
    }
}

/// The element of `a` where `condition` (of bool) holds, else that of `b`, all three broadcast to the shape of `dst`:
/// TensorFlow's SelectV2. Elements of any type; `a` and `b` may be in place if they have the output's shape.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not broadcast to the output's, and for types that differ.
pub fn select(
    pool: &ThreadPool,
    condition: TensorView<'_>,
    a: Src<'_>,
    b: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SelectV2";
    let dtype = dst.dtype();
    ensure(condition.dtype() == DType::Bool, KERNEL, "the condition is bool")?;
    ensure(
        a.dtype() == dtype && b.dtype() == dtype,
        KERNEL,
        "the inputs and the output have one element type",
    )?;
    let broadcast = Broadcast::new(KERNEL, dst.shape(), [condition.shape(), a.shape(dst), b.shape(dst)])?;
    match dtype.bytes() {
        1 => select_sized::<1>(pool, &broadcast, condition, a, b, dst),
        2 => select_sized::<2>(pool, &broadcast, condition, a, b, dst),
        4 => select_sized::<4>(pool, &broadcast, condition, a, b, dst),
        8 => select_sized::<8>(pool, &broadcast, condition, a, b, dst),
        16 => select_sized::<16>(pool, &broadcast, condition, a, b, dst),
        _ => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

fn select_sized<const N: usize>(
    pool: &ThreadPool,
    broadcast: &Broadcast<3>,
    condition: TensorView<'_>,
    a: Src<'_>,
    b: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()>
where
    [u8; N]: bytemuck::Pod,
{
    const KERNEL: &str = "SelectV2";
    let condition = condition.bytes();
    let (a, b) = (a.values::<[u8; N]>(KERNEL)?, b.values::<[u8; N]>(KERNEL)?);
    split(pool, values_mut::<[u8; N]>(dst.bytes(), KERNEL)?, 1, &|first, dst| {
        let mut condition = Operand::new(broadcast, 0, Some(condition), 0);
        let mut a = Operand::new(broadcast, 1, a, [0; N]);
        let mut b = Operand::new(broadcast, 2, b, [0; N]);
        let mut done = 0;
        while done < dst.len() {
            let at = first + done;
            let len = broadcast.block(at, dst.len() - done);
            let dst = &mut dst[done..done + len];
            let (a, b) = (a.block(at, dst), b.block(at, dst));
            vectorised(pool.isa(), SelectLoop { dst, condition: condition.block_apart(at, len), a, b });
            done += len;
        }
    });
    Ok(())
}

struct ClipLoop<'a, T> {
    dst: &'a mut [T],
    x: &'a [T],
    low: &'a [T],
    high: &'a [T],
}

impl<T: Bounded> Loop for ClipLoop<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (((dst, x), low), high) in self.dst.iter_mut().zip(self.x).zip(self.low).zip(self.high) {
            *dst = x.within(*low, *high);
        }
    }
}

/// An element that can be held within bounds.
trait Bounded: Copy {
    fn within(self, low: Self, high: Self) -> Self;
}

macro_rules! bounded {
    ($($T:ty)*) => { $(
        impl Bounded for $T {
            #[inline(always)]
            fn within(self, low: Self, high: Self) -> Self {
                let below = if high < self { high } else { self };
                if below < low { low } else { below }
            }
        }
    )* };
}

bounded!(f32 f64 half::f16 half::bf16 i8 i16 i32 i64 u8 u16 u32 u64);

impl<F: Bounded> Bounded for Complex<F> {
    #[inline(always)]
    fn within(self, low: Self, high: Self) -> Self {
        complex(self.re.within(low.re, high.re), self.im.within(low.im, high.im))
    }
}

/// `max(min(src, high), low)`, where a comparison with NaN keeps what there is: a limit that is NaN is none, and a NaN
/// stays. `low` and `high` broadcast to the shape of `src`. Numbers, complex ones part by part.
///
/// # Errors
/// [`KernelError::DType`] for a type that is none, [`KernelError::Invalid`] for types that differ and shapes that do
/// not broadcast.
pub fn clip(
    pool: &ThreadPool,
    src: Src<'_>,
    low: TensorView<'_>,
    high: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ClipByValue";
    let dtype = dst.dtype();
    let is_one_type = [src.dtype(), low.dtype(), high.dtype()].iter().all(|d| *d == dtype);
    ensure(is_one_type, KERNEL, "the inputs and the output have one element type")?;
    let broadcast = Broadcast::new(KERNEL, dst.shape(), [src.shape(dst), low.shape(), high.shape()])?;
    for_dtype!(dtype, KERNEL, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, C64, C128], T => {
        let src = src.values::<T>(KERNEL)?;
        let (low, high) = (values::<T>(low.bytes(), KERNEL)?, values::<T>(high.bytes(), KERNEL)?);
        split(pool, values_mut::<T>(dst.bytes(), KERNEL)?, 1, &|first, dst| {
            let zero = <T as bytemuck::Zeroable>::zeroed();
            let mut x = Operand::new(&broadcast, 0, src, zero);
            let mut low = Operand::new(&broadcast, 1, Some(low), zero);
            let mut high = Operand::new(&broadcast, 2, Some(high), zero);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                let dst = &mut dst[done..done + len];
                let x = x.block(at, dst);
                vectorised(pool.isa(), ClipLoop { dst, x, low: low.block_apart(at, len), high: high.block_apart(at, len) });
                done += len;
            }
        });
        Ok(())
    })
}

/// The sum of `inputs`, which are of the shape of `dst`; one of them may be in place. Numbers.
///
/// # Errors
/// [`KernelError::Invalid`] for no inputs, two in place, or other shapes; else as [`binary`].
pub fn add_n(pool: &ThreadPool, inputs: &[Src<'_>], dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "AddN";
    let dtype = dst.dtype();
    let in_place = |src: &Src<'_>| matches!(src, Src::InPlace(_));
    let count_in_place = inputs.iter().filter(|s| in_place(s)).count();
    ensure(
        !inputs.is_empty() && count_in_place <= 1,
        KERNEL,
        "there are inputs, of which at most one is in place",
    )?;
    ensure(
        inputs.iter().all(|s| s.shape(dst) == &**dst.shape()),
        KERNEL,
        "the inputs have the output's shape",
    )?;
    ensure(inputs.iter().all(|s| s.dtype() == dtype), KERNEL, "the inputs have the output's element type")?;
    let mut rest = inputs.iter().filter(|s| !in_place(s));
    if count_in_place == 0 {
        match (rest.next(), rest.next()) {
            (Some(a), Some(b)) => binary(pool, BinaryOp::Add, *a, *b, dst)?,
            (Some(Src::View(only)), None) => layout::copy(pool, *only, dst)?,
            _ => {}
        }
    }
    rest.try_for_each(|src| binary(pool, BinaryOp::Add, Src::InPlace(dtype), *src, dst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{Element, Shape};

    fn view<'a, T: Element>(dims: &[usize], values: &'a [T]) -> TensorView<'a> {
        TensorView::from_slice(Shape::new(dims).unwrap(), values).unwrap()
    }

    fn run(
        dims: &[usize],
        start: &[f32],
        kernel: impl Fn(&ThreadPool, &mut TensorViewMut<'_>) -> Result<()>,
    ) -> Vec<f32> {
        let mut dst = start.to_vec();
        let shape = Shape::new(dims).unwrap();
        let mut out = TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        kernel(&ThreadPool::new(1).unwrap(), &mut out).unwrap();
        dst
    }

    #[test]
    fn selects_with_broadcasting_and_in_place() {
        let condition = [1u8, 0];
        let condition = TensorView::new(DType::Bool, Shape::new(&[2, 1]).unwrap(), &condition).unwrap();
        let (a, b) = ([1.0f32, 2.0, 3.0], [9.0f32]);
        let (a, b) = (view(&[3], &a), view(&[], &b));
        let result = run(&[2, 3], &[0.0; 6], |p, d| select(p, condition, a.into(), b.into(), d));
        assert_eq!(result, [1.0, 2.0, 3.0, 9.0, 9.0, 9.0]);
        let start = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let result = run(&[2, 3], &start, |p, d| select(p, condition, a.into(), Src::InPlace(DType::F32), d));
        assert_eq!(result, [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn clips_and_adds() {
        let x = [f32::NAN, 5.0, -5.0];
        let result = run(&[3], &[0.0; 3], |p, d| {
            clip(p, view(&[3], &x).into(), view(&[], &[-1.0f32]), view(&[], &[1.0f32]), d)
        });
        assert!(result[0].is_nan() && result[1..] == [1.0, -1.0]);
        let clipped = |low: f32, high: f32| {
            run(&[3], &[0.0; 3], |p, d| {
                clip(p, view(&[3], &x).into(), view(&[], &[low]), view(&[], &[high]), d)
            })
        };
        assert!(clipped(1.0, -1.0)[0].is_nan() && clipped(1.0, -1.0)[1..] == [1.0, 1.0]);
        assert_eq!(clipped(f32::NAN, 1.0)[1..], [1.0, -5.0]);
        assert_eq!(clipped(-1.0, f32::NAN)[1..], [5.0, -1.0]);
        let (a, b) = ([1.0f32, 2.0], [10.0f32, 20.0]);
        let (a, b) = (view(&[2], &a), view(&[2], &b));
        assert_eq!(run(&[2], &[0.0; 2], |p, d| add_n(p, &[a.into(), b.into(), a.into()], d)), [12.0, 24.0]);
        assert_eq!(
            run(&[2], &[5.0, 5.0], |p, d| add_n(p, &[a.into(), Src::InPlace(DType::F32)], d)),
            [6.0, 7.0]
        );
        assert_eq!(run(&[2], &[0.0; 2], |p, d| add_n(p, &[a.into()], d)), [1.0, 2.0]);
    }
}
