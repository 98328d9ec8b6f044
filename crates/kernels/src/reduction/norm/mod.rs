//! Normalisation: of layers and vectors over the last axis, of batches and local responses over channels. Float32,
//! and float16 and bfloat16 with float32 parameters and arithmetic; sums are float64.

use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{Src, for_dtype, split_with_cost, values, values_mut};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};
use crate::reduction::reduce::{ReduceOp, reduce};

/// A float that is computed with as float32.
pub(crate) trait Single: Copy + Send + Sync {
    fn read(self) -> f32;
    fn write(x: f32) -> Self;
}

macro_rules! single {
    ($($T:ty, $x:ident, $read:expr, $write:expr;)*) => { $(
        impl Single for $T {
            #[inline(always)]
            fn read(self) -> f32 {
                let $x = self;
                $read
            }
            #[inline(always)]
            fn write($x: f32) -> Self {
                $write
            }
        }
    )* };
}

single! {
    f32, x, x, x;
    f16, x, x.to_f32(), f16::from_f32(x);
    bf16, x, x.to_f32(), bf16::from_f32(x);
}

const LANES: usize = 16;

/// The sum of (x - shift)^power over a row.
struct Moment<'a, T> {
    row: &'a [T],
    shift: f32,
    squared: bool,
    sum: &'a mut f64,
}

impl<T: Single> Moment<'_, T> {
    #[inline(always)]
    fn sums(&self, term: impl Fn(f32) -> f32) -> [f64; LANES] {
        let mut lanes = [0.0; LANES];
        let (whole, rest) = self.row.as_chunks::<LANES>();
        for chunk in whole {
            for i in 0..LANES {
                lanes[i] += term(chunk[i].read()) as f64;
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += term(x.read()) as f64;
        }
        lanes
    }
}

impl<T: Single> Loop for Moment<'_, T> {
    #[inline(always)]
    fn run(self) {
        let shift = self.shift;
        let lanes = if self.squared {
            self.sums(
                #[inline(always)]
                |x| (x - shift) * (x - shift),
            )
        } else {
            self.sums(
                #[inline(always)]
                |x| x,
            )
        };
        *self.sum = lanes.iter().sum();
    }
}

fn moment<T: Single>(isa: Isa, row: &[T], shift: f32, squared: bool) -> f64 {
    let mut sum = 0.0;
    vectorised(isa, Moment { row, shift, squared, sum: &mut sum });
    sum
}

/// (x - mean) factor gamma + beta, in place.
struct Normalise<'a, T> {
    row: &'a mut [T],
    mean: f32,
    factor: f32,
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
}

impl<T: Single> Loop for Normalise<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (mean, factor) = (self.mean, self.factor);
        match (self.gamma, self.beta) {
            (Some(gamma), Some(beta)) => {
                for ((x, gamma), beta) in self.row.iter_mut().zip(gamma).zip(beta) {
                    *x = T::write((x.read() - mean) * factor * gamma + beta);
                }
            }
            (gamma, beta) => {
                for (i, x) in self.row.iter_mut().enumerate() {
                    let gamma = gamma.map_or(1.0, |g| g[i]);
                    *x = T::write((x.read() - mean) * factor * gamma + beta.map_or(0.0, |b| b[i]));
                }
            }
        }
    }
}

fn check_len(kernel: &'static str, parameter: Option<&[f32]>, len: usize) -> Result<()> {
    ensure(
        parameter.is_none_or(|p| p.len() == len),
        kernel,
        "the parameters have one value for each of the last axis",
    )
}

/// (x - mean) / sqrt(variance + epsilon) gamma + beta, mean and (biased) variance being those of `src` over its last
/// axis. Without `gamma` or `beta`, 1 or 0.
///
/// # Errors
/// [`KernelError::DType`] for types other than float32, float16 and bfloat16, [`KernelError::Invalid`] for scalars,
/// parameters of another length than the last axis, and for an output of another size or type.
pub fn layer_norm(
    pool: &ThreadPool,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    epsilon: f32,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "LayerNorm";
    let len = dst.shape().last().copied().unwrap_or(0);
    check_len(KERNEL, gamma, len)?;
    check_len(KERNEL, beta, len)?;
    each_row(pool, KERNEL, src, dst, &move |row| {
        let mean = (row.sum)(0.0, false) / len as f64;
        let variance = (row.sum)(mean as f32, true) / len as f64;
        let factor = (1.0 / (variance + epsilon as f64).sqrt()) as f32;
        (mean as f32, factor, gamma, beta)
    })
}

/// x / sqrt(max(sum of squares over the last axis, epsilon)).
///
/// # Errors
/// As [`layer_norm`].
pub fn l2_normalize(
    pool: &ThreadPool,
    epsilon: f32,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    each_row(pool, "L2Normalize", src, dst, &move |row| {
        let squares = (row.sum)(0.0, true);
        (0.0, (1.0 / squares.max(epsilon as f64).sqrt()) as f32, None, None)
    })
}

