//! Batch normalisation of `[batch, channels, inner]`, float32: what Keras writes a layer norm with.

use crate::base::threads::ThreadPool;
use tightfit_core::Shared;

use crate::base::access::split_range;
use crate::base::error::{Result, ensure};
use crate::reduction::norm::BatchNorm;

const KERNEL: &str = "FusedBatchNorm";

/// The mean and the biased variance of each channel of `src`, over batch and inner elements.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for lengths that do not go together.
pub fn batch_statistics_channels_first(
    pool: &ThreadPool,
    [batch, channels, inner]: [usize; 3],
    src: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<()> {
    let fits = src.len() == batch * channels * inner && mean.len() == channels && variance.len() == channels;
    ensure(fits, KERNEL, "the parameters have one value for each channel")?;
    let count = (batch * inner) as f64;
    let (mean, variance) = (Shared::new(mean), Shared::new(variance));
    split_range(pool, channels, batch * inner, &|first, count_of_task| {
        for channel in first..first + count_of_task {
            let runs = || (0..batch).map(|image| &src[(image * channels + channel) * inner..][..inner]);
            let sum = |f: &dyn Fn(f64) -> f64| runs().flatten().map(|x| f(*x as f64)).sum::<f64>() / count;
            let center = sum(&|x| x);
            // SAFETY: each channel is visited once, and the outputs outlive the call.
            unsafe {
                mean.part(channel, 1)[0] = center as f32;
                variance.part(channel, 1)[0] = sum(&|x| (x - center) * (x - center)) as f32;
            }
        }
    });
    Ok(())
}

/// (x - mean) scale / sqrt(variance + epsilon) + offset of each channel.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for lengths that do not go together.
pub fn batch_norm_channels_first(
    pool: &ThreadPool,
    norm: BatchNorm<'_>,
    [batch, channels, inner]: [usize; 3],
    src: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    let fits = src.len() == batch * channels * inner && src.len() == dst.len();
    let parameters = [norm.scale, norm.offset, norm.mean, norm.variance];
    let has_all = parameters.iter().all(|values| values.len() == channels);
    ensure(fits && has_all, KERNEL, "the parameters have one value for each channel")?;
    let dst = Shared::new(dst);
    split_range(pool, batch * channels, inner, &|first, count| {
        for run in first..first + count {
            let channel = run % channels;
            let factor = norm.scale[channel] / (norm.variance[channel] + norm.epsilon).sqrt();
            // SAFETY: each run is visited once, and the output outlives the call.
            let mut dst = unsafe { dst.part(run * inner, inner) };
            for (dst, x) in dst.iter_mut().zip(&src[run * inner..][..inner]) {
                *dst = (x - norm.mean[channel]) * factor + norm.offset[channel];
            }
        }
    });
    Ok(())
}
