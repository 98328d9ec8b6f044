//! `plan`: how a model would lie in memory. Computes nothing.

use std::path::Path;

use serde_json::{Value, json};
use tightfit::fit::{Bound, Fit};
use tightfit::plan::{PlanReport, Rectangle, StepReport};
use tightfit::sink::{SinkFormat, SinkNeed};
use tightfit::{Error, FitOptions, Graph, Model, OpenOptions, display_bytes, display_bytes_up};

use super::run::Call;
use super::source::{self, SOURCE_FLAGS};
use super::{DATA_FLAGS, JOB_FLAGS, Limits, MAX_BATCH, RESULT_FLAGS};
use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::html;
use crate::progress::lines_json;
use crate::system::Start;
use crate::table::{columns, print};

/// The command.
pub const COMMAND: Command = Command {
    name: "plan",
    positional: "MODEL",
    about: "Shows how a model would lie in memory, without running it",
    flags: &[JOB_FLAGS, SOURCE_FLAGS, DATA_FLAGS, RESULT_FLAGS, &["html", "text", "verbose", "json"]],
    run,
};

/// Batches that exist at once while a data set is read.
const BATCHES: u64 = 2;

/// Memory of what reads arrays and records.
const READER_BYTES: u64 = 1 << 20;

/// How many tensors at the peak are shown.
const SHOWN_AT_PEAK: usize = 6;

fn run(args: &Args, _start: &Start) -> Result<(), Failure> {
    if args.has("input") && !args.has("text") {
        // What a run of the same flags will need.
        let (options, fit) = Call::read(args)?.plan()?;
        return show(args, &options, &fit);
    }
    let of_data = ["output"].iter().chain(DATA_FLAGS).chain(RESULT_FLAGS);
    if let Some(flag) = of_data.copied().find(|flag| args.has(flag) && !args.has("input")) {
        return Err(Failure::Usage(format!(
            "plan does not take '--{flag}' without --input: it is about data"
        )));
    }
    let limits = Limits::read(args)?;
    let open = OpenOptions { fetches: args.texts("fetch")?, feeds: Vec::new(), source: source::read(args)? };
    let memory = limits.open()?;
    let model = Model::open(args.model(), &open, &memory.budget)?;
    let mut options = FitOptions {
        batch: args.count("batch", MAX_BATCH)?.unwrap_or(1),
        threads: limits.threads,
        memory_bytes: limits.memory_bytes,
        shapes: super::input_shapes(args, &model)?,
        sink: SinkNeed { format: Some(SinkFormat::Npz), is_whole: true, labels_bytes: 0 },
        ..FitOptions::default()
    };
    let bound = Bound::new(&model, &options)?;
    if args.has("text") {
        return print(&bound.graph().to_string());
    }
    options.pipeline_bytes = pipeline_bytes(bound.graph());
    drop(bound);
    let fit = Bound::new(&model, &options)?.fit()?;
    show(args, &options, &fit)
}

fn show(args: &Args, options: &FitOptions, fit: &Fit) -> Result<(), Failure> {
    let view = View { path: args.model(), options, fit, report: fit.plan.report() };
    if let Some(path) = args.path("html") {
        let page = html::page(view.title(), &view.json(true));
        tightfit::whole::write(&path, page.as_bytes()).map_err(|error| Error::io(&path, error))?;
    }
    match args.has("json") {
        true => print(&format!("{:#}\n", view.json(args.has("verbose")))),
        false => print(&view.text()),
    }
}

/// What input takes when nothing is said of it: the batch in use and one read ahead, and what reads them. With it the
/// smallest size that is shown suffices for fed tensors and for arrays; decoding images takes more.
fn pipeline_bytes(graph: &Graph) -> u64 {
    let inputs = graph.inputs.iter().map(|port| {
        let fact = graph.fact(port.value);
        fact.dims.concrete().map_or(0, |shape| (shape.elements() * fact.dtype.bytes()) as u64)
    });
    BATCHES * inputs.sum::<u64>() + READER_BYTES
}

/// A plan to show.
struct View<'a> {
    path: &'a Path,
    options: &'a FitOptions,
    fit: &'a Fit,
    report: PlanReport,
}

