//! `records convert`: other files become records, and records other files.

use std::time::Instant;

use serde_json::json;
use tightfit::DType;
use tightfit::records::{ConvertOptions, convert};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::system::{Start, stop_flag};
use crate::table::print;

/// The command.
pub const COMMAND: Command = Command {
    name: "records convert",
    positional: "FILE..",
    about: "Turns .csv, .npy, .npz, .parquet, .arrow or images into TFRecord or back; compresses or unpacks TFRecord",
    flags: &[&["output", "dtype", "memory", "json", "quiet"]],
    run,
};

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    let output = super::output(args, COMMAND.name)?;
    let (budget, _) = super::budget(args)?;
    let begin = Instant::now();
    let mut options = ConvertOptions::new(args.paths().to_vec(), output);
    if let Some(name) = args.text("dtype")? {
        let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == name);
        options.floats =
            dtype.ok_or_else(|| Failure::Usage(format!("--dtype {name}: there is no such type")))?;
    }
    let bar = super::watch(args, args.paths(), options.passes(), &budget);
    let records = convert(&options, &budget, stop_flag());
    drop(bar);
    let records = records?;
    let seconds = begin.elapsed().as_secs_f64();
    let path = options.output.display();
    super::say(args, &format!("{path}: {records} records in {seconds:.2} s\n"));
    match args.has("json") {
        true => {
            let output = path.to_string();
            print(&format!("{:#}\n", json!({"records": records, "output": output, "seconds": seconds})))
        }
        false => Ok(()),
    }
}
