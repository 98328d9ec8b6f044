//! Conv2DBackpropInput, the transposed convolution: inputs the output's shape (int32, `[batch, height, width, channels]`
//! or `[height, width]`), the filter `[height, width, channels, in_channels]`, and `[batch, rows, columns, in_channels]`.
//!
//! float32 (float16 and bfloat16 are converted around it), float64 and int32, whose sums wrap; data format NHWC, and NCHW as a
//! change of layout around it. Of what passes make, whose size is known, the inputs are those of [`super::conv2d`]: the image, the
//! filter, and those of [`crate::operator::product`], with float32 alone.
//! See [`crate::ops::shared::transposed`] for how it is computed.

use std::sync::Arc;

use tightfit_core::DType;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::{Fused, Product};
use crate::operator::{Call, Memory, OpError, Operator, Run, WeightUse};
use crate::ops::shared;
use crate::ops::shared::transposed::Transposed;
use crate::ops::shared::weighted::WEIGHT as FILTER;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] = &[Registration { name: "Conv2DBackpropInput", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes::import(attributes)?;
    Ok(Box::new(Conv2dTranspose { window, size: None, has_sizes: true, fused: Fused::default() }))
}

/// The operator.
#[derive(Debug, Clone)]
pub struct Conv2dTranspose {
    /// Those of the convolution that it is the transpose of.
    pub window: WindowAttributes,
    /// Height and width of the output, where all that is asked for is known and as it must be.
    pub size: Option<[usize; 2]>,
    /// The output's shape is an input.
    pub has_sizes: bool,
    /// What is done to the sums, where it is not.
    pub fused: Fused,
}

const SIZES: usize = 0;

impl Conv2dTranspose {
    /// Which input is the image.
    pub fn image(&self) -> usize {
        if self.has_sizes { 2 } else { 0 }
    }

    fn transposed(&self) -> Transposed {
        Transposed { window: self.window.into(), input: self.image(), fused: self.fused }
    }

    /// Checks that the batch and the channels that the first input says, where it does, are those of the others.
    fn check_sizes(sizes: &[Dim], batch: Dim, channels: Dim) -> Result<(), OpError> {
        let &[asked_batch, _, _, asked_channels] = sizes else { return Ok(()) };
        for (what, asked, have) in [("batch", asked_batch, batch), ("channels", asked_channels, channels)] {
            if let (Dim::Known(asked), Dim::Known(have)) = (asked, have)
                && asked != have
            {
                return Err(OpError::input(
                    SIZES,
                    format!("asks for {what} of {asked} where there are {have}"),
                ));
            }
        }
        Ok(())
    }

    /// Height and width of the output, as an input says.
    fn asked(sizes: &Fact) -> Result<[Dim; 2], OpError> {
        shared::need_type(SIZES, sizes, &[DType::I32])?;
        shared::dims_of_rank(SIZES, sizes, 1)?;
        match sizes.dims_value().as_deref() {
            None => Ok([Dim::Unknown; 2]),
            Some(sizes) if sizes.iter().any(|size| matches!(size, Dim::Known(..0))) => {
                Err(OpError::input(SIZES, format!("is {}, no shape of images", Dims::new(sizes))))
            }
            Some(&[_, height, width, _] | &[height, width]) => Ok([height, width]),
            Some(other) => Err(OpError::input(SIZES, format!("is {}, no shape of images", Dims::new(other)))),
        }
    }
}

impl Operator for Conv2dTranspose {
    fn name(&self) -> &'static str {
        "Conv2DBackpropInput"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (filter, input) = (shared::input(inputs, FILTER)?, shared::input(inputs, self.image())?);
        shared::need_type(FILTER, filter, &[DType::F32, DType::F64, DType::I32])?;
        shared::need_type(self.image(), input, &[filter.dtype])?;
        let unknown = || vec![Dim::Unknown; 4];
        let window = shared::dims_of_rank(FILTER, filter, 4)?.unwrap_or_else(unknown);
        let image = shared::dims_of_rank(self.image(), input, 4)?.unwrap_or_else(unknown);
        let [height, width] = match self.size {
            Some(size) => size.map(|size| Dim::Known(size as i64)),
            None => {
                let sizes = shared::input(inputs, SIZES)?;
                let asked = Self::asked(sizes)?;
                let is_bound = filter.is_bound || input.is_bound || sizes.is_bound;
                if let Some(sizes) = sizes.dims_value().filter(|_| !is_bound) {
                    Self::check_sizes(&sizes, image[0], window[2])?;
                }
                asked
            }
        };
        if let (Dim::Known(a), Dim::Known(b)) = (window[3], image[3])
            && a != b
        {
            let why = format!("has {a} channels where input {} has {b}", self.image());
            return Err(OpError::input(FILTER, why));
        }
        if window[2] == Dim::Known(0) && !filter.is_bound {
            return Err(OpError::input(
                FILTER,
                format!("is of shape {}, for images of no channels", filter.dims),
            ));
        }
        if let (Some(rows), Some(columns)) = (window[0].size(), window[1].size()) {
            // A convolution of the output must give the input.
            let forward = self.window.output([rows, columns], &[height, width])?;
            if forward
                .iter()
                .zip(&image[1..3])
                .any(|(a, b)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b))
            {
                let why =
                    format!("is {}, which is not a size for {}", Dims::new([height, width]), input.dims);
                return Err(OpError::input(SIZES, why));
            }
        }
        let output = Dims::new([image[0], height, width, window[2]]);
        if let (Some(output), Some(window)) = (output.concrete(), filter.dims.concrete())
            && filter.dtype == DType::F32
        {
            self.transposed().check(&output, &window)?;
        }
        self.fused.check(inputs, window[2].size())?;
        Ok(vec![Fact::new(filter.dtype, output)])
    }

    fn plainer(&self, inputs: &[&Fact]) -> Option<Arc<dyn Operator>> {
        let (sizes, filter, image) = (inputs.first()?, inputs.get(FILTER)?, inputs.get(self.image())?);
        let [Some(height), Some(width)] = Self::asked(sizes).ok()?.map(Dim::size) else { return None };
        // The batch and the channels must be those that there are, whatever they are.
        if let &[batch, _, _, channels] = &sizes.dims_value()?[..] {
            let (filter, image) = (filter.dims.get()?, image.dims.get()?);
            if batch == Dim::Unknown || batch != *image.first()? || channels != *filter.get(2)? {
                return None;
            }
        }
        let size = Some([height, width]);
        (filter.dtype == DType::F32)
            .then(|| Arc::new(Conv2dTranspose { size, ..self.clone() }) as Arc<dyn Operator>)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        self.transposed().memory(call)
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        self.transposed().operations(call)
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        self.transposed().weight(call)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if self.size.is_none()
            && let [batch, height, width, channels] = run.ints::<4>(SIZES)?[..]
        {
            let dim = |input: usize, axis: usize| {
                run.shape(input).get(axis).map_or(Dim::Unknown, |d| Dim::Known(*d as i64))
            };
            let sizes = [batch, height, width, channels].map(Dim::Known);
            Self::check_sizes(&sizes, dim(self.image(), 0), dim(FILTER, 2))?;
        }
        self.transposed().run(run)
    }

    fn as_product(&self) -> Option<&dyn Product> {
        (!self.has_sizes).then_some(self)
    }
}

