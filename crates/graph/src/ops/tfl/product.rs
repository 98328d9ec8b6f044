//! What TFLite's products with a quantised filter share: how sums become integers or floats, and how the filter reaches the
//! kernel.

use tightfit_core::DType;
use tightfit_kernels::{
    Affine, AffineConv2d, AffineDepthwise, AffineFilter, AffineInput, AffineOutput, BytePanels, FilterType,
    HybridOutput, Multiplier, Rescale, WideBias, WideConv2d, quantize_rows,
};

use super::affine::{self, Fused};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Held, Memory, OpError, Run, Weight, WeightLayout, WeightUse};
use crate::ops::shared;

/// TFLite's number of int32.
const INT32: i64 = 2;
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
    /// Input and output are of floats, which are quantised as they come.
    is_float: bool,
    /// The filter's scales: one, or one for each channel.
    scales: Box<[f32]>,
    /// What sums are multiplied with, one for each of them.
    multipliers: Box<[Multiplier]>,
    /// The same of one scale, where input's and filter's are multiplied as floats.
    of_floats: Multiplier,
    /// The same as numbers.
    exact: Box<[f64]>,
    /// What bounds the output.
    pub activation: Fused,
    /// Sums of int16 are of 32 bits.
    is_narrow: bool,
    /// The filter as the file has it.
    pub filter: FilterAttributes,
}

