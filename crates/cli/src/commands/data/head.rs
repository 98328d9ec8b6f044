//! `data head`: the first elements of a pipeline.

use serde_json::{Value, json};
use tightfit::Access;
use tightfit::flow::Field;
use tightfit::pipeline::{head, read_spec};

use crate::args::{Args, Command};
use crate::commands::records;
use crate::failure::Failure;
use crate::system::Start;
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "data head",
    positional: "SPEC",
    about: "Shows the type and the first elements of a pipeline (JSON, a .json file, or data files)",
    flags: &[&["records", "memory", "threads", "json"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let (budget, threads) = records::budget(args)?;
    let elements = args.count("records", records::MAX_SHOWN)?.unwrap_or(records::SHOWN);
    let spec = read_spec(args.model(), &Access::everything(), threads, &budget)?;
    let mut head = head(&spec, elements as u64, threads, &budget)?;
    let fields = head.schema().fields();
    let opening = args.has("json").then(|| {
        let schema: Vec<Value> = fields.iter().map(field_json).collect();
        format!("{{\"schema\": {}, \"elements\": [", Value::from(schema))
    });
    if opening.is_none() {
        print(&fields.iter().map(|field| format!("{field}\n")).collect::<String>())?;
    }
    let mut next = || Ok(head.next_element()?);
    records::print_list(&mut next, opening.as_deref())
}

fn field_json(field: &Field) -> Value {
    json!({"name": field.name, "dtype": field.dtype.name(), "shape": field.dims})
}
