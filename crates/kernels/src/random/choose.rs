//! Random choices: classes by their logits, and an order of rows.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::random::philox::{Philox, PhiloxStream};
use crate::random::sample::Number;

/// Draws classes for each row of `logits` (floats, `[rows, classes]`) into `dst` (int32 or int64, `[rows, samples]`).
/// `scratch` holds a float64 for each class.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::Scratch`] for too little scratch,
/// [`KernelError::DType`] for other types.
pub fn multinomial(
    philox: Philox,
    logits: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "Multinomial";
    let rule = "logits are [rows, classes], samples [rows, samples]";
    let (&[rows, classes], &[out_rows, samples]) = (&logits.shape()[..], &dst.shape()[..]) else {
        return Err(KernelError::Invalid { kernel: KERNEL, rule });
    };
    ensure(rows == out_rows && classes > 0, KERNEL, rule)?;
    if samples == 0 {
        return Ok(());
    }
    let (needed_bytes, given_bytes) = (classes * 8, scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let sums = values_mut::<f64>(scratch, KERNEL)?;
    let mut stream = PhiloxStream::new(philox);
    for_dtype!(logits.dtype(), KERNEL, floats, T => {
        let logits = values::<T>(logits.bytes(), KERNEL)?;
        for_dtype!(dst.dtype(), KERNEL, [I32, I64], I => {
            let dst = values_mut::<I>(dst.bytes(), KERNEL)?;
            for (logits, dst) in logits.chunks_exact(classes).zip(dst.chunks_exact_mut(samples)) {
                let total = sum_up(logits, sums);
                for to in dst {
                    let wanted = stream.next_f64() * total;
                    // The first class whose sum is more; none where that is NaN.
                    *to = sums.partition_point(|sum| !(wanted < *sum)) as I;
                }
            }
            Ok(())
        })
    })
}

/// The sums of e^(logit - the largest) up to each class, those left out that are not finite; the last of them.
fn sum_up<T: Number>(logits: &[T], sums: &mut [f64]) -> f64 {
    let finite = |x: &T| Some(x.to_f64()).filter(|x| x.is_finite());
    let largest = logits.iter().filter_map(finite).fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for (logit, sum) in logits.iter().zip(sums) {
        total += finite(logit).map_or(0.0, |x| (x - largest).exp());
        *sum = total;
    }
    total
}

/// Puts the numbers from 0 on in a random order, for which it draws one number less than there are.
pub fn random_order(philox: Philox, order: &mut [u32]) {
    let mut stream = PhiloxStream::new(philox);
    order.iter_mut().zip(0..).for_each(|(to, i)| *to = i);
    for i in 0..order.len().saturating_sub(1) {
        let left = (order.len() - i) as u32;
        order.swap(i, i + (stream.next_u32() % left) as usize);
    }
}
