//! What a product (convolution, depthwise convolution, matrix product) does to its sums before it stores them.
//!
//! Inputs after the operator's own two are, where present and in this order: `scale` and `shift`, float32 vectors of
//! one element per output channel, and `residual`, a tensor of the output's shape:
//! `output = activation(scale * sum + shift + residual)`.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{Activation, Epilogue, Residual};

use super::{Held, Memory, OpError, Operator, Run};
use crate::fact::Fact;

/// Which parts of the epilogue there are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fused {
    /// A factor per channel.
    pub has_scale: bool,
    /// A summand per channel.
    pub has_shift: bool,
    /// A summand per element.
    pub has_residual: bool,
    /// What is applied last.
    pub activation: Activation,
}

/// An operator with an epilogue.
pub trait Product: Operator {
    /// Its epilogue.
    fn fused(&self) -> Fused;

    /// The same product with another epilogue.
    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator>;

    /// The same product with so many zeros more around its image (top, bottom, left, right); `None` where it has no
    /// image, or where how many there are depends on the image's size.
    fn padded(&self, zeros: [usize; 4]) -> Option<Arc<dyn Operator>> {
        let _ = zeros;
        None
    }
}

/// Inputs of a product before those of its epilogue.
pub const OWN_INPUTS: usize = 2;

impl Fused {
    /// Which input is the scale.
    pub fn scale(&self) -> Option<usize> {
        self.has_scale.then_some(OWN_INPUTS)
    }

    /// Which input is the shift.
    pub fn shift(&self) -> Option<usize> {
        self.has_shift.then_some(OWN_INPUTS + self.has_scale as usize)
    }

    /// Which input is the residual.
    pub fn residual(&self) -> Option<usize> {
        self.has_residual.then_some(OWN_INPUTS + self.has_scale as usize + self.has_shift as usize)
    }

    /// How many inputs there are, the product's own among them.
    pub fn inputs(&self) -> usize {
        OWN_INPUTS
            + [self.has_scale, self.has_shift, self.has_residual].map(usize::from).iter().sum::<usize>()
    }

    /// True where only scale and shift may be there.
    pub fn is_linear(&self) -> bool {
        !self.has_residual && self.activation == Activation::None
    }

    /// Checks the epilogue's inputs of a product with `channels` output channels.
    ///
    /// # Errors
    /// [`OpError::Input`] for a vector of another length or type.
    pub fn check(&self, inputs: &[&Fact], channels: Option<usize>) -> Result<(), OpError> {
        for input in [self.scale(), self.shift()].into_iter().flatten() {
            let elements = inputs.get(input).map(|f| (f.dtype, f.dims.elements().size()));
            if elements != Some((DType::F32, channels)) {
                return Err(OpError::input(
                    input,
                    format!("is {elements:?}, not a float32 vector of {channels:?}"),
                ));
            }
        }
        Ok(())
    }

    /// The memory of a product with this epilogue, whose weight is in this place.
    pub fn memory(&self, scratch_bytes: usize, weight: Held) -> Memory {
        // The sums of a streamed product are kept in the output, so a residual cannot wait there.
        let overwrites = if weight == Held::Streamed { None } else { self.residual() };
        Memory { scratch_bytes, overwrites: overwrites.into_iter().collect(), ..Memory::default() }
    }

    /// The epilogue of a running step, whose inputs begin with number `first`: with [`OWN_INPUTS`] where the step is nothing
    /// but the product.
    ///
    /// # Errors
    /// [`OpError::Internal`] when an input is not as it was inferred.
    pub fn epilogue<'a>(&self, run: &Run<'a>, first: usize) -> Result<Epilogue<'a>, OpError> {
        let place = |input: Option<usize>| input.map(|input| input - OWN_INPUTS + first);
        let vector = |input: Option<usize>| place(input).map(|i| run.slice::<f32>(i)).transpose();
        let residual = match place(self.residual()) {
            None => Residual::None,
            Some(input) if run.is_in_place(input) => Residual::Output,
            Some(input) => Residual::Tensor(run.slice(input)?),
        };
        Ok(Epilogue {
            scale: vector(self.scale())?,
            shift: vector(self.shift())?,
            residual,
            activation: self.activation,
        })
    }
}
