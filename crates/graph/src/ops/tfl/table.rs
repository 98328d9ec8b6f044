//! Functions of one quantised number: tfl.logistic, tfl.tanh, tfl.relu and its like, tfl.leaky_relu, tfl.hard_swish, tfl.elu,
//! tfl.gelu, tfl.exp, tfl.log, tfl.rsqrt, tfl.abs.
//!
//! int8 and uint8 by a table of 256 entries, int16 by TFLite's own table of the sigmoid, by one of 513 entries with straight
//! lines between them (tfl.gelu, tfl.exp, tfl.log, tfl.rsqrt), or by two lines that meet at 0; tfl.hard_swish and tfl.elu are of
//! bytes alone. The outputs of tfl.logistic have the scale 1/256 (of int16 1/32768), those of tfl.tanh of int16 1/32768. Attributes:
//! `alpha` of tfl.leaky_relu, `approximate` of tfl.gelu. Shape and type: the input's.

use tightfit_core::DType;
use tightfit_kernels::{
    Affine, ByteTable, HardSwish, ReciprocalRoot, SigmoidScale, Slopes, WideTable, byte_table,
    bytes_by_table, gelu, table_of, wide_by_table, wide_table,
};

use super::affine;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

macro_rules! functions {
    ($($name:literal $function:ident),*) => {
        &[$(Registration { name: $name, import: |attributes| import(attributes, $name, Function::$function) }),*]
    };
}

pub(crate) const OPS: &[Registration] = functions!(
    "tfl.abs" Abs, "tfl.elu" Elu, "tfl.exp" Exp, "tfl.gelu" Gelu, "tfl.hard_swish" HardSwish,
    "tfl.leaky_relu" LeakyRelu, "tfl.log" Log, "tfl.logistic" Logistic, "tfl.relu" Relu, "tfl.relu6" Relu6,
    "tfl.relu_0_to_1" Relu0To1, "tfl.relu_n1_to_1" ReluN1To1, "tfl.rsqrt" Rsqrt, "tfl.tanh" Tanh
);

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Abs,
    Elu,
    Exp,
    Gelu,
    HardSwish,
    LeakyRelu,
    Log,
    Logistic,
    Relu,
    Relu0To1,
    Relu6,
    ReluN1To1,
    Rsqrt,
    Tanh,
}

/// How int16 are computed.
#[derive(Debug)]
enum Wide {
    /// Not at all.
    No,
    Sigmoid(SigmoidScale),
    Tanh(SigmoidScale),
    Table(Box<WideTable>),
    /// Lines that meet at 0, and what bounds their integers.
    Slopes(Slopes, (i32, i32)),
}

/// The operator.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    function: Function,
    output: Affine,
    signed: ByteTable,
    unsigned: ByteTable,
    wide: Wide,
}

impl Function {
    /// The smallest and the largest number of a ReLU.
    fn range(self) -> (Option<f32>, Option<f32>) {
        match self {
            Function::Relu => (Some(0.0), None),
            Function::Relu0To1 => (Some(0.0), Some(1.0)),
            Function::Relu6 => (Some(0.0), Some(6.0)),
            Function::ReluN1To1 => (Some(-1.0), Some(1.0)),
            _ => (None, None),
        }
    }

    /// The function of numbers that tables are filled with. `least` is the smallest number of the output, `most` the largest.
    fn of(self, x: f32, is_approximate: bool, (least, most): (f32, f32)) -> f32 {
        match self {
            Function::Elu if x < 0.0 => x.exp_m1(),
            Function::Exp => x.exp(),
            Function::Gelu => gelu(x, is_approximate),
            Function::Log if x <= 0.0 => least,
            Function::Log => x.ln(),
            Function::Rsqrt if x <= 0.0 => most,
            Function::Rsqrt => 1.0 / x.sqrt(),
            Function::Logistic => 1.0 / (1.0 + (-x).exp()),
            Function::Tanh => x.tanh(),
            _ => x,
        }
    }
}

