//! What convolutions and products with their following steps in one share: the room that they compute in, and the ends of ranges.

use crate::operator::{Call, Memory, OpError, Run};

/// The largest sum that is returned: the largest float32 below 2^31.
pub(super) const HIGHEST_SUM: f32 = 2_147_483_520.0;

/// The larger end of a range.
pub(super) fn reach(min: f32, max: f32) -> f32 {
    min.abs().max(max.abs())
}

/// The sums of the first output, and a scale and a bias for each of its channels, the last axis.
pub(super) struct Scratch<'a> {
    pub sums: &'a mut [i32],
    pub scales: &'a mut [f32],
    pub biases: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    /// What it takes.
    pub fn memory(call: &Call<'_>) -> Memory {
        let needed = call.outputs.first().and_then(|output| {
            let channels = output.shape.last()?.checked_mul(2)?;
            output.shape.elements().checked_add(channels)?.checked_mul(size_of::<i32>())
        });
        Memory::scratch(needed.unwrap_or(0))
    }

    /// That of a run.
    ///
    /// # Errors
    /// [`OpError::Internal`] when less was planned.
    pub fn of(run: &mut Run<'a>) -> Result<Scratch<'a>, OpError> {
        let less = OpError::Internal("has less scratch than its sums, scales and biases take");
        let shape = run.output_shape(0);
        let channels = shape.last().copied().unwrap_or(0);
        let scratch = run.scratch_of::<i32>()?;
        let Some((sums, rest)) = scratch.split_at_mut_checked(shape.elements()) else { return Err(less) };
        let Some((scales, rest)) = rest.split_at_mut_checked(channels) else { return Err(less) };
        let Some(biases) = rest.get_mut(..channels) else { return Err(less) };
        Ok(Scratch {
            sums,
            scales: bytemuck::cast_slice_mut(scales),
            biases: bytemuck::cast_slice_mut(biases),
        })
    }
}
