//! Gradients of batch normalisation.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::reduction::norm::Single;

/// What a batch was normalised with.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormGradient<'a> {
    /// What each channel was multiplied by.
    pub scale: &'a [f32],
    /// The mean of each channel.
    pub mean: &'a [f32],
    /// The variance of each channel.
    pub variance: &'a [f32],
    /// What was added to the variance.
    pub epsilon: f32,
    /// Mean and variance are those of the batch, and change with it.
    pub is_of_batch: bool,
}

/// Channels whose sums are worked out at a time.
const BLOCK: usize = 16;

/// Writes the gradients of batch normalisation by its input, by its scale and by its offset, from that of the output. Elements are
/// `[outer, channels, inner]`, float32, float16 or bfloat16, and all else is float32; sums are float64.
///
/// # Errors
/// [`KernelError::Length`] and [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for other types.
pub fn batch_norm_gradient(
    norm: BatchNormGradient<'_>,
    [outer, channels, inner]: [usize; 3],
    [gradient, x]: [TensorView<'_>; 2],
    by_input: &mut TensorViewMut<'_>,
    [by_scale, by_offset]: [&mut [f32]; 2],
) -> Result<()> {
    const KERNEL: &str = "FusedBatchNormGrad";
    let elements = outer * channels * inner;
    let shapes = [gradient.shape().elements(), x.shape().elements(), by_input.shape().elements()];
    ensure(shapes == [elements; 3], KERNEL, "the input and its gradients have one size")?;
    let vectors = [norm.scale.len(), norm.mean.len(), norm.variance.len(), by_scale.len(), by_offset.len()];
    for given in vectors {
        if given != channels {
            return Err(KernelError::Length { what: "a vector of channels", needed: channels, given });
        }
    }
    let is_alike = gradient.dtype() == x.dtype() && x.dtype() == by_input.dtype();
    ensure(is_alike, KERNEL, "the input and its gradients have one type")?;
    for_dtype!(x.dtype(), KERNEL, [F32, F16, BF16], T => {
        let (dy, x) = (values::<T>(gradient.bytes(), KERNEL)?, values::<T>(x.bytes(), KERNEL)?);
        let dx = values_mut::<T>(by_input.bytes(), KERNEL)?;
        let runs = |channel: usize| (0..outer).map(move |n| (n * channels + channel) * inner);
        let count = (outer * inner) as f64;
        for first in (0..channels).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(channels);
            let mut sums = [[0f64; BLOCK]; 2];
            for n in 0..outer {
                for (at, channel) in block.clone().enumerate() {
                    let start = (n * channels + channel) * inner;
                    for (dy, x) in dy[start..][..inner].iter().zip(&x[start..][..inner]) {
                        let dy = Single::read(*dy);
                        sums[0][at] += f64::from(dy);
                        sums[1][at] += f64::from(dy * (Single::read(*x) - norm.mean[channel]));
                    }
                }
            }
            for (at, channel) in block.enumerate() {
                let inverse = 1.0 / (norm.variance[channel] + norm.epsilon).sqrt();
                by_offset[channel] = sums[0][at] as f32;
                by_scale[channel] = (sums[1][at] * f64::from(inverse)) as f32;
                let factor = norm.scale[channel] * inverse;
                let (mean, slope) = match norm.is_of_batch && count > 0.0 {
                    true => ((sums[0][at] / count) as f32, (sums[1][at] / count) as f32 * inverse * inverse),
                    false => (0.0, 0.0),
                };
                for start in runs(channel) {
                    let rows = dy[start..][..inner].iter().zip(&x[start..][..inner]);
                    for (to, (dy, x)) in dx[start..][..inner].iter_mut().zip(rows) {
                        let centred = Single::read(*x) - norm.mean[channel];
                        let less = if norm.is_of_batch { mean + centred * slope } else { 0.0 };
                        *to = Single::write(factor * (Single::read(*dy) - less));
                    }
                }
            }
        }
        Ok(())
    })
}
