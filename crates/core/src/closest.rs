//! Names that were most likely meant.

/// The name that `typed` was most likely meant to be: it begins so, or differs in a few letters.
pub fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let length = typed.chars().count();
    let score = |name: &str| {
        if name.starts_with(typed) && length > 1 { 0 } else { distance(typed, name) }
    };
    let (score, name) = names.map(|name| (score(name), name)).min_by_key(|(score, _)| *score)?;
    let most = if length > 6 { 3 } else { 2 };
    (score <= most && 2 * score <= length).then_some(name)
}

/// Letters to put in, leave out or change to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut above: Vec<usize> = (0..=b.chars().count()).collect();
    for (row, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut above[0], row + 1);
        for (column, other) in b.chars().enumerate() {
            let change = diagonal + usize::from(letter != other);
            diagonal = above[column + 1];
            above[column + 1] = change.min(diagonal + 1).min(above[column] + 1);
        }
    }
    above[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_what_was_meant() {
        let names = || ["input", "output", "memory", "top", "batch", "label", "labels"].into_iter();
        for (typed, meant) in [
            ("inptu", "input"),
            ("mem", "memory"),
            ("batchs", "batch"),
            ("labls", "labels"),
            ("memroy", "memory"),
        ] {
            assert_eq!(closest(typed, names()), Some(meant), "{typed}");
        }
        for typed in ["", "x", "zip", "colour"] {
            assert_eq!(closest(typed, names()), None, "{typed}");
        }
        assert_eq!(closest("preproces_image", ["preprocess_images"].into_iter()), Some("preprocess_images"));
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
