//! Complex numbers and their parts: Complex of real and imaginary parts, Real, Imag, ComplexAbs and Angle of complex
//! numbers, and Conj.
//!
//! Shape: the input's; of Complex the parts', broadcast. Types: complex64 with parts of float32, complex128 with float64. Real,
//! Imag, Angle and Conj of real numbers are not the concern of nodes.

use tightfit_core::DType;
use tightfit_kernels::{ComplexPart, complex_of, complex_part, conjugate};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "Complex",
        import: |a| {
            let (real, complex) = types(a, "T", "Tout", true)?;
            Ok(Box::new(OfParts { real, complex }))
        },
    },
    Registration { name: "Real", import: |a| part(a, ComplexPart::Real) },
    Registration { name: "Imag", import: |a| part(a, ComplexPart::Imag) },
    Registration { name: "ComplexAbs", import: |a| part(a, ComplexPart::Abs) },
    Registration { name: "Angle", import: |a| part(a, ComplexPart::Angle) },
    Registration { name: "Conj", import: |_| Ok(Box::new(Conj)) },
];

/// The real and the complex type of a node, whose inputs are of the first where `is_from_real`.
fn types(
    attributes: &Attributes<'_>,
    from: &'static str,
    to: &'static str,
    is_from_real: bool,
) -> Result<(DType, DType), OpError> {
    let (real_name, complex_name) = if is_from_real { (from, to) } else { (to, from) };
    let complex = attributes.dtype_or(complex_name, DType::C64)?;
    let real = match complex {
        DType::C64 => DType::F32,
        DType::C128 => DType::F64,
        other => {
            return Err(OpError::attribute(
                complex_name,
                format!("is {other}; complex64 or complex128 is needed"),
            ));
        }
    };
    if attributes.dtype_or(real_name, DType::F32)? != real {
        return Err(OpError::attribute(real_name, format!("is not {real}, the parts of {complex}")));
    }
    Ok((real, complex))
}

fn part(attributes: &Attributes<'_>, part: ComplexPart) -> Result<Box<dyn Operator>, OpError> {
    let (real, complex) = types(attributes, "T", "Tout", false)?;
    Ok(Box::new(Part { part, real, complex }))
}

/// Complex numbers of their parts.
#[derive(Debug)]
struct OfParts {
    real: DType,
    complex: DType,
}

impl Operator for OfParts {
    fn name(&self) -> &'static str {
        "Complex"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (re, im) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, re, &[self.real])?;
        shared::need_type(1, im, &[self.real])?;
        Ok(vec![Fact::new(self.complex, shared::broadcast(re, im)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::elementwise(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        shared::check_broadcast(&run.shape(0), &run.shape(1))?;
        let (re, im) = (run.input(0)?, run.input(1)?);
        Ok(complex_of(run.pool, re, im, &mut run.output(0)?)?)
    }
}

/// A real number of each complex one.
#[derive(Debug)]
struct Part {
    part: ComplexPart,
    real: DType,
    complex: DType,
}

impl Operator for Part {
    fn name(&self) -> &'static str {
        match self.part {
            ComplexPart::Real => "Real",
            ComplexPart::Imag => "Imag",
            ComplexPart::Abs => "ComplexAbs",
            ComplexPart::Angle => "Angle",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[self.complex])?;
        Ok(vec![Fact::new(self.real, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(complex_part(run.pool, self.part, input, &mut run.output(0)?)?)
    }
}

/// Conjugates.
#[derive(Debug)]
struct Conj;

impl Operator for Conj {
    fn name(&self) -> &'static str {
        "Conj"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::C64, DType::C128])?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.src(0)?;
        Ok(conjugate(run.pool, input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::{DType, Shape};

    fn complex(dims: &[usize], parts: &[f32]) -> Tensor {
        let parts = tensor(&[dims, &[2]].concat(), parts);
        Tensor { dtype: DType::C64, shape: Shape::new(dims).unwrap(), ..parts }
    }

    #[test]
    fn parts() {
        let x = complex(&[2], &[3.0, 4.0, 0.0, -2.0]);
        check("Real", &[], &[x.clone()], &[tensor(&[2], &[3f32, 0.0])]);
        check("Imag", &[], &[x.clone()], &[tensor(&[2], &[4f32, -2.0])]);
        check("ComplexAbs", &[], &[x.clone()], &[tensor(&[2], &[5f32, 2.0])]);
        check("Conj", &[], &[x.clone()], &[complex(&[2], &[3.0, -4.0, 0.0, 2.0])]);
        check("Complex", &[], &[tensor(&[2], &[3f32, 0.0]), tensor(&[2], &[4f32, -2.0])], &[x.clone()]);
        refuses("Real", &[("Tout", dtype(DType::F64))], &[x.clone()], "parts of");
        refuses("Conj", &[], &[scalar(1f32)], "complex64");
        check("Mul", &[], &[x.clone(), x], &[complex(&[2], &[-7.0, 24.0, -4.0, -0.0])]);
    }
}
