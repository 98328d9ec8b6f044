//! UniformDequantize: the floats that integers stand for by a scale and what stands for 0.
//!
//! Inputs: integers (qint8, quint8 or qint32, of any shape), scales (float32) and zero points (int32), both scalars, or with
//! `quantization_axis` a vector of one for each slice along that axis. Output: float32 of the integers' shape,
//! `(integer - zero point) * scale`. The range that the attributes name changes nothing, as in TensorFlow.

use tightfit_core::DType;
use tightfit_kernels::{AffineScales, affine_dequantize};

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "UniformDequantize", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axis = match attributes.int_or("quantization_axis", -1)? {
        -1 => None,
        axis => Some(
            usize::try_from(axis)
                .map_err(|_| OpError::attribute("quantization_axis", format!("is {axis}")))?,
        ),
    };
    Ok(Box::new(UniformDequantize { axis }))
}

/// The operator.
#[derive(Debug)]
struct UniformDequantize {
    axis: Option<usize>,
}

impl UniformDequantize {
    /// # Errors
    /// [`OpError::Input`] for an axis that the integers do not have.
    fn check_axis(&self, rank: usize) -> Result<(), OpError> {
        match self.axis {
            Some(axis) if axis >= rank => {
                Err(OpError::input(0, format!("has {rank} axes, but quantization_axis is {axis}")))
            }
            _ => Ok(()),
        }
    }
}

impl Operator for UniformDequantize {
    fn name(&self) -> &'static str {
        "UniformDequantize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8, DType::I32])?;
        input.dims.rank().map_or(Ok(()), |rank| self.check_axis(rank))?;
        for (index, dtype) in [(1, DType::F32), (2, DType::I32)] {
            let by = shared::input(inputs, index)?;
            shared::need_type(index, by, &[dtype])?;
            shared::dims_of_rank(index, by, self.axis.is_some() as usize)?;
        }
        Ok(vec![Fact::new(DType::F32, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.shape(0);
        self.check_axis(shape.rank())?;
        let wanted = self.axis.map(|axis| shape[axis]);
        for index in [1, 2] {
            if run.shape(index)[..] != *wanted.as_slice() {
                let why = format!("is of shape {:?}; {:?} is needed", run.shape(index), wanted.as_slice());
                return Err(OpError::input(index, why));
            }
        }
        let scales = run.slice::<f32>(1)?;
        if let Some(scale) = scales.iter().find(|scale| scale.is_nan() || **scale <= 0.0) {
            return Err(OpError::input(1, format!("has a scale of {scale}; all must be positive")));
        }
        if shape.elements() == 0 {
            return Ok(());
        }
        let slice = self.axis.map_or(1, |axis| shape[axis + 1..].iter().product());
        let scales = AffineScales { scales, zeros: run.slice::<i32>(2)?, slice };
        Ok(affine_dequantize(run.pool, scales, run.input(0)?, run.out(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn integers_stand_for_floats() {
        let x = tensor(&[2, 3], &[1i8, -2, 3, 4, 5, -6]);
        let one = [x.clone(), scalar(0.5f32), scalar(1i32)];
        let whole = tensor(&[2, 3], &[0.0f32, -1.5, 1.0, 1.5, 2.0, -3.5]);
        check("UniformDequantize", &[], &one, &[whole]);
        let columns = [x.clone(), tensor(&[3], &[0.5f32, 0.25, 2.0]), tensor(&[3], &[1i32, 0, -1])];
        let expected = tensor(&[2, 3], &[0.0f32, -0.5, 8.0, 1.5, 1.25, -10.0]);
        check("UniformDequantize", &[("quantization_axis", int(1))], &columns, &[expected]);
        let rows = [x.clone(), tensor(&[2], &[0.5f32, 0.25]), tensor(&[2], &[1i32, 300])];
        let expected = tensor(&[2, 3], &[0.0f32, -1.5, 1.0, -74.0, -73.75, -76.5]);
        check("UniformDequantize", &[("quantization_axis", int(0))], &rows, &[expected]);
        let none = [tensor::<u8>(&[1, 0], &[]), tensor::<f32>(&[0], &[]), tensor::<i32>(&[0], &[])];
        check("UniformDequantize", &[("quantization_axis", int(1))], &none, &[tensor::<f32>(&[1, 0], &[])]);
        refuses("UniformDequantize", &[("quantization_axis", int(-2))], &one, "quantization_axis");
        refuses("UniformDequantize", &[("quantization_axis", int(2))], &columns, "has 2 axes");
        refuses("UniformDequantize", &[], &columns, "rank 0");
        refuses_as_it_runs("UniformDequantize", &[("quantization_axis", int(0))], &columns, "[2] is needed");
        for scale in [0.0, -1.0, f32::NAN] {
            let wrong = [x.clone(), scalar(scale), scalar(1i32)];
            refuses_as_it_runs("UniformDequantize", &[], &wrong, "must be positive");
        }
    }
}
