//! Where the operators with attributes `seed` and `seed2` stand in their sequences of random numbers.

use std::cell::Cell;
use std::sync::Arc;

use tightfit_kernels::Philox;

/// The generator of one step, which a context keeps from run to run. There is none before the first number is drawn.
#[derive(Debug, Default)]
pub struct Generator(Cell<Option<Philox>>);

/// The attributes `seed` and `seed2`.
pub type Seeds = [i64; 2];

/// Where a step that draws random numbers stands.
pub(crate) struct StepGenerator {
    /// The step's position in its plan.
    pub step: usize,
    /// Its name, which it has in every plan of the model.
    pub name: Arc<str>,
    pub generator: Generator,
}

impl Generator {
    /// The generator for numbers that take at most so many steps: the next numbers come after them. Both seeds 0 mean
    /// that the sequence is another one each time that it begins.
    pub(super) fn reserve(&self, seeds: Seeds, steps: u64) -> Philox {
        let philox = self.0.get().unwrap_or_else(|| match seeds {
            [0, 0] => Philox::of_seeds(tightfit_format::random(), tightfit_format::random()),
            [seed, seed2] => Philox::of_seeds(seed as u64, seed2 as u64),
        });
        self.0.set(Some(philox.skipped(steps)));
        philox
    }

    /// One that has come so far.
    #[cfg(test)]
    pub(crate) fn at(place: Option<Philox>) -> Generator {
        Generator(Cell::new(place))
    }

    /// How far it has come.
    #[cfg(test)]
    pub(crate) fn place(&self) -> Option<Philox> {
        self.0.get()
    }

    /// Makes the next number the first one again.
    pub(crate) fn restart(&self) {
        self.0.set(None);
    }
}
