//! What JSON has no form for: strings that are not UTF-8, and tensors of strings.

pub(crate) mod base64;
pub(crate) mod nested;
