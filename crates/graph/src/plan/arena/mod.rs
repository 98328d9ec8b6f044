//! Packing values that live for a while into one block of memory: greedy by size with best fit.
//!
//! The problem is the one minimalloc and the TFLite memory planner solve (offline dynamic storage allocation): every
//! item has a half-open range of steps and a size; items whose ranges meet must not share bytes; the block should be
//! as small as it can. Largest first into the tightest gap comes within a few per cent of the lower bound on neural
//! networks (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).

use std::collections::{BTreeMap, BTreeSet};

/// Something that needs memory for a range of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The first step it lives in.
    pub first: usize,
    /// The first step it does not live in any more.
    pub end: usize,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Where each item is, and how large the block is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packing {
    /// Offset of each item in bytes, a multiple of the alignment.
    pub offsets: Vec<usize>,
    /// Bytes of the block.
    pub height_bytes: usize,
}

/// The most pairs of items that live together, up to which every item is tried in every gap.
const MAX_PAIRS: usize = 1 << 20;

/// Packs `items`, each at a multiple of `alignment`. Several ways are tried and the lowest block is kept.
///
/// Where very many items live at once, looking at every gap would take the square of their number. Then the largest
/// items are packed so, as far as their pairs allow, and the others, which are small, are put on top of what lives
/// beside them; or all are packed as an allocator would that learns of them one after the other.
pub fn pack(items: &[Item], alignment: usize) -> Packing {
    pack_within(items, alignment, MAX_PAIRS)
}

fn pack_within(items: &[Item], alignment: usize, max_pairs: usize) -> Packing {
    if let Some(meetings) = Meetings::new(items, max_pairs) {
        return pack_by_gaps(items, &meetings, alignment);
    }
    let (on_top, in_turn) = (pack_on_top(items, alignment, max_pairs), pack_in_turn(items, alignment));
    if in_turn.height_bytes < on_top.height_bytes { in_turn } else { on_top }
}

/// Makes items larger where that makes the block no higher: each of `most`, an item of one step and the bytes that are of use to it,
/// in the order of their steps, gets as many of them as a gap beside what lives in its step has.
pub fn widen(items: &mut [Item], packing: &mut Packing, alignment: usize, most: &[(usize, usize)]) {
    if pairs(items) > MAX_PAIRS {
        return;
    }
    let mut by_first: Vec<usize> = (0..items.len()).filter(|i| items[*i].first < items[*i].end).collect();
    by_first.sort_unstable_by_key(|i| items[*i].first);
    let (mut begun, mut alive) = (0, Vec::new());
    for &(wide, most_bytes) in most {
        let step = items[wide].first;
        while let Some(next) = by_first.get(begun).filter(|i| items[**i].first <= step) {
            alive.push(*next);
            begun += 1;
        }
        alive.retain(|i| items[*i].end > step);
        alive.sort_unstable_by_key(|i| packing.offsets[*i]);
        let others = alive.iter().filter(|i| **i != wide);
        let mut end = 0;
        let mut best: Option<(usize, usize)> = None;
        for (start, next_end) in others
            .map(|i| (packing.offsets[*i], packing.offsets[*i] + items[*i].bytes.next_multiple_of(alignment)))
            .chain([(packing.height_bytes, packing.height_bytes)])
        {
            let bytes = start.saturating_sub(end).min(most_bytes);
            if best.is_none_or(|(largest, _)| bytes > largest) {
                best = Some((bytes, end));
            }
            end = end.max(next_end);
        }
        if let Some((bytes, offset)) = best.filter(|(bytes, _)| *bytes > items[wide].bytes) {
            items[wide].bytes = bytes;
            packing.offsets[wide] = offset;
        }
    }
}

