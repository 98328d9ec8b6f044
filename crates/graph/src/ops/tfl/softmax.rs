//! What is computed of quantised rows, along the last axis: tfl.softmax in integers alone, tfl.log_softmax,
//! tfl.l2_normalization.
//!
//! tfl.softmax: int8 and uint8 to themselves or to int16, int16 to int16; the attribute `beta` multiplies the input. The output's scale
//! is 1/256, of int16 1/32768, and 0 stands at the lowest integer, of int16 to int16 at 0. The others take int8 and uint8: the
//! scale of tfl.log_softmax is 1/16, where 0 stands at the highest integer, that of tfl.l2_normalization 1/128, where it stands in the
//! middle.

use tightfit_core::DType;
use tightfit_kernels::{Affine, AffineSoftmax, WideSoftmax, affine_l2_normalize, affine_log_softmax};

use super::affine;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.softmax", import },
    Registration { name: "tfl.log_softmax", import: |a| import_rows(a, true) },
    Registration { name: "tfl.l2_normalization", import: |a| import_rows(a, false) },
];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (beta, input) = (attributes.float_or("beta", 1.0)?, affine::input(attributes, 0)?);
    let bytes = AffineSoftmax::new(beta, input.scale)
        .map_err(|error| OpError::attribute("beta", format!("is {beta}: {error}")))?;
    Ok(Box::new(Softmax {
        output_type: affine::output_type(attributes)?,
        output: affine::output(attributes)?,
        bytes,
        words: WideSoftmax::new(beta, input.scale),
    }))
}

/// The operator.
#[derive(Debug)]
struct Softmax {
    output_type: Option<DType>,
    output: Affine,
    bytes: AffineSoftmax,
    words: WideSoftmax,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "tfl.softmax"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8, DType::I16])?;
        if input.dims.rank() == Some(0) {
            return Err(OpError::input(0, "is a scalar, which has no rows"));
        }
        let dtype = self.output_type.unwrap_or(input.dtype);
        if dtype != DType::I16 && dtype != input.dtype {
            return Err(OpError::attribute(
                "output_type",
                format!("is {dtype} for an input of {}", input.dtype),
            ));
        }
        let (scale, zero) = match (input.dtype, dtype) {
            (DType::I16, _) => (1.0 / 32_768.0, 0),
            (_, DType::I16) => (1.0 / 65_536.0, -32_768),
            (_, dtype) => (1.0 / 256.0, affine::limits(dtype)?.0),
        };
        if (self.output.scale / scale - 1.0).abs() > 1e-3 || self.output.zero != zero {
            let why = format!(
                "is {} with zero point {}; {scale} with {zero} is what a softmax gives",
                self.output.scale, self.output.zero
            );
            return Err(OpError::attribute("output_scale", why));
        }
        Ok(affine::like(input, Some(dtype)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let depth = run.shape(0).last().copied().unwrap_or(1);
        let pool = run.pool;
        match (run.dtype(0), run.output_dtype(0)) {
            (DType::I8, DType::I8) => self.bytes.run::<i8, i8>(pool, depth, run.slice(0)?, run.out(0)?)?,
            (DType::I8, _) => self.bytes.run::<i8, i16>(pool, depth, run.slice(0)?, run.out(0)?)?,
            (DType::U8, DType::U8) => self.bytes.run::<u8, u8>(pool, depth, run.slice(0)?, run.out(0)?)?,
            (DType::U8, _) => self.bytes.run::<u8, i16>(pool, depth, run.slice(0)?, run.out(0)?)?,
            _ => self.words.run(pool, depth, run.slice(0)?, run.out(0)?)?,
        }
        Ok(())
    }
}

fn import_rows(attributes: &Attributes<'_>, is_log: bool) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Rows { is_log, input: affine::input(attributes, 0)?, output: affine::output(attributes)? }))
}

/// tfl.log_softmax and tfl.l2_normalization.
#[derive(Debug)]
struct Rows {
    is_log: bool,
    input: Affine,
    output: Affine,
}

impl Operator for Rows {
    fn name(&self) -> &'static str {
        if self.is_log { "tfl.log_softmax" } else { "tfl.l2_normalization" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8])?;
        if input.dims.rank() == Some(0) {
            return Err(OpError::input(0, "is a scalar, which has no rows"));
        }
        let (low, high) = affine::limits(input.dtype)?;
        let (scale, zero) = if self.is_log { (1.0 / 16.0, high) } else { (1.0 / 128.0, low + 128) };
        if (self.output.scale / scale - 1.0).abs() > 1e-3 || self.output.zero != zero {
            let (own, at) = (self.output.scale, self.output.zero);
            let why =
                format!("is {own} with zero point {at}; {scale} with {zero} is what {} gives", self.name());
            return Err(OpError::attribute("output_scale", why));
        }
        Ok(affine::like(input, None))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (depth, pool) = (run.shape(0).last().copied().unwrap_or(1), run.pool);
        let (is_unsigned, scale) = (run.dtype(0) == DType::U8, self.input.scale);
        if !self.is_log {
            let src = run.input(0)?.bytes();
            return Ok(affine_l2_normalize(
                pool,
                (depth, self.input.zero),
                is_unsigned,
                src,
                run.out_bytes(0)?,
            )?);
        }
        if is_unsigned {
            affine_log_softmax::<u8>(pool, (depth, scale), run.slice(0)?, run.out(0)?)?;
        } else {
            affine_log_softmax::<i8>(pool, (depth, scale), run.slice(0)?, run.out(0)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{floats, ints, refuses, run, tensor};

    #[test]
    fn rows_add_up_to_one() {
        let attributes = [
            ("input_scale", floats(&[0.1])),
            ("input_zero_point", ints(&[3])),
            ("output_scale", floats(&[1.0 / 256.0])),
            ("output_zero_point", ints(&[-128])),
        ];
        let x = tensor(&[2, 2], &[0i8, 0, 10, 0]);
        let y = run("tfl.softmax", &attributes, &[x.clone()]).unwrap()[0].values::<i8>();
        // e / (1 + e) of 256 is 187.
        assert_eq!(y, [0, 0, 59, -59]);
        let mut wrong = attributes;
        wrong[2].1 = floats(&[0.1]);
        refuses("tfl.softmax", &wrong, &[x], "what a softmax gives");
    }

    #[test]
    fn rows_of_logarithms_and_of_length_one() {
        let attributes = |scale, zero| {
            [
                ("input_scale", floats(&[0.5])),
                ("input_zero_point", ints(&[3])),
                ("output_scale", floats(&[scale])),
                ("output_zero_point", ints(&[zero])),
            ]
        };
        let x = tensor(&[1, 2], &[3i8, 5]);
        // ln(1 / (1 + e)) and ln(e / (1 + e)) times 16.
        let y = run("tfl.log_softmax", &attributes(1.0 / 16.0, 127), &[x.clone()]).unwrap()[0].values::<i8>();
        assert_eq!(y, [127 - 21, 127 - 5]);
        let x = tensor(&[1, 2], &[6i8, 7]);
        let y = run("tfl.l2_normalization", &attributes(1.0 / 128.0, 0), &[x.clone()]).unwrap();
        assert_eq!(y[0].values::<i8>(), [77, 102]);
        refuses("tfl.log_softmax", &attributes(0.1, 127), &[x], "gives");
    }
}
