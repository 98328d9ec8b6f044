//! Functions of two elements: Add, Mul, Maximum, Pow, Less, LogicalAnd and their like.
//!
//! Shape: the inputs', broadcast by numpy's rules. Types: both inputs of one; float16 and bfloat16 are computed in
//! float32, integers wrap, and an integer division by zero or a negative integer exponent is an error. The output may
//! take the memory of an input of its shape; comparisons' may not, since bools are smaller.

use tightfit_core::DType;
use tightfit_kernels::{BinaryOp, CompareOp, binary, compare};

use super::Registration;
use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Run};

macro_rules! functions {
    ($($name:literal => $op:ident),* ; $($comparison:ident),*) => {
        &[
            $(Registration { name: $name, import: |_| Ok(Box::new(Binary { op: BinaryOp::$op })) },)*
            $(Registration {
                name: stringify!($comparison),
                import: |_| Ok(Box::new(Comparison { op: CompareOp::$comparison })),
            },)*
        ]
    };
}

pub(super) const OPS: &[Registration] = functions! {
    "Add" => Add, "AddV2" => Add, "Sub" => Sub, "Mul" => Mul, "Div" => Div, "RealDiv" => Div, "TruncateDiv" => Div,
    "FloorDiv" => FloorDiv, "DivNoNan" => DivNoNan, "MulNoNan" => MulNoNan, "Xdivy" => Xdivy, "Xlogy" => Xlogy,
    "Xlog1py" => Xlog1py, "FloorMod" => FloorMod, "Mod" => TruncateMod, "TruncateMod" => TruncateMod, "Pow" => Pow,
    "Maximum" => Maximum, "Minimum" => Minimum, "SquaredDifference" => SquaredDifference, "Atan2" => Atan2,
    "LogicalAnd" => And, "LogicalOr" => Or, "BitwiseAnd" => And, "BitwiseOr" => Or, "BitwiseXor" => Xor,
    "LeftShift" => LeftShift, "RightShift" => RightShift;
    Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual
};

/// A function of two elements to one of the same type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (super::input(inputs, 0)?, super::input(inputs, 1)?);
        if a.dtype != b.dtype || !self.op.supports(a.dtype) {
            return Err(OpError::input(1, format!("is of type {}, and input 0 of {}", b.dtype, a.dtype)));
        }
        let dims = super::broadcast(a, b)?;
        Ok(vec![match self.of_dims(a, b) {
            Some(values) => Fact::of_dims(a.dtype, dims, &values),
            None => Fact::new(a.dtype, dims),
        }])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0, 1])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (a, b) = (run.src(0)?, run.src(1)?);
        Ok(binary(run.pool, self.op, a, b, &mut run.output(0)?)?)
    }
}

impl Binary {
    /// The result for integers some of which are open dimensions, as models compute shapes with.
    fn of_dims(&self, a: &Fact, b: &Fact) -> Option<Vec<Dim>> {
        let function = match self.op {
            BinaryOp::Add => Dim::plus,
            BinaryOp::Mul => Dim::times,
            BinaryOp::FloorDiv | BinaryOp::Div => Dim::divided_by,
            _ => return None,
        };
        if !matches!(a.dtype, DType::I32 | DType::I64) {
            return None;
        }
        let (a, b) = (a.dims_value()?, b.dims_value()?);
        let at = |v: &[Dim], i: usize| if v.len() == 1 { v[0] } else { v[i] };
        let is_plain = a.len() == b.len() || a.len() == 1 || b.len() == 1;
        let len = if a.len() == 1 { b.len() } else { a.len() };
        is_plain.then(|| (0..len).map(|i| function(at(&a, i), at(&b, i))).collect())
    }
}

/// A comparison of two elements, answered with a bool.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    op: CompareOp,
}

impl Operator for Comparison {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (super::input(inputs, 0)?, super::input(inputs, 1)?);
        if a.dtype != b.dtype || !self.op.supports(a.dtype) {
            return Err(OpError::input(1, format!("is of type {}, and input 0 of {}", b.dtype, a.dtype)));
        }
        Ok(vec![Fact::new(DType::Bool, super::broadcast(a, b)?)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (a, b) = (run.src(0)?, run.src(1)?);
        Ok(compare(run.pool, self.op, a, b, &mut run.output(0)?)?)
    }
}
