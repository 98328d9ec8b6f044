//! Transposed convolutions, of images and of volumes: float32 is the plain convolution, with stride 1, of the input with
//! zeros stuffed between its elements by the filter turned around, both made in scratch. Rows of padding beyond the filter's
//! reach are left out of it. float64 and int32 have a plain kernel, which a filter with infinities goes to as well: zeros that are
//! stuffed would make NaN of them.

use tightfit_core::{ALIGNMENT, DType, Element};
use tightfit_kernels::{
    Conv2d as Kernel, Conv3dParams, Epilogue, Isa, Term, WeightForm, WeightedProduct as _, Weights, Window3,
    conv3d_transpose_plain, stuff_zeros, stuffed_size, turn_filter,
};

use super::volume::WindowAttributes3;
use crate::operator::{Call, Memory, OpError, Run};

/// Which inputs are the filter and what it is multiplied with, and how the convolution moves that this is the transpose of.
#[derive(Debug, Clone, Copy)]
pub struct Transposed {
    /// Those of the convolution.
    pub window: WindowAttributes3,
    /// `[.., channels, in_channels]`.
    pub filter: usize,
    /// `[batch, .., in_channels]`.
    pub input: usize,
}

/// The plain convolution at concrete shapes.
struct Plain {
    kernel: Kernel,
    input: [usize; 5],
    /// Taps, channels of the output and of the input.
    filter: [usize; 3],
    /// Planes, rows and columns that are left out of it.
    crops: [usize; 6],
    /// Floats of the input with zeros between its pixels.
    stuffed_floats: usize,
}

