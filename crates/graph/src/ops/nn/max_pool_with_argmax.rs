//! Pooling that plain float32 pools do not cover: MaxPoolWithArgmax, and MaxPool and AvgPool of float64 and integers.
//!
//! Input `[batch, height, width, channels]`, numbers (averages float64). MaxPoolWithArgmax has a second output, `Targmax`
//! (int64 or int32): the place of each maximum in its image, or in the whole input with `include_batch_in_index`; of
//! equal ones the first.

use tightfit_core::DType;
use tightfit_kernels::{Isa, Pool2d, PoolKind, average_pool_f64, max_pool_any};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::{WindowAttributes, channel_window, pair};

pub(crate) const OPS: &[Registration] = &[Registration { name: "MaxPoolWithArgmax", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let places = attributes.dtype_or("Targmax", DType::I64)?;
    if !matches!(places, DType::I32 | DType::I64) {
        return Err(OpError::attribute("Targmax", format!("is {places}; int32 and int64 are supported")));
    }
    let (ksize, strides) = (attributes.ints("ksize")?, attributes.ints("strides")?);
    let channels = channel_window(&ksize, &strides)?;
    Ok(Box::new(AnyPool {
        kind: PoolKind::Max,
        size: if channels.is_some() { [1, 1] } else { pair("ksize", &ksize)? },
        window: if channels.is_some() {
            WindowAttributes::NONE
        } else {
            WindowAttributes::import_pool(attributes)?
        },
        channels: channels.unwrap_or(1),
        places: Some((places, attributes.bool_or("include_batch_in_index", false)?)),
    }))
}

/// The operator.
#[derive(Debug)]
pub(crate) struct AnyPool {
    pub(crate) kind: PoolKind,
    pub(crate) size: [usize; 2],
    pub(crate) window: WindowAttributes,
    /// Over how many channels a window asks to go: TensorFlow's kernel needs them to divide the input's, and goes over
    /// one.
    pub(crate) channels: usize,
    /// The type of the places, and whether they count through the whole batch; `None` where only values are wanted.
    pub(crate) places: Option<(DType, bool)>,
}

impl Operator for AnyPool {
    fn name(&self) -> &'static str {
        match (self.kind, self.places) {
            (PoolKind::Average, _) => "AvgPool",
            (PoolKind::Max, None) => "MaxPool",
            (PoolKind::Max, Some(_)) => "MaxPoolWithArgmax",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let is_supported = match self.kind {
            PoolKind::Average => input.dtype == DType::F64,
            PoolKind::Max => input.dtype.is_float() || input.dtype.is_integer(),
        };
        if !is_supported {
            return Err(OpError::input(0, format!("is of type {}, which is not supported", input.dtype)));
        }
        if self.places.is_some() && input.dims.elements() == crate::dim::Dim::Known(0) && !input.is_bound {
            return Err(OpError::input(0, format!("is of shape {}, which has no elements", input.dims)));
        }
        if let Some(shape) = input.dims.concrete()
            && let Ok(image) = <[usize; 4]>::try_from(&shape[..])
        {
            // The rules for windows are those of the float32 kernel: each must touch the image.
            let window = self.window.window(self.size, [image[1], image[2]]);
            Pool2d::new(Isa::Portable, self.kind, image, window)?;
        }
        let dims = match shared::dims_of_rank(0, input, 4)? {
            None => Dims::of_rank(4),
            Some(image) if image[3].size().is_some_and(|size| size % self.channels != 0) => {
                let why = format!("is of shape {}, not of windows of {} channels", input.dims, self.channels);
                return Err(OpError::input(0, why));
            }
            Some(image) => {
                let [rows, columns] = self.window.output(self.size, &image[1..3])?;
                Dims::new([image[0], rows, columns, image[3]])
            }
        };
        let mut facts = vec![Fact::new(input.dtype, dims.clone())];
        facts.extend(self.places.map(|(dtype, _)| Fact::new(dtype, dims)));
        Ok(facts)
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let Some(image) = shared::input(inputs, 0)?.dims.get() else { return Ok(()) };
        if self.kind == PoolKind::Max {
            self.window.check_channels(image)?;
        }
        self.window.check(self.size, image)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let window = self.window.window(self.size, [input.shape()[1], input.shape()[2]]);
        let mut output = run.output(0)?;
        if self.kind == PoolKind::Average {
            return Ok(average_pool_f64(run.pool, window, input, &mut output)?);
        }
        match self.places {
            None => Ok(max_pool_any(run.pool, window, input, &mut output, None)?),
            Some((_, of_batch)) => {
                let places = &mut run.output(1)?;
                Ok(max_pool_any(run.pool, window, input, &mut output, Some((places, of_batch)))?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, flag, ints, tensor, text};
    use tightfit_core::DType;

    #[test]
    fn maxima_and_their_places() {
        let x = tensor(&[2, 2, 2, 1], &[1.0f32, 3.0, 3.0, 2.0, 0.0, 0.0, 0.0, 5.0]);
        let pool = |of_batch| {
            [
                ("ksize", ints(&[1, 2, 2, 1])),
                ("strides", ints(&[1, 1, 1, 1])),
                ("padding", text("VALID")),
                ("include_batch_in_index", flag(of_batch)),
            ]
        };
        let values = tensor(&[2, 1, 1, 1], &[3.0f32, 5.0]);
        let places = |v: [i64; 2]| tensor(&[2, 1, 1, 1], &v);
        check("MaxPoolWithArgmax", &pool(false), std::slice::from_ref(&x), &[values.clone(), places([1, 3])]);
        check("MaxPoolWithArgmax", &pool(true), &[x], &[values, places([1, 7])]);
        // TensorFlow's kernel takes windows over channels, and leaves them as they are.
        let x = tensor(&[1, 1, 2, 2], &[1.0f32, 3.0, 2.0, 0.0]);
        let mut over_channels = pool(false);
        over_channels[0].1 = ints(&[1, 1, 1, 2]);
        over_channels[1].1 = ints(&[1, 1, 1, 2]);
        let places = tensor(&[1, 1, 2, 2], &[0i64, 1, 2, 3]);
        check("MaxPoolWithArgmax", &over_channels, &[x.clone()], &[x, places]);
    }

    #[test]
    fn doubles() {
        let x = tensor(&[1, 3, 1, 1], &[1.0f64, 2.0, 4.0]);
        let pool = [
            ("ksize", ints(&[1, 2, 1, 1])),
            ("strides", ints(&[1, 2, 1, 1])),
            ("padding", text("SAME")),
            ("T", dtype(DType::F64)),
        ];
        check("AvgPool", &pool, std::slice::from_ref(&x), &[tensor(&[1, 2, 1, 1], &[1.5f64, 4.0])]);
        check("MaxPool", &pool, &[x], &[tensor(&[1, 2, 1, 1], &[2.0f64, 4.0])]);
    }
}