impl Product for Conv2dTranspose {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(Conv2dTranspose { fused, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, ints, refuses, tensor, text};

    /// Each pixel of the input adds the filter to the output, as the definition says.
    #[test]
    fn scatters_the_filter() {
        for (stride, padding, dilation, size) in [
            (2usize, "SAME", 1usize, 6usize),
            (1, "SAME", 1, 4),
            (2, "VALID", 1, 8),
            (3, "VALID", 2, 11),
            (1, "SAME", 2, 5),
        ] {
            let (taps, channels, in_channels) = (3usize, 2usize, 3usize);
            let reach = (taps - 1) * dilation + 1;
            let pixels = if padding == "SAME" { size.div_ceil(stride) } else { (size - reach) / stride + 1 };
            let total = ((pixels - 1) * stride + reach).saturating_sub(size);
            let before = if padding == "SAME" { total / 2 } else { 0 };
            let x: Vec<f32> = (0..pixels * pixels * in_channels).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let f: Vec<f32> = (0..9 * channels * in_channels).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut expected = vec![0.0f32; size * size * channels];
            for (i, value) in x.iter().enumerate() {
                let (pixel, from) = (i / in_channels, i % in_channels);
                for tap in 0..9 {
                    let y = (pixel / pixels * stride + tap / 3 * dilation).wrapping_sub(before);
                    let x = (pixel % pixels * stride + tap % 3 * dilation).wrapping_sub(before);
                    for to in (0..channels).filter(|_| y < size && x < size) {
                        expected[(y * size + x) * channels + to] +=
                            value * f[(tap * channels + to) * in_channels + from];
                    }
                }
            }
            let attributes = [
                ("strides", ints(&[1, stride as i64, stride as i64, 1])),
                ("dilations", ints(&[1, dilation as i64, dilation as i64, 1])),
                ("padding", text(padding)),
            ];
            let shape = tensor(&[4], &[1i32, size as i32, size as i32, channels as i32]);
            let inputs = [
                shape,
                tensor(&[3, 3, channels, in_channels], &f),
                tensor(&[1, pixels, pixels, in_channels], &x),
            ];
            let expected = tensor(&[1, size, size, channels], &expected);
            check_close("Conv2DBackpropInput", &attributes, &inputs, &expected, 1e-5);
        }
    }

    #[test]
    fn other_types_as_tensorflow() {
        let attributes = [("strides", ints(&[1, 2, 2, 1])), ("padding", text("SAME"))];
        let expected = [1, 2, 2, 4, 3, 4, 6, 8, 3, 6, 4, 8];
        let sizes = tensor(&[4], &[1i32, 3, 4, 1]);
        let four = tensor(&[2, 2, 1, 1], &[1i32, 2, 3, 4]);
        let x = tensor(&[1, 2, 2, 1], &[1i32, 2, 3, 4]);
        let inputs = [sizes.clone(), four, x];
        check("Conv2DBackpropInput", &attributes, &inputs, &[tensor(&[1, 3, 4, 1], &expected)]);
        let four = tensor(&[2, 2, 1, 1], &[1f64, 2.0, 3.0, 4.0]);
        let x = tensor(&[1, 2, 2, 1], &[1f64, 2.0, 3.0, 4.0]);
        let expected = tensor(&[1, 3, 4, 1], &expected.map(f64::from));
        check("Conv2DBackpropInput", &attributes, &[sizes, four, x], &[expected]);
    }

    /// What the filter puts into the padding is nowhere; TensorFlow counts a filter without rows as one of -1.
    #[test]
    fn nothing_reaches_the_image() {
        let attributes = [
            ("strides", ints(&[1, 3, 1, 1])),
            ("padding", text("EXPLICIT")),
            ("explicit_paddings", ints(&[0, 0, 2, 1, 0, 0, 0, 0])),
        ];
        let sizes = tensor(&[4], &[1i32, 1, 1, 1]);
        let inputs = [sizes, tensor(&[2, 1, 1, 1], &[5.0f32; 2]), tensor(&[1, 1, 1, 1], &[7.0f32])];
        check("Conv2DBackpropInput", &attributes, &inputs, &[tensor(&[1, 1, 1, 1], &[0.0f32])]);
        let valid = [("strides", ints(&[1; 4])), ("padding", text("VALID"))];
        let sizes = tensor(&[4], &[1i32, 2, 1, 1]);
        let inputs = |rows: usize| {
            let x = tensor(&[1, rows, 1, 1], &vec![7i32; rows]);
            [sizes.clone(), tensor::<i32>(&[0, 1, 1, 1], &[]), x]
        };
        check("Conv2DBackpropInput", &valid, &inputs(3), &[tensor(&[1, 2, 1, 1], &[0i32; 2])]);
        refuses("Conv2DBackpropInput", &valid, &inputs(2), "not a size");
    }

    #[test]
    fn refuses_sizes_that_do_not_follow() {
        let attributes = [("strides", ints(&[1, 2, 2, 1])), ("padding", text("SAME"))];
        let (filter, x) = (tensor(&[1, 1, 1, 1], &[1.0f32]), tensor(&[1, 2, 2, 1], &[0.0f32; 4]));
        let inputs = [tensor(&[4], &[1i32, 5, 4, 1]), filter, x];
        refuses("Conv2DBackpropInput", &attributes, &inputs, "not a size");
        for (sizes, why) in [([2, 4, 4, 1], "batch of 2"), ([1, 4, 4, 2], "channels of 2")] {
            let inputs = [tensor(&[4], &sizes), inputs[1].clone(), inputs[2].clone()];
            refuses("Conv2DBackpropInput", &attributes, &inputs, why);
        }
    }
}
