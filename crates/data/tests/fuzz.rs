//! The fuzz targets' checks on whole, damaged and made-up inputs, so that they are kept wherever tests run.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "../../../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../../fuzz/src/seeds.rs"]
mod seeds;

/// One change of an input.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    /// A part is put in once more, or taken out.
    Repeat(prop::sample::Index, usize),
    Remove(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    // Tags, lengths and numbers at the ends of their ranges.
    let odd = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..12),
        Just(vec![0xff; 8]),
        Just([&[0xff; 9][..], &[1]].concat()),
        Just(vec![0, 0, 0, 0, 0, 0, 0, 0x80]),
        Just(vec![0x3b, 0x3c]),
    ];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Flip(at, byte)),
        1 => at().prop_map(Damage::Cut),
        2 => (at(), odd).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), 1..40usize).prop_map(|(at, bytes)| Damage::Repeat(at, bytes)),
        1 => (at(), 1..40usize).prop_map(|(at, bytes)| Damage::Remove(at, bytes)),
    ]
}

fn apply(data: &mut Vec<u8>, damage: Damage) {
    let place = |at: prop::sample::Index, data: &[u8]| at.index(data.len() + 1);
    match damage {
        Damage::Flip(at, byte) if !data.is_empty() => {
            let at = at.index(data.len());
            data[at] ^= byte;
        }
        Damage::Flip(..) => {}
        Damage::Cut(at) => data.truncate(place(at, data)),
        Damage::Insert(at, bytes) => {
            let at = place(at, data);
            data.splice(at..at, bytes);
        }
        Damage::Repeat(at, bytes) => {
            let at = place(at, data);
            let part = data[at..data.len().min(at + bytes)].to_vec();
            data.splice(at..at, part);
        }
        Damage::Remove(at, bytes) => {
            let at = place(at, data);
            data.drain(at..data.len().min(at + bytes));
        }
    }
}

fn check(target: &str, body: fn(&[u8])) {
    let seeds = seeds::seeds(target, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let kinds: BTreeSet<usize> = seeds.iter().map(Vec::len).collect();
    assert!(kinds.len() > 5, "{target} has {} seeds", seeds.len());
    body(&[]);
    seeds.iter().for_each(|seed| body(seed));
    let damages = prop::collection::vec(damage(), 1..5);
    let mut runner = TestRunner::new(Config { cases: 20_000, ..Config::default() });
    let outcome = runner.run(&(any::<prop::sample::Index>(), damages), |(seed, damages)| {
        let mut data = seed.get(&seeds).clone();
        damages.into_iter().for_each(|damage| apply(&mut data, damage));
        body(&data);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
    let outcome = runner.run(&prop::collection::vec(any::<u8>(), 0..200), |data| {
        body(&data);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn records() {
    check("records", bodies::records);
}

#[test]
fn messages() {
    check("messages", bodies::messages);
}

#[test]
fn arrays() {
    check("arrays", bodies::arrays);
}

#[test]
fn graphs() {
    check("graphs", bodies::graphs);
}

#[test]
fn images() {
    check("images", bodies::images);
}

#[test]
fn saved_models() {
    check("saved_models", bodies::saved_models);
}

#[test]
fn tflite() {
    check("tflite", bodies::tflite);
}

#[test]
fn tensor_bundles() {
    check("tensor_bundles", bodies::tensor_bundles);
}
