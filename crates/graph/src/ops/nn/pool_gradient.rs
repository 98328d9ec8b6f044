//! Gradients of pools by their input: MaxPoolGrad and its V2, MaxPool3DGrad, AvgPoolGrad, AvgPool3DGrad, and MaxPoolGradWithArgmax.
//!
//! Of maxima the inputs are the pool's input and output and the gradient of the output; of averages the shape of the pool's
//! input (an int32 vector) and the gradient. V2 has window and strides as two more inputs. Images are `[batch, height, width,
//! channels]`, volumes `[batch, depth, height, width, channels]`, channels last. The gradient of a maximum goes to the first of
//! the largest elements of its window, in a volume to each of them; that of an average in equal parts to what the window reaches.
//! MaxPoolGradWithArgmax takes the pool's input, the gradient, and the place that each goes to. Maxima of any number, averages of float32
//! and float64 (float16 and bfloat16 are converted around it).

use tightfit_core::{DType, Shape, TensorView, TensorViewMut};
use tightfit_kernels::{BadIndex, Combine, PoolGradient, Window3, pool_gradient, scatter_nd};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative, reshaped};
use crate::ops::shared::volume::{WindowAttributes3, three};
use crate::ops::shared::window::{Padding, WindowAttributes, pair};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "MaxPoolGrad", import: |a| of_images(a, "MaxPoolGrad", PoolGradient::FirstMax) },
    Registration { name: "MaxPoolGradV2", import: import_v2 },
    Registration { name: "AvgPoolGrad", import: |a| of_images(a, "AvgPoolGrad", PoolGradient::Average) },
    Registration { name: "MaxPool3DGrad", import: |a| of_volumes(a, "MaxPool3DGrad", PoolGradient::EachMax) },
    Registration { name: "AvgPool3DGrad", import: |a| of_volumes(a, "AvgPool3DGrad", PoolGradient::Average) },
    Registration { name: "MaxPoolGradWithArgmax", import: with_places },
];

/// How the windows move.
#[derive(Debug, Clone, Copy)]
enum Moves {
    /// As attributes say: their size, and how they go on.
    Known([usize; 3], WindowAttributes3),
    /// As the two inputs after the gradient say, over images with this around them.
    Given(Padding),
}

fn of_images(
    attributes: &Attributes<'_>,
    name: &'static str,
    kind: PoolGradient,
) -> Result<Box<dyn Operator>, OpError> {
    let [height, width] = pair("ksize", &attributes.ints("ksize")?)?;
    let window = match kind {
        PoolGradient::Average => WindowAttributes::import_pool(attributes)?,
        // Of the largest TensorFlow looks at the step over channels too.
        PoolGradient::FirstMax | PoolGradient::EachMax => WindowAttributes::import(attributes)?,
    };
    let moves = Moves::Known([1, height, width], window.into());
    Ok(Box::new(PoolGrad { name, kind, rank: 4, moves }))
}

fn of_volumes(
    attributes: &Attributes<'_>,
    name: &'static str,
    kind: PoolGradient,
) -> Result<Box<dyn Operator>, OpError> {
    let size = three("ksize", &attributes.ints("ksize")?)?;
    let moves = Moves::Known(size, WindowAttributes3::import(attributes)?);
    Ok(Box::new(PoolGrad { name, kind, rank: 5, moves }))
}

fn import_v2(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    attributes.only("data_format", "NHWC")?;
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        _ => Padding::Valid,
    };
    let moves = Moves::Given(padding);
    Ok(Box::new(PoolGrad { name: "MaxPoolGradV2", kind: PoolGradient::FirstMax, rank: 4, moves }))
}

/// A pool's gradient.
#[derive(Debug)]
struct PoolGrad {
    name: &'static str,
    kind: PoolGradient,
    rank: usize,
    moves: Moves,
}

/// Images as volumes of depth 1.
fn as_volume(index: usize, shape: &Shape) -> Result<[usize; 5], OpError> {
    match **shape {
        [batch, height, width, channels] => Ok([batch, 1, height, width, channels]),
        [batch, depth, height, width, channels] => Ok([batch, depth, height, width, channels]),
        _ => Err(OpError::input(index, format!("is of shape {shape}, neither images nor volumes"))),
    }
}

/// Windows of a pool begin where the padding does, however long their steps.
fn from_the_start(window: Window3) -> Window3 {
    Window3 { skips: [0; 3], ..window }
}

impl PoolGrad {
    fn is_max(&self) -> bool {
        self.kind != PoolGradient::Average
    }

    /// The input that is the gradient.
    fn gradient(&self) -> usize {
        if self.is_max() { 2 } else { 1 }
    }

    fn window(&self, run: &Run<'_>, volume: [usize; 5]) -> Result<Window3, OpError> {
        let size = [volume[1], volume[2], volume[3]];
        match self.moves {
            Moves::Known(window, moves) => Ok(from_the_start(moves.window(window, size))),
            Moves::Given(padding) => {
                let [height, width] = pair("ksize", &run.ints::<4>(3)?)?;
                let strides = pair("strides", &run.ints::<4>(4)?)?;
                let moves = WindowAttributes { strides, padding, ..WindowAttributes::NONE };
                Ok(from_the_start(WindowAttributes3::from(moves).window([1, height, width], size)))
            }
        }
    }

