//! What is checked of each input, and inputs to begin with; the targets are one line each.

use std::fs;
use std::path::Path;

pub mod bodies;
pub mod seeds;

// The macro below names it, wherever it is used.
pub use libfuzzer_sys;

/// A target that gives each input to the function of that name in [`bodies`], and begins with its seeds.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::plant(stringify!($name)),
            |data: &[u8]| $crate::bodies::$name(data)
        );
    };
}

/// Puts the seeds of `target` in its corpus, which libFuzzer reads once this is done.
pub fn plant(target: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("corpus").join(target);
    fs::create_dir_all(&corpus).expect("a folder for the corpus");
    for (number, seed) in seeds::seeds(target, &here.join("..")).iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number:03}")), seed).expect("a seed");
    }
}
