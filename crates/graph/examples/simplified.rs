//! Prints models as they are after the passes, a node a line:
//! `cargo run --release -p tightfit-graph --example simplified -- model.pb`.

use std::error::Error;

use tightfit_core::MemoryBudget;
use tightfit_format::{GraphDef, SourceFile};
use tightfit_graph::{ImportOptions, import, passes};

/// What the structure of a model may take.
const MEMORY_BYTES: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    for path in std::env::args().skip(1) {
        let source = SourceFile::open(&path)?;
        let def = GraphDef::read(source.clone(), &budget)?;
        let mut graph = import(&source, def, &ImportOptions::default(), &budget)?;
        passes::run(&mut graph)?;
        print!("{graph}");
    }
    Ok(())
}