/// The most bytes that packing takes besides the items and their offsets.
pub(super) fn working_bytes(items: &[Item]) -> u64 {
    let pairs = pairs(items);
    let count = items.len() as u64;
    let listed = 8 * pairs.min(MAX_PAIRS) as u64;
    if pairs <= MAX_PAIRS {
        // Lists of the pairs, orders, the offsets of the best way and the next.
        return listed + count * 64;
    }
    let steps = items.iter().map(|item| item.end).max().unwrap_or(0) as u64;
    // Both ways: the larger half as above, the tops of the steps, and two trees of free ranges.
    listed + count * 200 + steps * 64
}

/// How many pairs of items live together.
fn pairs(items: &[Item]) -> usize {
    let alive = || items.iter().filter(|item| item.first < item.end);
    let mut firsts: Vec<usize> = alive().map(|item| item.first).collect();
    let mut ends: Vec<usize> = alive().map(|item| item.end).collect();
    firsts.sort_unstable();
    ends.sort_unstable();
    let mut ended = 0;
    let before = firsts.iter().enumerate().map(|(begun, first)| {
        while ends[ended] <= *first {
            ended += 1;
        }
        begun - ended
    });
    before.fold(0, usize::saturating_add)
}

/// Best fit by size, by area and by the first step, the lowest kept.
fn pack_by_gaps(items: &[Item], meetings: &Meetings, alignment: usize) -> Packing {
    let by = |key: &dyn Fn(&Item) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|i| (std::cmp::Reverse(key(&items[*i])), *i));
        pack_in_order(items, meetings, &order, alignment)
    };
    let area = |item: &Item| item.bytes.saturating_mul(item.end - item.first);
    let tries = [
        by(&|item| (item.bytes, item.end - item.first)),
        by(&|item| (area(item), item.bytes)),
        by(&|item| (usize::MAX - item.first, item.bytes)),
    ];
    let best = tries.into_iter().min_by_key(|p| p.height_bytes);
    best.unwrap_or(Packing { offsets: vec![], height_bytes: 0 })
}

fn pack_in_order(items: &[Item], meetings: &Meetings, order: &[usize], alignment: usize) -> Packing {
    const NOT_PLACED: usize = usize::MAX;
    let mut offsets = vec![NOT_PLACED; items.len()];
    let mut meeting: Vec<usize> = Vec::new();
    let mut height_bytes = 0;
    for &i in order {
        let size = items[i].bytes.next_multiple_of(alignment);
        meeting.clear();
        meeting.extend(meetings.of(i).map(|j| j as usize).filter(|j| offsets[*j] != NOT_PLACED));
        meeting.sort_unstable_by_key(|j| offsets[*j]);
        let mut end = 0usize;
        let mut best: Option<(usize, usize)> = None;
        for &j in &meeting {
            let gap = offsets[j].saturating_sub(end);
            if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = end.max(offsets[j] + items[j].bytes.next_multiple_of(alignment));
        }
        offsets[i] = best.map_or(end, |(_, start)| start);
        height_bytes = height_bytes.max(offsets[i] + size);
    }
    Packing { offsets, height_bytes }
}

/// Which items live together: for each the others, as one list.
struct Meetings {
    /// Where the list of each item starts; one more at the end.
    starts: Vec<u32>,
    others: Vec<u32>,
}

impl Meetings {
    /// `None` when there are more than `max_pairs` pairs.
    fn new(items: &[Item], max_pairs: usize) -> Option<Meetings> {
        let pairs = pairs(items);
        if pairs > max_pairs {
            return None;
        }
        let mut starts = vec![0; items.len() + 1];
        each_pair(items, |a, b| {
            starts[a as usize] += 1;
            starts[b as usize] += 1;
        });
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut others = vec![0; 2 * pairs];
        each_pair(items, |a, b| {
            for (item, other) in [(a, b), (b, a)] {
                starts[item as usize] -= 1;
                others[starts[item as usize] as usize] = other;
            }
        });
        Some(Meetings { starts, others })
    }

    fn of(&self, item: usize) -> impl Iterator<Item = u32> + '_ {
        self.others[self.starts[item] as usize..self.starts[item + 1] as usize].iter().copied()
    }
}

