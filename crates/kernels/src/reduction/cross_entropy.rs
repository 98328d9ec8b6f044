//! The cross entropy of softmax and its gradient.

use tightfit_core::{Shape, Shared, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::indices::Indices;
use crate::base::threads::ThreadPool;

/// What is right.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// A probability for each class, of the logits' type; one row stands for all, and one
    /// class for every one.
    Probabilities(TensorView<'a>),
    /// The number of a class for each row, int32 or int64.
    Classes(TensorView<'a>),
}

/// `loss = ln sum e^x - sum label x` and `gradient = softmax(x) - label` for each row of `logits` `[rows, classes]`, of
/// float32 or float64. `loss` has an element for each row, `gradient` one for each of them and each class. One row of
/// logits stands for all, and one element for a whole row.
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
        let logits = Rows::new(values::<T>(logits.bytes(), KERNEL)?, logits.shape(), [rows, classes])?;
        let probabilities = match probabilities {
            Some(p) => Some(Rows::new(values::<T>(p.bytes(), KERNEL)?, p.shape(), [rows, classes])?),
            None => None,
        };
        let loss = Shared::new(values_mut::<T>(loss.bytes(), KERNEL)?);
        let gradient = Shared::new(values_mut::<T>(gradient.bytes(), KERNEL)?);
        split_range(pool, rows, classes * 8, &|first, count| {
            for row in first..first + count {
                // SAFETY: every row belongs to one task, and the outputs outlive the call.
                let (mut loss, mut gradient) = unsafe { (loss.part(row, 1), gradient.part(row * classes, classes)) };
                let x = |class| logits.at(row, class);
                let max = (1..classes).fold(x(0), |a, class| a.max(x(class)));
                let sum: T = (0..classes).map(|class| (x(class) - max).exp()).sum();
                let label = |class: usize| match (&probabilities, &places) {
                    (Some(labels), _) => labels.at(row, class),
                    (_, Some(places)) if places.get(row) == class as i64 => 1.0,
                    _ => 0.0,
                };
                loss[0] = 0.0;
                for (class, gradient) in gradient.iter_mut().enumerate() {
                    let (label, x) = (label(class), x(class));
                    *gradient = (x - max).exp() / sum - label;
                    // A class that is not the label counts for nothing, but no share of an infinite loss is NaN.
                    if label != 0.0 || probabilities.is_some() {
                        loss[0] += label * (sum.ln() - (x - max));
                    }
                }
            }
        });
        Ok(())
    })
}

/// `[rows, classes]`, where one row may stand for all, and one element for a whole row.
struct Rows<'a, T> {
    values: &'a [T],
    strides: [usize; 2],
}

impl<'a, T: Copy> Rows<'a, T> {
    fn new(values: &'a [T], shape: &Shape, sizes: [usize; 2]) -> Result<Self> {
        let given = match shape[..] {
            [] => [1, 1],
            [classes] => [1, classes],
            [rows, classes] => [rows, classes],
            _ => [0; 2],
        };
        let fits = given.iter().zip(sizes).all(|(given, size)| *given == size || *given == 1);
        ensure(
            fits,
            "SoftmaxCrossEntropyWithLogits",
            "logits and labels have the gradient's shape, or 1 for it",
        )?;
        let stride = |axis: usize, step: usize| if given[axis] == 1 { 0 } else { step };
        Ok(Rows { values, strides: [stride(0, given[1]), stride(1, 1)] })
    }

    fn at(&self, row: usize, class: usize) -> T {
        self.values[row * self.strides[0] + class * self.strides[1]]
    }
}
