//! Says what files are and prints the graphs: `cargo run --release -p tightfit-format --example dump -- model.pb`.

use tightfit_core::{MemoryBudget, display_bytes};
use tightfit_format::{FormatError, GraphDef, ModelFormat, SourceFile, detect};

fn main() {
    for path in std::env::args().skip(1) {
        if let Err(error) = dump(&path) {
            println!("{error}");
        }
    }
}

fn dump(path: &str) -> Result<(), FormatError> {
    let format = detect(path)?;
    println!("{path}: {format}");
    let read = match format {
        ModelFormat::GraphDef => GraphDef::read,
        ModelFormat::GraphDefText => GraphDef::read_text,
        _ => return Ok(()),
    };
    let budget = MemoryBudget::new(1 << 30);
    let started = std::time::Instant::now();
    let graph = read(SourceFile::open(path)?, &budget)?;
    let took = started.elapsed();
    graph.nodes.iter().for_each(|node| println!("{node:?}"));
    graph.functions.iter().for_each(|function| println!("{function:?}"));
    let [held, peak] = [graph.reservation.bytes(), budget.peak_bytes()].map(display_bytes);
    println!("{path}: {} nodes, {held} held, {peak} peak, {took:?}", graph.nodes.len());
    Ok(())
}
