//! Functions of one quantised number, by tables: tfl.logistic, tfl.tanh.
//!
//! int8 and uint8 by a table of 256 entries that float32 fills, int16 by TFLite's own table of the sigmoid. The outputs of
//! tfl.logistic have the scale 1/256 (of int16 1/32768), those of tfl.tanh of int16 1/32768. Shape and type: the input's.

use tightfit_core::DType;
use tightfit_kernels::{Affine, ByteTable, SigmoidScale, byte_table, bytes_by_table};

use super::affine;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.logistic", import: |a| import(a, false) },
    Registration { name: "tfl.tanh", import: |a| import(a, true) },
];

fn import(attributes: &Attributes<'_>, is_tanh: bool) -> Result<Box<dyn Operator>, OpError> {
    let (input, output) = (affine::input(attributes, 0)?, affine::output(attributes)?);
    let function = move |x: f32| if is_tanh { x.tanh() } else { 1.0 / (1.0 + (-x).exp()) };
    let wide = SigmoidScale::new(input.scale, is_tanh)
        .map_err(|error| OpError::attribute("input_scale", error.to_string()))?;
    Ok(Box::new(Sigmoid {
        is_tanh,
        output,
        signed: byte_table(false, input, output, function),
        unsigned: byte_table(true, input, output, function),
        wide,
    }))
}

/// The operator.
#[derive(Debug)]
struct Sigmoid {
    is_tanh: bool,
    output: Affine,
    signed: ByteTable,
    unsigned: ByteTable,
    wide: SigmoidScale,
}

impl Operator for Sigmoid {
    fn name(&self) -> &'static str {
        if self.is_tanh { "tfl.tanh" } else { "tfl.logistic" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8, DType::I16])?;
        let wanted = match (input.dtype, self.is_tanh) {
            (DType::I16, _) => Some(1.0 / 32_768.0),
            (_, false) => Some(1.0 / 256.0),
            (_, true) => None,
        };
        if let Some(scale) = wanted
            && (self.output.scale / scale - 1.0).abs() > 1e-3
        {
            let why = format!("is {}; {scale} is what {} gives", self.output.scale, self.name());
            return Err(OpError::attribute("output_scale", why));
        }
        Ok(affine::like(input, None))
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (dtype, pool) = (run.dtype(0), run.pool);
        if dtype == DType::I16 {
            let src = if run.is_in_place(0) { None } else { Some(run.slice::<i16>(0)?) };
            let dst = run.out::<i16>(0)?;
            let tanh = self.is_tanh;
            return Ok(if tanh {
                self.wide.tanh(pool, src, dst)?
            } else {
                self.wide.sigmoid(pool, src, dst)?
            });
        }
        let table = if dtype == DType::U8 { &self.unsigned } else { &self.signed };
        let src = if run.is_in_place(0) { None } else { Some(run.input(0)?.bytes()) };
        Ok(bytes_by_table(pool, table, src, run.out_bytes(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, floats, ints, refuses, tensor};

    #[test]
    fn bytes_have_entries_of_their_own() {
        let attributes = [
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[1])),
            ("output_scale", floats(&[1.0 / 256.0])),
            ("output_zero_point", ints(&[-128])),
        ];
        let x = tensor(&[4], &[1i8, 3, 127, -128]);
        check("tfl.logistic", &attributes, &[x.clone()], &[tensor(&[4], &[0i8, 59, 127, -128])]);
        let mut wrong = attributes.clone();
        wrong[2].1 = floats(&[0.01]);
        refuses("tfl.logistic", &wrong, &[x.clone()], "is what tfl.logistic gives");
        let tanh = [
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[1])),
            ("output_scale", floats(&[1.0 / 128.0])),
            ("output_zero_point", ints(&[0])),
        ];
        check("tfl.tanh", &tanh, &[x], &[tensor(&[4], &[0i8, 97, 127, -128])]);
        let wide = [("input_scale", floats(&[1.0 / 4096.0])), ("output_scale", floats(&[1.0 / 32768.0]))];
        check("tfl.logistic", &wide, &[tensor(&[2], &[0i16, 4096])], &[tensor(&[2], &[16384i16, 23955])]);
    }
}
