//! Layer normalisation over the last axis, which passes make of the chain of operators that models write.
//!
//! `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, mean and variance being those of each row of the last axis.
//! Inputs after x, where present and in this order: gamma and beta, of one float32 for each element of the last axis,
//! in whatever shape. Shape: x's. float32. The output may take the memory of x.

use tightfit_core::DType;
use tightfit_kernels::layer_norm;

use crate::fact::Fact;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

/// The operator.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// What is added to the variance.
    pub epsilon: f32,
    /// There is a factor.
    pub has_gamma: bool,
    /// There is a summand.
    pub has_beta: bool,
}

impl LayerNorm {
    fn gamma(&self) -> Option<usize> {
        self.has_gamma.then_some(1)
    }

    fn beta(&self) -> Option<usize> {
        self.has_beta.then_some(1 + self.has_gamma as usize)
    }
}

impl Operator for LayerNorm {
    fn name(&self) -> &'static str {
        "LayerNorm"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let x = shared::input(inputs, 0)?;
        shared::need_type(0, x, &[DType::F32])?;
        let last = x.dims.get().and_then(|dims| dims.last()).and_then(|dim| dim.size());
        for index in [self.gamma(), self.beta()].into_iter().flatten() {
            let vector = shared::input(inputs, index)?;
            shared::need_type(index, vector, &[DType::F32])?;
            if let (Some(last), Some(elements)) = (last, vector.dims.elements().size())
                && last != elements
            {
                return Err(OpError::input(index, format!("has {elements} elements for rows of {last}")));
            }
        }
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let vector = |input: Option<usize>| input.map(|input| run.slice::<f32>(input)).transpose();
        let (gamma, beta, x) = (vector(self.gamma())?, vector(self.beta())?, run.src(0)?);
        Ok(layer_norm(run.pool, gamma, beta, self.epsilon, x, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::evaluate;
    use tightfit_core::{Shape, TensorView};

    #[test]
    fn rows_are_normalised() {
        let x = [1.0f32, 2.0, 3.0, 6.0, -4.0, 0.0, 0.0, 8.0];
        let (gamma, beta) = ([1.0f32, 2.0, 3.0, 4.0], [0.5f32, 0.0, -1.0, 0.0]);
        let operator = LayerNorm { epsilon: 1e-3, has_gamma: true, has_beta: true };
        let shape = Shape::new(&[2, 4]).unwrap();
        let row = Shape::new(&[4]).unwrap();
        let inputs = [
            TensorView::from_slice(shape, &x).unwrap(),
            TensorView::from_slice(row, &gamma).unwrap(),
            TensorView::from_slice(row, &beta).unwrap(),
        ];
        let facts = inputs.map(|view| Fact::new(DType::F32, *view.shape()));
        let outputs = operator.infer(&facts.iter().collect::<Vec<_>>()).unwrap();
        let values =
            evaluate(&operator, &inputs, &outputs, &tightfit_core::MemoryBudget::new(u64::MAX)).unwrap();
        let out: Vec<f32> = values[0].1.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        for (i, out) in out.iter().enumerate() {
            let row = &x[i / 4 * 4..][..4];
            let mean = row.iter().sum::<f32>() / 4.0;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 4.0;
            let want = (x[i] - mean) / (variance + 1e-3).sqrt() * gamma[i % 4] + beta[i % 4];
            assert!((out - want).abs() < 1e-5, "{i}: {out} {want}");
        }
        let short = Fact::new(DType::F32, Shape::new(&[3]).unwrap());
        assert!(operator.infer(&[&facts[0], &short, &facts[2]]).is_err());
    }
}