impl View<'_> {
    fn title(&self) -> String {
        self.path.display().to_string()
    }

    fn is_streamed(&self) -> bool {
        self.report.window_bytes > 0
    }

    fn json(&self, is_verbose: bool) -> Value {
        let (report, fit) = (&self.report, self.fit);
        let mut value = json!({
            "model": self.title(),
            "batch": self.options.batch,
            "threads": self.options.threads,
            "memory_bytes": self.options.memory_bytes,
            "minimum_bytes": fit.minimum_bytes,
            "planned_bytes": fit.lines.total_bytes(),
            "lines": lines_json(&fit.lines),
            "arena_bytes": report.arena_bytes,
            "arena_lower_bound_bytes": report.arena_lower_bound_bytes,
            "streamed": self.is_streamed(),
            "streamed_bytes": report.streamed_bytes,
            "steps": report.steps,
            "peak_step": report.peak_step.as_ref().map(step_json),
        });
        if let (true, Some(object)) = (is_verbose, value.as_object_mut()) {
            let rectangles = fit.plan.rectangles();
            object.insert("rectangles".to_string(), rectangles.iter().map(rectangle_json).collect());
            let steps = fit.plan.steps.iter().map(|step| json!([&*step.name, step.op_name()]));
            object.insert("step_nodes".to_string(), steps.collect());
        }
        value
    }

    fn text(&self) -> String {
        let (report, fit, options) = (&self.report, self.fit, self.options);
        let mut text = format!("{}: batch {}, threads {}\n", self.title(), options.batch, options.threads);
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (name, bytes) in fit.lines.named().iter().filter(|(_, bytes)| *bytes > 0) {
            rows.push(vec![name.to_string(), display_bytes(*bytes), self.remark(name)]);
        }
        rows.push(vec!["planned".to_string(), display_bytes(fit.lines.total_bytes()), String::new()]);
        let allowed =
            format!("smallest that works: {} ({})", fit.minimum_bytes, display_bytes_up(fit.minimum_bytes));
        rows.push(vec!["allowed".to_string(), display_bytes(options.memory_bytes), allowed]);
        text.push_str(&columns(&rows, &[1]));
        if let Some(step) = &report.peak_step {
            let bytes = display_bytes(step.alive_bytes);
            text.push_str(&format!(
                "Peak: step {} of {}, '{}' ({}): {bytes} alive\n",
                step.step + 1,
                report.steps,
                step.node,
                step.op
            ));
            let alive = step.alive.iter().take(SHOWN_AT_PEAK);
            let alive: Vec<_> =
                alive.map(|a| vec![display_bytes(a.bytes), a.what.clone(), a.name.clone()]).collect();
            text.push_str(&columns(&alive, &[0]));
        }
        text
    }

    fn remark(&self, line: &str) -> String {
        let report = &self.report;
        match line {
            "weights" if self.is_streamed() => "what is small, or used in many places".to_string(),
            "weights" => "resident".to_string(),
            "window" => {
                format!("{} are read from the file in each pass", display_bytes(report.streamed_bytes))
            }
            "arena" => {
                let (bytes, bound) = (report.arena_bytes, report.arena_lower_bound_bytes);
                let above = 100.0 * (bytes as f64 / bound.max(1) as f64 - 1.0);
                let used = if self.fit.lines.arena_bytes > bytes + report.string_bytes {
                    // Weights are read through it before there are values.
                    format!("{} while running, ", display_bytes(bytes))
                } else {
                    String::new()
                };
                format!("{used}{above:.1} % above the lower bound {}", display_bytes(bound))
            }
            _ => String::new(),
        }
    }
}

fn step_json(step: &StepReport) -> Value {
    let alive: Vec<_> =
        step.alive.iter().map(|a| json!({"name": a.name, "what": a.what, "bytes": a.bytes})).collect();
    json!({"step": step.step, "node": step.node, "op": step.op, "alive_bytes": step.alive_bytes, "alive": alive})
}

fn rectangle_json(r: &Rectangle) -> Value {
    json!({"name": r.name, "what": r.what, "first": r.first, "end": r.end, "offset": r.offset, "bytes": r.bytes})
}
