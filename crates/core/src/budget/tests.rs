use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// Waits until it is told to stop, and leaves so many bytes to others.
struct Until {
    stops: AtomicBool,
    spare_bytes: u64,
}

impl Until {
    fn new(spare_bytes: u64) -> Until {
        Until { stops: AtomicBool::new(false), spare_bytes }
    }
}

impl Patience for Until {
    fn waits(&self) -> Option<u64> {
        (!self.stops.load(Ordering::Relaxed)).then_some(self.spare_bytes)
    }
}

#[test]
fn counts_peak_and_gives_back() {
    let budget = MemoryBudget::new(100);
    let a = budget.try_reserve("a", 60).unwrap();
    {
        let _b = budget.try_reserve("b", 40).unwrap();
        assert_eq!(budget.free_bytes(), 0);
    }
    assert_eq!((budget.used_bytes(), budget.peak_bytes()), (60, 100));
    let mut purposes = Vec::new();
    budget.for_each_purpose(&mut |purpose, held, peak| purposes.push((purpose, held, peak)));
    assert_eq!(purposes, [("a", 60, 60), ("b", 0, 40)]);
    drop(a);
    assert_eq!(budget.used_bytes(), 0);
    assert!(budget.holders().is_empty());
}

#[test]
fn error_names_purpose_and_holders() {
    let budget = MemoryBudget::new(100);
    let _a = budget.try_reserve("arena", 10).unwrap();
    let _w = budget.try_reserve("weights", 50).unwrap();
    let error = budget.try_reserve("window", 41).unwrap_err();
    assert_eq!((error.asked_bytes, error.free_bytes, error.limit_bytes), (41, 40, 100));
    assert_eq!(error.holders, vec![("weights", 50), ("arena", 10)]);
    assert!(error.to_string().contains("window") && error.to_string().contains("weights"));
    assert_eq!(budget.used_bytes(), 60);
}

#[test]
fn shrink_split_grow_keep_the_count() {
    let budget = MemoryBudget::new(100);
    let mut a = budget.try_reserve("a", 80).unwrap();
    let b = a.split(30).unwrap();
    assert_eq!((a.bytes(), b.bytes(), budget.used_bytes()), (50, 30, 80));
    assert!(a.split(51).is_none());
    assert_eq!(a.bytes(), 50);
    a.shrink(20);
    a.shrink(90);
    assert_eq!((a.bytes(), budget.used_bytes()), (20, 50));
    assert!(a.try_grow(51).is_err());
    a.try_grow(50).unwrap();
    drop(b);
    assert_eq!(budget.used_bytes(), 70);
}

#[test]
fn a_child_counts_in_its_parent_and_both_limits_hold() {
    let budget = MemoryBudget::new(100);
    let child = budget.child(60);
    let grandchild = child.child(200);
    assert_eq!((child.limit_bytes(), grandchild.limit_bytes()), (60, 60));
    let a = grandchild.try_reserve("a", 50).unwrap();
    assert_eq!((grandchild.used_bytes(), child.used_bytes(), budget.used_bytes()), (50, 50, 50));
    assert_eq!((grandchild.free_bytes(), budget.free_bytes()), (10, 50));
    let refused = child.try_reserve("b", 11).unwrap_err();
    assert_eq!((refused.limit_bytes, refused.free_bytes), (60, 10));
    let _b = budget.try_reserve("b", 45).unwrap();
    let refused = child.try_reserve("c", 6).unwrap_err();
    assert_eq!((refused.limit_bytes, refused.free_bytes), (100, 5), "the parent is what is full");
    assert_eq!(grandchild.free_bytes(), 5);
    assert_eq!((child.used_bytes(), budget.used_bytes()), (50, 95), "what was refused is held nowhere");
    drop(a);
    assert_eq!((grandchild.used_bytes(), child.used_bytes(), budget.used_bytes()), (0, 0, 45));
    assert_eq!((grandchild.peak_bytes(), budget.peak_bytes()), (50, 95));
}

#[test]
fn what_can_never_fit_is_refused_at_once_and_what_may_fit_when_patience_ends() {
    let budget = MemoryBudget::new(100);
    let patience = Until::new(0);
    let held = budget.try_reserve("a", 80).unwrap();
    assert_eq!(budget.reserve_waiting("b", 101, &patience).unwrap_err().free_bytes, 20);
    assert!(budget.child(10).reserve_waiting("b", 11, &patience).is_err());
    thread::scope(|scope| {
        let waits = scope.spawn(|| budget.reserve_waiting("b", 30, &patience));
        while budget.inner.queue.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        patience.stops.store(true, Ordering::Relaxed);
        budget.wake();
        assert_eq!(waits.join().unwrap().unwrap_err().asked_bytes, 30);
    });
    assert_eq!(budget.used_bytes(), 80);
    drop(held);
    assert_eq!(budget.inner.queue.waiting.load(Ordering::SeqCst), 0);
}