/// A row to be normalised: the sums of its elements less a shift, or of their squares.
struct RowSums<'a> {
    sum: &'a dyn Fn(f32, bool) -> f64,
}

/// What a row is normalised by: mean, factor, gamma, beta.
type Parameters<'a> = (f32, f32, Option<&'a [f32]>, Option<&'a [f32]>);

fn each_row<'p>(
    pool: &ThreadPool,
    kernel: &'static str,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
    parameters: &(dyn Fn(RowSums<'_>) -> Parameters<'p> + Sync),
) -> Result<()> {
    let dtype = dst.dtype();
    ensure(src.dtype() == dtype, kernel, "the input and the output have one element type")?;
    let len = *dst.shape().last().ok_or(KernelError::Invalid { kernel, rule: "there is a last axis" })?;
    for_dtype!(dtype, kernel, [F32, F16, BF16], T => {
        let dst = values_mut::<T>(dst.bytes(), kernel)?;
        let src = src.same_size::<T>(dst.len(), kernel)?;
        split_with_cost(pool, dst, len, 2 * len, &|first, dst| {
            for (n, row) in dst.chunks_mut(len).enumerate() {
                if let Some(src) = src {
                    row.copy_from_slice(&src[(first + n) * len..][..len]);
                }
                let (mean, factor, gamma, beta) =
                    parameters(RowSums { sum: &|shift, squared| moment(pool.isa(), row, shift, squared) });
                vectorised(pool.isa(), Normalise { row, mean, factor, gamma, beta });
            }
        });
        Ok(())
    })
}

/// The parameters of a batch normalisation, each with one value for each channel.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// What the result is multiplied by.
    pub scale: &'a [f32],
    /// What is added to it.
    pub offset: &'a [f32],
    /// The mean.
    pub mean: &'a [f32],
    /// The variance.
    pub variance: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
}

/// Channels whose factors are kept at a time.
const TILE: usize = 64;

struct ScaleRow<'a, T> {
    row: &'a mut [T],
    mean: &'a [f32],
    factor: &'a [f32],
    offset: &'a [f32],
}

impl<T: Single> Loop for ScaleRow<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (((x, mean), factor), offset) in
            self.row.iter_mut().zip(self.mean).zip(self.factor).zip(self.offset)
        {
            *x = T::write((x.read() - mean) * factor + offset);
        }
    }
}

/// (x - mean) scale / sqrt(variance + epsilon) + offset, over the last axis, the channels.
///
/// # Errors
/// As [`layer_norm`].
pub fn batch_norm(
    pool: &ThreadPool,
    norm: BatchNorm<'_>,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "FusedBatchNorm";
    let dtype = dst.dtype();
    ensure(src.dtype() == dtype, KERNEL, "the input and the output have one element type")?;
    let len =
        *dst.shape().last().ok_or(KernelError::Invalid { kernel: KERNEL, rule: "there is a last axis" })?;
    for parameter in [norm.scale, norm.offset, norm.mean, norm.variance] {
        check_len(KERNEL, Some(parameter), len)?;
    }
    for_dtype!(dtype, KERNEL, [F32, F16, BF16], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let src = src.same_size::<T>(dst.len(), KERNEL)?;
        split_with_cost(pool, dst, len, len, &|first, dst| {
            if let Some(src) = src {
                dst.copy_from_slice(&src[first * len..][..dst.len()]);
            }
            for start in (0..len).step_by(TILE) {
                let tile = start..len.min(start + TILE);
                let mut factors = [0.0; TILE];
                for (factor, channel) in factors.iter_mut().zip(tile.clone()) {
                    *factor = norm.scale[channel] / (norm.variance[channel] + norm.epsilon).sqrt();
                }
                let (mean, offset) = (&norm.mean[tile.clone()], &norm.offset[tile.clone()]);
                for row in dst.chunks_mut(len) {
                    vectorised(pool.isa(), ScaleRow { row: &mut row[tile.clone()], mean, factor: &factors, offset });
                }
            }
        });
        Ok(())
    })
}

/// [`batch_norm`] of float64 throughout: x, and mean, variance, offset and, unless it is 1, scale of each channel. Without
/// `src`, `dst` holds x.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn batch_norm_f64(
    [mean, variance, offset]: [&[f64]; 3],
    scale: Option<&[f64]>,
    epsilon: f64,
    src: Option<&[f64]>,
    dst: &mut [f64],
) -> Result<()> {
    const KERNEL: &str = "FusedBatchNorm";
    let len = mean.len();
    let fits = [Some(variance), Some(offset), scale].into_iter().flatten().all(|p| p.len() == len);
    ensure(fits, KERNEL, "the parameters have one value for each channel")?;
    if let Some(src) = src {
        ensure(src.len() == dst.len(), KERNEL, "the output has the size of the input")?;
        dst.copy_from_slice(src);
    }
    for row in dst.chunks_mut(len.max(1)) {
        for (channel, x) in row.iter_mut().enumerate() {
            let scale = scale.map_or(1.0, |scale| scale[channel]);
            let factor = scale / (variance[channel] + epsilon).sqrt();
            *x = (*x - mean[channel]) * factor + offset[channel];
        }
    }
    Ok(())
}

