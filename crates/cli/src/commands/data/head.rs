//! `data head`: the first elements of a pipeline.

use clap::Args;
use serde_json::{Value, json};
use tightfit::Access;
use tightfit::flow::Field;
use tightfit::pipeline::{head, read_spec};

use crate::args::{JsonFlag, LimitFlags, SpecArg, count};
use crate::commands::records;
use crate::failure::Failure;
use crate::stdio;
use crate::table::print_by;

const EXAMPLES: &str = "\
Examples:
  tightfit data head pipeline.json -n 3
  echo '{\"source\": {\"range\": 3}}' | tightfit data head -";

/// Show what comes out of a pipeline: its fields and the first elements
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit data head SPEC [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    spec: SpecArg,
    /// Show N elements [default: 10]
    #[arg(short = 'n', long, value_name = "N", value_parser = count::<{ records::MAX_SHOWN }>, help_heading = "Output")]
    records: Option<usize>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    limits: LimitFlags,
}

/// # Errors
/// What is wrong with the data, and work that does not fit the memory.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let (budget, threads) = records::budget(&flags.limits)?;
    let elements = flags.records.unwrap_or(records::SHOWN);
    let spec = read_spec(&stdio::data_of(&flags.spec.spec)?, &Access::everything(), threads, &budget)?;
    let mut head = head(&spec, elements as u64, threads, &budget)?;
    let fields = head.schema().fields();
    let is_json = flags.json.json;
    print_by(|out| match is_json {
        true => {
            write!(out, "{{\"schema\": [")?;
            for (number, field) in fields.iter().enumerate() {
                write!(out, "{}{}", if number == 0 { "" } else { "," }, field_json(field))?;
            }
            write!(out, "], \"elements\": [")
        }
        false => fields.iter().try_for_each(|field| writeln!(out, "{field}")),
    })?;
    let mut next = |before: &str| {
        if !head.advance()? {
            return Ok(false);
        }
        print_by(|out| out.write_all(before.as_bytes()).and_then(|()| head.write(out)))?;
        Ok(true)
    };
    records::print_list(&mut next, is_json.then_some(""))
}

fn field_json(field: &Field) -> Value {
    json!({"name": field.name, "dtype": field.dtype.name(), "shape": field.dims})
}
