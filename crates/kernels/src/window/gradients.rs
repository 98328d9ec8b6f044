//! Gradients of what windows compute of volumes `[batch, depth, height, width, channels]`: of pools by their input, and of
//! convolutions by their filter. Images are volumes of depth 1.

use tightfit_core::{DType, Shared, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::window::Window3;
use crate::movement::Number;

/// Which elements of a window a gradient goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolGradient {
    /// The first of the largest.
    FirstMax,
    /// Each that is as large as the pool's output.
    EachMax,
    /// All of them, in equal parts.
    Average,
}

/// A window over volumes, and how many there are.
struct Windows {
    window: Window3,
    from: [usize; 5],
    to: [usize; 5],
}

impl Windows {
    fn new(kernel: &'static str, window: Window3, from: &[usize], to: &[usize]) -> Result<Windows> {
        let wrong =
            |_| KernelError::Invalid { kernel, rule: "volumes are [batch, depth, height, width, channels]" };
        let (from, to) =
            (<[usize; 5]>::try_from(from).map_err(wrong)?, <[usize; 5]>::try_from(to).map_err(wrong)?);
        let made = window.output([from[1], from[2], from[3]])?;
        ensure(
            from[0] == to[0] && made == [to[1], to[2], to[3]],
            kernel,
            "there is an output for each window",
        )?;
        Ok(Windows { window, from, to })
    }

    /// The elements of a volume along an axis that the window at an output's position reaches.
    fn along(&self, axis: usize, position: usize) -> impl Iterator<Item = usize> + Clone + use<'_> {
        let size = self.from[axis + 1];
        (0..self.window.size[axis]).filter_map(move |tap| self.window.element_at(axis, position, tap, size))
    }

    /// The places, counted in pixels of the input, that the window of an output's pixel reaches.
    fn covered(&self, image: usize, [z, y, x]: [usize; 3]) -> impl Iterator<Item = usize> + Clone + use<'_> {
        let [_, depth, height, width, _] = self.from;
        self.along(0, z).flat_map(move |z| {
            self.along(1, y).flat_map(move |y| {
                let row = ((image * depth + z) * height + y) * width;
                self.along(2, x).map(move |x| row + x)
            })
        })
    }

    /// The pixels of one image's output.
    fn outputs(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        let [_, depth, height, width, _] = self.to;
        (0..depth * height * width).map(move |at| [at / width / height, at / width % height, at % width])
    }
}

