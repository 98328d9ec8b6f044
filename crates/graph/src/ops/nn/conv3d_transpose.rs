//! The transposed convolutions of volumes: Conv3DBackpropInputV2, whose first input says the output's shape (int32 or int64,
//! five sizes), and Conv3DBackpropInput, whose first input is a tensor of that shape. After it are the filter `[depth, height,
//! width, channels, in_channels]` and `[batch, planes, rows, columns, in_channels]`.
//!
//! float32 and float64 (float16 and bfloat16 are converted around it); data format NDHWC, and NCDHW as a change of layout
//! around it. See [`crate::ops::shared::transposed`] for how it is computed.

use tightfit_core::DType;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::Fused;
use crate::operator::{Call, Memory, OpError, Operator, Run, WeightUse, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::need_index_type;
use crate::ops::shared::transposed::Transposed;
use crate::ops::shared::volume::{WindowAttributes3, window_of};
use crate::ops::shared::weighted::WEIGHT as FILTER;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Conv3DBackpropInput", import: |attributes| import(attributes, false) },
    Registration { name: "Conv3DBackpropInputV2", import: |attributes| import(attributes, true) },
];

fn import(attributes: &Attributes<'_>, has_sizes: bool) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Conv3dTranspose { window: WindowAttributes3::import(attributes)?, has_sizes }))
}

/// The operator.
#[derive(Debug)]
struct Conv3dTranspose {
    /// Those of the convolution that it is the transpose of.
    window: WindowAttributes3,
    /// Whether the first input says the output's shape, not has it.
    has_sizes: bool,
}

const LIKE: usize = 0;
const INPUT: usize = 2;

impl Conv3dTranspose {
    fn transposed(&self) -> Transposed {
        Transposed { window: self.window, input: INPUT, fused: Fused::default() }
    }

    /// The output's shape, as the first input has or says it.
    fn asked(&self, like: &Fact) -> Result<Vec<Dim>, OpError> {
        let unknown = || vec![Dim::Unknown; 5];
        if !self.has_sizes {
            return Ok(shared::dims_of_rank(LIKE, like, 5)?.unwrap_or_else(unknown));
        }
        need_index_type(LIKE, like)?;
        if let Some([len]) = shared::dims_of_rank(LIKE, like, 1)?.as_deref()
            && len.known().is_some_and(|len| len != 5)
        {
            return Err(OpError::input(LIKE, format!("is of shape {}; five sizes are needed", like.dims)));
        }
        let Some(sizes) = like.dims_value() else { return Ok(unknown()) };
        if sizes.iter().any(|size| matches!(size, Dim::Known(..0))) {
            return Err(OpError::input(LIKE, format!("is {}, no shape of volumes", Dims::new(sizes))));
        }
        Ok(sizes)
    }
}

/// Checks that a batch and channels that are asked for are those that the other inputs have.
fn check_asked(asked: [Dim; 2], have: [Dim; 2]) -> Result<(), OpError> {
    for (what, asked, have) in [("batch", asked[0], have[0]), ("channels", asked[1], have[1])] {
        if let (Dim::Known(asked), Dim::Known(have)) = (asked, have)
            && asked != have
        {
            let why = format!("asks for {what} of {asked} where there are {have}");
            return Err(OpError::input(LIKE, why));
        }
    }
    Ok(())
}

