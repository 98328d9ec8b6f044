//! Fourier transforms: FFT, IFFT, RFFT and IRFFT over the last axis, the last two (2D), three (3D), or as many as there are
//! axes named (ND).
//!
//! FFT and IFFT take complex numbers and give as many; RFFT takes real ones and gives the first half of their transform, `n / 2 +
//! 1` of the length n; IRFFT takes such a half. RFFT, IRFFT and the ND ones have the lengths as an input, int32: an axis
//! that is longer is cut. The axes of the ND ones are the last ones, in order. Types: complex64 with float32, complex128 with
//! float64. The way back is divided by the number of elements.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{
    Fourier as Transform, FourierKind, fourier, fourier_scratch_bytes, fourier_scratch_bytes_at_most,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

const FORWARD: FourierKind = FourierKind::Complex { is_inverse: false };
const BACK: FourierKind = FourierKind::Complex { is_inverse: true };

macro_rules! transforms {
    ($($name:literal $kind:expr, $axes:expr;)*) => {
        &[$(Registration { name: $name, import: |a| import(a, $name, $kind, $axes) }),*]
    };
}

pub(crate) const OPS: &[Registration] = transforms! {
    "FFT" FORWARD, Some(1);
    "FFT2D" FORWARD, Some(2);
    "FFT3D" FORWARD, Some(3);
    "FFTND" FORWARD, None;
    "IFFT" BACK, Some(1);
    "IFFT2D" BACK, Some(2);
    "IFFT3D" BACK, Some(3);
    "IFFTND" BACK, None;
    "RFFT" FourierKind::FromReal, Some(1);
    "RFFT2D" FourierKind::FromReal, Some(2);
    "RFFT3D" FourierKind::FromReal, Some(3);
    "RFFTND" FourierKind::FromReal, None;
    "IRFFT" FourierKind::ToReal, Some(1);
    "IRFFT2D" FourierKind::ToReal, Some(2);
    "IRFFT3D" FourierKind::ToReal, Some(3);
    "IRFFTND" FourierKind::ToReal, None;
};

fn import(
    attributes: &Attributes<'_>,
    name: &'static str,
    kind: FourierKind,
    axes: Option<usize>,
) -> Result<Box<dyn Operator>, OpError> {
    let complex = attributes.dtype_or("Tcomplex", DType::C64)?;
    let real = match complex {
        DType::C64 => DType::F32,
        DType::C128 => DType::F64,
        other => {
            return Err(OpError::attribute(
                "Tcomplex",
                format!("is {other}; complex64 or complex128 is needed"),
            ));
        }
    };
    if matches!(kind, FourierKind::FromReal | FourierKind::ToReal)
        && attributes.dtype_or("Treal", DType::F32)? != real
    {
        return Err(OpError::attribute("Treal", format!("is not {real}, the parts of {complex}")));
    }
    let [from, to] = match kind {
        FourierKind::Complex { .. } => [complex; 2],
        FourierKind::FromReal => [real, complex],
        FourierKind::ToReal => [complex, real],
    };
    Ok(Box::new(Fourier { name, kind, axes, from, to }))
}

#[derive(Debug)]
struct Fourier {
    name: &'static str,
    kind: FourierKind,
    /// How many axes are transformed, where no input says it.
    axes: Option<usize>,
    from: DType,
    to: DType,
}

const LENGTHS: usize = 1;
const AXES: usize = 2;

impl Fourier {
    fn has_lengths(&self) -> bool {
        self.axes.is_none() || !matches!(self.kind, FourierKind::Complex { .. })
    }

    /// Checks that the axes named are the last of so many, in order.
    fn check_axes(axes: &[i64], rank: usize) -> Result<(), OpError> {
        let first = rank as i64 - axes.len() as i64;
        let why = || {
            let why = format!("is {axes:?}; the last axes of {rank} in order are supported");
            OpError::input(AXES, why)
        };
        let is_right = |(at, axis): (usize, &i64)| {
            let axis = if *axis < 0 { *axis + rank as i64 } else { *axis };
            axis == first + at as i64
        };
        if axes.is_empty() || first < 0 || !axes.iter().enumerate().all(is_right) {
            return Err(why());
        }
        Ok(())
    }

    /// The dimension of the output for a length that is asked for.
    fn output_dim(&self, length: i64, is_last: bool) -> i64 {
        if self.kind == FourierKind::FromReal && is_last && length > 0 { length / 2 + 1 } else { length }
    }

