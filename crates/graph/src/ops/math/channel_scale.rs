//! A Mul by a factor for each channel and what follows, as one step; made by passes. Inputs are x, float32 `[.., channels]`, the
//! factor `[channels]`, and those of [`crate::operator::product`]. The output may take the memory of x, or of the residual.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::scale_channels;

use crate::fact::Fact;
use crate::operator::product::{Fused, OWN_INPUTS, Product};
use crate::operator::{Call, Memory, OpError, Operator, Run, reshape};
use crate::ops::shared;

/// The operator.
#[derive(Debug, Clone)]
pub struct ChannelScale {
    /// What is done to the products.
    pub fused: Fused,
}

const FACTOR: usize = 1;

impl Operator for ChannelScale {
    fn name(&self) -> &'static str {
        "Mul"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (x, factor) = (shared::input(inputs, 0)?, shared::input(inputs, FACTOR)?);
        shared::need_type(0, x, &[DType::F32])?;
        shared::need_type(FACTOR, factor, &[DType::F32])?;
        let channels = factor.dims.elements().size();
        if x.dims.get().and_then(|dims| dims.last()?.size()).is_none_or(|last| Some(last) != channels) {
            return Err(OpError::input(FACTOR, format!("is of shape {} for {}", factor.dims, x.dims)));
        }
        self.fused.check(inputs, channels)?;
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory { overwrites: [0].into_iter().chain(self.fused.residual()).collect(), ..Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = if run.is_in_place(0) { None } else { Some(run.slice::<f32>(0)?) };
        let (factor, epilogue) = (run.slice::<f32>(FACTOR)?, self.fused.epilogue(run, OWN_INPUTS)?);
        Ok(scale_channels(run.pool, x, factor, run.out(0)?, epilogue)?)
    }

    fn as_product(&self) -> Option<&dyn Product> {
        Some(self)
    }
}

impl Product for ChannelScale {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(ChannelScale { fused })
    }
}
