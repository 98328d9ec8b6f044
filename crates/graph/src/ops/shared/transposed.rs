//! Transposed convolutions, of images and of volumes: inputs 1 and 2, or as [`Transposed`] says, are the filter `[.., channels,
//! in_channels]` and the input `[batch, .., in_channels]`.
//!
//! float32 is a product with a weight: a matrix for each tap, read into the kernel's panels when it is resident and multiplied
//! tap by tap when it is streamed. float64 and int32 have a plain kernel.

use tightfit_core::{DType, Element};
use tightfit_kernels::{Conv3dParams, ConvTranspose as Kernel, Isa, Term, conv3d_transpose_plain};

use super::volume::WindowAttributes3;
use super::weighted::{self, WEIGHT};
use crate::operator::product::Fused;
use crate::operator::{Call, Memory, OpError, Run, WeightUse};

/// What a transposed convolution multiplies, and how the convolution moves that this is the transpose of.
#[derive(Debug, Clone, Copy)]
pub struct Transposed {
    /// Those of the convolution.
    pub window: WindowAttributes3,
    /// Which input is multiplied with the filter, which is [`WEIGHT`].
    pub input: usize,
    /// What is done to the sums.
    pub fused: Fused,
}

/// Images as volumes of depth 1; `at` is where the depth is.
fn five(shape: &[usize], at: usize) -> Result<[usize; 5], OpError> {
    match *shape {
        [a, b, c, d, e] => Ok([a, b, c, d, e]),
        [a, b, c, d] if at == 0 => Ok([1, a, b, c, d]),
        [a, b, c, d] => Ok([a, 1, b, c, d]),
        _ => Err(OpError::Internal("a transposed convolution of other than four or five dimensions")),
    }
}

impl Transposed {
    /// The convolution of the output that this is the transpose of.
    fn convolution(&self, output: &[usize], filter: &[usize]) -> Result<Conv3dParams, OpError> {
        let [batch, depth, height, width, in_channels] = five(output, 1)?;
        let [planes, rows, columns, _, out_channels] = five(filter, 0)?;
        let size = [depth, height, width];
        let window = self.window.window([planes, rows, columns], size);
        Ok(Conv3dParams { batch, size, in_channels, out_channels, window, groups: 1 })
    }

    fn kernel(&self, isa: Isa, output: &[usize], filter: &[usize]) -> Result<Kernel, OpError> {
        Ok(Kernel::new(isa, self.convolution(output, filter)?)?)
    }

    /// Checks that a float32 kernel has a way for these shapes.
    ///
    /// # Errors
    /// [`OpError`] for what is too large.
    pub fn check(&self, output: &[usize], filter: &[usize]) -> Result<(), OpError> {
        let is_empty = output.contains(&0) || filter.contains(&0);
        if is_empty { Ok(()) } else { self.kernel(Isa::Portable, output, filter).map(|_| ()) }
    }

    fn planned(&self, call: &Call<'_>) -> Option<Kernel> {
        let filter = call.inputs.get(WEIGHT).filter(|filter| filter.dtype == DType::F32)?;
        self.kernel(call.isa, &call.outputs.first()?.shape, &filter.shape).ok()
    }

    /// What it needs at these shapes.
    pub fn memory(&self, call: &Call<'_>) -> Memory {
        // The sums of several taps are kept in the output, so no residual can wait there.
        let overwrites = Default::default();
        let memory = |kernel| Memory { overwrites, ..weighted::memory(&kernel, &self.fused, call) };
        self.planned(call).map_or(Memory::default(), memory)
    }

    /// Each element of the input is multiplied with all of the filter for its channel.
    pub fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let (input, filter) = (call.inputs.get(self.input)?.shape, call.inputs.get(WEIGHT)?.shape);
        let channels = input.last().filter(|channels| **channels > 0)?;
        Some(2.0 * input.elements() as f64 * filter.elements() as f64 / *channels as f64)
    }

    /// How the filter is wanted.
    pub fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let taps = call.inputs.get(WEIGHT)?.shape.iter().rev().skip(2).product();
        Some(weighted::weight_use(&self.planned(call)?, call, true, taps))
    }

    /// Computes the output, whose shape is set.
    ///
    /// # Errors
    /// What the kernels refuse.
    pub fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let has_nothing = run.shape(self.input).elements() == 0 || run.shape(WEIGHT).elements() == 0;
        if run.output_shape(0).elements() == 0 || (has_nothing && self.fused == Fused::default()) {
            run.output(0)?.bytes().fill(0);
            return Ok(());
        }
        match run.dtype(WEIGHT) {
            DType::F32 => {
                let kernel = self.kernel(run.pool.isa(), &run.output_shape(0), &run.shape(WEIGHT))?;
                let (given, needed) = (five(&run.shape(self.input), 1)?, kernel.input_shape());
                if given != needed {
                    let why = format!("is of shape {given:?} where the output's gives {needed:?}");
                    return Err(OpError::input(self.input, why));
                }
                weighted::run(&kernel, &self.fused, self.input, run)
            }
            DType::I32 => self.plainly::<i32>(run),
            _ => self.plainly::<f64>(run),
        }
    }

    /// By a plain kernel without scratch.
    fn plainly<T: Element + Term>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let convolution = self.convolution(&run.output_shape(0), &run.shape(WEIGHT))?;
        let (filter, input) = (run.slice::<T>(WEIGHT)?, run.slice::<T>(self.input)?);
        Ok(conv3d_transpose_plain(run.pool, &convolution, input, filter, run.out(0)?)?)
    }
}
