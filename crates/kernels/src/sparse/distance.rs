//! How far two sequences are from each other.

use crate::base::error::{Result, check_at_least};

/// The fewest elements that are to be put in, taken out or changed to make a sequence of `a` elements one of `b` (Levenshtein's
/// distance). `same` says whether an element of the first is one of the second; `line` has room for one more than `b`.
///
/// # Errors
/// [`KernelError::Length`](crate::KernelError::Length) when it has not.
pub fn edit_distance(
    a: usize,
    b: usize,
    line: &mut [u32],
    same: impl Fn(usize, usize) -> bool,
) -> Result<u32> {
    check_at_least("the line", b + 1, line.len())?;
    let line = &mut line[..=b];
    line.iter_mut().zip(0..).for_each(|(to, n)| *to = n);
    for i in 0..a {
        // The distance of what is before both elements.
        let mut before = line[0];
        line[0] += 1;
        for j in 0..b {
            let changed = before + u32::from(!same(i, j));
            before = line[j + 1];
            line[j + 1] = changed.min(line[j] + 1).min(before + 1);
        }
    }
    Ok(line[b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_words() {
        let distance = |a: &str, b: &str| {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            edit_distance(a.len(), b.len(), &mut [0; 16], |i, j| a[i] == b[j]).unwrap()
        };
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("abc", "abc")), (3, 3, 0));
        assert!(edit_distance(1, 3, &mut [0; 3], |_, _| true).is_err());
    }
}
