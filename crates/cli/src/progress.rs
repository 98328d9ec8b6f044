//! What a person sees of a run: how it goes, and what it took.

use std::fs;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tightfit::{Error, Lines, display_bytes, limits};

use crate::args::Args;
use crate::failure::Failure;

/// What a run took.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Rows computed.
    pub rows: u64,
    /// From opening the model to the last byte of output.
    pub elapsed: Duration,
    /// What was planned.
    pub lines: Lines,
    /// What was allowed.
    pub memory_bytes: u64,
}

impl Summary {
    /// Shows it on stderr, and writes what `--report` asks for.
    ///
    /// # Errors
    /// What the system says about the report.
    pub fn finish(&self, args: &Args) -> Result<(), Failure> {
        if let Some(path) = args.path("report") {
            let text = format!("{:#}\n", self.json());
            fs::write(&path, text).map_err(|error| Error::io(&path, error))?;
        }
        if !args.has("quiet") && std::io::stderr().is_terminal() {
            // Where stderr cannot be written to there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{}", self.text());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
        format!(
            "{} row{} in {seconds:.2} s, {:.1} rows/s; memory: planned {}, peak {peak}, allowed {}",
            self.rows,
            if self.rows == 1 { "" } else { "s" },
            self.rows as f64 / seconds.max(1e-9),
            display_bytes(self.lines.total_bytes()),
            display_bytes(self.memory_bytes),
        )
    }

    fn json(&self) -> Value {
        json!({
            "rows": self.rows,
            "seconds": self.elapsed.as_secs_f64(),
            "planned_bytes": {"total": self.lines.total_bytes(), "lines": lines_json(&self.lines)},
            "peak_resident_bytes": limits::peak_resident_bytes(),
            "budget_bytes": self.memory_bytes,
        })
    }
}

/// The lines of a budget by name.
pub fn lines_json(lines: &Lines) -> Value {
    Value::Object(lines.named().iter().map(|(name, bytes)| (name.to_string(), json!(bytes))).collect::<Map<_, _>>())
}