impl Plain {
    fn filter_floats(&self) -> usize {
        self.filter.iter().product()
    }
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
    /// The plain convolution; `None` where the filter reaches no element of the output, which is 0 then.
    fn plain(
        &self,
        isa: Isa,
        output: &[usize],
        filter: &[usize],
        input: &[usize],
    ) -> Result<Option<Plain>, OpError> {
        let (output, filter, input) = (five(output, 1)?, five(filter, 0)?, five(input, 1)?);
        if [output, filter, input].iter().any(|dims| dims.contains(&0)) {
            return Ok(None);
        }
        let size = [filter[0], filter[1], filter[2]];
        let window = self.window.window(size, [output[1], output[2], output[3]]);
        let too_large = || OpError::input(self.input, "is too large once zeros are put between its elements");
        let strides = self.window.strides;
        let stuffed = stuffed_size([input[1], input[2], input[3]], strides).ok_or_else(too_large)?;
        let (mut pads, mut crops, mut left) = ([0; 6], [0; 6], [0; 3]);
        for axis in 0..3 {
            let reach = size[axis].saturating_sub(1).saturating_mul(self.window.dilations[axis]);
            // What padding the filter does not reach is cut off the volume.
            let around = |size: usize, less: usize| (size.saturating_sub(less), less.saturating_sub(size));
            let (before, crop) = around(reach, window.pads[2 * axis]);
            let (after, crop_behind) = around(output[axis + 1] + reach + crop, stuffed[axis] + before);
            (pads[2 * axis], pads[2 * axis + 1]) = (before, after);
            (crops[2 * axis], crops[2 * axis + 1]) = (crop, crop_behind);
            match stuffed[axis].checked_sub(crop.saturating_add(crop_behind)) {
                Some(elements) if elements > 0 => left[axis] = elements,
                // All of it lies in the padding.
                _ => return Ok(None),
            }
        }
        let window = Window3 { strides: [1; 3], pads, skips: [0; 3], ..window };
        let (batch, in_channels, out_channels) = (input[0], input[4], filter[3]);
        let params = Conv3dParams { batch, size: left, in_channels, out_channels, window, groups: 1 };
        let kernel = Kernel::of_volumes(isa, params)?;
        let is_stuffed = strides != [1; 3] || crops != [0; 6];
        let sizes = [batch, left[0], left[1], left[2], in_channels];
        let floats = sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size)).ok_or_else(too_large)?;
        let taps = size.iter().product();
        Ok(Some(Plain {
            kernel,
            input,
            filter: [taps, filter[3], filter[4]],
            crops,
            stuffed_floats: if is_stuffed { floats } else { 0 },
        }))
    }

    /// Checks that a float32 kernel has a way for these shapes.
    ///
    /// # Errors
    /// [`OpError`] for what is too large.
    pub fn check(&self, output: &[usize], filter: &[usize], input: &[usize]) -> Result<(), OpError> {
        self.plain(Isa::Portable, output, filter, input).map(|_| ())
    }

    /// What it needs at these shapes.
    pub fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs[self.filter].dtype != DType::F32 {
            return Memory::default();
        }
        let (filter, input) = (call.inputs[self.filter].shape, call.inputs[self.input].shape);
        let Ok(Some(plain)) = self.plain(call.isa, &call.outputs[0].shape, &filter, &input) else {
            return Memory::default();
        };
        let copies = [plain.filter_floats(), plain.stuffed_floats]
            .map(|floats| floats.saturating_mul(4).next_multiple_of(ALIGNMENT));
        let kernel = plain.kernel.scratch_bytes(call.threads, WeightForm::Unpacked);
        Memory::scratch(copies.iter().fold(kernel, |sum, bytes| sum.saturating_add(*bytes)))
    }

    /// Computes the output, whose shape is set.
    ///
    /// # Errors
    /// What the kernels refuse.
    pub fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.dtype(self.filter) != DType::F32 {
            return self.run_directly(run);
        }
        let shapes = (run.output_shape(0), run.shape(self.filter), run.shape(self.input));
        let Some(plain) = self.plain(run.pool.isa(), &shapes.0, &shapes.1, &shapes.2)? else {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        };
        let (filter, input) = (run.slice::<f32>(self.filter)?, run.slice::<f32>(self.input)?);
        if !filter.iter().all(|value| value.is_finite()) {
            return self.run_directly(run);
        }
        let (turned, rest) = floats(run.scratch()?, plain.filter_floats())?;
        let (stuffed, scratch) = floats(rest, plain.stuffed_floats)?;
        turn_filter(run.pool, plain.filter, filter, turned)?;
        let input = if plain.stuffed_floats > 0 {
            stuff_zeros(run.pool, plain.input, self.window.strides, plain.crops, input, stuffed)?;
            stuffed
        } else {
            input
        };
        let weights = Weights::Unpacked(bytemuck::cast_slice(turned));
        Ok(plain.kernel.run(run.pool, input, weights, run.out(0)?, Epilogue::default(), scratch)?)
    }

    /// By a plain kernel without scratch.
    fn run_directly(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (filter_shape, input_shape) = (run.shape(self.filter), run.shape(self.input));
        let [batch, depth, height, width, in_channels] = five(&run.output_shape(0), 1)?;
        let [planes, rows, columns, _, out_channels] = five(&filter_shape, 0)?;
        if input_shape.elements() == 0 || filter_shape.elements() == 0 {
            run.output(0)?.bytes().fill(0);
            return Ok(());
        }
        let size = [depth, height, width];
        let window = self.window.window([planes, rows, columns], size);
        let params = Conv3dParams { batch, size, in_channels, out_channels, window, groups: 1 };
        match run.dtype(self.filter) {
            DType::I32 => self.plainly::<i32>(run, &params),
            DType::F32 => self.plainly::<f32>(run, &params),
            _ => self.plainly::<f64>(run, &params),
        }
    }

    fn plainly<T: Element + Term>(&self, run: &mut Run<'_>, params: &Conv3dParams) -> Result<(), OpError> {
        let (filter, input) = (run.slice::<T>(self.filter)?, run.slice::<T>(self.input)?);
        Ok(conv3d_transpose_plain(run.pool, params, input, filter, run.out(0)?)?)
    }
}

/// The first floats of a memory, and the rest from the next aligned byte on.
fn floats(memory: &mut [u8], count: usize) -> Result<(&mut [f32], &mut [u8]), OpError> {
    let missing = || OpError::Internal("less scratch than was planned");
    let (first, rest) =
        memory.split_at_mut_checked((count * 4).next_multiple_of(ALIGNMENT)).ok_or_else(missing)?;
    Ok((bytemuck::try_cast_slice_mut(&mut first[..count * 4]).map_err(|_| missing())?, rest))
}