#[test]
fn those_who_wait_are_served_in_order_and_who_must_not_wait_is_not() {
    let budget = MemoryBudget::new(100);
    let patience: Arc<Until> = Arc::new(Until::new(10));
    let patient = budget.with_patience(patience.clone());
    let held = budget.try_reserve("held", 44).unwrap();
    let more = budget.try_reserve("held", 46).unwrap();
    let turn = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        // The first asks for more than the others, each of which would fit before it does. No two fit at once, so that
        // one has told its turn before the next is served.
        for (number, bytes) in [(0, 85), (1, 46), (2, 46)] {
            let (patient, turn) = (&patient, &turn);
            threads.push(scope.spawn(move || {
                let reserved = patient.try_reserve("waits", bytes).unwrap();
                assert_eq!(turn.fetch_add(1, Ordering::SeqCst), number);
                drop(reserved);
            }));
            while budget.inner.queue.waiting.load(Ordering::SeqCst) as u64 != number + 1 {
                thread::yield_now();
            }
        }
        // Bytes that are left for others are left, and taken by those who do not wait.
        drop(budget.try_reserve("at once", 10).unwrap());
        assert_eq!(turn.load(Ordering::SeqCst), 0);
        drop(more);
        thread::sleep(10 * LOOK_INTERVAL);
        assert_eq!(turn.load(Ordering::SeqCst), 0, "the others do not pass the first");
        drop(held);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!((turn.load(Ordering::SeqCst), budget.used_bytes()), (3, 0));
}

#[test]
fn many_threads_never_pass_a_limit_and_none_waits_for_ever() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = if cfg!(miri) { 5 } else { 2_000 };
    let budget = MemoryBudget::new(1000);
    let children = [budget.child(700), budget.child(600), budget.clone()];
    let patience = Until::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (children, patience, budget) = (&children, &patience, &budget);
            scope.spawn(move || {
                let mut random = thread.wrapping_mul(0x9e37_79b9) + 1;
                for _ in 0..ROUNDS {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let child = &children[(random >> 40) as usize % children.len()];
                    // Nobody holds anything while it waits, so everybody is served.
                    let mut held = child.reserve_waiting("test", random >> 33 & 511, patience).unwrap();
                    assert!(child.used_bytes() <= child.limit_bytes());
                    assert!(budget.used_bytes() <= 1000);
                    held.shrink(held.bytes() / 2);
                    let _more = held.try_grow(random >> 50 & 15);
                }
            });
        }
    });
    assert!(start.elapsed().as_secs() < 60);
    assert!(budget.peak_bytes() <= 1000 && children[0].peak_bytes() <= 700);
    assert!(children.iter().all(|child| child.used_bytes() == 0));
    assert!(budget.holders().is_empty());
}

const STEPS: usize = if cfg!(miri) { 12 } else { 200 };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is reserved, grown, shrunk, split and dropped: each budget holds the sum of what was reserved through it
    /// and its children, and never more than its limit.
    #[test]
    fn counts_are_sums(steps in prop::collection::vec((0usize..4, 0usize..5, 0u64..80, 0usize..8), 1..STEPS)) {
        let root = MemoryBudget::new(150);
        let left = root.child(100);
        let budgets = [root.clone(), left.clone(), root.child(90), left.child(50)];
        let parents = [None, Some(0), Some(0), Some(1)];
        let mut held: Vec<(usize, Reservation)> = Vec::new();
        for (at, what, bytes, which) in steps {
            match what {
                0 | 1 => {
                    let fits = bytes <= budgets[at].free_bytes();
                    let reserved = budgets[at].try_reserve("test", bytes);
                    prop_assert_eq!(reserved.is_ok(), fits);
                    held.extend(reserved.ok().map(|reserved| (at, reserved)));
                }
                2 if which < held.len() => {
                    let fits = bytes <= budgets[held[which].0].free_bytes();
                    prop_assert_eq!(held[which].1.try_grow(bytes).is_ok(), fits);
                }
                3 if which < held.len() => {
                    let owner = held[which].0;
                    let split = held[which].1.split(bytes);
                    held[which].1.shrink(bytes);
                    held.extend(split.map(|split| (owner, split)));
                }
                4 if which < held.len() => drop(held.swap_remove(which)),
                _ => {}
            }
            let mut sums = [0; 4];
            for (owner, reservation) in &held {
                let mut at = Some(*owner);
                while let Some(budget) = at {
                    sums[budget] += reservation.bytes();
                    at = parents[budget];
                }
            }
            for (budget, sum) in budgets.iter().zip(sums) {
                prop_assert_eq!(budget.used_bytes(), sum);
                prop_assert!(budget.used_bytes() <= budget.limit_bytes());
            }
        }
    }
}
