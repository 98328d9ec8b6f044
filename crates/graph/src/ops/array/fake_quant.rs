//! FakeQuantWithMinMaxArgs, Vars and VarsPerChannel: elements rounded to what integers of `num_bits` bits can express
//! between a minimum and a maximum, which are attributes, scalars, or vectors along the last axis.
//!
//! Shape: the input's. float32.

use tightfit_core::DType;
use tightfit_kernels::{QuantRange, fake_quant};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "FakeQuantWithMinMaxArgs", import: import_args },
    Registration { name: "FakeQuantWithMinMaxVars", import: import_vars },
    Registration { name: "FakeQuantWithMinMaxVarsPerChannel", import: import_vectors },
];

fn range(attributes: &Attributes<'_>) -> Result<QuantRange, OpError> {
    let bits = attributes.int_or("num_bits", 8)?;
    let Some(bits) = u32::try_from(bits).ok().filter(|bits| (2..=16).contains(bits)) else {
        return Err(OpError::attribute("num_bits", format!("is {bits}; 2 to 16 are supported")));
    };
    Ok(QuantRange { bits, is_narrow: attributes.bool_or("narrow_range", false)? })
}

fn import_args(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (min, max) = (attributes.float_or("min", -6.0)?, attributes.float_or("max", 6.0)?);
    if min.is_nan() || max.is_nan() || min >= max {
        return Err(OpError::attribute("min", format!("is {min}, not below max, which is {max}")));
    }
    Ok(Box::new(FakeQuant { range: range(attributes)?, ends: Some([min, max]), end_rank: 0 }))
}

fn import_vars(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(FakeQuant { range: range(attributes)?, ends: None, end_rank: 0 }))
}

fn import_vectors(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(FakeQuant { range: range(attributes)?, ends: None, end_rank: 1 }))
}

/// The operator.
#[derive(Debug)]
struct FakeQuant {
    range: QuantRange,
    /// Minimum and maximum, where they are no inputs.
    ends: Option<[f32; 2]>,
    /// 1 where there is a minimum and a maximum for each channel.
    end_rank: usize,
}

impl Operator for FakeQuant {
    fn name(&self) -> &'static str {
        "FakeQuantWithMinMaxVars"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32])?;
        let last = input.dims.get().and_then(|dims| dims.last()).and_then(|dim| dim.size());
        for index in [1, 2].into_iter().filter(|_| self.ends.is_none()) {
            let end = shared::input(inputs, index)?;
            shared::need_type(index, end, &[DType::F32])?;
            shared::dims_of_rank(index, end, self.end_rank)?;
            let elements = end.dims.elements().size();
            if self.end_rank == 1 && elements.is_some_and(|n| last.is_some_and(|last| n != last)) {
                return Err(OpError::input(index, format!("is of shape {} for {}", end.dims, input.dims)));
            }
        }
        Ok(vec![Fact::new(DType::F32, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.slice::<f32>(0)?;
        let output = run.out::<f32>(0)?;
        let (min, max) = match &self.ends {
            Some([min, max]) => (std::slice::from_ref(min), std::slice::from_ref(max)),
            None => (run.slice::<f32>(1)?, run.slice::<f32>(2)?),
        };
        Ok(fake_quant(run.pool, self.range, (min, max), input, output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, float, int, refuses, run, tensor};

    #[test]
    fn rounds_to_steps() {
        let x = tensor(&[2, 2], &[-10.0f32, -0.3, 0.7, 10.0]);
        let attributes = [("min", float(-1.0)), ("max", float(2.0)), ("num_bits", int(2))];
        let expected = tensor(&[2, 2], &[-1.0f32, 0.0, 1.0, 2.0]);
        check_close("FakeQuantWithMinMaxArgs", &attributes, std::slice::from_ref(&x), &expected, 1e-6);
        let ends = [x.clone(), tensor(&[2], &[-1.0f32, 0.0]), tensor(&[2], &[2.0f32, 3.0])];
        let expected = tensor(&[2, 2], &[-1.0f32, 0.0, 1.0, 3.0]);
        let bits = [("num_bits", int(2))];
        check_close("FakeQuantWithMinMaxVarsPerChannel", &bits, &ends, &expected, 1e-6);
        let nan = run("FakeQuantWithMinMaxArgs", &attributes, &[tensor(&[1], &[f32::NAN])]).unwrap();
        assert!(nan[0].values::<f32>()[0].is_nan());
        let row = tensor(&[1, 2], &[1.0f32, 2.0]);
        refuses(
            "FakeQuantWithMinMaxVarsPerChannel",
            &[],
            &[x.clone(), row, tensor(&[2], &[3.0f32, 3.0])],
            "rank 1",
        );
        refuses("FakeQuantWithMinMaxArgs", &[("num_bits", int(1))], &[x], "num_bits");
    }
}
