//! How much memory there is: BytesInUse, MaxBytesInUse and BytesLimit.
//!
//! No inputs; one int64 scalar. TensorFlow's answer with the figures of their device's allocator, these with those of the
//! budget that the model runs in: what is reserved as the node runs, the most that ever was, and the limit.

use tightfit_core::{DType, MemoryBudget};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run, reshape};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "BytesInUse", import: |_| Ok(Box::new(Figure { name: "BytesInUse" })) },
    Registration { name: "MaxBytesInUse", import: |_| Ok(Box::new(Figure { name: "MaxBytesInUse" })) },
    Registration { name: "BytesLimit", import: |_| Ok(Box::new(Figure { name: "BytesLimit" })) },
];

/// A figure of the budget.
#[derive(Debug)]
struct Figure {
    name: &'static str,
}

impl Figure {
    fn of(&self, budget: &MemoryBudget) -> u64 {
        match self.name {
            "BytesInUse" => budget.used_bytes(),
            "MaxBytesInUse" => budget.peak_bytes(),
            _ => budget.limit_bytes(),
        }
    }
}

impl Operator for Figure {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, _: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::new(DType::I64, Dims::scalar())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 0, [])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let bytes = self.of(run.budget());
        run.out::<i64>(0)?.fill(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::import::text_graph::{context, graph, node};

    #[test]
    fn they_are_those_of_the_budget() {
        let ops = ["BytesInUse", "MaxBytesInUse", "BytesLimit"];
        let text: String = ops.iter().map(|op| format!("node {{ {} }}\n", node(op, op, "", ""))).collect();
        let mut context = context(graph(&text, &ops).unwrap(), 1);
        context.run(&[]).unwrap();
        let [used, most, limit] =
            [0, 1, 2].map(|output| context.output(output).unwrap().as_slice::<i64>().unwrap()[0]);
        assert!(0 < used && used <= most && most <= limit, "{used} {most} {limit}");
        assert_eq!(limit, 64 << 20);
    }
}