    /// Checks a length against the dimension it is taken from.
    fn check_length(&self, length: i64, dim: usize, is_last: bool) -> Result<(), OpError> {
        if length < 0 {
            return Err(OpError::input(LENGTHS, format!("asks for a length of {length}")));
        }
        let needed = if self.kind == FourierKind::ToReal && is_last { length / 2 + 1 } else { length };
        let is_checked = !matches!(self.kind, FourierKind::Complex { .. });
        if is_checked && dim > 0 && (dim as i64) < needed {
            let why = format!("asks for a length of {length}, for which an axis of {dim} is too short");
            return Err(OpError::input(LENGTHS, why));
        }
        Ok(())
    }

    /// How many axes are transformed, as far as is known, and the lengths.
    fn asked(
        &self,
        inputs: &[&Fact],
        rank: Option<usize>,
    ) -> Result<(Option<usize>, Option<Vec<Dim>>), OpError> {
        let mut count = self.axes;
        if self.axes.is_none() {
            let axes = shared::input(inputs, AXES)?;
            shared::need_type(AXES, axes, &[DType::I32])?;
            count = shared::dims_of_rank(AXES, axes, 1)?.and_then(|dims| dims[0].size());
            if let (Some(axes), Some(rank)) = (axes.ints(), rank) {
                Fourier::check_axes(&axes, rank)?;
            }
        }
        if !self.has_lengths() {
            return Ok((count, None));
        }
        let lengths = shared::input(inputs, LENGTHS)?;
        shared::need_type(LENGTHS, lengths, &[DType::I32])?;
        let given = shared::dims_of_rank(LENGTHS, lengths, 1)?.and_then(|dims| dims[0].size());
        if given.zip(count).is_some_and(|(given, count)| given != count) {
            let why = format!(
                "is of shape {}; a length for each of {} axes is needed",
                lengths.dims,
                count.unwrap_or(0)
            );
            return Err(OpError::input(LENGTHS, why));
        }
        Ok((count.or(given), lengths.dims_value()))
    }
}

impl Operator for Fourier {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        input == LENGTHS && self.has_lengths()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[self.from])?;
        let (count, lengths) = self.asked(inputs, input.dims.rank())?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(self.to, Dims::UNKNOWN)]) };
        if count.is_some_and(|count| dims.len() < count) {
            let why = format!("is of shape {}, fewer axes than are transformed", input.dims);
            return Err(OpError::input(0, why));
        }
        let Some(count) = count.filter(|_| self.has_lengths()) else {
            let dims = if self.has_lengths() { Dims::of_rank(dims.len()) } else { input.dims.clone() };
            return Ok(vec![Fact::new(self.to, dims)]);
        };
        let mut output = dims.to_vec();
        let batch = dims.len() - count;
        for (at, dim) in output[batch..].iter_mut().enumerate() {
            let is_last = at + 1 == count;
            *dim = match lengths.as_ref().map(|lengths| lengths[at]) {
                Some(Dim::Known(length)) => {
                    if let (Some(size), false) = (dim.size(), input.is_bound) {
                        self.check_length(length, size, is_last)?;
                    }
                    Dim::Known(self.output_dim(length, is_last))
                }
                Some(open) if !(is_last && self.kind == FourierKind::FromReal) => open,
                _ => Dim::Unknown,
            };
            shared::extent::not_negative(LENGTHS, *dim)?;
        }
        Ok(vec![Fact::new(self.to, Dims::new(output))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Some(output) = call.outputs.first() else { return Memory::default() };
        let rank = output.shape.rank();
        let count = self.axes.or(call.inputs.get(AXES).map(|axes| axes.shape.elements())).unwrap_or(rank);
        let mut lengths = [0; MAX_RANK];
        let first = rank.saturating_sub(count);
        lengths[..rank - first].copy_from_slice(&output.shape[first..]);
        if output.is_bound {
            if let (FourierKind::FromReal, Some(last)) = (self.kind, lengths[..rank - first].last_mut()) {
                *last *= 2;
            }
            return Memory::scratch(self.scratch_bytes(
                &lengths[..rank - first],
                &output.shape,
                call.threads,
                true,
            ));
        }
        if let (FourierKind::FromReal, true) = (self.kind, rank > first) {
            // Of the two lengths that make so many, each may be what needs more.
            let half = output.shape[rank - 1].saturating_sub(1) * 2;
            let of = |last: usize| {
                let mut lengths = lengths;
                lengths[rank - first - 1] = last;
                self.scratch_bytes(&lengths[..rank - first], &output.shape, call.threads, false)
            };
            return Memory::scratch(of(half).max(of(half + 1)));
        }
        Memory::scratch(self.scratch_bytes(&lengths[..rank - first], &output.shape, call.threads, false))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        if !self.has_lengths() {
            return reshape::same(run, 0);
        }
        let lengths = run.ints::<MAX_RANK>(LENGTHS).ok()?;
        let first = shape.rank().checked_sub(lengths.len())?;
        let dims = shape[..first].iter().copied().chain(lengths.iter().enumerate().map(|(at, length)| {
            usize::try_from(self.output_dim(*length, at + 1 == lengths.len())).unwrap_or(usize::MAX)
        }));
        reshape::set(run, 0, dims)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.shape(0);
        let mut lengths = [0; MAX_RANK];
        let count = if self.has_lengths() {
            if self.axes.is_none() {
                Fourier::check_axes(&run.ints::<MAX_RANK>(AXES)?, shape.rank())?;
            }
            let asked = run.ints::<MAX_RANK>(LENGTHS)?;
            let first = shape.rank().checked_sub(asked.len()).ok_or_else(|| {
                OpError::input(LENGTHS, format!("is {:?} for a tensor of shape {shape}", &*asked))
            })?;
            for (at, length) in asked.iter().enumerate() {
                self.check_length(*length, shape[first + at], at + 1 == asked.len())?;
                lengths[at] = *length as usize;
            }
            asked.len()
        } else {
            let count = self.axes.unwrap_or(0).min(shape.rank());
            lengths[..count].copy_from_slice(&shape[shape.rank() - count..]);
            count
        };
        let what = Transform { kind: self.kind, lengths: &lengths[..count] };
        let scratch = run.scratch()?;
        Ok(fourier(run.pool, &what, run.input(0)?, &mut run.output(0)?, scratch)?)
    }
}

