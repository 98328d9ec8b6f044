//! Keys and counters of generators: StatelessRandomGetKeyCounter, StatelessRandomGetAlg, StatelessRandomGetKeyCounterAlg.
//!
//! Input: two seeds (int32 or int64). Outputs: a key, uint64 `[1]`, a counter, uint64 `[2]`, and the number of the
//! algorithm, int32, which is that of Philox.

use tightfit_core::DType;

use super::source::{PHILOX, Source, need_seeds};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "StatelessRandomGetKeyCounter",
        import: |_| Ok(Box::new(KeyCounter { has_algorithm: false })),
    },
    Registration {
        name: "StatelessRandomGetKeyCounterAlg",
        import: |_| Ok(Box::new(KeyCounter { has_algorithm: true })),
    },
    Registration { name: "StatelessRandomGetAlg", import: |_| Ok(Box::new(Algorithm)) },
];

/// What a generator of two seeds begins with.
#[derive(Debug)]
struct KeyCounter {
    has_algorithm: bool,
}

fn algorithm() -> Fact {
    Fact::known(DType::I32, tightfit_core::Shape::SCALAR, (PHILOX as i32).to_le_bytes())
}

impl Operator for KeyCounter {
    fn name(&self) -> &'static str {
        if self.has_algorithm { "StatelessRandomGetKeyCounterAlg" } else { "StatelessRandomGetKeyCounter" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        need_seeds(0, shared::input(inputs, 0)?)?;
        let vector = |len| Fact::new(DType::U64, Dims::new([crate::dim::Dim::Known(len)]));
        let mut facts = vec![vector(1), vector(2)];
        if self.has_algorithm {
            facts.push(algorithm());
        }
        Ok(facts)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let philox = Source::Seeds(0).philox(run, 0)?;
        run.out::<u64>(0)?.fill(philox.key());
        let counter = run.out::<u64>(1)?;
        counter.iter_mut().zip([0, 64]).for_each(|(to, from)| *to = (philox.counter() >> from) as u64);
        if self.has_algorithm {
            run.out::<i32>(2)?.fill(PHILOX as i32);
        }
        Ok(())
    }
}

/// The number of the algorithm.
#[derive(Debug)]
struct Algorithm;

impl Operator for Algorithm {
    fn name(&self) -> &'static str {
        "StatelessRandomGetAlg"
    }

    fn infer(&self, _: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(vec![algorithm()])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        run.out::<i32>(0)?.fill(PHILOX as i32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor};

    #[test]
    fn keys_are_tensorflows() {
        let outputs = [
            tensor(&[1], &[6_403_228_833_514_061_428u64]),
            tensor(&[2], &[0u64, 1_432_497_372_691_926_344]),
            scalar(1i32),
        ];
        check("StatelessRandomGetKeyCounterAlg", &[], &[tensor(&[2], &[1i64, -2])], &outputs);
        check("StatelessRandomGetKeyCounter", &[], &[tensor(&[2], &[1i32, -2])], &outputs[..2]);
        check("StatelessRandomGetAlg", &[], &[], &outputs[2..]);
        refuses("StatelessRandomGetKeyCounter", &[], &[tensor(&[3], &[1i32, 2, 3])], "two seeds");
    }
}