    /// The shape of the pool's input, of which the first input is it, or says it.
    fn output(&self, inputs: &[&Fact]) -> Result<Dims, OpError> {
        let first = shared::input(inputs, 0)?;
        if self.is_max() {
            shared::dims_of_rank(0, first, self.rank)?;
            return Ok(first.dims.clone());
        }
        shared::need_type(0, first, &[DType::I32])?;
        let len = shared::dims_of_rank(0, first, 1)?;
        if let Some(Dim::Known(len)) = len.and_then(|dims| dims.first().copied())
            && len != self.rank as i64
        {
            return Err(OpError::input(0, format!("has {len} elements; {} are needed", self.rank)));
        }
        match first.dims_value() {
            Some(dims) => {
                Ok(Dims::new(dims.into_iter().map(|d| not_negative(0, d)).collect::<Result<Vec<_>, _>>()?))
            }
            None => Ok(Dims::of_rank(self.rank)),
        }
    }
}

impl Operator for PoolGrad {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        !self.is_max() && input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let at = self.gradient();
        let gradient = shared::input(inputs, at)?;
        if self.is_max() {
            let dtype = gradient.dtype;
            if !dtype.is_float() && !dtype.is_integer() {
                return Err(OpError::input(at, format!("is of {dtype}, not of numbers")));
            }
            for index in 0..2 {
                let own = shared::input(inputs, index)?;
                shared::need_type(index, own, &[dtype])?;
                shared::dims_of_rank(index, own, self.rank)?;
            }
        } else {
            shared::need_type(at, gradient, &[DType::F32, DType::F64])?;
        }
        shared::dims_of_rank(at, gradient, self.rank)?;
        if let Moves::Given(_) = self.moves {
            for index in 3..5 {
                let list = shared::input(inputs, index)?;
                shared::need_type(index, list, &[DType::I32])?;
                if let Some(list) = list.ints() {
                    let attribute = if index == 3 { "ksize" } else { "strides" };
                    pair(attribute, &list).map_err(|why| OpError::input(index, why.to_string()))?;
                }
            }
        }
        Ok(vec![Fact::new(gradient.dtype, self.output(inputs)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if self.is_max() { reshape::same(run, 0) } else { reshape::set_asked(run, 0, 0) }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let at = self.gradient();
        let gradient = run.input(at)?;
        let volume = as_volume(0, &run.output_shape(0))?;
        let given = as_volume(at, gradient.shape())?;
        let window = self.window(run, volume)?;
        let [depth, height, width] = window.output([volume[1], volume[2], volume[3]])?;
        if given != [volume[0], depth, height, width, volume[4]] {
            let why = format!("is of shape {} for a pool of {:?}", gradient.shape(), run.output_shape(0));
            return Err(OpError::input(at, why));
        }
        let own = match self.is_max() {
            true if run.shape(1) != *gradient.shape() => {
                return Err(OpError::input(
                    1,
                    format!("is of shape {}, not of the gradient's", run.shape(1)),
                ));
            }
            true => Some([reshaped(run.input(0)?, &volume)?, reshaped(run.input(1)?, &given)?]),
            false => None,
        };
        let gradient = reshaped(gradient, &given)?;
        let output = run.output(0)?;
        let mut output = TensorViewMut::new(output.dtype(), Shape::new(&volume)?, output.into_bytes())
            .ok_or(OpError::Internal("images as volumes have other bytes"))?;
        if volume.contains(&0) || given.contains(&0) {
            output.bytes().fill(0);
            return Ok(());
        }
        Ok(pool_gradient(self.kind, window, own, gradient, &mut output)?)
    }
}

fn with_places(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let of_batch = attributes.bool_or("include_batch_in_index", false)?;
    let size = pair("ksize", &attributes.ints("ksize")?)?;
    Ok(Box::new(PlacedGrad { of_batch, size, window: WindowAttributes::import_pool(attributes)? }))
}

/// Gradients that are added up where their places say.
#[derive(Debug)]
struct PlacedGrad {
    /// Places are counted through the whole batch, and not in each image.
    of_batch: bool,
    size: [usize; 2],
    window: WindowAttributes,
}

impl Operator for PlacedGrad {
    fn name(&self) -> &'static str {
        "MaxPoolGradWithArgmax"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, gradient, places) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        if !input.dtype.is_float() && !input.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of {}, not of numbers", input.dtype)));
        }
        shared::need_type(1, gradient, &[input.dtype])?;
        need_index_type(2, places)?;
        shared::dims_of_rank(0, input, 4)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn memory(&self, _: &crate::operator::Call<'_>) -> Memory {
        Memory::default()
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (gradient, places) = (run.input(1)?, run.input(2)?);
        let shape = run.output_shape(0);
        let [batch, _, height, width, channels] = as_volume(0, &shape)?;
        let [rows, columns] = self.window.window(self.size, [height, width]).output(height, width)?;
        if **gradient.shape() != [batch, rows, columns, channels] || places.shape() != gradient.shape() {
            let (given, at) = (gradient.shape(), places.shape());
            return Err(OpError::input(
                1,
                format!("is of shape {given} for places of {at} in a pool of {shape}"),
            ));
        }
        let output = run.output(0)?;
        let dtype = output.dtype();
        let bytes = output.into_bytes();
        bytes.fill(0);
        let images = if self.of_batch { 1 } else { shape.first().copied().unwrap_or(1) };
        let (count, elements) = (places.shape().elements(), shape.elements());
        if images == 0 || count == 0 || elements == 0 {
            return Ok(());
        }
        let (count, elements) = (count / images, elements / images);
        let internal = OpError::Internal("parts of a batch are not of its bytes");
        for (n, bytes) in bytes.chunks_exact_mut(elements * dtype.bytes()).enumerate() {
            let target = TensorViewMut::new(dtype, Shape::new(&[elements])?, bytes);
            let (Some(at), Some(by), Some(mut target)) =
                (part(places, &[count, 1], n), part(gradient, &[count], n), target)
            else {
                return Err(internal);
            };
            scatter_nd(Combine::Add, BadIndex::Refused, at, by, &mut target)?;
        }
        Ok(())
    }
}

