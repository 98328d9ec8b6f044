//! Conv2D: input `[batch, height, width, in_channels]`, filter `[height, width, in_channels / groups, out_channels]`.
//!
//! float32 (float64 and int32 in [`super::conv2d_f64`], float16 and bfloat16 are converted around it); data format NHWC only. The
//! filter's input channels must divide the input's: there are as many groups as they fit. Padding SAME, VALID or EXPLICIT,
//! strides and dilations along height and width.
//!
//! The filter is a weight: read into the kernel's panels when it is resident, multiplied block by block of its rows
//! when it is streamed. See [`super::fused`] for the inputs behind it. The output may take the residual's memory.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{Block, Conv2d as Kernel, Conv2dParams, Isa, WeightForm, Weights};

use super::Registration;
use super::conv2d_f64::Conv2dF64;
use super::fused::{Fused, Product};
use super::window::Moves;
use crate::attributes::Attributes;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Place, Run, Weight, WeightLayout, WeightUse};

pub(super) const OPS: &[Registration] = &[Registration { name: "Conv2D", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let moves = Moves::import(attributes)?;
    Ok(match attributes.dtype_or("T", DType::F32)? {
        DType::F64 | DType::I32 => Box::new(Conv2dF64 { moves, is_depthwise: false }),
        _ => Box::new(Conv2d { moves, fused: Fused::default() }),
    })
}

/// The operator.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Strides, dilations and padding.
    pub moves: Moves,
    /// What is done to the sums.
    pub fused: Fused,
}

const FILTER: usize = 1;

impl Conv2d {
    fn kernel(&self, input: &[usize], filter: &[usize]) -> Result<Kernel, OpError> {
        let ([batch, height, width, in_channels], [filter_height, filter_width, depth, out_channels]) =
            (input, filter)
        else {
            return Err(OpError::Internal("a convolution of other than four dimensions"));
        };
        let params = Conv2dParams {
            batch: *batch,
            height: *height,
            width: *width,
            in_channels: *in_channels,
            out_channels: *out_channels,
            window: self.moves.window([*filter_height, *filter_width], [*height, *width]),
            groups: in_channels / (*depth).max(1),
        };
        Ok(Kernel::new(Isa::detect(), params)?)
    }

    fn planned(&self, call: &Call<'_>) -> Option<Kernel> {
        self.kernel(&call.inputs.first()?.shape, &call.inputs.get(FILTER)?.shape).ok()
    }

    /// Rows of the filter in a block of a streamed pass; at least one, however small the window.
    fn block_rows(kernel: &Kernel, call: &Call<'_>) -> usize {
        kernel.block_rows(call.window_bytes).unwrap_or(1)
    }
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        "Conv2D"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (super::input(inputs, 0)?, super::input(inputs, FILTER)?);
        super::need_type(0, input, &[DType::F32])?;
        super::need_type(FILTER, filter, &[DType::F32])?;
        let Some(image) = super::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        let Some(window) = super::dims_of_rank(FILTER, filter, 4)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        let Some([_, _, depth, out_channels]) =
            filter.dims.concrete().and_then(|s| <[usize; 4]>::try_from(&s[..]).ok())
        else {
            let [rows, columns] = self.moves.output_by(filter, &image[1..3])?;
            return Ok(vec![Fact::new(DType::F32, Dims::new([image[0], rows, columns, window[3]]))]);
        };
        if let Some(channels) = image[3].size()
            && (depth == 0 || channels % depth != 0 || out_channels % (channels / depth).max(1) != 0)
        {
            let why = format!(
                "is of shape {}, whose {depth} channels do not divide the input's {channels}",
                filter.dims
            );
            return Err(OpError::input(FILTER, why));
        }
        let [rows, columns] = self.moves.output_by(filter, &image[1..3])?;
        self.fused.check(inputs, Some(out_channels))?;
        let dims = vec![image[0], rows, columns, Dim::Known(out_channels as i64)];
        Ok(vec![Fact::new(DType::F32, Dims::new(dims))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.moves.check_filter(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Some(kernel) = self.planned(call) else { return Memory::default() };
        let form = match call.inputs[FILTER].place {
            Place::Packed => WeightForm::Packed,
            Place::Streamed => WeightForm::Blocks { rows: Self::block_rows(&kernel, call) },
            Place::Value | Place::Resident => WeightForm::Unpacked,
        };
        self.fused.memory(kernel.scratch_bytes(call.threads, form), call.inputs[FILTER].place)
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let kernel = self.planned(call)?;
        let filter = call.inputs[FILTER].shape;
        let groups = call.inputs[0].shape[3] / filter[2].max(1);
        let layout = WeightLayout::Panels {
            k: kernel.filter_rows(),
            n: filter[3] / groups.max(1),
            is_transposed: false,
            groups,
        };
        let block_bytes = Self::block_rows(&kernel, call) * filter[3] * 4;
        Some(WeightUse { input: FILTER, layout, block_bytes })
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let filter_shape = run.shape(FILTER);
        let kernel = self.kernel(&run.shape(0), &filter_shape)?;
        let (input, filter) = (run.slice::<f32>(0)?, run.weight(FILTER)?);
        let epilogue = self.fused.epilogue(run)?;
        let (output, scratch) = (run.out::<f32>(0)?, run.scratch()?);
        let pool = run.pool;
        match filter {
            Weight::Packed(bytes) => {
                kernel.run(pool, input, Weights::Packed(bytes), output, epilogue, scratch)?
            }
            Weight::Dense(view) => {
                kernel.run(pool, input, Weights::Unpacked(view.bytes()), output, epilogue, scratch)?;
            }
            Weight::Streamed(stream) => {
                let row_bytes = filter_shape[3] * 4;
                stream.blocks(&mut |offset, bytes| {
                    let block =
                        Block { first: offset as usize / row_bytes, count: bytes.len() / row_bytes, bytes };
                    Ok(kernel.accumulate(pool, input, block, output, epilogue, scratch)?)
                })?;
            }
        }
        Ok(())
    }

    fn as_product(&self) -> Option<&dyn Product> {
        Some(self)
    }
}

impl Product for Conv2d {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(Conv2d { fused, ..self.clone() })
    }

    fn moves(&self) -> Option<&Moves> {
        Some(&self.moves)
    }

    fn with_moves(&self, moves: Moves) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Conv2d { moves, ..self.clone() }))
    }
}
