//! What was meant by a name that does not exist.

/// The end of a message about `name`: which of `candidates` was most likely meant, if one.
pub(crate) fn did_you_mean(name: &str, candidates: &[&str]) -> String {
    let meant = tightfit_core::closest(name, candidates.iter().copied());
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}