/// How TFLite's kernel for an operator and a type multiplies sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// In integers.
    Twice,
    /// In integers, by scales of input and filter that were multiplied as float32.
    OfFloats,
    /// As numbers.
    Once,
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
        let is_float = attributes.node().attr("input_scale").is_none();
        let (input, output) = if is_float {
            (Affine { scale: 1.0, zero: 0 }, Affine { scale: 1.0, zero: 0 })
        } else {
            (affine::input(attributes, 0)?, affine::output(attributes)?)
        };
        let (scales, zeros) = affine::scales(attributes, "filter")?;
        if zeros.iter().any(|zero| *zero != zeros[0]) {
            return Err(OpError::attribute("filter_zero_point", "differs from channel to channel"));
        }
        let exact: Box<[f64]> =
            scales.iter().map(|scale| input.scale as f64 * *scale as f64 / output.scale as f64).collect();
        Ok(Quantized {
            input,
            filter_zero: zeros[0],
            output,
            is_float,
            is_narrow: attributes.int_or("quantized_bias_type", 0)? == INT32,
            multipliers: exact.iter().map(|scale| Multiplier::of(*scale)).collect(),
            exact,
            of_floats: Multiplier::of((input.scale * scales[0]) as f64 / output.scale as f64),
            scales,
            activation: Fused::import(attributes)?,
            filter: FilterAttributes::import(attributes)?,
        })
    }

    /// Checks the types of input and filter, that there is one scale or one for each channel, and the bias.
    ///
    /// # Errors
    /// [`OpError`] that names what does not go together.
    pub fn check(&self, inputs: &[&Fact], channels: Option<usize>) -> Result<(), OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let (types, bias): (&[DType], &[DType]) = match (self.is_float, input.dtype) {
            (true, _) => (&[DType::F32], &[DType::F32]),
            (false, DType::I16) => (&[DType::I16], &[DType::I64, DType::I32]),
            _ => (&[DType::I8, DType::U8], &[DType::I32]),
        };
        shared::need_type(0, input, types)?;
        let is_small = self.is_float || input.dtype == DType::I16;
        if is_small && filter.dtype == DType::U8 && !self.filter.is_packed {
            return Err(OpError::input(FILTER, format!("is of uint8, which goes with no {}", input.dtype)));
        }
        let count = self.scales.len();
        if count != 1 && channels.is_some_and(|channels| channels != count) {
            let why = format!("has {count} numbers for {} channels", channels.unwrap_or(0));
            return Err(OpError::attribute("filter_scale", why));
        }
        affine::check_bias(inputs, BIAS, bias, channels)
    }

    /// True where a filter's scales differ: TFLite quantises images by their own range then.
    pub fn has_scales(&self) -> bool {
        self.scales.iter().any(|scale| *scale != self.scales[0])
    }

    /// How sums become integers of a type.
    ///
    /// # Errors
    /// [`OpError::Internal`] for a type that is none of a quantised tensor.
    pub fn rescale(&self, dtype: DType, rounding: Rounding) -> Result<Rescale<'_>, OpError> {
        let multipliers = if rounding == Rounding::OfFloats && self.multipliers.len() == 1 {
            std::slice::from_ref(&self.of_floats)
        } else {
            &self.multipliers
        };
        let exact = if rounding == Rounding::Once { &*self.exact } else { &[] };
        let bounds = self.activation.bounds(dtype, self.output)?;
        Ok(Rescale { multipliers, exact, zero: self.output.zero, bounds })
    }

    /// Rows of the filter in a block of a streamed pass: as many as fit, at least one, and so many that they end with a byte.
    fn block_rows(&self, call: &Call<'_>, (rows, depth): (usize, usize)) -> usize {
        let kind = self.filter.kind(call.inputs[FILTER].dtype);
        let step = if kind == FilterType::Int4 && depth % 2 == 1 { 2 } else { 1 };
        let fitting = call.window_bytes.checked_div(kind.bytes(depth).max(1)).unwrap_or(0);
        (fitting / step * step).clamp(step, rows.max(step))
    }

    /// How the filter of so many rows is wanted: in the panels of the product, where it is of bytes and those take them.
    pub fn weight(&self, conv: &AffineConv2d, call: &Call<'_>, size: (usize, usize)) -> WeightUse {
        let kind = self.filter.kind(call.inputs[FILTER].dtype);
        let rows = self.block_rows(call, size);
        let block_bytes = kind.bytes(rows * size.1).min(kind.bytes(size.0 * size.1));
        let has_panels = kind != FilterType::Int4 && call.inputs[0].dtype != DType::I16;
        let layout = match conv.panels().filter(|_| has_panels) {
            Some(_) => WeightLayout::BytePanels { columns: size.0, depth: size.1, kind },
            None => WeightLayout::Dense,
        };
        WeightUse { input: FILTER, layout, block_bytes }
    }

    /// The memory of a product, of floats as many rows of which have a range each.
    pub fn memory(&self, conv: &AffineConv2d, call: &Call<'_>, rows: usize) -> Memory {
        let is_packed = call.inputs[FILTER].held == Held::Packed;
        let product = conv.scratch_bytes(call.isa, call.threads, is_packed);
        match call.inputs[0].dtype {
            DType::F32 => Memory::scratch(hybrid_bytes(call.inputs[0].shape.elements(), rows) + product),
            DType::I16 => Memory::default(),
            _ => Memory::scratch(product),
        }
    }

    /// The memory of a product that needs no scratch but for floats.
    pub fn small_memory(&self, call: &Call<'_>, rows: usize) -> Memory {
        match call.inputs[0].dtype {
            DType::F32 => Memory::scratch(hybrid_bytes(call.inputs[0].shape.elements(), rows)),
            _ => Memory::default(),
        }
    }

    /// Calls `each` with the parts of a filter of so many rows of so many integers: the first row, and the filter of them.
    fn parts(
        &self,
        run: &Run<'_>,
        (rows, depth): (usize, usize),
        each: &mut dyn FnMut(usize, AffineFilter<'_>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let kind = self.filter.kind(run.dtype(FILTER));
        let mut part = |first: usize, count: usize, bytes: &[u8]| {
            each(first, AffineFilter::new(bytes, (count, depth), kind, self.filter_zero)?)
        };
        match run.weight(FILTER)? {
            Weight::Dense(view) => part(0, rows, view.bytes()),
            Weight::Packed(bytes) => {
                each(0, BytePanels::new(rows, depth)?.filter(bytes, kind, self.filter_zero)?)
            }
            Weight::Streamed(stream) => stream.blocks(&mut |offset, bytes| {
                let per_byte = if kind == FilterType::Int4 { 2 } else { 1 };
                let first = (offset as usize * per_byte).checked_div(depth).unwrap_or(0);
                let count = (bytes.len() * per_byte).checked_div(depth).unwrap_or(0);
                part(first, count.min(rows.saturating_sub(first)), bytes)
            }),
        }
    }

    /// Computes bytes, the filter being in whatever form it was planned, of so many rows of so many integers.
    ///
    /// # Errors
    /// What the kernel refuses, and the error of a file that the filter is read from.
    pub fn run(
        &self,
        run: &mut Run<'_>,
        conv: &AffineConv2d,
        size: (usize, usize),
        rounding: Rounding,
    ) -> Result<(), OpError> {
        let (input, bias) = (run.input(0)?, affine::bias(run, BIAS)?);
        let rescale = self.rescale(run.output_dtype(0), rounding)?;
        let zeros = [self.input.zero];
        let input =
            AffineInput { bytes: input.bytes(), is_unsigned: input.dtype() == DType::U8, zeros: &zeros };
        let (output, scratch, pool) = (run.out_bytes(0)?, run.scratch()?, run.pool);
        self.parts(run, size, &mut |first, filter| {
            let output = AffineOutput { bytes: &mut *output, rescale, bias };
            Ok(conv.run(pool, input, (filter, first), output, scratch)?)
        })
    }

    /// Computes floats, of which each of so many rows is quantised by its own range.
    ///
    /// # Errors
    /// As [`Quantized::run`].
    pub fn run_hybrid(
        &self,
        run: &mut Run<'_>,
        conv: &AffineConv2d,
        size: (usize, usize),
        (rows, is_asymmetric): (usize, bool),
    ) -> Result<(), OpError> {
        let (output, scratch, pool) = (run.out::<f32>(0)?, run.scratch()?, run.pool);
        let bias = self.float_bias(run)?;
        let rows = QuantizedRows::new(run, rows, is_asymmetric, scratch)?;
        let (input, scratch) = (rows.input(), rows.scratch);
        self.parts(run, size, &mut |first, filter| {
            let output = self.hybrid_output(output, rows.scales, bias);
            Ok(conv.run_hybrid(pool, input, (filter, first), output, &mut *scratch)?)
        })
    }

    /// The same of a depthwise convolution, whose filter is in memory.
    ///
    /// # Errors
    /// As [`Quantized::run`].
    pub fn run_hybrid_depthwise(
        &self,
        run: &mut Run<'_>,
        conv: &AffineDepthwise,
        size: (usize, usize),
        images: usize,
    ) -> Result<(), OpError> {
        let (output, scratch, pool) = (run.out::<f32>(0)?, run.scratch()?, run.pool);
        let bias = self.float_bias(run)?;
        let rows = QuantizedRows::new(run, images, true, scratch)?;
        self.parts(run, size, &mut |_, filter| {
            let output = self.hybrid_output(output, rows.scales, bias);
            Ok(conv.run_hybrid(pool, rows.input(), filter, output)?)
        })
    }

    /// Computes int16.
    ///
    /// # Errors
    /// As [`Quantized::run`].
    pub fn run_wide(
        &self,
        run: &mut Run<'_>,
        conv: &WideConv2d,
        size: (usize, usize),
        rounding: Rounding,
    ) -> Result<(), OpError> {
        let (input, output, pool) = (run.slice::<i16>(0)?, run.out::<i16>(0)?, run.pool);
        let rescale = self.rescale(DType::I16, rounding)?;
        let bias = match (run.inputs() > BIAS).then(|| run.dtype(BIAS)) {
            None => WideBias::None,
            Some(DType::I64) => WideBias::Long(run.slice(BIAS)?),
            Some(_) if self.is_narrow => WideBias::Narrow(run.slice(BIAS)?),
            Some(_) => WideBias::Short(run.slice(BIAS)?),
        };
        self.parts(run, size, &mut |first, filter| {
            Ok(conv.run(pool, input, (filter, first), (rescale, bias), &mut *output)?)
        })
    }

    fn float_bias<'a>(&self, run: &Run<'a>) -> Result<Option<&'a [f32]>, OpError> {
        if run.inputs() > BIAS { run.slice::<f32>(BIAS).map(Some) } else { Ok(None) }
    }

    /// Floats to come, of rows that have scales of their own.
    fn hybrid_output<'a>(
        &'a self,
        floats: &'a mut [f32],
        image_scales: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> HybridOutput<'a> {
        HybridOutput { floats, scales: &self.scales, image_scales, bias, bounds: self.float_bounds() }
    }

    fn float_bounds(&self) -> (f32, f32) {
        let (least, most) = self.activation.range();
        (least.unwrap_or(f32::NEG_INFINITY), most.unwrap_or(f32::INFINITY))
    }
}

