//! What was meant by a name that does not exist.

/// That there is no `what` of this name: the one that was most likely meant, or all that there are.
pub(crate) fn unknown(what: &str, name: &str, names: &[&str]) -> String {
    match tightfit_core::closest(name, names.iter().copied()) {
        Some(meant) => format!("there is no {what} {name:?}; did you mean {meant:?}?"),
        None => format!("there is no {what} {name:?}, but {}", names.join(", ")),
    }
}

/// The end of a message about `name`: which of `candidates` was most likely meant, if one.
pub(crate) fn did_you_mean(name: &str, candidates: &[&str]) -> String {
    let meant = tightfit_core::closest(name, candidates.iter().copied());
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}