/// Calls `each` with every two items that live together.
fn each_pair(items: &[Item], mut each: impl FnMut(u32, u32)) {
    let mut by_first: Vec<u32> = (0..items.len() as u32).collect();
    by_first.retain(|i| items[*i as usize].first < items[*i as usize].end);
    by_first.sort_unstable_by_key(|i| items[*i as usize].first);
    let mut alive: Vec<u32> = Vec::new();
    for i in by_first {
        let mut at = 0;
        while let Some(j) = alive.get(at).copied() {
            if items[j as usize].end <= items[i as usize].first {
                alive.swap_remove(at);
            } else {
                each(j, i);
                at += 1;
            }
        }
        alive.push(i);
    }
}

/// The largest items by gaps, the others on top of whatever is alive beside them.
fn pack_on_top(items: &[Item], alignment: usize, max_pairs: usize) -> Packing {
    let mut by_size: Vec<usize> = (0..items.len()).collect();
    by_size.sort_by_key(|i| (std::cmp::Reverse(items[*i].bytes), items[*i].first, *i));
    let mut count = items.len() / 2;
    let (large, base) = loop {
        let large: Vec<Item> = by_size[..count].iter().map(|i| items[*i]).collect();
        if let Some(meetings) = Meetings::new(&large, max_pairs) {
            let base = pack_by_gaps(&large, &meetings, alignment);
            break (large, base);
        }
        count /= 2;
    };
    let mut offsets = vec![0; items.len()];
    let mut tops = Tops::new(items);
    for ((i, item), offset) in by_size.iter().zip(&large).zip(&base.offsets) {
        offsets[*i] = *offset;
        tops.raise(item, offset + item.bytes.next_multiple_of(alignment));
    }
    let mut height_bytes = base.height_bytes;
    for &i in &by_size[count..] {
        offsets[i] = tops.highest(&items[i]);
        let end = offsets[i] + items[i].bytes.next_multiple_of(alignment);
        tops.raise(&items[i], end);
        height_bytes = height_bytes.max(end);
    }
    Packing { offsets, height_bytes }
}

/// How high the memory is filled in each step: a segment tree, root at 1.
struct Tops {
    /// Leaves of the tree: a power of two.
    steps: usize,
    /// The highest of all steps below a node.
    highest: Vec<usize>,
    /// What all steps below a node are at least.
    at_least: Vec<usize>,
}

impl Tops {
    fn new(items: &[Item]) -> Tops {
        let steps = items.iter().map(|item| item.end).max().unwrap_or(0).next_power_of_two();
        Tops { steps, highest: vec![0; 2 * steps], at_least: vec![0; 2 * steps] }
    }

    /// The highest of the steps that `item` lives in.
    fn highest(&self, item: &Item) -> usize {
        if item.first >= item.end {
            return 0;
        }
        let (mut low, mut high) = (item.first + self.steps, item.end - 1 + self.steps);
        let mut top = self.highest[low].max(self.highest[high]);
        while low > 1 {
            // Whole nodes between the two ways up, and what holds for all that is below the ways themselves.
            if low / 2 != high / 2 {
                if low % 2 == 0 {
                    top = top.max(self.highest[low + 1]);
                }
                if high % 2 == 1 {
                    top = top.max(self.highest[high - 1]);
                }
            }
            (low, high) = (low / 2, high / 2);
            top = top.max(self.at_least[low]).max(self.at_least[high]);
        }
        top
    }

    /// Makes every step that `item` lives in at least `top`.
    fn raise(&mut self, item: &Item, top: usize) {
        if item.first >= item.end {
            return;
        }
        let (first, last) = (item.first + self.steps, item.end - 1 + self.steps);
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            for node in
                [(low % 2 == 1).then_some(low), (high % 2 == 1).then(|| high - 1)].into_iter().flatten()
            {
                self.highest[node] = self.highest[node].max(top);
                self.at_least[node] = self.at_least[node].max(top);
            }
            (low, high) = (low.div_ceil(2), high / 2);
        }
        for mut node in [first, last] {
            while node > 1 {
                node /= 2;
                let below = self.highest[2 * node].max(self.highest[2 * node + 1]);
                self.highest[node] = self.highest[node].max(below);
            }
        }
    }
}

