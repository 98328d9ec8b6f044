//! Products of matrices of quantised integers in one step with what follows them, as Intel's tools write them:
//! QuantizedMatMulWithBias, and the same with AndRelu, AndRequantize, AndReluAndRequantize and AndDequantize.
//!
//! uint8 `[m, k]` times int8 `[k, n]`, of which 0 stands for 0, and a bias of float32, or of int32 in steps of the sums. Sums are
//! returned as int32 with their range, as uint8 of a range that is given, or as the float32 numbers that they are.
//! `input_quant_mode` says whether the left-hand side's 0 stands for its minimum (MIN_FIRST) or for 0 (SCALED). All but
//! AndDequantize compute as MIN_FIRST either way, which is the same where the minimum is 0: TensorFlow 2.21 does so, and what
//! a minimum other than 0 does to a float32 bias is what TensorFlow makes of it. Refused: transposed matrices, which
//! TensorFlow does not transpose.

use tightfit_core::DType;
use tightfit_kernels::{Finish, Summand, finish_sums, quantized_matmul};

use super::convert::{check_numbers, give, number, with_range};
use super::fused::{HIGHEST_SUM, Scratch, reach};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "QuantizedMatMulWithBias",
        import: |a| import(a, "QuantizedMatMulWithBias", DType::I32, false),
    },
    Registration {
        name: "QuantizedMatMulWithBiasAndRelu",
        import: |a| import(a, "QuantizedMatMulWithBiasAndRelu", DType::I32, true),
    },
    Registration {
        name: "QuantizedMatMulWithBiasAndRequantize",
        import: |a| import(a, "QuantizedMatMulWithBiasAndRequantize", DType::U8, false),
    },
    Registration {
        name: "QuantizedMatMulWithBiasAndReluAndRequantize",
        import: |a| import(a, "QuantizedMatMulWithBiasAndReluAndRequantize", DType::U8, true),
    },
    Registration {
        name: "QuantizedMatMulWithBiasAndDequantize",
        import: |a| import(a, "QuantizedMatMulWithBiasAndDequantize", DType::F32, false),
    },
];

fn import(
    attributes: &Attributes<'_>,
    name: &'static str,
    to: DType,
    has_relu: bool,
) -> Result<Box<dyn Operator>, OpError> {
    for transposed in ["transpose_a", "transpose_b"] {
        if attributes.bool_or(transposed, false)? {
            return Err(OpError::attribute(transposed, "is true; TensorFlow transposes nothing here"));
        }
    }
    let is_scaled = match attributes.text_or("input_quant_mode", "MIN_FIRST")? {
        "MIN_FIRST" => false,
        "SCALED" => to == DType::F32,
        other => return Err(OpError::attribute("input_quant_mode", format!("is {other}"))),
    };
    let said = attributes.dtype_or("Toutput", to)?;
    if said != to {
        return Err(OpError::attribute("Toutput", format!("is {said}; {to} is what it gives")));
    }
    Ok(Box::new(FusedMatMul { name, to, has_relu, is_scaled }))
}

/// The operator.
#[derive(Debug)]
struct FusedMatMul {
    name: &'static str,
    /// The type of the first output.
    to: DType,
    has_relu: bool,
    /// 0 stands for 0 on the left-hand side.
    is_scaled: bool,
}

impl Operator for FusedMatMul {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (left, right, bias) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(0, left, &[DType::U8])?;
        shared::need_type(1, right, &[DType::I8])?;
        let types: &[DType] =
            if self.name.ends_with("BiasAndRelu") { &[DType::F32] } else { &[DType::F32, DType::I32] };
        shared::need_type(2, bias, types)?;
        check_numbers(inputs, if self.to == DType::I32 { 3..7 } else { 3..9 })?;
        let open = || vec![Dim::Unknown; 2];
        let rows = shared::dims_of_rank(0, left, 2)?.unwrap_or_else(open);
        let columns = shared::dims_of_rank(1, right, 2)?.unwrap_or_else(open);
        let is_other = |a: Dim, b: Dim| a.size().zip(b.size()).is_some_and(|(a, b)| a != b);
        if is_other(rows[1], columns[0]) && !left.is_bound && !right.is_bound {
            let why = format!("has {} rows where input 0 has {} columns", columns[0], rows[1]);
            return Err(OpError::input(1, why));
        }
        let count = shared::dims_of_rank(2, bias, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        if is_other(count, columns[1]) && !bias.is_bound && !right.is_bound {
            return Err(OpError::input(2, format!("is of shape {} for {} columns", bias.dims, columns[1])));
        }
        let output = Fact::new(self.to, Dims::new([rows[0], columns[1]]));
        Ok(if self.to == DType::F32 { vec![output] } else { with_range(output) })
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Scratch::memory(call)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (m, k, n) = match (&run.shape(0)[..], &run.shape(1)[..]) {
            (&[m, k], &[depth, n]) if k == depth => (m, k, n),
            _ => return Err(OpError::input(1, "has other rows than input 0 has columns")),
        };
        let Scratch { sums, scales, biases } = Scratch::of(run)?;
        let right = run.input(1)?;
        quantized_matmul(
            run.pool,
            (m, k, n),
            (false, false),
            (run.slice::<u8>(0)?, 0),
            (right.bytes(), 0, true),
            sums,
        )?;

        let (min, max) = (number(run, 3)?, number(run, 4)?);
        let (low, high) = (number(run, 5)?, number(run, 6)?);
        let (range, end) = (if self.is_scaled { reach(min, max) } else { max - min }, reach(low, high));
        let step = (range as f64 / 255.0) as f32 * (end as f64 / 127.0) as f32;
        scales.fill(step);
        self.biases(run, (min, max), end, biases)?;
        let mut how = Finish {
            scales,
            bias: Some(biases),
            summand: Summand::None,
            summand_scale: 1.0,
            has_relu: self.has_relu,
            step,
            highest: HIGHEST_SUM,
        };
        match self.to {
            DType::F32 => {
                how.step = 1.0;
                Ok(finish_sums(run.pool, sums, &how, run.out::<f32>(0)?)?)
            }
            DType::I32 => {
                finish_sums(run.pool, sums, &how, run.out::<i32>(0)?)?;
                let one = (max - min) / 255.0 * ((high - low) / 254.0);
                give(run, 1, (one * i32::MIN as f32, one * i32::MAX as f32))
            }
            _ => {
                let to = (number(run, 7)?, number(run, 8)?);
                (how.step, how.highest) = ((reach(to.0, to.1) as f64 / 255.0) as f32, 255.0);
                finish_sums(run.pool, sums, &how, run.out::<u8>(0)?)?;
                give(run, 1, to)
            }
        }
    }
}

