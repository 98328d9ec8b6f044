//! Names that were most likely meant.

/// The most letters that are compared: what is longer was not typed.
const MAX_LETTERS: usize = 64;

/// The one of `names` that `typed` was most likely meant to be: it begins so, or differs in a few letters that were swapped,
/// lost, doubled or mistaken. Upper and lower case are the same.
pub fn closest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let letters: Vec<char> = typed.chars().take(MAX_LETTERS + 1).flat_map(char::to_lowercase).collect();
    let length = letters.len();
    if length > MAX_LETTERS {
        return None;
    }
    let score = |name: &str| match name.starts_with(typed) && length > 1 {
        true => 0,
        false => distance(&letters, name),
    };
    let scored = names.into_iter().map(|name| (score(name), name));
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    let most = if length > 6 { 3 } else { 2 };
    (score <= most && 2 * score <= length).then_some(name)
}

/// Letters to be put in, taken out, changed or swapped with their neighbour (optimal string alignment).
fn distance(letters: &[char], name: &str) -> usize {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    let mut rows = [vec![0; name.len() + 1], (0..=name.len()).collect(), vec![0; name.len() + 1]];
    for (i, letter) in letters.iter().enumerate() {
        let [before, last, next] = &mut rows;
        next[0] = i + 1;
        for (j, other) in name.iter().enumerate() {
            let changed = last[j] + usize::from(letter != other);
            next[j + 1] = changed.min(last[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *letter == name[j - 1] && letters[i - 1] == *other {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][name.len()]
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
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!((distance(&[], "abc"), distance(&letters("kitten"), "sitting")), (3, 3));
        assert_eq!(distance(&letters("tkae"), "take"), 1);
        assert_eq!(closest("Batch", names()), Some("batch"));
        assert_eq!(closest(&"batch".repeat(100_000), names()), None);
    }
}
