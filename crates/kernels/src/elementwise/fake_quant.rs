//! Rounding to what quantised integers can express: TensorFlow's FakeQuantWithMinMax.

use crate::base::access::split;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

/// The integers values are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantRange {
    /// How many bits they have, 2 to 16.
    pub bits: u32,
    /// They begin at 1 in place of 0.
    pub is_narrow: bool,
}

/// A range moved so that 0 is one of its steps.
#[derive(Clone, Copy)]
struct Nudged {
    min: f32,
    max: f32,
    step: f32,
}

impl QuantRange {
    fn nudge(self, min: f32, max: f32) -> Nudged {
        let (low, high) = (self.is_narrow as u8 as f32, ((1u32 << self.bits) - 1) as f32);
        let step = (max - min) / (high - low);
        let zero = low - min / step;
        let zero = if zero < low {
            low
        } else if zero > high {
            high
        } else {
            zero.round()
        };
        Nudged { min: (low - zero) * step, max: (high - zero) * step, step }
    }
}

/// Rounds each element of `src` to the nearest step of the range from `min` to `max`, which are of one element, or of one
/// for each of the last axis. Values outside become its ends; a range of nothing but 0 makes 0.
///
/// # Errors
/// [`KernelError::Invalid`] for bits out of range and lengths that do not go together.
pub fn fake_quant(
    pool: &ThreadPool,
    range: QuantRange,
    (min, max): (&[f32], &[f32]),
    src: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    const KERNEL: &str = "FakeQuantWithMinMaxVars";
    ensure((2..=16).contains(&range.bits), KERNEL, "there are 2 to 16 bits")?;
    ensure(src.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
    if src.is_empty() {
        return Ok(());
    }
    let channels = min.len();
    ensure(channels > 0 && max.len() == channels, KERNEL, "there is a maximum for each minimum")?;
    if !src.len().is_multiple_of(channels) {
        return Err(KernelError::Invalid { kernel: KERNEL, rule: "there is a minimum for each channel" });
    }
    split(pool, dst, channels, &|first, dst| {
        let src = &src[first * channels..][..dst.len()];
        for (channel, (min, max)) in min.iter().zip(max).enumerate() {
            let nudged = range.nudge(*min, *max);
            let inverse = 1.0 / nudged.step;
            let zero = (-nudged.min * inverse + 0.5).floor();
            let pairs = dst
                .iter_mut()
                .skip(channel)
                .step_by(channels)
                .zip(src.iter().skip(channel).step_by(channels));
            for (dst, x) in pairs {
                // Of NaN it makes NaN, as f32::clamp does.
                let below = if *x > nudged.max { nudged.max } else { *x };
                let inside = if below < nudged.min { nudged.min } else { below } - nudged.min;
                *dst = (inside * inverse - zero + 0.5).floor() * nudged.step;
                if *min == 0.0 && *max == 0.0 {
                    *dst = 0.0;
                }
            }
        }
    });
    Ok(())
}
