//! Did you mean: the name among several that a misspelt one is nearest to.

/// The one of `candidates` that `name` most likely is a misspelling of: letters swapped, lost, doubled or mistaken, or
/// another case. `None` where none is near.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // What is longer is nobody's typing.
    const MAX_LETTERS: usize = 64;
    let letters: Vec<char> = name.chars().take(MAX_LETTERS + 1).flat_map(char::to_lowercase).collect();
    if letters.len() > MAX_LETTERS {
        return None;
    }
    // A letter in three may be wrong, and of short names one.
    let most = (letters.len() / 3).max(1);
    let distance = |candidate: &'c str| (distance(&letters, candidate), candidate);
    let near = candidates.into_iter().map(distance).filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Letters to be put in, taken out, changed or swapped with their neighbour (optimal string alignment).
fn distance(name: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    let mut rows =
        [vec![0; candidate.len() + 1], (0..=candidate.len()).collect(), vec![0; candidate.len() + 1]];
    for (i, letter) in name.iter().enumerate() {
        let [before, last, next] = &mut rows;
        next[0] = i + 1;
        for (j, other) in candidate.iter().enumerate() {
            let changed = last[j] + usize::from(letter != other);
            next[j + 1] = changed.min(last[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *letter == candidate[j - 1] && name[i - 1] == *other {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][candidate.len()]
}

/// The end of a message about `name`: which of `candidates` may have been meant, if one.
pub(crate) fn did_you_mean(name: &str, candidates: &[&str]) -> String {
    nearest(name, candidates.iter().copied())
        .map_or_else(String::new, |found| format!("; did you mean {found:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_found() {
        const NAMES: [&str; 6] = ["batch", "padded_batch", "decode_image", "shuffle", "shuffled", "take"];
        for (name, expected) in [
            ("bach", Some("batch")),
            ("bacth", Some("batch")),
            ("Batch", Some("batch")),
            ("paded_batch", Some("padded_batch")),
            ("decode-images", Some("decode_image")),
            ("shufle", Some("shuffle")),
            ("shuffeld", Some("shuffled")),
            ("tkae", Some("take")),
            ("image", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, NAMES), expected, "{name}");
        }
        assert_eq!(nearest(&"batch".repeat(100_000), NAMES), None);
    }
}
