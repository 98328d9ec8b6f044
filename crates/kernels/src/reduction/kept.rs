//! The largest elements of a row in the order in which TensorFlow keeps them: a heap as C++'s standard library makes it, the
//! least on top. TensorFlow gives them so when they need not be sorted, and models that look at places see it.

use std::cmp::Ordering;

use super::order::Ordered;

/// The elements kept of a row, and one more while another is weighed against them.
pub(super) struct Kept<'a, T, I> {
    found: &'a mut [T],
    places: &'a mut [I],
    more: (T, I),
}

/// Whether an element at a place is kept rather than another. Of NaNs and what they are compared with, the first is.
#[inline]
fn before<T: Ordered, I: PartialOrd>((x, i): (T, I), (y, j): (T, I)) -> bool {
    match y.order(x) {
        Some(Ordering::Less) => true,
        Some(Ordering::Greater) => false,
        _ => i < j,
    }
}

impl<T: Ordered, I: Copy + PartialOrd> Kept<'_, T, I> {
    /// Keeps as many of a longer row as `found` and `places` have room for, two at least; `place` is a number as a place.
    pub(super) fn fill(row: &[T], found: &mut [T], places: &mut [I], place: impl Fn(usize) -> I) {
        let k = found.len().min(places.len());
        let Some(more) = row.get(k).filter(|_| k > 1) else { return };
        found.copy_from_slice(&row[..k]);
        places.iter_mut().enumerate().for_each(|(n, to)| *to = place(n));
        let mut kept = Kept { found, places, more: (*more, place(k)) };
        for top in (0..=(k - 1) / 2).rev() {
            kept.sink(top, k + 1, kept.at(top));
        }
        kept.pop(k + 1);
        for (n, x) in row.iter().enumerate().skip(k + 1) {
            let new = (*x, place(n));
            if before(new, kept.at(0)) {
                kept.pop(k);
                kept.rise(k - 1, 0, new);
            }
        }
    }

    fn at(&self, n: usize) -> (T, I) {
        if n < self.found.len() { (self.found[n], self.places[n]) } else { self.more }
    }

    fn put(&mut self, n: usize, element: (T, I)) {
        if n < self.found.len() {
            (self.found[n], self.places[n]) = element;
        } else {
            self.more = element;
        }
    }

    /// Moves the top after the others of the first `len`.
    fn pop(&mut self, len: usize) {
        let last = self.at(len - 1);
        self.put(len - 1, self.at(0));
        self.sink(0, len - 1, last);
    }

    /// Puts an element below `top` among the first `len`: the hole is moved to the bottom first, and the element up from there.
    fn sink(&mut self, top: usize, len: usize, element: (T, I)) {
        let mut hole = top;
        while 2 * hole + 2 < len {
            let (left, right) = (2 * hole + 1, 2 * hole + 2);
            let child = if before(self.at(right), self.at(left)) { left } else { right };
            self.put(hole, self.at(child));
            hole = child;
        }
        if 2 * hole + 2 == len {
            self.put(hole, self.at(2 * hole + 1));
            hole = 2 * hole + 1;
        }
        self.rise(hole, top, element);
    }

    /// Puts an element at a hole or above it, no higher than `top`.
    fn rise(&mut self, hole: usize, top: usize, element: (T, I)) {
        let mut hole = hole;
        while hole > top && before(self.at((hole - 1) / 2), element) {
            self.put(hole, self.at((hole - 1) / 2));
            hole = (hole - 1) / 2;
        }
        self.put(hole, element);
    }
}
