//! The cross entropy of softmax and its gradient.

use tightfit_core::{TensorView, TensorViewMut};

use crate::ThreadPool;
use crate::access::{Shared, for_dtype, split_range, values, values_mut};
use crate::error::{Result, ensure};
use crate::gather::Indices;

/// What is right.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// A probability for each class, of the logits' type; one row stands for all.
    Probabilities(TensorView<'a>),
    /// The number of a class for each row, int32 or int64.
    Classes(TensorView<'a>),
}

/// `loss = ln sum e^x - sum label x` and `gradient = softmax(x) - label` for each row of `logits` `[rows, classes]`, of
/// float32 or float64. `loss` has an element for each row, `gradient` one for each of them and each class. One row of
/// logits stands for all.
///
/// # Errors
/// [`crate::KernelError::Index`] for a label that is no class, [`crate::KernelError::Invalid`] for shapes that do not go
/// together, [`crate::KernelError::DType`] for other types.
pub fn softmax_cross_entropy(
    pool: &ThreadPool,
    logits: TensorView<'_>,
    labels: Labels<'_>,
    loss: &mut TensorViewMut<'_>,
    gradient: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SoftmaxCrossEntropyWithLogits";
    let dtype = logits.dtype();
    ensure(loss.dtype() == dtype && gradient.dtype() == dtype, KERNEL, "all are of one element type")?;
    let rows = loss.shape().elements();
    let classes = gradient.shape().elements().checked_div(rows).unwrap_or(0);
    if classes == 0 {
        loss.bytes().fill(0);
        return Ok(());
    }
    let (probabilities, places) = match labels {
        Labels::Probabilities(view) => (Some(view), None),
        Labels::Classes(view) => (None, Some(Indices::new(KERNEL, view)?)),
    };
    if let Some(places) = &places {
        ensure(places.len() == rows, KERNEL, "there is a label for each row")?;
        places.check(KERNEL, |_| classes)?;
    }
    ensure(probabilities.is_none_or(|p| p.dtype() == dtype), KERNEL, "the labels have the logits' type")?;
    for_dtype!(dtype, KERNEL, [F32, F64], T => {
        let logits = Rows { values: values::<T>(logits.bytes(), KERNEL)?, classes };
        let probabilities = probabilities.map(|p| values::<T>(p.bytes(), KERNEL)).transpose()?;
        let probabilities = probabilities.map(|values| Rows { values, classes });
        ensure(
            logits.fits(rows) && probabilities.as_ref().is_none_or(|p| p.fits(rows)),
            KERNEL,
            "logits and labels have a row for each loss, or one for all",
        )?;
        let loss = Shared::new(values_mut::<T>(loss.bytes(), KERNEL)?);
        let gradient = Shared::new(values_mut::<T>(gradient.bytes(), KERNEL)?);
        split_range(pool, rows, classes * 8, &|first, count| {
            for row in first..first + count {
                // SAFETY: every row belongs to one task, and the outputs outlive the call.
                let (loss, gradient) = unsafe { (loss.range(row, 1), gradient.range(row * classes, classes)) };
                let x = logits.row(row);
                let max = x.iter().fold(x[0], |a, b| a.max(*b));
                let sum: T = x.iter().map(|x| (x - max).exp()).sum();
                let label = |class: usize| match (&probabilities, &places) {
                    (Some(rows), _) => rows.row(row)[class],
                    (_, Some(places)) if places.get(row) == class as i64 => 1.0,
                    _ => 0.0,
                };
                loss[0] = 0.0;
                for (class, (gradient, x)) in gradient.iter_mut().zip(x).enumerate() {
                    let label = label(class);
                    *gradient = (x - max).exp() / sum - label;
                    // Nothing times an infinite loss is nothing.
                    if label != 0.0 {
                        loss[0] += label * (sum.ln() - (x - max));
                    }
                }
            }
        });
        Ok(())
    })
}

struct Rows<'a, T> {
    values: &'a [T],
    classes: usize,
}

impl<T> Rows<'_, T> {
    fn fits(&self, rows: usize) -> bool {
        self.values.len() == self.classes || self.values.len() == self.classes * rows
    }

    fn row(&self, row: usize) -> &[T] {
        let row = if self.values.len() == self.classes { 0 } else { row };
        &self.values[row * self.classes..][..self.classes]
    }
}
