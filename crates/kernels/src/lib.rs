//! Pure compute on slices: all of TightFit's vector code, and nearly all of its unsafe code.
//!
//! Rooms: [`base`] is what every kernel stands on; `product`, `window`, `elementwise`, `reduction`, `movement` and `text` hold
//! the kernels by the way they reach their elements.
//!
//! Invariant: kernels never allocate. Inputs, outputs and scratch are handed in, and their lengths are checked before
//! anything is touched. Results do not depend on the number of threads.

mod base;
mod elementwise;
mod movement;
mod product;
mod reduction;
mod text;
mod window;

pub use base::*;
pub use elementwise::*;
pub use movement::*;
pub use product::*;
pub use reduction::*;
pub use text::*;
pub use window::*;

#[cfg(not(target_endian = "little"))]
compile_error!("weights are used as they stand in files, which are little-endian");
