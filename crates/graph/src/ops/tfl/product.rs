//! What TFLite's products with a quantised filter share: how sums become integers, and how the filter reaches the kernel.

use tightfit_core::DType;
use tightfit_kernels::{
    Affine, AffineConv2d, AffineFilter, AffineInput, AffineOutput, FilterType, Multiplier, Rescale,
};

use super::affine::{self, Fused};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Run, Weight, WeightLayout, WeightUse};
use crate::ops::shared;

/// The input that is the filter.
pub const FILTER: usize = 1;
/// The input that is the bias, where there is one.
pub const BIAS: usize = 2;

/// Scales, zero points and activation of a product.
#[derive(Debug)]
pub struct Quantized {
    /// The left-hand side's.
    pub input: Affine,
    /// What stands for 0 in the filter.
    pub filter_zero: i32,
    /// The output's.
    pub output: Affine,
    /// What sums are multiplied with: one number, or one for each channel.
    multipliers: Box<[Multiplier]>,
    /// The same of one scale, where input's and filter's are multiplied as floats.
    of_floats: Multiplier,
    /// What bounds the output.
    pub activation: Fused,
    /// The filter as the file has it.
    pub filter: FilterAttributes,
}

/// How a filter's integers stand in its constant.
#[derive(Debug)]
pub struct FilterAttributes {
    /// Two integers of four bits in each byte.
    is_packed: bool,
    /// The shape of a filter that is packed; its constant is a vector of bytes.
    shape: Box<[i64]>,
}

impl FilterAttributes {
    fn import(attributes: &Attributes<'_>) -> Result<FilterAttributes, OpError> {
        let is_packed = match attributes.int_or("filter_bits", 8)? {
            8 => false,
            4 => true,
            bits => {
                return Err(OpError::attribute("filter_bits", format!("is {bits}; 4 and 8 are supported")));
            }
        };
        let shape: Box<[i64]> = if is_packed { attributes.ints("filter_shape")?.into() } else { [].into() };
        Ok(FilterAttributes { is_packed, shape })
    }

    /// The filter's dimensions, as far as they are known.
    ///
    /// # Errors
    /// [`OpError::Input`] for a filter of another type or rank, or of fewer bytes than its shape needs.
    pub fn dims<const RANK: usize>(&self, fact: &Fact) -> Result<Option<[usize; RANK]>, OpError> {
        shared::need_type(FILTER, fact, &[DType::I8, DType::U8])?;
        if fact.is_bound {
            return Ok(None);
        }
        if !self.is_packed {
            let dims = shared::dims_of_rank(FILTER, fact, RANK)?;
            let sizes = dims.and_then(|dims| dims.iter().map(|dim| dim.size()).collect::<Option<Vec<_>>>());
            return Ok(sizes.and_then(|sizes| sizes.try_into().ok()));
        }
        let sizes = self.shape.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
        let sizes = sizes.and_then(|sizes| <[usize; RANK]>::try_from(sizes).ok());
        let sizes =
            sizes.ok_or_else(|| OpError::attribute("filter_shape", format!("is not of rank {RANK}")))?;
        let elements = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if fact.dims.elements().size().is_some_and(|bytes| elements.map(|n| n.div_ceil(2)) != Some(bytes)) {
            let why = format!("is of shape {} for a filter of {sizes:?} in four bits", fact.dims);
            return Err(OpError::input(FILTER, why));
        }
        Ok(Some(sizes))
    }

    /// The filter's dimensions in a run.
    ///
    /// # Errors
    /// [`OpError::Internal`] for another rank than was inferred.
    pub fn sizes<const RANK: usize>(&self, shape: &[usize]) -> Result<[usize; RANK], OpError> {
        let wrong = |_| OpError::Internal("a filter of another rank than was inferred");
        if !self.is_packed {
            return shape.try_into().map_err(wrong);
        }
        let mut sizes = [0; RANK];
        for (to, size) in sizes.iter_mut().zip(&self.shape) {
            *to = *size as usize;
        }
        Ok(sizes)
    }

    /// How the integers of a filter of this type stand.
    pub fn kind(&self, dtype: DType) -> FilterType {
        match (self.is_packed, dtype) {
            (true, _) => FilterType::Int4,
            (false, DType::U8) => FilterType::UInt8,
            _ => FilterType::Int8,
        }
    }
}

