//! Conversion between element types, with the results TensorFlow has on x86.
//!
//! What a float too large for an integer becomes is left open by C++, and differs in TensorFlow itself between the
//! vectorised part of a tensor and its tail. This is the vectorised part's rule for all: int32 and int64 become their
//! lowest value, as does NaN; the shorter integers take that int32 and saturate.

use bytemuck::{Pod, Zeroable};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values_mut};
use crate::base::cpu::Isa;
use crate::base::error::{Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};

/// Elements converted at a time where there is a step between.
const BLOCK: usize = 256;

/// An element that converts to a `D`.
trait To<D>: Copy {
    fn to(self) -> D;
}

struct CastLoop<'a, S, D>(&'a [S], &'a mut [D]);

impl<S: To<D>, D> Loop for CastLoop<'_, S, D> {
    #[inline(always)]
    fn run(self) {
        for (dst, src) in self.1.iter_mut().zip(self.0) {
            *dst = src.to();
        }
    }
}

macro_rules! to {
    ($($S:ident)* => $D:ident, $x:ident $value:expr) => { $(
        impl To<$D> for $S {
            #[inline(always)]
            fn to(self) -> $D {
                let $x = self;
                $value
            }
        }
    )* };
}

/// The conversions that Rust's `as` has the meaning of.
macro_rules! as_is {
    ($($D:ident)*) => { $( to!(i8 i16 i32 i64 u8 u16 u32 u64 => $D, x x as $D); )* };
}

as_is!(i8 i16 i32 i64 u8 u16 u32 u64 f32 f64);
to!(f32 f64 => f32, x x as f32);
to!(f32 f64 => f64, x x as f64);

/// `x` towards zero, or the lowest value where it does not fit: what the processor's own instruction gives.
macro_rules! truncate {
    ($($S:ident)* => $D:ident, $limit:expr) => {
        to!($($S)* => $D, x if (-$limit..$limit).contains(&x) {
            // SAFETY: in range, and no NaN.
            unsafe { x.to_int_unchecked() }
        } else {
            $D::MIN
        });
    };
}