/// As an allocator does it that learns of the items step by step: best fit among the free ranges, which join.
fn pack_in_turn(items: &[Item], alignment: usize) -> Packing {
    let mut by_first: Vec<usize> = (0..items.len()).filter(|i| items[*i].first < items[*i].end).collect();
    let mut by_end = by_first.clone();
    by_first.sort_by_key(|i| (items[*i].first, std::cmp::Reverse(items[*i].bytes), *i));
    by_end.sort_by_key(|i| (items[*i].end, *i));
    let mut ends = by_end.into_iter().peekable();
    let mut offsets = vec![0; items.len()];
    let mut free = Free::default();
    for i in by_first {
        while let Some(dead) = ends.next_if(|j| items[*j].end <= items[i].first) {
            free.give_back(offsets[dead], items[dead].bytes.next_multiple_of(alignment));
        }
        offsets[i] = free.take(items[i].bytes.next_multiple_of(alignment));
    }
    // What lives at no step lies anywhere in the block.
    let idle =
        items.iter().filter(|item| item.first >= item.end).map(|item| item.bytes.next_multiple_of(alignment));
    let height_bytes = idle.fold(free.height_bytes, usize::max);
    Packing { offsets, height_bytes }
}

/// Free ranges of a block that grows.
#[derive(Default)]
struct Free {
    /// Bytes of each by its start.
    by_start: BTreeMap<usize, usize>,
    /// Bytes and start of each.
    by_bytes: BTreeSet<(usize, usize)>,
    height_bytes: usize,
}

impl Free {
    fn remove(&mut self, start: usize, bytes: usize) {
        self.by_start.remove(&start);
        self.by_bytes.remove(&(bytes, start));
    }

    fn insert(&mut self, start: usize, bytes: usize) {
        if bytes > 0 {
            self.by_start.insert(start, bytes);
            self.by_bytes.insert((bytes, start));
        }
    }

    fn take(&mut self, bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        if let Some((found, start)) = self.by_bytes.range((bytes, 0)..).next().copied() {
            self.remove(start, found);
            self.insert(start + bytes, found - bytes);
            return start;
        }
        // None is large enough; the last one is grown when it ends where the block does.
        let last = self.by_start.last_key_value().map(|(start, bytes)| (*start, *bytes));
        let last = last.filter(|(start, bytes)| start + bytes == self.height_bytes);
        let start = last.map_or(self.height_bytes, |(start, _)| start);
        if let Some((start, bytes)) = last {
            self.remove(start, bytes);
        }
        self.height_bytes = start + bytes;
        start
    }

    fn give_back(&mut self, mut start: usize, mut bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.by_start.range(..start).next_back().map(|(start, bytes)| (*start, *bytes));
        if let Some((first, size)) = before.filter(|(first, size)| first + size == start) {
            self.remove(first, size);
            (start, bytes) = (first, bytes + size);
        }
        if let Some(size) = self.by_start.get(&(start + bytes)).copied() {
            self.remove(start + bytes, size);
            bytes += size;
        }
        self.insert(start, bytes);
    }
}

/// Bytes alive in each step: no block can be smaller than the largest.
pub fn load_bytes(items: &[Item], alignment: usize) -> Vec<usize> {
    let steps = items.iter().map(|item| item.end).max().unwrap_or(0);
    let mut change = vec![0isize; steps + 1];
    for item in items.iter().filter(|item| item.first < item.end) {
        let size = item.bytes.next_multiple_of(alignment) as isize;
        change[item.first] += size;
        change[item.end] -= size;
    }
    let mut alive = 0;
    let loads = change.iter().take(steps).map(|c| {
        alive += c;
        alive as usize
    });
    loads.collect()
}

#[cfg(test)]
mod tests;
