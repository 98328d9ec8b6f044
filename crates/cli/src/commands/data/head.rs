//! `data head`: the first elements of a pipeline.

use serde_json::{Value, json};
use tightfit::Access;
use tightfit::flow::Field;
use tightfit::pipeline::{head, read_spec};

use crate::args::{Args, Command};
use crate::commands::records;
use crate::failure::Failure;
use crate::system::Start;
use crate::table::print_by;

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
    let is_json = args.has("json");
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