/// Writes to `dst`, of the shape of a pool's input, its gradient by the gradient of the output. `input` and `output` are the
/// pool's own, which the gradient of maxima needs. Numbers of any type; averages of float32 and float64.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for types that are none of these.
pub fn pool_gradient(
    kind: PoolGradient,
    window: Window3,
    own: Option<[TensorView<'_>; 2]>,
    gradient: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "PoolGrad";
    let windows = Windows::new(KERNEL, window, dst.shape(), gradient.shape())?;
    ensure(
        windows.from[4] == windows.to[4] && dst.dtype() == gradient.dtype(),
        KERNEL,
        "both have one type and as many channels",
    )?;
    if let Some([input, output]) = &own {
        let is_alike = input.shape() == dst.shape() && output.shape() == gradient.shape();
        ensure(
            is_alike && input.dtype() == dst.dtype() && output.dtype() == dst.dtype(),
            KERNEL,
            "the pool is of these shapes",
        )?;
    }
    ensure(own.is_some() || kind == PoolGradient::Average, KERNEL, "maxima are looked for in an input")?;
    ensure(
        kind != PoolGradient::Average || matches!(dst.dtype(), DType::F32 | DType::F64),
        KERNEL,
        "averages are of float32 or float64",
    )?;
    dst.bytes().fill(0);
    let (channels, pixels) = (windows.to[4], windows.to[1..4].iter().product::<usize>());
    for_dtype!(gradient.dtype(), KERNEL, numbers, T => {
        let own = match &own {
            Some([input, output]) => Some([values::<T>(input.bytes(), KERNEL)?, values::<T>(output.bytes(), KERNEL)?]),
            None => None,
        };
        let (gradient, dst) = (values::<T>(gradient.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        for image in 0..windows.to[0] {
            for (number, at) in windows.outputs().enumerate() {
                let covered = windows.covered(image, at);
                let count = if kind == PoolGradient::Average { covered.clone().count() } else { 1 };
                for channel in 0..channels {
                    let number = (image * pixels + number) * channels + channel;
                    let mut elements = covered.clone().map(|pixel| pixel * channels + channel);
                    let part = gradient[number];
                    match (kind, own) {
                        (PoolGradient::FirstMax, Some([input, _])) => {
                            let best = elements.reduce(|best, at| if input[at] > input[best] { at } else { best });
                            best.into_iter().for_each(|at| dst[at] = dst[at].sum(part));
                        }
                        (_, Some([input, output])) => {
                            elements.filter(|at| input[*at] == output[number]).for_each(|at| dst[at] = dst[at].sum(part));
                        }
                        _ => elements.by_ref().for_each(|at| dst[at] = dst[at].sum(part.over(count as f64))),
                    }
                }
            }
        }
        Ok(())
    })
}

/// Writes to `dst` `[depth, height, width, in_channels, channels]` the gradient of a convolution's filter: of each of its
/// elements the products of what of `src` `[.., in_channels]` it reaches with the `gradient` `[.., channels]` there, added up.
/// float32 and float64.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for other types.
pub fn filter_gradient(
    pool: &ThreadPool,
    window: Window3,
    src: TensorView<'_>,
    gradient: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    of_filter("ConvBackpropFilter", pool, window, [src, gradient], dst, false)
}

/// The same of a depthwise convolution, whose filter is `[depth, height, width, channels, multiplier]` and whose output has
/// `channels * multiplier` channels.
///
/// # Errors
/// As [`filter_gradient`].
pub fn depthwise_filter_gradient(
    pool: &ThreadPool,
    window: Window3,
    src: TensorView<'_>,
    gradient: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    of_filter("DepthwiseConvBackpropFilter", pool, window, [src, gradient], dst, true)
}

/// The gradient of a filter whose last dimension is the channels of the output, or of a depthwise one the multiplier.
fn of_filter(
    kernel: &'static str,
    pool: &ThreadPool,
    window: Window3,
    [src, gradient]: [TensorView<'_>; 2],
    dst: &mut TensorViewMut<'_>,
    is_depthwise: bool,
) -> Result<()> {
    let windows = Windows::new(kernel, window, src.shape(), gradient.shape())?;
    ensure(src.dtype() == dst.dtype() && gradient.dtype() == dst.dtype(), kernel, "all have one type")?;
    let (inner, outer, [depth, height, width]) = (windows.from[4], windows.to[4], window.size);
    let last = if is_depthwise { dst.shape().get(4).copied().unwrap_or(0) } else { outer };
    let is_of_input = **dst.shape() == [depth, height, width, inner, last];
    ensure(is_of_input, kernel, "the filter has the channels of the input")?;
    let is_of_output = !is_depthwise || last * inner == outer;
    ensure(is_of_output, kernel, "the filter has the channels of the output")?;
    for_dtype!(dst.dtype(), kernel, [F32, F64], T => {
        let src = [values::<T>(src.bytes(), kernel)?, values::<T>(gradient.bytes(), kernel)?];
        let each = if is_depthwise { channel_products::<T> } else { outer_product::<T> };
        each_tap(pool, &windows, src, values_mut::<T>(dst.bytes(), kernel)?, each);
        Ok(())
    })
}

/// Goes over the taps of a filter, on all threads: `each` adds what the channels of a pixel of the input and those of the
/// output that reaches it make to the sums of the tap.
fn each_tap<T: Number + Send + Sync>(
    pool: &ThreadPool,
    windows: &Windows,
    [src, gradient]: [&[T]; 2],
    dst: &mut [T],
    each: fn(&mut [T], &[T], &[T]),
) {
    let size = windows.window.size;
    let taps: usize = size.iter().product();
    let (inner, outer, len) = (windows.from[4], windows.to[4], dst.len().checked_div(taps).unwrap_or(0));
    let pixels: usize = windows.to[1..4].iter().product();
    dst.fill(T::of(0.0));
    let sums = Shared::new(dst);
    split_range(pool, taps, windows.to[0] * pixels * len, &|first, count| {
        for tap in first..first + count {
            // SAFETY: each tap is visited once, and the sums outlive the call.
            let mut sums = unsafe { sums.part(tap * len, len) };
            let tap = [tap / size[2] / size[1], tap / size[2] % size[1], tap % size[2]];
            for image in 0..windows.to[0] {
                for (number, at) in windows.outputs().enumerate() {
                    let reached = |axis: usize| {
                        windows.window.element_at(axis, at[axis], tap[axis], windows.from[axis + 1])
                    };
                    let (Some(z), Some(y), Some(x)) = (reached(0), reached(1), reached(2)) else { continue };
                    let pixel = ((image * windows.from[1] + z) * windows.from[2] + y) * windows.from[3] + x;
                    let by = &gradient[(image * pixels + number) * outer..][..outer];
                    each(&mut sums, &src[pixel * inner..][..inner], by);
                }
            }
        }
    });
}

fn outer_product<T: Number>(sums: &mut [T], image: &[T], by: &[T]) {
    if by.is_empty() {
        return;
    }
    for (row, x) in sums.chunks_exact_mut(by.len()).zip(image) {
        row.iter_mut().zip(by).for_each(|(sum, y)| *sum = sum.sum(x.product(*y)));
    }
}

fn channel_products<T: Number>(sums: &mut [T], image: &[T], by: &[T]) {
    let multiplier = by.len().checked_div(image.len()).unwrap_or(0).max(1);
    for ((sums, by), x) in sums.chunks_mut(multiplier).zip(by.chunks(multiplier)).zip(image) {
        sums.iter_mut().zip(by).for_each(|(sum, y)| *sum = sum.sum(x.product(*y)));
    }
}
