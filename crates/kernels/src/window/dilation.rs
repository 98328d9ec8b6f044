//! The morphological dilation: the largest sum of a window's elements and a filter's.

use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, element_at};

const KERNEL: &str = "Dilation2D";

trait Sum: Copy + PartialOrd + Send + Sync {
    const LOWEST: Self;

    fn plus(self, other: Self) -> Self;
}

macro_rules! sums {
    ($($T:ty, $a:ident $b:ident $sum:expr;)*) => { $(
        impl Sum for $T {
            const LOWEST: $T = <$T>::MIN;

            #[inline(always)]
            fn plus(self, $b: $T) -> $T {
                let $a = self;
                $sum
            }
        }
    )* };
}

sums! {
    f32, a b a + b; f64, a b a + b; f16, a b a + b; bf16, a b a + b;
    i8, a b a.wrapping_add(b); i16, a b a.wrapping_add(b); i32, a b a.wrapping_add(b); i64, a b a.wrapping_add(b);
    u8, a b a.wrapping_add(b); u16, a b a.wrapping_add(b); u32, a b a.wrapping_add(b); u64, a b a.wrapping_add(b);
}

/// The largest sum of an element of each window of `src` `[batch, height, width, channels]`, of numbers, and that of `filter`
/// `[window height, window width, channels]`, into `dst` `[batch, height', width', channels]`. NaN, and what lies outside
/// of the image, is passed over; the lowest number is the largest of none.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for other types.
pub fn dilation2d(
    pool: &ThreadPool,
    window: Window,
    src: TensorView<'_>,
    filter: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let rule = "images are [batch, height, width, channels]";
    let wrong = |_| KernelError::Invalid { kernel: KERNEL, rule };
    let [batch, height, width, channels] = <[usize; 4]>::try_from(&**src.shape()).map_err(wrong)?;
    let to = <[usize; 4]>::try_from(&**dst.shape()).map_err(wrong)?;
    let [rows, columns] = window.output(height, width)?;
    ensure(to == [batch, rows, columns, channels], KERNEL, "the output has a pixel for each window")?;
    let taps = [window.size[0], window.size[1], channels];
    ensure(filter.shape()[..] == taps, KERNEL, "the filter is [height, width, channels]")?;
    let is_one_type = src.dtype() == dst.dtype() && filter.dtype() == dst.dtype();
    ensure(is_one_type, KERNEL, "all have one element type")?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        let filter = values::<T>(filter.bytes(), KERNEL)?;
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let cost = channels * taps[0] * taps[1];
        split_with_cost(pool, dst, channels, cost, &|first, dst| {
            for (n, pixel) in dst.chunks_exact_mut(channels).enumerate() {
                let (x, rest) = ((first + n) % columns, (first + n) / columns);
                let (y, image) = (rest % rows, rest / rows);
                pixel.fill(T::LOWEST);
                for (tap, weights) in filter.chunks_exact(channels).enumerate() {
                    let row = element_at(&window, 0, y, tap / taps[1], height);
                    let column = element_at(&window, 1, x, tap % taps[1], width);
                    let Some((row, column)) = row.zip(column) else { continue };
                    let from = &src[((image * height + row) * width + column) * channels..][..channels];
                    for ((best, value), weight) in pixel.iter_mut().zip(from).zip(weights) {
                        let sum = value.plus(*weight);
                        *best = if sum > *best { sum } else { *best };
                    }
                }
            }
        });
        Ok(())
    })
}
