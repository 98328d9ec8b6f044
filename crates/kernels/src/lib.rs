//! Pure compute on slices: all of TightFit's vector code, and nearly all of its unsafe code.
//!
//! Rooms: [`base`] is what every kernel stands on; `product`, `recurrent`, `quantized`, `affine`, `window`, `elementwise`,
//! `reduction`, `sparse` and `movement` hold the kernels by the way they reach their elements, `detection` and `signal` those
//! of boxes and of sound; `linalg` solves and decomposes matrices, `random` draws numbers, `text` hashes and reads strings.
//!
//! Invariant: kernels never allocate. Inputs, outputs and scratch are handed in, and their lengths are checked before
//! anything is touched. Results do not depend on the number of threads.

mod affine;
mod base;
mod detection;
mod elementwise;
mod linalg;
mod movement;
mod product;
mod quantized;
mod random;
mod recurrent;
mod reduction;
mod signal;
mod sparse;
mod text;
mod window;

pub use affine::*;
pub use base::*;
pub use detection::*;
pub use elementwise::*;
pub use linalg::*;
pub use movement::*;
pub use product::*;
pub use quantized::*;
pub use random::*;
pub use recurrent::*;
pub use reduction::*;
pub use signal::*;
pub use sparse::*;
pub use text::*;
pub use window::*;

#[cfg(not(target_endian = "little"))]
compile_error!("weights are used as they stand in files, which are little-endian");