fn import(
    attributes: &Attributes<'_>,
    name: &'static str,
    function: Function,
) -> Result<Box<dyn Operator>, OpError> {
    let (input, output) = (affine::input(attributes, 0)?, affine::output(attributes)?);
    let is_approximate = attributes.bool_or("approximate", false)?;
    let ends = |dtype: DType| -> Result<(f32, f32), OpError> {
        let (low, high) = affine::limits(dtype)?;
        Ok(((low - output.zero) as f32 * output.scale, (high - output.zero) as f32 * output.scale))
    };
    let of_slopes = |slopes: Slopes| -> Result<(ByteTable, ByteTable, Wide), OpError> {
        let bounds = |dtype| affine::bounds_of(function.range(), dtype, output);
        let table = |dtype| -> Result<ByteTable, OpError> {
            let (low, high) = bounds(dtype)?;
            Ok(table_of(dtype == DType::U8, |x| slopes.apply(x).max(low).min(high)))
        };
        Ok((table(DType::I8)?, table(DType::U8)?, Wide::Slopes(slopes, bounds(DType::I16)?)))
    };
    let (signed, unsigned, wide) = match function {
        Function::LeakyRelu => {
            of_slopes(Slopes::new(input, output, 1.0, attributes.float_or("alpha", 0.0)?))?
        }
        Function::Abs => of_slopes(Slopes::absolute(input, output))?,
        Function::Relu | Function::Relu0To1 | Function::Relu6 | Function::ReluN1To1 => {
            of_slopes(Slopes::new(input, output, 1.0, 1.0))?
        }
        Function::HardSwish => {
            let swish = HardSwish::new(input, output);
            (table_of(false, |x| swish.apply(x)), table_of(true, |x| swish.apply(x)), Wide::No)
        }
        _ => {
            let (signed_ends, unsigned_ends) = (ends(DType::I8)?, ends(DType::U8)?);
            let table = |is_unsigned: bool, ends| {
                byte_table(is_unsigned, input, output, |x| function.of(x, is_approximate, ends))
            };
            let mut signed = table(false, signed_ends);
            if function == Function::Rsqrt {
                let root = ReciprocalRoot::new(input, output);
                signed = table_of(false, |x| root.apply(x));
            }
            let wide_ends = ends(DType::I16)?;
            let sigmoid = |is_tanh| {
                SigmoidScale::new(input.scale, is_tanh)
                    .map_err(|error| OpError::attribute("input_scale", error.to_string()))
            };
            let wide = match function {
                Function::Logistic => Wide::Sigmoid(sigmoid(false)?),
                Function::Tanh => Wide::Tanh(sigmoid(true)?),
                Function::Elu => Wide::No,
                _ => Wide::Table(Box::new(wide_table(input, output, |x| {
                    function.of(x, is_approximate, wide_ends)
                }))),
            };
            (signed, table(true, unsigned_ends), wide)
        }
    };
    Ok(Box::new(Table { name, function, output, signed, unsigned, wide }))
}

impl Operator for Table {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let types: &[DType] = match self.wide {
            Wide::No => &[DType::I8, DType::U8],
            _ => &[DType::I8, DType::U8, DType::I16],
        };
        shared::need_type(0, input, types)?;
        let wanted = match (self.function, input.dtype) {
            (Function::Logistic | Function::Tanh, DType::I16) => Some(1.0 / 32_768.0),
            (Function::Logistic, _) => Some(1.0 / 256.0),
            _ => None,
        };
        if let Some(scale) = wanted
            && (self.output.scale / scale - 1.0).abs() > 1e-3
        {
            let why = format!("is {}; {scale} is what {} gives", self.output.scale, self.name);
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
            match &self.wide {
                Wide::No => return Err(OpError::Internal("int16 of a function that is of bytes alone")),
                Wide::Sigmoid(scale) => scale.sigmoid(pool, src, dst)?,
                Wide::Tanh(scale) => scale.tanh(pool, src, dst)?,
                Wide::Table(table) => wide_by_table(pool, table, src, dst)?,
                Wide::Slopes(slopes, bounds) => slopes.run(pool, *bounds, src, dst)?,
            }
            return Ok(());
        }
        let table = if dtype == DType::U8 { &self.unsigned } else { &self.signed };
        let src = if run.is_in_place(0) { None } else { Some(run.input(0)?.bytes()) };
        Ok(bytes_by_table(pool, table, src, run.out_bytes(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, float, floats, ints, refuses, tensor};

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
        check("tfl.logistic", &wide, &[tensor(&[2], &[0i16, 4096])], &[tensor(&[2], &[16384i16, 23956])]);
    }

    #[test]
    fn lines_meet_at_zero() {
        let attributes = [
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[1])),
            ("output_scale", floats(&[0.25])),
            ("output_zero_point", ints(&[-10])),
            ("alpha", float(-0.5)),
        ];
        // 0, 1, -1.5
        let x = tensor(&[3], &[1i8, 3, -2]);
        for (op, y) in [
            ("tfl.relu", [-10i8, -6, -10]),
            ("tfl.relu_n1_to_1", [-10, -6, -14]),
            ("tfl.leaky_relu", [-10, -6, -7]),
            ("tfl.abs", [-10, -6, -4]),
        ] {
            check(op, &attributes, &[x.clone()], &[tensor(&[3], &y)]);
        }
        let wide = [("input_scale", floats(&[0.5])), ("output_scale", floats(&[0.25]))];
        check("tfl.relu6", &wide, &[tensor(&[3], &[-5i16, 5, 900])], &[tensor(&[3], &[0i16, 10, 24])]);
    }
}
