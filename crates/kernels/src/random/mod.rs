//! Random numbers, the same as TensorFlow's for the same seeds.

mod candidates;
mod choose;
mod fill;
mod philox;
mod sample;
mod truncated;

pub use candidates::{Candidates, Unigrams};
pub use choose::{multinomial, random_order};
pub(crate) use fill::box_muller_f32;
pub use fill::{Distribution, STEPS_PER_NUMBER, random_fill};
pub use philox::{PHILOX_NUMBERS, Philox, PhiloxStream, unit_f32, unit_f64};
pub use sample::{ParameterIndex, random_binomial, random_gamma, random_poisson};
pub use truncated::{TRUNCATED_ITERATIONS, truncated_normal};