impl Quantized {
    /// From the node's attributes.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for scales that are none.
    pub fn import(attributes: &Attributes<'_>) -> Result<Quantized, OpError> {
        let (input, output) = (affine::input(attributes, 0)?, affine::output(attributes)?);
        let (scales, zeros) = affine::scales(attributes, "filter")?;
        if zeros.iter().any(|zero| *zero != zeros[0]) {
            return Err(OpError::attribute("filter_zero_point", "differs from channel to channel"));
        }
        let multiplier = |scale: f32| Multiplier::of(input.scale as f64 * scale as f64 / output.scale as f64);
        Ok(Quantized {
            input,
            filter_zero: zeros[0],
            output,
            multipliers: scales.iter().map(|scale| multiplier(*scale)).collect(),
            of_floats: Multiplier::of((input.scale * scales[0]) as f64 / output.scale as f64),
            activation: Fused::import(attributes)?,
            filter: FilterAttributes::import(attributes)?,
        })
    }

    /// Checks that there is one scale, or one for each channel.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for another number.
    pub fn check_channels(&self, channels: Option<usize>) -> Result<(), OpError> {
        let count = self.multipliers.len();
        if count == 1 || channels.is_none_or(|channels| channels == count) {
            return Ok(());
        }
        let why = format!("has {count} numbers for {} channels", channels.unwrap_or(0));
        Err(OpError::attribute("filter_scale", why))
    }

    /// How sums become integers of a type. `is_of_floats` where one scale is multiplied by another as float32.
    ///
    /// # Errors
    /// [`OpError::Internal`] for a type that is none of a quantised tensor.
    pub fn rescale(&self, dtype: DType, is_of_floats: bool) -> Result<Rescale<'_>, OpError> {
        let multipliers = if is_of_floats && self.multipliers.len() == 1 {
            std::slice::from_ref(&self.of_floats)
        } else {
            &self.multipliers
        };
        let bounds = self.activation.bounds(dtype, self.output)?;
        Ok(Rescale { multipliers, zero: self.output.zero, bounds })
    }

    /// Rows of the filter in a block of a streamed pass: as many as fit, at least one, and so many that they end with a byte.
    fn block_rows(&self, call: &Call<'_>, (rows, depth): (usize, usize)) -> usize {
        let kind = self.filter.kind(call.inputs[FILTER].dtype);
        let step = if kind == FilterType::Int4 && depth % 2 == 1 { 2 } else { 1 };
        let fitting = call.window_bytes.checked_div(kind.bytes(depth).max(1)).unwrap_or(0);
        (fitting / step * step).clamp(step, rows.max(step))
    }

    /// How the filter of so many rows is wanted: as the file has it.
    pub fn weight(&self, call: &Call<'_>, size: (usize, usize)) -> WeightUse {
        let kind = self.filter.kind(call.inputs[FILTER].dtype);
        let rows = self.block_rows(call, size);
        let block_bytes = kind.bytes(rows * size.1).min(kind.bytes(size.0 * size.1));
        WeightUse { input: FILTER, layout: WeightLayout::Dense, block_bytes }
    }

    /// The memory of a product.
    pub fn memory(&self, conv: &AffineConv2d, call: &Call<'_>) -> Memory {
        Memory::scratch(conv.scratch_bytes(usize::MAX, call.threads))
    }

    /// Computes bytes, the filter being in whatever form it was planned, of so many rows of so many integers.
    ///
    /// # Errors
    /// What the kernel refuses, and the error of a file that the filter is read from.
    pub fn run(
        &self,
        run: &mut Run<'_>,
        conv: &AffineConv2d,
        (rows, depth): (usize, usize),
        is_of_floats: bool,
    ) -> Result<(), OpError> {
        let (input, bias, filter) = (run.input(0)?, affine::bias(run, BIAS)?, run.weight(FILTER)?);
        let kind = self.filter.kind(run.dtype(FILTER));
        let rescale = self.rescale(run.output_dtype(0), is_of_floats)?;
        let zeros = [self.input.zero];
        let input =
            AffineInput { bytes: input.bytes(), is_unsigned: input.dtype() == DType::U8, zeros: &zeros };
        let (output, scratch, pool) = (run.out_bytes(0)?, run.scratch()?, run.pool);
        let mut each = |first: usize, count: usize, bytes: &[u8]| -> Result<(), OpError> {
            let filter = AffineFilter::new(bytes, (count, depth), kind, self.filter_zero)?;
            let output = AffineOutput { bytes: &mut *output, rescale, bias };
            Ok(conv.run(pool, input, (filter, first), output, scratch)?)
        };
        match filter {
            Weight::Dense(view) => each(0, rows, view.bytes()),
            Weight::Packed(_) => Err(OpError::Internal("a quantised filter was packed")),
            Weight::Streamed(stream) => stream.blocks(&mut |offset, bytes| {
                let per_byte = if kind == FilterType::Int4 { 2 } else { 1 };
                let first = (offset as usize * per_byte).checked_div(depth).unwrap_or(0);
                let count =
                    (bytes.len() * per_byte).checked_div(depth).unwrap_or(0).min(rows.saturating_sub(first));
                each(first, count, bytes)
            }),
        }
    }
}