truncate!(f32 f64 => i32, 2_147_483_648.0);
truncate!(f32 f64 => i64, 9_223_372_036_854_775_808.0);
to!(f32 f64 => i8, x To::<i32>::to(x).clamp(-128, 127) as i8);
to!(f32 f64 => u8, x To::<i32>::to(x).clamp(0, 255) as u8);
to!(f32 f64 => i16, x To::<i32>::to(x).clamp(-32768, 32767) as i16);
to!(f32 f64 => u16, x To::<i32>::to(x).clamp(0, 65535) as u16);
to!(f32 f64 => u32, x if x > -2_147_483_649.0 && x < 4_294_967_296.0 { x as i64 as u32 } else { 1 << 31 });
to!(f32 f64 => u64, x if (9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(&x) {
    x as u64
} else {
    To::<i64>::to(x) as u64
});

/// A bool in memory: 0 or 1.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
struct Truth(u8);

to!(i8 i16 i32 i64 u8 u16 u32 u64 => Truth, x Truth((x != 0) as u8));
to!(f32 f64 => Truth, x Truth((x != 0.0) as u8));

fn native<S: To<D>, D>(isa: Isa, src: &[S], dst: &mut [D]) {
    vectorised(isa, CastLoop(src, dst));
}

fn from_half<H, D>(isa: Isa, src: &[H], dst: &mut [D])
where
    [H]: HalfFloatSliceExt,
    f32: To<D>,
{
    let mut wide = [0.0f32; BLOCK];
    let wide = &mut wide[..src.len()];
    src.convert_to_f32_slice(wide);
    native(isa, wide, dst);
}

fn to_half<S: To<f32>, H>(isa: Isa, src: &[S], dst: &mut [H])
where
    [H]: HalfFloatSliceExt,
{
    let mut wide = [0.0f32; BLOCK];
    let wide = &mut wide[..src.len()];
    native(isa, src, wide);
    dst.convert_from_f32_slice(wide);
}

fn half_to_half<G, H>(_: Isa, src: &[G], dst: &mut [H])
where
    [G]: HalfFloatSliceExt,
    [H]: HalfFloatSliceExt,
{
    let mut wide = [0.0f32; BLOCK];
    let wide = &mut wide[..src.len()];
    src.convert_to_f32_slice(wide);
    dst.convert_from_f32_slice(wide);
}

/// Converts a block with these instructions.
type Convert<S, D> = fn(Isa, &[S], &mut [D]);

/// A complex number in memory: its real and its imaginary part.
type Complex<F> = [F; 2];

fn real_parts<F: Pod, D>(isa: Isa, src: &[Complex<F>], dst: &mut [D], convert: Convert<F, D>) {
    let mut parts = [F::zeroed(); BLOCK];
    parts.iter_mut().zip(src).for_each(|(part, x)| *part = x[0]);
    convert(isa, &parts[..src.len()], dst);
}

fn as_real_parts<S, F: Pod>(isa: Isa, src: &[S], dst: &mut [Complex<F>], convert: Convert<S, F>) {
    let mut parts = [F::zeroed(); BLOCK];
    convert(isa, src, &mut parts[..src.len()]);
    dst.iter_mut().zip(parts).for_each(|(x, part)| *x = [part, F::zeroed()]);
}

fn cut_off<F: To<W>, W: To<D>, D>(_: Isa, src: &[F], dst: &mut [D]) {
    dst.iter_mut().zip(src).for_each(|(dst, x)| *dst = x.to().to());
}

fn other_complex<F: To<G>, G>(_: Isa, src: &[Complex<F>], dst: &mut [Complex<G>]) {
    dst.iter_mut().zip(src).for_each(|(dst, x)| *dst = x.map(To::to));
}

/// [`cast`] from or to complex numbers: of one to another type their real part.
fn cast_complex(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    let (from, to) = (src.dtype(), dst.dtype());
    let bytes = dst.bytes();
    macro_rules! from_complex {
        ($F:ty) => {
            match to {
                DType::F16 => blocks::<Complex<$F>, f16>(pool, src, bytes, |i, s, d| real_parts(i, s, d, to_half)),
                DType::BF16 => blocks::<Complex<$F>, bf16>(pool, src, bytes, |i, s, d| real_parts(i, s, d, to_half)),
                DType::Bool => blocks::<Complex<$F>, Truth>(pool, src, bytes, |i, s, d| real_parts(i, s, d, native)),
                // One by one, and so wider and cut off: not as real numbers, many at a time.
                DType::I8 | DType::I16 | DType::U8 | DType::U16 => for_dtype!(to, KERNEL, [I8, I16, U8, U16], D => {
                    blocks::<Complex<$F>, D>(pool, src, bytes, |i, s, d| real_parts(i, s, d, cut_off::<$F, i32, D>))
                }),
                DType::U32 => blocks::<Complex<$F>, u32>(pool, src, bytes, |i, s, d| {
                    real_parts(i, s, d, cut_off::<$F, i64, u32>)
                }),
                to => for_dtype!(to, KERNEL, [F32, F64, I32, I64, U64], D => {
                    blocks::<Complex<$F>, D>(pool, src, bytes, |i, s, d| real_parts(i, s, d, native))
                }),
            }
        };
    }
    macro_rules! to_complex {
        ($F:ty) => {
            match from {
                DType::F16 => blocks::<f16, Complex<$F>>(pool, src, bytes, |i, s, d| as_real_parts(i, s, d, from_half)),
                DType::BF16 => blocks::<bf16, Complex<$F>>(pool, src, bytes, |i, s, d| as_real_parts(i, s, d, from_half)),
                from => for_dtype!(from, KERNEL, natives, S => {
                    blocks::<S, Complex<$F>>(pool, src, bytes, |i, s, d| as_real_parts(i, s, d, native))
                }),
            }
        };
    }
    match (from, to) {
        (DType::C64, DType::C128) => blocks::<Complex<f32>, Complex<f64>>(pool, src, bytes, other_complex),
        (DType::C128, DType::C64) => blocks::<Complex<f64>, Complex<f32>>(pool, src, bytes, other_complex),
        (DType::C64, _) => from_complex!(f32),
        (DType::C128, _) => from_complex!(f64),
        (_, DType::C64) => to_complex!(f32),
        _ => to_complex!(f64),
    }
}

/// Converts each element of `src` to the type of `dst`. In place if both types are as many bytes.
///
/// # Errors
/// [`KernelError::DType`](crate::KernelError::DType) for strings, [`KernelError::Invalid`](crate::KernelError::Invalid) for sizes that differ.
pub fn cast(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    let (from, to) = (src.dtype(), dst.dtype());
    if from == to {
        return same(pool, src, dst);
    }
    if from.is_complex() || to.is_complex() {
        return cast_complex(pool, src, dst);
    }
    let bytes = dst.bytes();
    macro_rules! run {
        ($S:ty, $D:ty, $f:expr) => {
            blocks::<$S, $D>(pool, src, bytes, $f)
        };
    }
    macro_rules! to_natives {
        ($S:ty, $f:ident) => {
            match to {
                DType::Bool => run!($S, Truth, $f),
                to => for_dtype!(to, KERNEL, [F32, F64, I8, I16, I32, I64, U8, U16, U32, U64], D => run!($S, D, $f)),
            }
        };
    }
    match (from, to) {
        (DType::F16, DType::BF16) => run!(f16, bf16, half_to_half),
        (DType::BF16, DType::F16) => run!(bf16, f16, half_to_half),
        (DType::F16, _) => to_natives!(f16, from_half),
        (DType::BF16, _) => to_natives!(bf16, from_half),
        (_, DType::F16) => for_dtype!(from, KERNEL, natives, S => run!(S, f16, to_half)),
        (_, DType::BF16) => for_dtype!(from, KERNEL, natives, S => run!(S, bf16, to_half)),
        _ => for_dtype!(from, KERNEL, natives, S => to_natives!(S, native)),
    }
}

/// Converts little-endian elements at any alignment to float32, in the calling thread.
///
/// # Errors
/// [`KernelError::DType`](crate::KernelError::DType) for bool, strings and complex numbers, [`KernelError::Invalid`](crate::KernelError::Invalid) for sizes that differ.
pub fn widen(from: DType, src: &[u8], dst: &mut [f32]) -> Result<()> {
    ensure(src.len() == dst.len() * from.bytes(), KERNEL, "the input and the output have as many elements")?;
    match from {
        DType::F16 => widen_with::<f16>(src, dst, from_half),
        DType::BF16 => widen_with::<bf16>(src, dst, from_half),
        _ => {
            for_dtype!(from, KERNEL, [F32, F64, I8, I16, I32, I64, U8, U16, U32, U64], S => widen_with::<S>(src, dst, native))
        }
    }
}

fn widen_with<S: Pod>(src: &[u8], dst: &mut [f32], convert: Convert<S, f32>) -> Result<()> {
    let isa = Isa::detect();
    for (src, dst) in src.chunks(BLOCK * size_of::<S>()).zip(dst.chunks_mut(BLOCK)) {
        let mut aligned = [S::zeroed(); BLOCK];
        let aligned = &mut aligned[..dst.len()];
        bytemuck::cast_slice_mut(aligned).copy_from_slice(src);
        convert(isa, aligned, dst);
    }
    Ok(())
}

/// [`cast`] with TensorFlow's `Truncate`: of float32 to float16 and bfloat16 and of float64 to float16, the bits that the
/// narrow type has no room for are cut off first. Other types are cast as they are.
///
/// # Errors
/// As [`cast`].
pub fn cast_truncated(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    /// Casts what is left of each element without these bits.
    macro_rules! cut {
        ($S:ident, $D:ty, $bits:expr) => {
            blocks::<$S, $D>(pool, src, dst.bytes(), |isa, src, dst| {
                let mut short = [0 as $S; BLOCK];
                for (short, x) in short.iter_mut().zip(src) {
                    *short = if x.is_nan() { *x } else { $S::from_bits(x.to_bits() >> $bits << $bits) };
                }
                to_half(isa, &short[..src.len()], dst);
            })
        };
    }
    match (src.dtype(), dst.dtype()) {
        (DType::F32, DType::F16) => cut!(f32, f16, 13),
        (DType::F32, DType::BF16) => cut!(f32, bf16, 16),
        (DType::F64, DType::F16) => cut!(f64, f16, 42),
        _ => cast(pool, src, dst),
    }
}

const KERNEL: &str = "Cast";

fn same(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    let Src::View(src) = src else { return Ok(()) };
    let (src, dst) = (src.bytes(), dst.bytes());
    ensure(src.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
    split(pool, dst, 1, &|first, dst| dst.copy_from_slice(&src[first..first + dst.len()]));
    Ok(())
}

/// Calls `convert` block by block.
fn blocks<S: Pod + Send + Sync, D: Pod + Send + Sync>(
    pool: &ThreadPool,
    src: Src<'_>,
    dst: &mut [u8],
    convert: Convert<S, D>,
) -> Result<()> {
    let dst = values_mut::<D>(dst, KERNEL)?;
    let in_place = size_of::<S>() == size_of::<D>();
    ensure(matches!(src, Src::View(_)) || in_place, KERNEL, "only a type of as many bytes is cast in place")?;
    let src = src.same_size::<S>(dst.len(), KERNEL)?;
    let isa = pool.isa();
    split(pool, dst, 1, &|first, dst| {
        for (n, dst) in dst.chunks_mut(BLOCK).enumerate() {
            match src {
                Some(src) => {
                    let at = first + n * BLOCK;
                    convert(isa, &src[at..at + dst.len()], dst);
                }
                None => {
                    let mut before = [S::zeroed(); BLOCK];
                    let before = &mut before[..dst.len()];
                    before.copy_from_slice(bytemuck::cast_slice(dst));
                    convert(isa, before, dst);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{Element, Shape, TensorView};

    fn check<S: Element, D: Element>(src: &[S], expected: &[D]) {
        // As many as take more than one block, and threads.
        let times = 40_000 / src.len();
        let src = src.repeat(times);
        let shape = Shape::new(&[src.len()]).unwrap();
        let mut dst = vec![D::zeroed(); src.len()];
        let mut view = TensorViewMut::new(D::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        cast(&ThreadPool::new(2).unwrap(), TensorView::from_slice(shape, &src).unwrap().into(), &mut view)
            .unwrap();
        assert!(dst.chunks(expected.len()).all(|d| d == expected), "{:?}", &dst[..expected.len()]);
        if size_of::<S>() == size_of::<D>() {
            let mut bytes: Vec<S> = src.clone();
            let mut view = TensorViewMut::new(D::DTYPE, shape, bytemuck::cast_slice_mut(&mut bytes)).unwrap();
            cast(&ThreadPool::new(1).unwrap(), Src::InPlace(S::DTYPE), &mut view).unwrap();
            assert_eq!(bytemuck::cast_slice::<S, D>(&bytes), dst);
        }
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn floats_to_integers_as_tensorflow() {
        let x = [f32::NAN, f32::INFINITY, 3.7, -3.7, 300.0, -300.0, 3e9, -3e9, 1e10, 1e19];
        let low = i32::MIN;
        check(&x, &[-128i8, -128, 3, -3, 127, -128, -128, -128, -128, -128]);
        check(&x, &[0u8, 0, 3, 0, 255, 0, 0, 0, 0, 0]);
        check(&x, &[low, low, 3, -3, 300, -300, low, low, low, low]);
        let middle = 1u32 << 31;
        check(&x, &[middle, middle, 3, 4294967293, 300, 4294966996, 3000000000, middle, middle, middle]);
        let low = i64::MIN;
        check(&x, &[low, low, 3, -3, 300, -300, 3000000000, -3000000000, 10000000000, low]);
        let x = [f64::NAN, -3.7, 1e10, 1e19, 1e20];
        check(&x, &[1u64 << 63, 18446744073709551613, 10000000000, 10000000000000000000, 1 << 63]);
        check(&x[1..3], &[-3i32, i32::MIN]);
    }

    #[test]
    fn halves_round_to_even_by_way_of_float32() {
        check(&[2049.0000001f64, 70000.0], &[f16::from_f32(2048.0), f16::INFINITY]);
        let x = [1.003_906_3f32, 1.011_718_8, f32::NAN, -f32::NAN, 3.4e38];
        let mut dst = [bf16::ZERO; 5];
        to_half(Isa::Portable, &x, &mut dst);
        assert_eq!(dst.map(bf16::to_bits), [16256, 16258, 32704, 65472, 32640]);
        check(&[f16::from_f32(1.5), f16::from_f32(-2.0)], &[bf16::from_f32(1.5), bf16::from_f32(-2.0)]);
        check(&[1.9f32, -0.0, 0.5], &[1i16, 0, 0]);
        check(&[-1i8, 127], &[-1.0f64, 127.0]);
        check(&[-1i64, 1 << 32], &[u8::MAX, 0]);
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn truncation_cuts_bits_off() {
        let x = [1.007f32, -5e-5, 65519.0, 2.0007, 3e38, f32::NAN];
        let shape = Shape::new(&[6]).unwrap();
        let pool = ThreadPool::new(1).unwrap();
        let run = |dtype: DType| {
            let mut dst = [0u16; 6];
            let mut view = TensorViewMut::new(dtype, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
            cast_truncated(&pool, TensorView::from_slice(shape, &x).unwrap().into(), &mut view).unwrap();
            dst
        };
        let halves = run(DType::F16).map(|bits| f16::from_bits(bits).to_f32());
        assert_eq!(halves[..5], [1.006_835_9, -4.994_869_2e-5, 65504.0, 2.0, f32::INFINITY]);
        let brains = run(DType::BF16).map(|bits| bf16::from_bits(bits).to_f32());
        assert_eq!(brains[..5], [1.0, -4.982_948_3e-5, 65280.0, 2.0, 2.990_763e38]);
        assert!(halves[5].is_nan() && brains[5].is_nan());
    }
}
