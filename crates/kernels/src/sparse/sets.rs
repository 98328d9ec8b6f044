//! Sets of elements, of which it only matters whether they are there.

use std::cmp::Ordering;

/// What is made of two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOperation {
    /// What is in the first and not in the second.
    Without,
    /// What is in the second and not in the first.
    OnlySecond,
    /// What is in both.
    Intersection,
    /// What is in either.
    Union,
}

/// How two elements compare, by their numbers.
pub type Compare<'a> = dyn Fn(u32, u32) -> Ordering + 'a;

/// Sorts the elements of a set and leaves one of those that are equal, at the front; how many are left.
pub fn sort_set(elements: &mut [u32], compare: &Compare<'_>) -> usize {
    elements.sort_unstable_by(|a, b| compare(*a, *b).then(a.cmp(b)));
    let mut kept = 0;
    for at in 0..elements.len() {
        if kept == 0 || compare(elements[kept - 1], elements[at]) != Ordering::Equal {
            elements[kept] = elements[at];
            kept += 1;
        }
    }
    kept
}

impl SetOperation {
    /// Calls `each` with the elements of the result in order, of two sets that [`sort_set`] has made.
    pub fn combine(self, first: &[u32], second: &[u32], compare: &Compare<'_>, mut each: impl FnMut(u32)) {
        let (mut a, mut b) = (0, 0);
        loop {
            let order = match (first.get(a), second.get(b)) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(x), Some(y)) => compare(*x, *y),
            };
            let is_wanted = match self {
                SetOperation::Without => order == Ordering::Less,
                SetOperation::OnlySecond => order == Ordering::Greater,
                SetOperation::Intersection => order == Ordering::Equal,
                SetOperation::Union => true,
            };
            if is_wanted {
                each(if order == Ordering::Greater { second[b] } else { first[a] });
            }
            a += usize::from(order != Ordering::Greater);
            b += usize::from(order != Ordering::Less);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_combined_in_order() {
        let values = [5, 1, 3, 1, 3, 9, 0, 3];
        let compare = |a: u32, b: u32| values[a as usize].cmp(&values[b as usize]);
        let (mut first, mut second) = ([0, 1, 2, 3], [4, 5, 6, 7]);
        let (m, n) = (sort_set(&mut first, &compare), sort_set(&mut second, &compare));
        let result = |operation: SetOperation| {
            let mut made = Vec::new();
            operation.combine(&first[..m], &second[..n], &compare, |e| made.push(values[e as usize]));
            made
        };
        assert_eq!(result(SetOperation::Without), [1, 5]);
        assert_eq!(result(SetOperation::OnlySecond), [0, 9]);
        assert_eq!(result(SetOperation::Intersection), [3]);
        assert_eq!(result(SetOperation::Union), [0, 1, 3, 5, 9]);
    }
}