impl FusedMatMul {
    /// What is added to each column.
    fn biases(
        &self,
        run: &Run<'_>,
        (min, max): (f32, f32),
        end: f32,
        biases: &mut [f32],
    ) -> Result<(), OpError> {
        if run.shape(2).elements() != biases.len() {
            return Err(OpError::input(
                2,
                format!("is of shape {} for {} columns", run.shape(2), biases.len()),
            ));
        }
        if run.dtype(2) == DType::I32 {
            let range = if self.is_scaled { max } else { max - min };
            let per_one = (255.0 * 127.0 / (range * end) as f64) as f32;
            for (to, steps) in biases.iter_mut().zip(run.slice::<i32>(2)?) {
                *to = if self.is_scaled { *steps as f32 * (1.0 / per_one) } else { *steps as f32 / per_one };
            }
            return Ok(());
        }
        biases.copy_from_slice(run.slice::<f32>(2)?);
        if self.is_scaled || biases.is_empty() {
            return Ok(());
        }
        let factor = 255.0 * min / (max - min);
        let weights = run.slice::<i8>(1)?;
        for (column, to) in biases.iter_mut().enumerate() {
            let sum: i64 = weights.iter().skip(column).step_by(run.shape(1)[1]).map(|w| i64::from(*w)).sum();
            *to += sum as i32 as f32 * factor;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, check, flag, refuses, scalar, tensor, text};

    /// Ones that stand for 1/2 and 1/4.
    fn inputs(bias: Tensor) -> Vec<Tensor> {
        let (a, b) = (tensor(&[1, 2], &[2u8, 3]), tensor(&[2, 2], &[4i8, -2, 1, 0]));
        let ranges = [0.0, 127.5, -31.75, 1.0].map(|end: f32| scalar(end));
        [vec![a, b, bias], ranges.to_vec()].concat()
    }

    #[test]
    fn sums_with_a_bias() {
        let given = inputs(tensor(&[2], &[1f32, 0.25]));
        let step = 127.5f32 / 255.0 * (32.75 / 254.0);
        let range = [scalar(step * i32::MIN as f32), scalar(step * i32::MAX as f32)];
        let sums = tensor(&[1, 2], &[19i32, -2]);
        check("QuantizedMatMulWithBias", &[], &given, &[&[sums][..], &range].concat());
        let sums = tensor(&[1, 2], &[19i32, 0]);
        check("QuantizedMatMulWithBiasAndRelu", &[], &given, &[&[sums][..], &range].concat());
        refuses("QuantizedMatMulWithBias", &[("transpose_b", flag(true))], &given, "transpose_b");
        refuses("QuantizedMatMulWithBias", &[], &inputs(tensor(&[1], &[1f32])), "for 2 columns");
    }

    #[test]
    fn sums_become_bytes_or_numbers() {
        let to = [scalar(0f32), scalar(63.75f32)];
        let given = [inputs(tensor(&[2], &[1i32, -4])), to.to_vec()].concat();
        let bytes = tensor(&[1, 2], &[6u8, 0]);
        check("QuantizedMatMulWithBiasAndRequantize", &[], &given, &[&[bytes][..], &to].concat());
        let numbers = tensor(&[1, 2], &[1.5f32, -1.0]);
        let scaled = [("input_quant_mode", text("SCALED"))];
        for attributes in [&[][..], &scaled] {
            check("QuantizedMatMulWithBiasAndDequantize", attributes, &given, std::slice::from_ref(&numbers));
        }
    }
}
