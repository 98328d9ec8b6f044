//! Pooling of any number type, and of places: plain loops, for what is rarer than float32 maxima and averages.

use tightfit_core::{Shared, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::window::Window;

const KERNEL: &str = "Pool";

/// Where a window moves.
struct Windows {
    from: [usize; 4],
    to: [usize; 4],
    window: Window,
}

impl Windows {
    fn new(src: &[usize], dst: &[usize], window: Window) -> Result<Windows> {
        let rule = "images are [batch, height, width, channels]";
        let wrong = |_| KernelError::Invalid { kernel: KERNEL, rule };
        let (from, to) =
            (<[usize; 4]>::try_from(src).map_err(wrong)?, <[usize; 4]>::try_from(dst).map_err(wrong)?);
        let size = window.output(from[1], from[2])?;
        ensure(to == [from[0], size[0], size[1], from[3]], KERNEL, "the output has a pixel for each window")?;
        Ok(Windows { from, to, window })
    }

    /// The pixels of the image, along one axis, that the window at `position` of the output covers.
    fn covered(&self, axis: usize, position: usize) -> impl Iterator<Item = usize> + Clone {
        let (size, end) = (self.window.size[axis], self.from[axis + 1]);
        let dilation = self.window.dilations[axis];
        let start = position * self.window.strides[axis];
        let pad = self.window.pads[2 * axis];
        (0..size).filter_map(move |tap| (start + tap * dilation).checked_sub(pad).filter(|at| *at < end))
    }

    /// Calls `each(number of the output's element, its window's elements of the input)` on all threads.
    fn run(&self, pool: &ThreadPool, each: &(dyn Fn(usize, &mut dyn Iterator<Item = usize>) + Sync)) {
        let [_, height, width, channels] = self.to;
        let pixels: usize = self.to[..3].iter().product();
        let cost = channels * self.window.size.iter().product::<usize>();
        split_range(pool, pixels, cost, &|first, count| {
            for pixel in first..first + count {
                let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
                for channel in 0..channels {
                    let mut elements = self.covered(0, y).flat_map(|y| {
                        let row = (image * self.from[1] + y) * self.from[2];
                        self.covered(1, x).map(move |x| (row + x) * channels + channel)
                    });
                    each(pixel * channels + channel, &mut elements);
                }
            }
        });
    }
}

/// The largest element of each window of `src` `[batch, height, width, channels]`, of numbers, and, in `places` (int32,
/// int64), its place in its image or, with `of_batch`, in all of `src`; of equal ones the first. NaN is as TensorFlow
/// has it: passed over, but with places kept where it comes first.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together and a window outside of the image,
/// [`KernelError::DType`] for other types.
pub fn max_pool_any(
    pool: &ThreadPool,
    window: Window,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    places: Option<(&mut TensorViewMut<'_>, bool)>,
) -> Result<()> {
    let windows = Windows::new(src.shape(), dst.shape(), window)?;
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        let best = |elements: &mut dyn Iterator<Item = usize>| {
            elements.reduce(|best, at| if src[at] > src[best] { at } else { best })
        };
        let has_places = places.is_some();
        if let Some((places, of_batch)) = places {
            let image: usize = windows.from[1..].iter().product();
            ensure(places.shape() == dst.shape(), KERNEL, "there is a place for each maximum")?;
            for_dtype!(places.dtype(), KERNEL, [I32, I64], I => {
                let places = Shared::new(values_mut::<I>(places.bytes(), KERNEL)?);
                windows.run(pool, &|number, elements| {
                    let at = best(elements).unwrap_or(0);
                    let at = if of_batch { at } else { at % image };
                    // SAFETY: each element of the output is visited once, and outlives the call.
                    unsafe { places.part(number, 1)[0] = at as I };
                });
                Ok(())
            })?;
        }
        let dst = Shared::new(values_mut::<T>(dst.bytes(), KERNEL)?);
        windows.run(pool, &|number, elements| {
            let value = match has_places {
                true => best(elements).map(|at| src[at]),
                false => Some(elements.fold(T::MIN, |max, at| if src[at] > max { src[at] } else { max })),
            };
            if let Some(value) = value {
                // SAFETY: each element of the output is visited once, and outlives the call.
                unsafe { dst.part(number, 1)[0] = value };
            }
        });
        Ok(())
    })
}

/// The largest of each `channels` neighbouring channels of `src`, whose last axis they divide, into `dst`. NaN is
/// passed over but where it comes first.
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for types that are no numbers.
pub fn max_over_channels(
    pool: &ThreadPool,
    channels: usize,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        ensure(dst.len().checked_mul(channels) == Some(src.len()), KERNEL, "a value is made of each window")?;
        crate::base::access::split(pool, dst, 1, &|first, dst| {
            for (at, dst) in (first..).zip(dst) {
                let window = src[at * channels..][..channels].iter().copied();
                *dst = window.reduce(|max, x| if x > max { x } else { max }).unwrap_or(*dst);
            }
        });
        Ok(())
    })
}

/// The average of those elements of each window of `src` `[batch, height, width, channels]`, of float64, that lie in the
/// image.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for other types.
pub fn average_pool_f64(
    pool: &ThreadPool,
    window: Window,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let windows = Windows::new(src.shape(), dst.shape(), window)?;
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    for_dtype!(src.dtype(), KERNEL, [F64], T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        let dst = Shared::new(values_mut::<T>(dst.bytes(), KERNEL)?);
        windows.run(pool, &|number, elements| {
            let (sum, count) = elements.fold((0.0, 0), |(sum, count), at| (sum + src[at], count + 1));
            // SAFETY: each element of the output is visited once, and outlives the call.
            unsafe { dst.part(number, 1)[0] = sum / count as f64 };
        });
        Ok(())
    })
}
