//! The cross entropy of softmax: SoftmaxCrossEntropyWithLogits and SparseSoftmaxCrossEntropyWithLogits.
//!
//! Inputs: logits `[batch, classes]` (float32 or float64; float16 and bfloat16 are converted around it) and labels: of
//! the logits' type, both broadcast to one shape; or, sparse, `[batch]` of int32 or int64. Outputs: the loss of each row, `[batch]`, and its gradient, `softmax(logits) - labels`.

use tightfit_core::DType;
use tightfit_kernels::{Labels, softmax_cross_entropy};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "SoftmaxCrossEntropyWithLogits",
        import: |_| Ok(Box::new(CrossEntropy { is_sparse: false })),
    },
    Registration {
        name: "SparseSoftmaxCrossEntropyWithLogits",
        import: |_| Ok(Box::new(CrossEntropy { is_sparse: true })),
    },
];

/// The operator.
#[derive(Debug)]
struct CrossEntropy {
    is_sparse: bool,
}

impl CrossEntropy {
    fn dims(&self, logits: &Fact, labels: &Fact) -> Result<Vec<Dim>, OpError> {
        let unknown = vec![Dim::Unknown; 2];
        if !self.is_sparse {
            let dims = shared::broadcast(logits, labels)?;
            if dims.rank().is_some_and(|rank| rank != 2) {
                let why = format!("is of shape {}, no rows of classes with {}", labels.dims, logits.dims);
                return Err(OpError::input(1, why));
            }
            return Ok(dims.get().map_or(unknown, <[Dim]>::to_vec));
        }
        let logit_dims = shared::dims_of_rank(0, logits, 2)?;
        if logit_dims.as_ref().is_some_and(|dims| dims[1] == Dim::Known(0)) && !logits.is_bound {
            return Err(OpError::input(0, format!("is of shape {}, of no classes", logits.dims)));
        }
        let rows = shared::dims_of_rank(1, labels, 1)?.map(|dims| dims[0]);
        if let (Some(dims), Some(Dim::Known(rows))) = (&logit_dims, rows)
            && dims[0].known().is_some_and(|n| n != rows)
        {
            return Err(OpError::input(1, format!("has {rows} labels for logits of shape {}", logits.dims)));
        }
        Ok(logit_dims.unwrap_or(unknown))
    }
}

impl Operator for CrossEntropy {
    fn name(&self) -> &'static str {
        if self.is_sparse { "SparseSoftmaxCrossEntropyWithLogits" } else { "SoftmaxCrossEntropyWithLogits" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (logits, labels) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, logits, &[DType::F32, DType::F64])?;
        let label_types: &[DType] = if self.is_sparse { &[DType::I32, DType::I64] } else { &[logits.dtype] };
        shared::need_type(1, labels, label_types)?;
        let dims = self.dims(logits, labels)?;
        Ok(vec![Fact::new(logits.dtype, Dims::new([dims[0]])), Fact::new(logits.dtype, Dims::new(dims))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (logits, labels) = (run.input(0)?, run.input(1)?);
        let labels = if self.is_sparse { Labels::Classes(labels) } else { Labels::Probabilities(labels) };
        let (mut loss, mut gradient) = (run.output(0)?, run.output(1)?);
        Ok(softmax_cross_entropy(run.pool, logits, labels, &mut loss, &mut gradient)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{refuses, run, tensor};

    #[test]
    fn both_forms_of_labels_agree() {
        let logits = tensor(&[2, 3], &[1.0f64, 2.0, 3.0, 0.0, 0.0, 1000.0]);
        let sparse = [logits.clone(), tensor(&[2], &[2i64, 0])];
        let dense = [logits.clone(), tensor(&[2, 3], &[0.0f64, 0.0, 1.0, 1.0, 0.0, 0.0])];
        let sparse = run("SparseSoftmaxCrossEntropyWithLogits", &[], &sparse).unwrap();
        let dense = run("SoftmaxCrossEntropyWithLogits", &[], &dense).unwrap();
        assert_eq!(sparse, dense);
        let loss = sparse[0].values::<f64>();
        let sum = 1.0 + (-1.0f64).exp() + (-2.0f64).exp();
        assert!((loss[0] - sum.ln()).abs() < 1e-12 && (loss[1] - 1000.0).abs() < 1e-9);
        let gradient = sparse[1].values::<f64>();
        assert!((gradient[2] - (1.0 / sum - 1.0)).abs() < 1e-12);
        let one_label = [logits.clone(), tensor(&[2, 1], &[0.5f64, 1.0])];
        let for_each = [logits.clone(), tensor(&[2, 3], &[0.5f64, 0.5, 0.5, 1.0, 1.0, 1.0])];
        assert_eq!(
            run("SoftmaxCrossEntropyWithLogits", &[], &one_label).unwrap(),
            run("SoftmaxCrossEntropyWithLogits", &[], &for_each).unwrap()
        );
        let row = [tensor(&[3], &[1.0f64, 2.0, 3.0]), tensor(&[2, 1], &[0.5f64, 1.0])];
        let rows = [tensor(&[2, 3], &[1.0f64, 2.0, 3.0, 1.0, 2.0, 3.0]), row[1].clone()];
        assert_eq!(
            run("SoftmaxCrossEntropyWithLogits", &[], &row).unwrap(),
            run("SoftmaxCrossEntropyWithLogits", &[], &rows).unwrap()
        );
        let bad = [logits, tensor(&[2], &[3i32, 0])];
        refuses("SparseSoftmaxCrossEntropyWithLogits", &[], &bad, "3");
        let none = [tensor(&[3, 0], &[0f32; 0]), tensor(&[3], &[0i32; 3])];
        refuses("SparseSoftmaxCrossEntropyWithLogits", &[], &none, "no classes");
    }
}
