//! Counters that are variables: CountUpTo and ResourceCountUpTo.
//!
//! The variable, an int32 or int64 scalar, is one more from then on; the result is what it was. `limit` is the most that it may
//! become.

use tightfit_core::DType;

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{int_input, need_index_type};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "CountUpTo", import: count },
    Registration { name: "ResourceCountUpTo", import: count },
];

fn count(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(CountUpTo { limit: attributes.int("limit")? }))
}

/// What a counter was, and what it is from then on.
#[derive(Debug)]
struct CountUpTo {
    limit: i64,
}

impl Operator for CountUpTo {
    fn name(&self) -> &'static str {
        "CountUpTo"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let counter = shared::input(inputs, 0)?;
        need_index_type(0, counter)?;
        shared::dims_of_rank(0, counter, 0)?;
        Ok(vec![Fact::new(counter.dtype, counter.dims.clone()); 2])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let was = int_input(run, 0)?;
        if was >= self.limit {
            return Err(OpError::input(0, format!("has reached {was}; limit is {}", self.limit)));
        }
        for (output, value) in [(0, was), (1, was + 1)] {
            match run.output_dtype(output) {
                DType::I32 => run.out::<i32>(output)?.fill(value as i32),
                _ => run.out::<i64>(output)?.fill(value),
            }
        }
        Ok(())
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn counts_to_its_limit() {
        let limit = [("limit", int(3))];
        check("CountUpTo", &limit, &[scalar(2i32)], &[scalar(2i32), scalar(3i32)]);
        check("ResourceCountUpTo", &limit, &[scalar(-9i64)], &[scalar(-9i64), scalar(-8i64)]);
        refuses_as_it_runs("CountUpTo", &limit, &[scalar(3i32)], "limit is 3");
        refuses("CountUpTo", &limit, &[tensor(&[1], &[1i32])], "rank");
    }
}
