//! Functions of one element: Abs, Exp, Relu, Floor, IsNan and their like.
//!
//! Shape: the input's. Types: every float type (float16 and bfloat16 are computed in float32), and integers where the
//! function is defined for them; another type is refused. The output may take the input's memory. The functions are
//! those of `tightfit_kernels`' table, which docs/functions.md lists.

use tightfit_core::DType;
use tightfit_kernels::{FloatTest, FunctionRow, UnaryOp, test_floats, unary};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

/// Those that have more to say than the table of functions.
const OTHERS: [Registration; 4] = [
    Registration { name: "LeakyRelu", import: leaky_relu },
    Registration { name: "IsNan", import: |_| Ok(Box::new(Test { test: FloatTest::IsNan })) },
    Registration { name: "IsInf", import: |_| Ok(Box::new(Test { test: FloatTest::IsInf })) },
    Registration { name: "IsFinite", import: |_| Ok(Box::new(Test { test: FloatTest::IsFinite })) },
];

const TABLE: usize = FunctionRow::count(UnaryOp::TABLE);

/// The operators of the table, and those.
pub(crate) const OPS: &[Registration] = &{
    let mut all = [OTHERS[0]; TABLE + OTHERS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at.checked_sub(TABLE) {
            None => Registration { name: FunctionRow::node(UnaryOp::TABLE, at), import },
            Some(other) => OTHERS[other],
        };
        at += 1;
    }
    all
};

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let row = FunctionRow::of_node(UnaryOp::TABLE, &attributes.node().op);
    let row = row.ok_or(OpError::Internal("a function of one element is not in their table"))?;
    Ok(Box::new(Unary { op: row.op }))
}

fn leaky_relu(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Unary { op: UnaryOp::LeakyRelu(attributes.float_of_type_or("alpha", 0.2)?) }))
}

/// A function of one element to one of the same type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unary {
    /// Which.
    pub op: UnaryOp,
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !self.op.supports(input.dtype) {
            return Err(OpError::input(
                0,
                format!("is of type {}, which {} is not for", input.dtype, self.name()),
            ));
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (dtype, input) = (run.dtype(0), run.bytes_apart(0)?);
        if run.output_dtype(0) != dtype {
            return Err(OpError::Internal("a function of one element gives another type"));
        }
        Ok(unary(run.pool, self.op, dtype, input, run.out_bytes(0)?)?)
    }
}

/// A question about one float, answered with a bool.
#[derive(Debug, Clone, Copy)]
struct Test {
    test: FloatTest,
}

impl Operator for Test {
    fn name(&self) -> &'static str {
        match self.test {
            FloatTest::IsNan => "IsNan",
            FloatTest::IsInf => "IsInf",
            FloatTest::IsFinite => "IsFinite",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !input.dtype.is_float() {
            return Err(OpError::input(0, format!("is of type {}; a float type is needed", input.dtype)));
        }
        Ok(vec![Fact::new(DType::Bool, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(test_floats(run.pool, self.test, input, &mut run.output(0)?)?)
    }
}