/// Bytes of scratch for floats that are quantised in so many rows: scales, zero points and bytes.
fn hybrid_bytes(elements: usize, rows: usize) -> usize {
    rows * 8 + elements
}

/// Rows of floats, quantised in scratch.
struct QuantizedRows<'s> {
    bytes: &'s [u8],
    scales: &'s [f32],
    zeros: &'s [i32],
    /// The scratch after them.
    scratch: &'s mut [u8],
}

impl<'s> QuantizedRows<'s> {
    fn new(run: &Run<'_>, rows: usize, is_asymmetric: bool, scratch: &'s mut [u8]) -> Result<Self, OpError> {
        let small = || OpError::Internal("scratch for quantised rows is too small or not aligned");
        let numbers = run.slice::<f32>(0)?;
        let (scales, rest) = scratch.split_at_mut_checked(rows * 4).ok_or_else(small)?;
        let (zeros, rest) = rest.split_at_mut_checked(rows * 4).ok_or_else(small)?;
        let (bytes, scratch) = rest.split_at_mut_checked(numbers.len()).ok_or_else(small)?;
        let scales = bytemuck::try_cast_slice_mut(scales).map_err(|_| small())?;
        let zeros = bytemuck::try_cast_slice_mut(zeros).map_err(|_| small())?;
        quantize_rows(run.pool, is_asymmetric, numbers, bytes, (&mut *scales, &mut *zeros))?;
        Ok(QuantizedRows { bytes, scales, zeros, scratch })
    }

    fn input(&self) -> AffineInput<'s> {
        AffineInput { bytes: self.bytes, is_unsigned: false, zeros: self.zeros }
    }
}
