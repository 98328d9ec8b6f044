//! How fast Parquet and Arrow files are read, and in how much memory: what was reserved, and what the process had.
//!
//! ```text
//! columns parquet|arrow FILE [MEMORY_BYTES]
//! ```

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use tightfit_core::MemoryBudget;
use tightfit_data::flow::{ColumnFiles, ColumnKind, Pipeline, PipelineSpec};

/// The most memory that the process had, in bytes.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, kind, path, rest @ ..] = &args[..] else {
        return Err("columns parquet|arrow FILE [MEMORY_BYTES]".into());
    };
    let kind = if kind == "arrow" { ColumnKind::Arrow } else { ColumnKind::Parquet };
    let limit_bytes = rest.first().map_or(Ok(1 << 30), |text| text.parse())?;
    let budget = MemoryBudget::new(limit_bytes);
    let before_bytes = peak_rss_bytes();
    let start = Instant::now();
    let spec = PipelineSpec::new(ColumnFiles::new(kind, vec![path.into()]));
    let mut pipeline = Pipeline::open(&spec, &budget, 1)?;
    let (mut rows, mut bytes) = (0u64, 0usize);
    while pipeline.advance()? {
        rows += 1;
        bytes += black_box(pipeline.current()).bytes();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{{\"rows\": {rows}, \"bytes\": {bytes}, \"seconds\": {seconds:.3}, \"rows_per_second\": {:.0}, \
         \"reserved_bytes\": {}, \"rss_bytes\": {}}}",
        rows as f64 / seconds,
        budget.peak_bytes(),
        peak_rss_bytes().saturating_sub(before_bytes)
    );
    Ok(())
}