impl Operator for Conv3dTranspose {
    fn name(&self) -> &'static str {
        if self.has_sizes { "Conv3DBackpropInputV2" } else { "Conv3DBackpropInput" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (filter, input) = (shared::input(inputs, FILTER)?, shared::input(inputs, INPUT)?);
        shared::need_type(FILTER, filter, &[DType::F32, DType::F64])?;
        shared::need_type(INPUT, input, &[filter.dtype])?;
        let like = shared::input(inputs, LIKE)?;
        let asked = self.asked(like)?;
        let unknown = || vec![Dim::Unknown; 5];
        let window = shared::dims_of_rank(FILTER, filter, 5)?.unwrap_or_else(unknown);
        let volume = shared::dims_of_rank(INPUT, input, 5)?.unwrap_or_else(unknown);
        if let (Dim::Known(a), Dim::Known(b)) = (window[4], volume[4])
            && a != b
        {
            return Err(OpError::input(FILTER, format!("has {a} channels where input {INPUT} has {b}")));
        }
        let &[batch, depth, height, width, channels] = &asked[..] else {
            return Err(OpError::input(LIKE, "says no five sizes"));
        };
        if !(like.is_bound || filter.is_bound || input.is_bound) {
            check_asked([batch, channels], [volume[0], window[3]])?;
        }
        let size = [depth, height, width];
        if let Some(taps) = window_of(filter) {
            // A convolution of the output must give the input.
            let forward = self.window.output(taps, &size)?;
            let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
            if forward.iter().zip(&volume[1..4]).any(differs) {
                let why = format!("is {}, which is not a size for {}", Dims::new(size), input.dims);
                return Err(OpError::input(LIKE, why));
            }
        }
        let output = Dims::new([volume[0], depth, height, width, window[3]]);
        if let (Some(output), Some(window)) = (output.concrete(), filter.dims.concrete())
            && filter.dtype == DType::F32
        {
            self.transposed().check(&output, &window)?;
        }
        Ok(vec![Fact::new(filter.dtype, output)])
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

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        match self.has_sizes {
            true => reshape::set_asked(run, 0, LIKE),
            false => reshape::same(run, LIKE),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dim = |size: Option<&usize>| size.map_or(Dim::Unknown, |size| Dim::Known(*size as i64));
        let have = [dim(run.shape(INPUT).first()), dim(run.shape(FILTER).get(3))];
        if self.has_sizes {
            let sizes = run.ints::<5>(LIKE)?;
            let asked = |at: usize| sizes.get(at).map_or(Dim::Unknown, |size| Dim::Known(*size));
            check_asked([asked(0), asked(4)], have)?;
        }
        self.transposed().run(run)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, ints, refuses, tensor, text};
    use tightfit_core::DType;

    /// Each element of the input adds the filter to the output, as the definition says.
    #[test]
    fn scatters_the_filter() {
        for (stride, padding, size) in [(2usize, "SAME", 4usize), (1, "SAME", 3), (2, "VALID", 6)] {
            let (taps, channels, in_channels) = (2usize, 2usize, 3usize);
            let n = if padding == "SAME" { size.div_ceil(stride) } else { (size - taps) / stride + 1 };
            let total = ((n - 1) * stride + taps).saturating_sub(size);
            let before = if padding == "SAME" { total / 2 } else { 0 };
            let x: Vec<f32> = (0..n * n * n * in_channels).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let f: Vec<f32> = (0..8 * channels * in_channels).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut expected = vec![0f32; size * size * size * channels];
            for (i, value) in x.iter().enumerate() {
                let (at, from) = (i / in_channels, i % in_channels);
                for tap in 0..8 {
                    let place = |at: usize, tap: usize| (at * stride + tap).wrapping_sub(before);
                    let z = place(at / n / n, tap / 4);
                    let (y, x) = (place(at / n % n, tap / 2 % 2), place(at % n, tap % 2));
                    for to in (0..channels).filter(|_| z < size && y < size && x < size) {
                        expected[((z * size + y) * size + x) * channels + to] +=
                            value * f[(tap * channels + to) * in_channels + from];
                    }
                }
            }
            let s = stride as i64;
            let attributes = [("strides", ints(&[1, s, s, s, 1])), ("padding", text(padding))];
            let sizes = [1, size as i64, size as i64, size as i64, channels as i64];
            let dims = sizes.map(|d| d as usize);
            let rest =
                [tensor(&[2, 2, 2, channels, in_channels], &f), tensor(&[1, n, n, n, in_channels], &x)];
            let inputs = [tensor(&[5], &sizes), rest[0].clone(), rest[1].clone()];
            let wanted = tensor(&dims, &expected);
            check_close("Conv3DBackpropInputV2", &attributes, &inputs, &wanted, 1e-5);
            let like = tensor(&dims, &vec![7f32; expected.len()]);
            let inputs = [like, rest[0].clone(), rest[1].clone()];
            check_close("Conv3DBackpropInput", &attributes, &inputs, &wanted, 1e-5);
            let doubles = |values: &[f32]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
            let attributes = [attributes.as_slice(), &[("T", dtype(DType::F64))]].concat();
            let inputs = [
                tensor(&[5], &sizes.map(|s| s as i32)),
                tensor(&[2, 2, 2, channels, in_channels], &doubles(&f)),
                tensor(&[1, n, n, n, in_channels], &doubles(&x)),
            ];
            check("Conv3DBackpropInputV2", &attributes, &inputs, &[tensor(&dims, &doubles(&expected))]);
        }
    }

    #[test]
    fn refuses_sizes_that_do_not_follow() {
        let attributes = [("strides", ints(&[1, 2, 2, 2, 1])), ("padding", text("SAME"))];
        let (f, x) = (tensor(&[1; 5], &[1f32]), tensor(&[1, 2, 2, 2, 1], &[0f32; 8]));
        for (sizes, why) in [
            ([1i32, 5, 4, 4, 1], "not a size"),
            ([2, 4, 4, 4, 1], "batch of 2"),
            ([1, 4, 4, 4, 2], "channels of 2"),
        ] {
            let inputs = [tensor(&[5], &sizes), f.clone(), x.clone()];
            refuses("Conv3DBackpropInputV2", &attributes, &inputs, why);
        }
    }
}
