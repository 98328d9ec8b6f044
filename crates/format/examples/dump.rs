//! Prints what is in a binary GraphDef: `cargo run --release -p tightfit-format --example dump -- model.pb`.

use tightfit_core::{MemoryBudget, display_bytes};
use tightfit_format::{GraphDef, SourceFile};

fn main() {
    let budget = MemoryBudget::unlimited();
    for path in std::env::args().skip(1) {
        let started = std::time::Instant::now();
        match SourceFile::open(&path).and_then(|source| GraphDef::read(source, &budget)) {
            Ok(graph) => {
                let took = started.elapsed();
                for node in &graph.nodes {
                    println!("{node:?}");
                }
                for function in &graph.functions {
                    println!("{function:?}");
                }
                let held = display_bytes(graph.reservation.bytes());
                println!("{path}: {} nodes, {held}, {took:?}", graph.nodes.len());
            }
            Err(error) => println!("{error}"),
        }
    }
}
