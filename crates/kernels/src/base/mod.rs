//! What every kernel stands on: threads, instruction sets, vectors, views of memory, and what is refused.

pub(crate) mod access;
pub(crate) mod broadcast;
pub(crate) mod complex;
pub(crate) mod cpu;
pub(crate) mod denormals;
pub(crate) mod error;
pub(crate) mod indices;
pub(crate) mod math;
pub mod peak;
pub(crate) mod simd;
pub(crate) mod strided;
pub mod threads;
pub(crate) mod width;
pub(crate) mod window;

pub use access::{EachRow, Src, for_each_row};
pub use cpu::Isa;
pub use denormals::FlushDenormals;
pub use error::{KernelError, Result};
pub use indices::BadIndex;
pub use peak::{peak_flops, peak_read_bytes};
pub use threads::{ThreadError, ThreadPool};
pub use window::{Window, Window3};
