//! Random numbers, the same as TensorFlow's for the same seeds.

mod philox;

pub use philox::{PHILOX_NUMBERS, Philox, PhiloxStream, unit_f32, unit_f64};
