use proptest::prelude::*;

use super::*;

/// Checks a packing from nothing but the rules: every item aligned, inside the block, and apart from every item it
/// lives together with.
fn validate(items: &[Item], packing: &Packing, alignment: usize) -> Result<(), String> {
    if items.len() != packing.offsets.len() {
        return Err(format!("{} items have {} offsets", items.len(), packing.offsets.len()));
    }
    let range = |i: usize| packing.offsets[i]..packing.offsets[i] + items[i].bytes;
    for i in 0..items.len() {
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
    }
    // What is alive lies apart, so whoever comes can only overlap its neighbours.
    let mut by_first: Vec<usize> = (0..items.len()).collect();
    by_first.retain(|i| items[*i].first < items[*i].end && items[*i].bytes > 0);
    let mut by_end = by_first.clone();
    by_first.sort_unstable_by_key(|i| items[*i].first);
    by_end.sort_unstable_by_key(|i| items[*i].end);
    let mut ends = by_end.into_iter().peekable();
    let mut alive: BTreeMap<usize, usize> = BTreeMap::new();
    for i in by_first {
        while let Some(dead) = ends.next_if(|j| items[*j].end <= items[i].first) {
            alive.remove(&packing.offsets[dead]);
        }
        let before = alive.range(..range(i).end).next_back().map(|(_, j)| *j);
        if let Some(j) = before.filter(|j| range(*j).end > range(i).start) {
            return Err(format!(
                "items {j} at {:?} and {i} at {:?} live together and overlap",
                range(j),
                range(i)
            ));
        }
        alive.insert(packing.offsets[i], i);
    }
    Ok(())
}

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

#[test]
fn pairs_are_counted_as_they_are_listed() {
    let items = [item(0, 2, 1), item(1, 3, 1), item(2, 2, 1), item(2, 5, 1), item(0, 5, 1)];
    let mut listed = Vec::new();
    each_pair(&items, |a, b| listed.push((a.min(b), a.max(b))));
    listed.sort_unstable();
    assert_eq!(listed, [(0, 1), (0, 4), (1, 3), (1, 4), (3, 4)]);
    assert_eq!(pairs(&items), listed.len());
    assert!(Meetings::new(&items, 4).is_none());
    assert_eq!(Meetings::new(&items, 5).unwrap().of(1).count(), 3);
}

#[test]
fn very_many_at_once_take_no_square() {
    // What Unpack makes: one large input, and scalars that are all alive until the last is used.
    let scalars = (0..100_000).map(|i| item(1, 2 + i, 4));
    let staircase: Vec<Item> = [item(0, 2, 400_000)].into_iter().chain(scalars).collect();
    let bound = load_bytes(&staircase, 64).into_iter().max().unwrap();
    let packing = pack(&staircase, 64);
    validate(&staircase, &packing, 64).unwrap();
    assert_eq!(packing.height_bytes, bound);
    // What AddN takes: each made in turn, all used at the end.
    let sum: Vec<Item> = (0..100_000).map(|i| item(i, 100_000, 256)).collect();
    let packing = pack(&sum, 64);
    validate(&sum, &packing, 64).unwrap();
    assert_eq!(packing.height_bytes, 25_600_000);
}

proptest! {
    #[test]
    fn every_way_is_valid_and_above_the_bound(
        items in prop::collection::vec((0usize..20, 0usize..8, 0usize..5000), 0..60),
        max_pairs in 0usize..400,
    ) {
        let items: Vec<Item> = items.into_iter().map(|(first, life, bytes)| item(first, first + life, bytes)).collect();
        let bound = load_bytes(&items, 64).into_iter().max().unwrap_or(0);
        let on_top = pack_on_top(&items, 64, max_pairs);
        for packing in [pack_within(&items, 64, max_pairs), on_top, pack_in_turn(&items, 64)] {
            prop_assert_eq!(validate(&items, &packing, 64), Ok(()));
            prop_assert!(packing.height_bytes >= bound);
        }
    }

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

#[test]
fn scratch_takes_what_is_free_beside_it() {
    // Values of a chain, each step with scratch.
    let mut items =
        vec![item(0, 1, 8), item(1, 2, 8), item(2, 3, 8), item(0, 2, 400), item(1, 3, 100), item(2, 3, 40)];
    let mut packing = pack(&items, 8);
    let height_bytes = packing.height_bytes;
    widen(&mut items, &mut packing, 8, &[(0, 96), (1, 50), (2, 200)]);
    validate(&items, &packing, 8).unwrap();
    assert_eq!(packing.height_bytes, height_bytes);
    // Beside 400, 104 and 8 bytes nothing is free.
    assert_eq!([items[0].bytes, items[1].bytes, items[2].bytes], [96, 8, 200]);
}

proptest! {
    #[test]
    fn widened_items_stay_apart(
        lives in prop::collection::vec((0usize..30, 1usize..9, 0usize..5000), 1..60),
        most in prop::collection::vec(0usize..20_000, 30),
    ) {
        let mut items: Vec<Item> = (0..30).map(|step| item(step, step + 1, 1 + step % 7 * 50)).collect();
        items.extend(lives.iter().map(|(first, steps, bytes)| item(*first, first + steps, *bytes)));
        let mut packing = pack(&items, 64);
        let (before, height_bytes) = (items.clone(), packing.height_bytes);
        let most: Vec<(usize, usize)> = most.into_iter().enumerate().collect();
        widen(&mut items, &mut packing, 64, &most);
        validate(&items, &packing, 64).unwrap();
        prop_assert_eq!(packing.height_bytes, height_bytes);
        for (number, (now, before)) in items.iter().zip(&before).enumerate() {
            let most = most.get(number).map_or(0, |(_, bytes)| *bytes).max(before.bytes);
            prop_assert!((before.bytes..=most).contains(&now.bytes));
        }
    }
}
