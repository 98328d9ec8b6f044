//! Answers graphs, one after the other, for `tests/golden/fuzz.py`.
//!
//! A question on standard input is a line of JSON: `model` (a path), `feeds` (name, dtype, shape and, of strings, their
//! texts in hexadecimal), `fetches`, and `threads`; after it stand the bytes of the dense feeds. The answer on standard
//! output is a line of JSON with either `error` or `outputs` (dtype, shape and texts), and the bytes of the dense outputs.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tightfit::{
    DType, Error, Feeds, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, Tensor, ThreadPool,
};
use tightfit_core::StringRef;

/// What a graph may take. Larger ones are not asked for.
const MEMORY_BYTES: u64 = 1 << 30;

type Failure = Box<dyn std::error::Error>;

/// What a graph came to: the outputs, and the bytes of the dense ones.
type Answer = (Vec<Value>, Vec<u8>);

fn main() -> Result<(), Failure> {
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let mut line = String::new();
    std::panic::set_hook(Box::new(|_| {}));
    while input.read_line(&mut line)? > 0 {
        let question: Value = serde_json::from_str(&line)?;
        line.clear();
        let feeds = read_feeds(&question, &mut input)?;
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&question, feeds)));
        let (head, bytes) = match answered {
            Ok(Ok((outputs, bytes))) => (json!({ "outputs": outputs }), bytes),
            Ok(Err(error)) => (json!({ "error": error.to_string() }), Vec::new()),
            Err(cause) => (json!({ "error": format!("PANIC {}", message(&*cause)) }), Vec::new()),
        };
        writeln!(output, "{head}")?;
        output.write_all(&bytes)?;
        output.flush()?;
    }
    Ok(())
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn read_feeds(question: &Value, input: &mut impl Read) -> Result<Vec<(String, Tensor)>, Failure> {
    let mut feeds = Vec::new();
    for feed in list(question, "feeds")? {
        let name = text(feed, "name")?.to_string();
        let dtype = text(feed, "dtype")?;
        let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype).ok_or("a type that does not exist")?;
        let dims = list(feed, "shape")?.iter().map(|d| d.as_u64().map(|d| d as usize));
        let shape = Shape::new(&dims.collect::<Option<Vec<_>>>().ok_or("a shape is not of numbers")?)?;
        let tensor = if dtype == DType::String {
            let texts = list(feed, "texts")?.iter().map(|text| text.as_str().and_then(from_hex));
            Tensor::Strings {
                shape,
                texts: texts.collect::<Option<_>>().ok_or("a text is not hexadecimal")?,
                memory: None,
            }
        } else {
            let mut tensor = Tensor::zeros(&MemoryBudget::new(MEMORY_BYTES), dtype, shape)?;
            if let Tensor::Dense { bytes, .. } = &mut tensor {
                input.read_exact(bytes)?;
            }
            tensor
        };
        feeds.push((name, tensor));
    }
    Ok(feeds)
}

fn answer(question: &Value, feeds: Vec<(String, Tensor)>) -> Result<Answer, Failure> {
    let fetches = list(question, "fetches")?.iter().filter_map(|name| name.as_str().map(String::from));
    let open = OpenOptions {
        fetches: fetches.collect(),
        feeds: feeds.iter().map(|(name, _)| name.clone()).collect(),
        ..OpenOptions::default()
    };
    let budget = MemoryBudget::new(MEMORY_BYTES);
    let model = Model::open(Path::new(text(question, "model")?), &open, &budget)?;
    let feeds = Feeds::new(&model, feeds)?;
    let threads = question["threads"].as_u64().unwrap_or(1) as usize;
    let mut options = FitOptions { threads, memory_bytes: MEMORY_BYTES, ..FitOptions::default() };
    let fit = feeds.fit(&model, &mut options)?;
    let pool = ThreadPool::new(threads).map_err(|error| Error::io("threads", error.into()))?;
    let mut runner = Runner::with_fit(&model, fit, Arc::new(pool), &options, &budget)?;
    let tensors = feeds.feeds(runner.inputs())?;
    let outputs = runner.run(&tensors)?;
    let mut described = Vec::new();
    let mut bytes = Vec::new();
    for index in 0..outputs.len() {
        let tensor = outputs.tensor(index).ok_or("an output is not there")?;
        let references = tensor.as_slice::<StringRef>().unwrap_or_default();
        let texts: Vec<String> = references.iter().map(|r| to_hex(outputs.string(*r))).collect();
        if tensor.dtype() != DType::String {
            bytes.extend_from_slice(tensor.bytes());
        }
        described
            .push(json!({ "dtype": tensor.dtype().name(), "shape": tensor.shape()[..], "texts": texts }));
    }
    Ok((described, bytes))
}

fn list<'v>(value: &'v Value, key: &str) -> Result<&'v Vec<Value>, Failure> {
    value[key].as_array().ok_or_else(|| format!("'{key}' is no list").into())
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, Failure> {
    value[key].as_str().ok_or_else(|| format!("'{key}' is no text").into())
}

fn from_hex(text: &str) -> Option<Box<[u8]>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