impl Fourier {
    /// Scratch for these lengths, or for these and any that are smaller.
    fn scratch_bytes(&self, lengths: &[usize], output: &Shape, threads: usize, is_bound: bool) -> usize {
        let part_bytes = if self.from == DType::C128 || self.from == DType::F64 { 8 } else { 4 };
        let bytes = if is_bound { fourier_scratch_bytes_at_most } else { fourier_scratch_bytes };
        bytes(&Transform { kind: self.kind, lengths }, output, part_bytes, threads)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::DType;

    fn complex(dims: &[usize], parts: &[f32]) -> Tensor {
        let shape = [dims, &[2]].concat();
        let parts = tensor(&shape, parts);
        Tensor { dtype: DType::C64, shape: tightfit_core::Shape::new(dims).unwrap(), ..parts }
    }

    #[test]
    fn transforms_last_axes() {
        let x = complex(&[2, 2], &[1.0, 0.0, 2.0, 0.0, 3.0, 1.0, 5.0, 0.0]);
        let rows = complex(&[2, 2], &[3.0, 0.0, -1.0, 0.0, 8.0, 1.0, -2.0, 1.0]);
        check("FFT", &[], &[x.clone()], &[rows.clone()]);
        check("IFFT", &[], &[rows.clone()], &[x.clone()]);
        let plane = complex(&[2, 2], &[11.0, 1.0, -3.0, 1.0, -5.0, -1.0, 1.0, -1.0]);
        check("FFT2D", &[], &[x.clone()], &[plane.clone()]);
        let nd = |axes: &[i32]| {
            [x.clone(), tensor(&[axes.len()], &vec![2i32; axes.len()]), tensor(&[axes.len()], axes)]
        };
        check("FFTND", &[], &nd(&[0, -1]), &[plane]);
        check("FFTND", &[], &nd(&[1]), &[rows]);
        refuses("FFTND", &[], &nd(&[0]), "last axes");
        refuses("FFT3D", &[], &[x.clone()], "fewer axes");
        refuses("FFT", &[("Tcomplex", dtype(DType::C128))], &[x], "complex64");
    }

    #[test]
    fn halves_of_real_transforms() {
        let x = tensor(&[4], &[1f32, 2.0, 3.0, 4.0]);
        let half = complex(&[3], &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0]);
        let length = |n: i32| tensor(&[1], &[n]);
        check("RFFT", &[], &[x.clone(), length(4)], &[half.clone()]);
        check("RFFT", &[], &[x.clone(), length(2)], &[complex(&[2], &[3.0, 0.0, -1.0, 0.0])]);
        check("RFFT", &[], &[x.clone(), length(0)], &[complex(&[0], &[])]);
        check("IRFFT", &[], &[half.clone(), length(4)], &[x.clone()]);
        refuses("RFFT", &[], &[x.clone(), length(5)], "too short");
        refuses("RFFT", &[], &[x, tensor(&[2], &[1i32, 1])], "each of 1");
        refuses("IRFFT", &[], &[half, length(-1)], "length of -1");
    }
}
