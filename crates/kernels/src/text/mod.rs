//! Functions of texts: fingerprints and hashes as TensorFlow computes them.

mod hash;

pub use hash::{fingerprint_cat64, fingerprint64, hash64, sip_hash};
