//! `records inspect`: what a file of records is.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use tightfit::display_bytes;
use tightfit::records::{FeatureSummary, Inspection, MessageKind, Range, inspect, kind_name};

use crate::args::{MemoryFlag, SummaryFlags};
use crate::failure::Failure;
use crate::stdio;
use crate::system::stop_flag;
use crate::table::{columns, count_of, print};

const EXAMPLES: &str = "\
Examples:
  tightfit records inspect train.tfrecord";

/// Show what a TFRecord file holds: counts, sizes, features, bad records
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit records inspect FILE [OPTIONS]")]
pub struct Flags {
    /// A TFRecord file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    summary: SummaryFlags,
    #[command(flatten)]
    memory: MemoryFlag,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let (budget, file) = (super::memory(flags.memory)?, stdio::path_of(&flags.file)?);
    let bar = super::watch(flags.summary.is_quiet(), std::slice::from_ref(&file), 1, &budget);
    let inspection = inspect(&file, &budget, stop_flag());
    drop(bar);
    let inspection = inspection?;
    match flags.summary.is_json() {
        true => print(&format!("{:#}\n", json(&inspection))),
        false => print(&text(&flags.file.display().to_string(), &inspection)),
    }
}

fn mean(inspection: &Inspection) -> f64 {
    inspection.sizes.total as f64 / inspection.records.max(1) as f64
}

fn range_json(range: Option<Range>) -> Value {
    range.map_or(Value::Null, |range| json!([range.min, range.max]))
}

fn json(inspection: &Inspection) -> Value {
    let messages: Map<_, _> = MessageKind::ALL
        .iter()
        .zip(inspection.messages)
        .filter(|(_, records)| *records > 0)
        .map(|(kind, records)| (kind.name().to_string(), json!(records)))
        .collect();
    let compression = match inspection.compression.name() {
        "" => "NONE",
        name => name,
    };
    json!({
        "records": inspection.records,
        "bytes": inspection.bytes,
        "uncompressed_bytes": inspection.plain_bytes,
        "compression": compression,
        "messages": messages,
        "examples": range_json(inspection.examples),
        "schema": inspection.schema.iter().map(feature_json).collect::<Vec<_>>(),
        "sizes": {
            "min": inspection.sizes.min,
            "mean": mean(inspection),
            "max": inspection.sizes.max,
        },
        "bad_records": inspection.bad_records,
        "first_bad": inspection.first_bad.as_ref().map(|bad| {
            json!({"record": bad.record, "offset": bad.offset, "why": bad.why})
        }),
    })
}

fn feature_json(feature: &FeatureSummary) -> Value {
    json!({
        "name": feature.name,
        "scope": feature.scope.name(),
        "kind": kinds(feature),
        "count": range_json(feature.count),
        "steps": range_json(feature.steps),
        "value_bytes": range_json(feature.bytes),
        "records": feature.records,
        "share": feature.share(),
    })
}

fn kinds(feature: &FeatureSummary) -> String {
    feature.kinds.iter().map(|kind| kind_name(*kind)).collect::<Vec<_>>().join("|")
}

/// How many features one screen shows.
const SHOWN: usize = 60;

fn text(path: &str, inspection: &Inspection) -> String {
    let compression = inspection.compression.name();
    let stored = match compression {
        "" => display_bytes(inspection.bytes),
        name => format!(
            "{} ({name} of {})",
            display_bytes(inspection.bytes),
            display_bytes(inspection.plain_bytes)
        ),
    };
    let mut text = format!("{path}: {}, {stored}\n", count_of(inspection.records, "record"));
    for (kind, records) in MessageKind::ALL.iter().zip(inspection.messages).filter(|(_, n)| *n > 0) {
        text.push_str(&format!("  {records} {kind}\n"));
    }
    let sizes = inspection.sizes;
    let (min, max) = (display_bytes(sizes.min), display_bytes(sizes.max));
    text.push_str(&format!(
        "Record sizes: {min} to {max}, mean {}\n",
        display_bytes(mean(inspection) as u64)
    ));
    if let Some(Range { min, max }) = inspection.examples {
        text.push_str(&format!("Examples of a record: {min} to {max}\n"));
    }
    if !inspection.schema.is_empty() {
        text.push_str("Features\n");
        let rows: Vec<_> = inspection.schema.iter().take(SHOWN).map(row).collect();
        text.push_str(&columns(&rows, &[3, 4]));
        if inspection.schema.len() > SHOWN {
            text.push_str(&format!("  .. and {} more\n", inspection.schema.len() - SHOWN));
        }
    }
    if let Some(bad) = &inspection.first_bad {
        text.push_str(&format!(
            "Bad records: {}; the first is record {} at byte {}: {}\n",
            inspection.bad_records, bad.record, bad.offset, bad.why
        ));
    }
    text
}

fn row(feature: &FeatureSummary) -> Vec<String> {
    let range = |range: Option<Range>, what: &str| match range {
        None => String::new(),
        Some(Range { min, max }) if min == max => format!("{min} {what}"),
        Some(Range { min, max }) => format!("{min} to {max} {what}"),
    };
    let (steps, count) = (range(feature.steps, "steps"), range(feature.count, "values"));
    vec![
        feature.scope.name().to_string(),
        feature.name.clone(),
        kinds(feature),
        [steps, count].iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>().join(" of "),
        format!("{:.1} %", 100.0 * feature.share()),
    ]
}