/// The mean and the biased variance of each channel (last axis) of `src`, of float32, over all other axes.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] if `mean` and `variance` have not one value for
/// each channel.
pub fn batch_statistics(
    pool: &ThreadPool,
    src: TensorView<'_>,
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<()> {
    const KERNEL: &str = "FusedBatchNorm";
    let shape = *src.shape();
    let channels =
        *shape.last().ok_or(KernelError::Invalid { kernel: KERNEL, rule: "there is a last axis" })?;
    check_len(KERNEL, Some(mean), channels)?;
    check_len(KERNEL, Some(variance), channels)?;
    if src.dtype() != tightfit_core::DType::F32 {
        return Err(KernelError::DType { kernel: KERNEL, dtype: src.dtype() });
    }
    let kept = tightfit_core::Shape::new(&[channels])
        .map_err(|_| KernelError::Invalid { kernel: KERNEL, rule: "the channels are a shape" })?;
    let axes: [usize; tightfit_core::MAX_RANK] = std::array::from_fn(|i| i);
    let Some(mut out) = TensorViewMut::new(src.dtype(), kept, bytemuck::cast_slice_mut(mean)) else {
        return Err(KernelError::Invalid { kernel: KERNEL, rule: "the mean is as long as the last axis" });
    };
    reduce(pool, ReduceOp::Mean, &axes[..shape.rank() - 1], src, &mut out)?;
    let values = values::<f32>(src.bytes(), KERNEL)?;
    let rows = values.len() / channels.max(1);
    let mean = &*mean;
    split_with_cost(pool, variance, 1, rows, &|first, dst| {
        for (start, dst) in (0..).step_by(TILE).zip(dst.chunks_mut(TILE)) {
            let channel = first + start;
            let mean = &mean[channel..channel + dst.len()];
            let mut sums = [0.0f64; TILE];
            for row in values.chunks(channels) {
                for ((sum, x), mean) in sums.iter_mut().zip(&row[channel..]).zip(mean) {
                    let distance = (x - mean) as f64;
                    *sum += distance * distance;
                }
            }
            for (variance, sum) in dst.iter_mut().zip(sums) {
                *variance = (sum / rows as f64) as f32;
            }
        }
    });
    Ok(())
}

/// The parameters of a local response normalisation.
#[derive(Debug, Clone, Copy)]
pub struct LocalResponse {
    /// Channels counted on either side.
    pub depth_radius: usize,
    /// What is added to the sum of squares.
    pub bias: f32,
    /// What the sum of squares is multiplied by.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
}

impl LocalResponse {
    /// What an element is multiplied by, as TensorFlow computes the power: of a negative number there is none.
    fn factor(&self, sum: f32) -> f32 {
        match self.beta {
            0.5 => 1.0 / sum.sqrt(),
            1.0 => 1.0 / sum,
            beta => (sum.ln() as f64 * -beta as f64).exp() as f32,
        }
    }
}

/// x / (bias + alpha sum of squares)^beta, the sum over channels (last axis) at most `depth_radius` away: TensorFlow's
/// LRN. Float32.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for an output of another size or type.
pub fn local_response_norm(
    pool: &ThreadPool,
    norm: LocalResponse,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "LRN";
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let len =
        *dst.shape().last().ok_or(KernelError::Invalid { kernel: KERNEL, rule: "there is a last axis" })?;
    for_dtype!(src.dtype(), KERNEL, [F32], T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        ensure(src.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
        split_with_cost(pool, dst, len, len * 16, &|first, dst| {
            for (n, dst) in dst.chunks_mut(len).enumerate() {
                let src = &src[(first + n) * len..][..len];
                // TensorFlow multiplies all channels by a band of ones, beside which a zero times no number is none.
                let odd = src.iter().filter(|x| !(*x * *x).is_finite()).count();
                for (channel, dst) in dst.iter_mut().enumerate() {
                    let from = channel.saturating_sub(norm.depth_radius);
                    let to = channel.saturating_add(norm.depth_radius).saturating_add(1).min(len);
                    let squares: f32 = src[from..to].iter().map(|x| x * x).sum();
                    let is_odd = odd > 0 && src[from..to].iter().filter(|x| !(*x * *x).is_finite()).count() < odd;
                    let squares = if is_odd { f32::NAN } else { squares };
                    *dst = src[channel] * norm.factor(norm.bias + norm.alpha * squares);
                }
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests;