/// The `n`th of parts of this shape.
fn part<'a>(view: TensorView<'a>, shape: &[usize], n: usize) -> Option<TensorView<'a>> {
    let shape = Shape::new(shape).ok()?;
    let size = shape.elements() * view.dtype().bytes();
    TensorView::new(view.dtype(), shape, view.bytes().get(n * size..(n + 1) * size)?)
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    fn attributes(padding: &str) -> [(&'static str, tightfit_format::AttrValue); 3] {
        [("ksize", ints(&[1, 2, 2, 1])), ("strides", ints(&[1, 1, 2, 1])), ("padding", text(padding))]
    }

    #[test]
    fn gradients_go_to_maxima() {
        let x = tensor(&[1, 2, 4, 1], &[1f32, 5.0, 5.0, 2.0, 5.0, 0.0, 1.0, 5.0]);
        let (y, dy) = (tensor(&[1, 1, 2, 1], &[5f32, 5.0]), tensor(&[1, 1, 2, 1], &[3f32, 7.0]));
        let dx = tensor(&[1, 2, 4, 1], &[0f32, 3.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        check("MaxPoolGrad", &attributes("VALID"), &[x.clone(), y.clone(), dy.clone()], &[dx.clone()]);
        let given = [tensor(&[4], &[1i32, 2, 2, 1]), tensor(&[4], &[1i32, 1, 2, 1])];
        let inputs = [&[x.clone(), y.clone(), dy.clone()], &given[..]].concat();
        check("MaxPoolGradV2", &[("padding", text("VALID"))], &inputs, &[dx.clone()]);
        refuses("MaxPoolGrad", &attributes("SAME"), &[x.clone(), y.clone(), dy.clone()], "for a pool of");
        let places = tensor(&[1, 1, 2, 1], &[1i64, 2]);
        check("MaxPoolGradWithArgmax", &attributes("VALID"), &[x.clone(), dy.clone(), places], &[dx]);
        let outside = tensor(&[1, 1, 2, 1], &[1i64, 8]);
        refuses("MaxPoolGradWithArgmax", &attributes("VALID"), &[x, dy, outside], "8");
    }

    #[test]
    fn gradients_of_averages_are_shared() {
        let shape = tensor(&[4], &[1i32, 2, 3, 1]);
        let dy = tensor(&[1, 2, 2, 1], &[8f32, 1.0, 2.0, 4.0]);
        // Windows past the edge share among fewer.
        let dx = tensor(&[1, 2, 3, 1], &[2f32, 2.0, 0.5, 3.0, 3.0, 4.5]);
        check("AvgPoolGrad", &attributes("SAME"), &[shape.clone(), dy], &[dx]);
        let short = tensor(&[1, 1, 2, 1], &[8f32, 1.0]);
        refuses("AvgPoolGrad", &attributes("SAME"), &[shape, short], "for a pool of");
    }

    /// Of the largest TensorFlow looks at the step over channels, of the mean it does not.
    #[test]
    fn steps_over_channels() {
        let steps =
            [("ksize", ints(&[1, 1, 1, 1])), ("strides", ints(&[1, 1, 1, 3])), ("padding", text("VALID"))];
        let x = tensor(&[1, 1, 1, 1], &[2f32]);
        refuses("MaxPoolGrad", &steps, &[x.clone(), x.clone(), x.clone()], "strides");
        check("AvgPoolGrad", &steps, &[tensor(&[4], &[1i32; 4]), x.clone()], &[x]);
    }
}
