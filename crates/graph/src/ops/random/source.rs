//! Where the operators of random numbers have their generator from: the node's seeds and what it has drawn before, seeds
//! that it is given, or a key and a counter.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::Philox;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::random::Seeds;
use crate::operator::{OpError, Run};
use crate::ops::array::fill::asked_shape;
use crate::ops::shared;

/// Where a generator comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The attributes `seed` and `seed2`; each run goes on where the last one has come to.
    Node(Seeds),
    /// The input of this number: two seeds.
    Seeds(usize),
    /// The input of this number, a key, and the two after it, a counter and an algorithm.
    Key(usize),
}

/// The only algorithm on a CPU, and the number that leaves the choice open.
pub(super) const PHILOX: i64 = 1;
const ANY_ALGORITHM: i64 = 3;

impl Source {
    /// The node's own sequence.
    pub(super) fn of_node(attributes: &Attributes<'_>) -> Result<Source, OpError> {
        Ok(Source::Node([attributes.int_or("seed", 0)?, attributes.int_or("seed2", 0)?]))
    }

    /// What [`Operator::seeds`](crate::operator::Operator::seeds) is.
    pub(super) fn seeds(self) -> Option<Seeds> {
        match self {
            Source::Node(seeds) => Some(seeds),
            Source::Seeds(_) | Source::Key(_) => None,
        }
    }

    /// The number of the input after the shape and what it reads.
    pub(super) fn behind(self) -> usize {
        match self {
            Source::Node(_) => 1,
            Source::Seeds(at) => at + 1,
            Source::Key(at) => at + 3,
        }
    }

    /// Checks the inputs that it reads.
    pub(super) fn check(self, inputs: &[&Fact]) -> Result<(), OpError> {
        match self {
            Source::Node(_) => Ok(()),
            Source::Seeds(at) => need_seeds(at, shared::input(inputs, at)?),
            Source::Key(at) => {
                need_vector(at, shared::input(inputs, at)?, DType::U64, 1)?;
                need_vector(at + 1, shared::input(inputs, at + 1)?, DType::U64, 2)?;
                let algorithm = shared::input(inputs, at + 2)?;
                shared::need_type(at + 2, algorithm, &[DType::I32])?;
                shared::dims_of_rank(at + 2, algorithm, 0)?;
                algorithm.int().map_or(Ok(()), |number| need_philox(at + 2, number))
            }
        }
    }

    /// The generator for numbers that take at most so many steps.
    pub(super) fn philox(self, run: &Run<'_>, steps: u64) -> Result<Philox, OpError> {
        match self {
            Source::Node(seeds) => run.random(seeds, steps),
            Source::Seeds(at) => {
                let seeds = run.ints::<2>(at)?;
                match seeds[..] {
                    [a, b] => Ok(Philox::of_stateless_seeds([a as u64, b as u64])),
                    _ => Err(OpError::input(at, "must be two seeds")),
                }
            }
            Source::Key(at) => {
                let (key, counter) = (run.slice::<u64>(at)?, run.slice::<u64>(at + 1)?);
                need_philox(at + 2, run.ints::<1>(at + 2)?.first().copied().unwrap_or_default())?;
                match (key, counter) {
                    (&[key], &[low, high, ..]) => Ok(Philox::new((high as u128) << 64 | low as u128, key)),
                    _ => {
                        Err(OpError::input(at, "and the next must be a key of 1 and a counter of 2 elements"))
                    }
                }
            }
        }
    }
}

pub(super) fn need_philox(index: usize, number: i64) -> Result<(), OpError> {
    if matches!(number, PHILOX | ANY_ALGORITHM) {
        return Ok(());
    }
    Err(OpError::input(index, format!("is algorithm {number}; Philox, {PHILOX}, is supported")))
}

/// Checks two seeds.
pub(super) fn need_seeds(index: usize, fact: &Fact) -> Result<(), OpError> {
    shared::need_type(index, fact, &[DType::I32, DType::I64])?;
    match shared::dims_of_rank(index, fact, 1)?.as_deref() {
        Some([Dim::Known(n)]) if *n != 2 => {
            Err(OpError::input(index, format!("is of shape {}; two seeds are needed", fact.dims)))
        }
        _ => Ok(()),
    }
}

fn need_vector(index: usize, fact: &Fact, dtype: DType, len: i64) -> Result<(), OpError> {
    shared::need_type(index, fact, &[dtype])?;
    match shared::dims_of_rank(index, fact, 1)?.as_deref() {
        Some([Dim::Known(n)]) if *n != len => {
            Err(OpError::input(index, format!("is of shape {}; [{len}] is needed", fact.dims)))
        }
        _ => Ok(()),
    }
}

/// The shape that an input asks for, a vector.
pub(super) fn asked_dims(index: usize, inputs: &[&Fact]) -> Result<Dims, OpError> {
    let shape = shared::input(inputs, index)?;
    shared::dims_of_rank(index, shape, 1)?;
    asked_shape(index, shape)
}

/// Checks that a shape ends with another one, that of parameters.
pub(super) fn need_end(index: usize, dims: &Dims, end: &Dims) -> Result<(), OpError> {
    let (Some(dims), Some(end)) = (dims.get(), end.get()) else { return Ok(()) };
    let start = dims.len().checked_sub(end.len());
    let is_end = start.is_some_and(|start| {
        dims[start..].iter().zip(end).all(|(a, b)| a.known().zip(b.known()).is_none_or(|(a, b)| a == b))
    });
    if is_end {
        return Ok(());
    }
    Err(OpError::input(index, "is a shape that does not end with the parameters' own"))
}

/// Gives the output the dimensions that input `asked` holds, and those of the input `behind` it.
pub(super) fn set_asked_and_behind(run: &mut Run<'_>, asked: usize, behind: usize) -> Option<()> {
    let dims = run.ints::<MAX_RANK>(asked).ok()?;
    let behind = run.shape(behind);
    let dims: Option<_> = dims.iter().try_fold(([0; MAX_RANK], 0), |(mut all, n), dim| {
        *all.get_mut(n)? = usize::try_from(*dim).ok()?;
        Some((all, n + 1))
    });
    let (all, n) = dims?;
    crate::operator::reshape::set(run, 0, all[..n].iter().copied().chain(behind.iter().copied()))
}

/// The methods of an operator with a field `source`.
macro_rules! draws {
    () => {
        fn is_pure(&self) -> bool {
            self.source.seeds().is_none()
        }

        fn seeds(&self) -> Option<$crate::operator::random::Seeds> {
            self.source.seeds()
        }
    };
}
pub(super) use draws;
