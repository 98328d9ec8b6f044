//! Packing values that live for a while into one block of memory: greedy by size with best fit.
//!
//! The problem is the one minimalloc and the TFLite memory planner solve (offline dynamic storage allocation): every
//! item has a half-open range of steps and a size; items whose ranges meet must not share bytes; the block should be
//! as small as it can. Largest first into the tightest gap comes within a few per cent of the lower bound on neural
//! networks (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).

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
pub struct Packing {
    /// Offset of each item in bytes, a multiple of the alignment.
    pub offsets: Vec<usize>,
    /// Bytes of the block.
    pub height_bytes: usize,
}

impl Item {
    fn meets(&self, other: &Item) -> bool {
        self.first < other.end && other.first < self.end
    }
}

/// Packs `items`, each at a multiple of `alignment`. Several orders are tried and the lowest block is kept.
pub fn pack(items: &[Item], alignment: usize) -> Packing {
    let by = |key: &dyn Fn(&Item) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|i| (std::cmp::Reverse(key(&items[*i])), *i));
        pack_in_order(items, &order, alignment)
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

fn pack_in_order(items: &[Item], order: &[usize], alignment: usize) -> Packing {
    let mut offsets = vec![0usize; items.len()];
    let mut placed = Placed::new(items);
    let mut meeting = Vec::new();
    let mut height_bytes = 0;
    for &i in order {
        let size = items[i].bytes.next_multiple_of(alignment);
        meeting.clear();
        placed.meeting(&items[i], &mut meeting);
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
        placed.insert(i, &items[i]);
    }
    Packing { offsets, height_bytes }
}

/// The items placed so far, found by the steps they live in: in a deep graph few of very many meet.
struct Placed {
    /// Leaves of the tree: a power of two.
    steps: usize,
    /// A segment tree over steps, root at 1: an item is in the few nodes that together are its life.
    tree: Vec<Vec<usize>>,
    /// The items that begin at each step.
    starts: Vec<Vec<usize>>,
}

impl Placed {
    fn new(items: &[Item]) -> Placed {
        let steps = items.iter().map(|item| item.end).max().unwrap_or(0).next_power_of_two();
        Placed { steps, tree: vec![Vec::new(); 2 * steps], starts: vec![Vec::new(); steps] }
    }

    fn insert(&mut self, number: usize, item: &Item) {
        if item.first >= item.end {
            return;
        }
        self.starts[item.first].push(number);
        let (mut low, mut high) = (item.first + self.steps, item.end + self.steps);
        while low < high {
            if low % 2 == 1 {
                self.tree[low].push(number);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.tree[high].push(number);
            }
            (low, high) = (low / 2, high / 2);
        }
    }

    /// Adds every item that meets `item`: those alive at its first step, and those that begin after.
    fn meeting(&self, item: &Item, list: &mut Vec<usize>) {
        if item.first >= item.end {
            return;
        }
        let mut node = item.first + self.steps;
        while node > 0 {
            list.extend(&self.tree[node]);
            node /= 2;
        }
        for starts in &self.starts[item.first + 1..item.end] {
            list.extend(starts);
        }
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

/// Checks a packing from nothing but the rules: every item aligned, inside the block, and apart from every item it
/// lives together with.
///
/// # Errors
/// Which rule is broken, and by which items.
pub fn validate(items: &[Item], packing: &Packing, alignment: usize) -> Result<(), String> {
    if items.len() != packing.offsets.len() {
        return Err(format!("{} items have {} offsets", items.len(), packing.offsets.len()));
    }
    let range = |i: usize| packing.offsets[i]..packing.offsets[i] + items[i].bytes;
    let mut by_start: Vec<usize> = (0..items.len()).collect();
    by_start.sort_by_key(|i| items[*i].first);
    let mut alive: Vec<usize> = Vec::new();
    for i in by_start {
        if !packing.offsets[i].is_multiple_of(alignment) {
            return Err(format!("item {i} at {} is not aligned to {alignment}", packing.offsets[i]));
        }
        if range(i).end > packing.height_bytes {
            return Err(format!(
                "item {i} ends at {}, past the block's {}",
                range(i).end,
                packing.height_bytes
            ));
        }
        alive.retain(|j| items[*j].end > items[i].first);
        let overlap = alive.iter().find(|j| {
            items[**j].meets(&items[i]) && range(**j).start < range(i).end && range(i).start < range(**j).end
        });
        if let Some(j) = overlap {
            return Err(format!(
                "items {j} at {:?} and {i} at {:?} live together and overlap",
                range(*j),
                range(i)
            ));
        }
        alive.push(i);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(first: usize, end: usize, bytes: usize) -> Item {
        Item { first, end, bytes }
    }

    #[test]
    fn reuses_memory_of_the_dead() {
        let items = [item(0, 2, 100), item(1, 3, 50), item(2, 4, 100), item(3, 5, 50)];
        let packing = pack(&items, 1);
        validate(&items, &packing, 1).unwrap();
        assert_eq!(packing.height_bytes, 150);
        assert_eq!(load_bytes(&items, 1), vec![100, 150, 150, 150, 50]);
    }

    #[test]
    fn takes_the_tightest_gap() {
        // Two gaps of 30 and 20 lie under later items; the item of 20 goes into the second.
        let items =
            [item(0, 9, 100), item(0, 4, 30), item(0, 9, 90), item(0, 4, 20), item(0, 9, 80), item(5, 9, 20)];
        let packing = pack(&items, 1);
        validate(&items, &packing, 1).unwrap();
        assert_eq!(packing.height_bytes, 320);
    }

    #[test]
    fn the_validator_finds_each_fault() {
        let items = [item(0, 2, 64), item(1, 3, 64)];
        let packing = |a, b, height_bytes| Packing { offsets: vec![a, b], height_bytes };
        assert!(validate(&items, &packing(0, 64, 128), 64).is_ok());
        assert!(validate(&items, &packing(0, 0, 128), 64).unwrap_err().contains("overlap"));
        assert!(validate(&items, &packing(0, 65, 192), 64).unwrap_err().contains("aligned"));
        assert!(validate(&items, &packing(0, 64, 100), 64).unwrap_err().contains("past"));
        assert!(validate(&items, &Packing { offsets: vec![0], height_bytes: 64 }, 64).is_err());
    }

    proptest! {
        #[test]
        fn every_packing_is_valid_and_above_the_bound(
            items in prop::collection::vec((0usize..20, 1usize..8, 0usize..5000), 0..60),
        ) {
            let items: Vec<Item> = items.into_iter().map(|(first, life, bytes)| item(first, first + life, bytes)).collect();
            let packing = pack(&items, 64);
            prop_assert_eq!(validate(&items, &packing, 64), Ok(()));
            let bound = load_bytes(&items, 64).into_iter().max().unwrap_or(0);
            prop_assert!(packing.height_bytes >= bound);
        }
    }
}
