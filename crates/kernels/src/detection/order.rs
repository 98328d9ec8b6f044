//! Queues and sorting that leave equals in the order in which TensorFlow has them.
//!
//! Where TensorFlow compares by score alone, which of two equals comes first follows from the steps of the C++ library's
//! binary heap and of its sort, so these take the same steps. The heap lets the hole sink to a leaf before it lifts the
//! element into place; the sort partitions about the median of three until parts are short, and ends with insertion.

/// Parts up to this length are left to the insertion at the end.
const SHORT: usize = 16;

/// Lifts `value` from the hole at `at`, above all that come after it.
fn lift<T: Copy>(heap: &mut [T], mut at: usize, value: T, is_below: &impl Fn(&T, &T) -> bool) {
    while at > 0 {
        let parent = (at - 1) / 2;
        if !is_below(&heap[parent], &value) {
            break;
        }
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = value;
}

/// Lets the hole at `at` sink to a leaf, and lifts `value` from there.
fn sink<T: Copy>(heap: &mut [T], top: usize, value: T, is_below: &impl Fn(&T, &T) -> bool) {
    let (len, mut at) = (heap.len(), top);
    while at < (len.saturating_sub(1)) / 2 {
        let right = 2 * at + 2;
        let child = if is_below(&heap[right], &heap[right - 1]) { right - 1 } else { right };
        heap[at] = heap[child];
        at = child;
    }
    if len >= 2 && len % 2 == 0 && at == (len - 2) / 2 {
        heap[at] = heap[2 * at + 1];
        at = 2 * at + 1;
    }
    // No higher than where the hole was.
    while at > top {
        let parent = (at - 1) / 2;
        if !is_below(&heap[parent], &value) {
            break;
        }
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = value;
}

/// Puts the last element of `heap` in its place among the others.
pub(super) fn push<T: Copy>(heap: &mut [T], is_below: &impl Fn(&T, &T) -> bool) {
    if let Some(last) = heap.len().checked_sub(1) {
        lift(heap, last, heap[last], is_below);
    }
}

/// Moves the first of `heap` to its end, and puts the others in order.
pub(super) fn pop<T: Copy>(heap: &mut [T], is_below: &impl Fn(&T, &T) -> bool) {
    let Some(last) = heap.len().checked_sub(1).filter(|last| *last > 0) else { return };
    let value = heap[last];
    heap[last] = heap[0];
    sink(&mut heap[..last], 0, value, is_below);
}

/// Sorts `list`; `is_before` says what comes first.
pub(super) fn sort<T: Copy>(list: &mut [T], is_before: &impl Fn(&T, &T) -> bool) {
    if list.is_empty() {
        return;
    }
    partition(list, 2 * list.len().ilog2(), is_before);
    let sorted = list.len().min(SHORT);
    for i in 1..sorted {
        let value = list[i];
        if is_before(&value, &list[0]) {
            list.copy_within(0..i, 1);
            list[0] = value;
        } else {
            insert(list, i, is_before);
        }
    }
    (sorted..list.len()).for_each(|i| insert(list, i, is_before));
}

/// Moves element `i` down to its place.
fn insert<T: Copy>(list: &mut [T], mut i: usize, is_before: &impl Fn(&T, &T) -> bool) {
    let value = list[i];
    while i > 0 && is_before(&value, &list[i - 1]) {
        list[i] = list[i - 1];
        i -= 1;
    }
    list[i] = value;
}

/// Partitions until parts are short.
fn partition<T: Copy>(mut list: &mut [T], mut depth: u32, is_before: &impl Fn(&T, &T) -> bool) {
    while list.len() > SHORT {
        if depth == 0 {
            return heap_sort(list, is_before);
        }
        depth -= 1;
        median_to_first(list, is_before);
        let cut = cut(list, is_before);
        let (left, right) = list.split_at_mut(cut);
        partition(right, depth, is_before);
        list = left;
    }
}

/// Swaps the median of the second, the middle and the last element with the first.
fn median_to_first<T: Copy>(list: &mut [T], is_before: &impl Fn(&T, &T) -> bool) {
    let (a, b, c) = (1, list.len() / 2, list.len() - 1);
    let before = |x: usize, y: usize| is_before(&list[x], &list[y]);
    let median = match (before(a, b), before(b, c), before(a, c)) {
        (true, true, _) => b,
        (true, false, true) => c,
        (true, false, false) => a,
        (false, _, true) => a,
        (false, true, false) => c,
        (false, false, false) => b,
    };
    list.swap(0, median);
}

/// Parts the elements after the first by whether they come before it; where the second part begins.
fn cut<T: Copy>(list: &mut [T], is_before: &impl Fn(&T, &T) -> bool) -> usize {
    let pivot = list[0];
    let (mut first, mut last) = (1, list.len());
    loop {
        while first < list.len() && is_before(&list[first], &pivot) {
            first += 1;
        }
        last -= 1;
        while last > 0 && is_before(&pivot, &list[last]) {
            last -= 1;
        }
        if first >= last {
            return first;
        }
        list.swap(first, last);
        first += 1;
    }
}

fn heap_sort<T: Copy>(list: &mut [T], is_before: &impl Fn(&T, &T) -> bool) {
    for top in (0..list.len() / 2).rev() {
        sink(list, top, list[top], is_before);
    }
    for len in (2..=list.len()).rev() {
        pop(&mut list[..len], is_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_queues() {
        let mut state = 1u32;
        let mut next = move |most: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % most
        };
        for len in [0, 1, 2, 3, 15, 16, 17, 18, 100, 1000] {
            for most in [1, 3, 1 << 20] {
                let list: Vec<(u32, usize)> = (0..len).map(|i| (next(most), i)).collect();
                let mut expected: Vec<u32> = list.iter().map(|x| x.0).collect();
                expected.sort_unstable_by(|a, b| b.cmp(a));
                let mut sorted = list.clone();
                sort(&mut sorted, &|a, b| b.0 < a.0);
                assert!(sorted.iter().map(|x| x.0).eq(expected.iter().copied()));
                let mut sorted = list.clone();
                heap_sort(&mut sorted, &|a, b| b.0 < a.0);
                assert!(sorted.iter().map(|x| x.0).eq(expected.iter().copied()));
                let mut heap = list;
                (1..=len).for_each(|n| push(&mut heap[..n], &|a, b| a.0 < b.0));
                for (n, expected) in (1..=len).rev().zip(expected) {
                    assert_eq!(heap[0].0, expected);
                    pop(&mut heap[..n], &|a, b| a.0 < b.0);
                }
            }
        }
    }
}
