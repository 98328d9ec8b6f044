//! `plan`: how a model would lie in memory. Computes nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use tightfit::fit::{Bound, Fit};
use tightfit::partition::Manifest;
use tightfit::plan::{Grows, Plan, PlanReport, Rectangle, StepReport};
use tightfit::sink::{SinkFormat, SinkNeed};
use tightfit::{Expected, FitOptions, Graph, Model, OpenOptions, display_bytes, display_bytes_up};

use super::Limits;
use super::parts::PlannedParts;
use super::run::{Call, Wishes};
use super::weights::WeightTree;
use crate::args::{BatchSize, DataFlags, Given, JobFlags, JsonFlag, ResultFlags, ScopeFlags};
use crate::failure::Failure;
use crate::html;
use crate::progress::lines_json;
use crate::stdio;
use crate::table::{columns, count_of, print, print_by};

const EXAMPLES: &str = "\
Examples:
  tightfit plan model.pb --memory 96MiB
  tightfit plan model.pb --input photos/ --output scores.npz --json
  tightfit plan model.pb --html plan.html

With --input and --output the plan is that of `tightfit run` with the same flags.";

/// Show how a model lies in memory, without running it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "tightfit plan MODEL [OPTIONS]")]
pub struct Flags {
    #[command(flatten)]
    pub job: JobFlags,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    scopes: ScopeFlags,
    #[command(flatten)]
    json: JsonFlag,
}

/// The page of a plan, with marks where its title and its JSON go.
const TEMPLATE: &str = include_str!("../plan.html");

/// What is shown of a plan.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct PlanFlags {
    /// Draw the arena in a page to look at in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure this machine for a moment, and estimate how long a run takes
    #[arg(long)]
    speed: bool,
    /// Print the graph as it will be computed
    #[arg(long)]
    text: bool,
    /// List every rectangle of the arena in --json
    #[arg(long)]
    verbose: bool,
}

/// Batches that exist at once while a data set is read.
const BATCHES: u64 = 2;

/// Memory of what reads arrays and records.
const READER_BYTES: u64 = 1 << 20;

/// How many tensors at the peak are shown.
const SHOWN_AT_PEAK: usize = 6;

/// How many values that grow are shown.
const SHOWN_GROWING: usize = 12;

/// # Errors
/// What is wrong with the model or the data, and a plan that does not fit.
pub fn run(mut flags: Flags, given: &Given) -> Result<(), Failure> {
    let path = flags.job.take_model("plan")?;
    let Flags { job, plan, json, scopes } = &flags;
    if scopes.depth().is_some() && !job.inputs.input.is_empty() {
        return Err(Failure::Usage("--by scope is about the model alone: leave --input out".to_string()));
    }
    if !job.inputs.input.is_empty() && !plan.text {
        // What a run of the same flags will need.
        let mut call = Call::read(&path, job, given, Wishes::default())?;
        let (options, fit, expected) = call.plan(plan.speed)?;
        let besides = Besides { quantized_inputs: call.float_inputs, expected, ..Besides::default() };
        return show(&path, plan, json, &options, &fit, &besides);
    }
    let of_data = DataFlags::NAMES.into_iter().chain(ResultFlags::NAMES);
    if let Some(flag) = given.first_of(of_data).filter(|_| job.inputs.input.is_empty()) {
        let why = format!("plan does not take '--{flag}' without --input: it is about a data set");
        return Err(Failure::Usage(why));
    }
    let limits = Limits::of(&job.limits);
    let open = OpenOptions {
        fetches: job.results.fetch.clone(),
        source: job.source.source(),
        shapes: job.inputs.shape.clone(),
        ..OpenOptions::default()
    };
    let memory = limits.open()?;
    let file = stdio::path_of(&path)?;
    let tree = match scopes.depth() {
        Some(depth) => Some(WeightTree::read(&file, &open.source, depth, &memory.budget)?),
        None => None,
    };
    let model = Model::open(&file, &open, &memory.budget)?;
    let mut options = FitOptions {
        batch: match job.batch {
            None => 1,
            Some(BatchSize::Fixed(batch)) => batch,
            Some(BatchSize::Auto) => return Err(Failure::Usage("--batch auto needs --input".to_string())),
        },
        threads: limits.threads,
        memory_bytes: limits.memory_bytes,
        shapes: super::input_shapes(&job.inputs.shape, &model)?,
        sink: SinkNeed { format: Some(SinkFormat::Npz), is_whole: true, ..SinkNeed::default() },
        ..FitOptions::default()
    };
    let bound = Bound::new(&model, &options)?;
    if plan.text {
        return print_by(|out| write!(out, "{}", bound.graph()));
    }
    options.pipeline_bytes = pipeline_bytes(bound.graph());
    drop(bound);
    let fit = Bound::new(&model, &options)?.fit()?;
    let parts = match Manifest::read(&path)? {
        Some(manifest) => Some(PlannedParts::new(&path, &manifest, &limits, &memory.budget)?),
        None => None,
    };
    let expected = plan.speed.then(|| Expected::of(&fit.plan, &model)).transpose()?;
    show(&path, plan, json, &options, &fit, &Besides { tree, parts, expected, ..Besides::default() })
}

/// What is shown besides: of a model alone, and of a run the inputs whose floats become quantised integers.
#[derive(Default)]
struct Besides {
    quantized_inputs: Vec<String>,
    tree: Option<WeightTree>,
    parts: Option<PlannedParts>,
    expected: Option<Expected>,
}

fn show(
    path: &Path,
    plan: &PlanFlags,
    json: &JsonFlag,
    options: &FitOptions,
    fit: &Fit,
    besides: &Besides,
) -> Result<(), Failure> {
    let view = View { path, options, fit, report: fit.plan.report(), expected: besides.expected };
    if let Some(path) = &plan.html {
        html::write(path, TEMPLATE, &mut |name, out| match name {
            "title" => write!(out, "{}", html::escape(&view.title())),
            _ => {
                Ok(serde_json::to_writer(html::Script(out), &Verbose { head: view.json(), plan: &fit.plan })?)
            }
        })?;
    }
    if json.json {
        let mut head = view.json();
        if let Some(head) = head.as_object_mut() {
            head.insert("quantized_inputs".into(), json!(besides.quantized_inputs));
        }
        besides.tree.iter().for_each(|tree| tree.add_to(&mut head));
        besides.parts.iter().for_each(|parts| parts.add_to(&mut head));
        return print_by(|out| {
            match plan.verbose {
                true => serde_json::to_writer_pretty(&mut *out, &Verbose { head, plan: &fit.plan })?,
                false => serde_json::to_writer_pretty(&mut *out, &head)?,
            }
            writeln!(out)
        });
    }
    let tree = besides.tree.as_ref().map_or(String::new(), WeightTree::text);
    let parts = besides.parts.as_ref().map_or(String::new(), PlannedParts::text);
    let quantized = match &besides.quantized_inputs[..] {
        [] => String::new(),
        names => format!("Quantized as fed: {}\n", names.join(", ")),
    };
    print(&format!("{}{quantized}{tree}{parts}", view.text()))
}

/// What input takes when nothing is said of it: the batch in use and one read ahead, and what reads them. With it the
/// smallest size that is shown suffices for fed tensors and for arrays; decoding images takes more.
pub(super) fn pipeline_bytes(graph: &Graph) -> u64 {
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
    expected: Option<Expected>,
}

impl View<'_> {
    fn title(&self) -> String {
        self.path.display().to_string()
    }

    fn is_streamed(&self) -> bool {
        self.report.window_bytes > 0
    }

    fn json(&self) -> Value {
        let (report, fit) = (&self.report, self.fit);
        json!({
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
            "minimum_growing": fit.minimum_growing,
            "growth_bytes": fit.growth_bytes,
            "expected_ms": self.expected.map(|expected| expected.seconds * 1e3),
            "expected_waiting_ms": self.expected.map(|expected| expected.waiting_seconds * 1e3),
            "growing": fit.plan.growing().iter().map(grows_json).collect::<Vec<_>>(),
        })
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
        let besides = match fit.minimum_growing {
            0 => String::new(),
            values => format!(" and what {} that grow take", count_of(values, "value")),
        };
        rows.push(vec!["allowed".to_string(), display_bytes(options.memory_bytes), allowed + &besides]);
        rows.extend(self.expected.map(|expected| self.speed(&expected)));
        text.push_str(&columns(&rows, &[1]));
        self.add_growing(&mut text);
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

    /// How long a run takes, as a row.
    fn speed(&self, expected: &Expected) -> Vec<String> {
        let [seconds, waiting] = [expected.seconds, expected.waiting_seconds];
        let rate = format!("a run, {:.1} rows/s", self.options.batch as f64 / seconds.max(1e-9));
        let waits = match waiting * 20.0 > seconds {
            true => format!("; {:.0} % of it waits for the file", 100.0 * waiting / seconds),
            false => String::new(),
        };
        vec!["expected".to_string(), format!("{:.2} ms", seconds * 1e3), rate + &waits]
    }

    /// What needs memory besides that is not known before the data is there.
    fn add_growing(&self, text: &mut String) {
        let growing = self.fit.plan.growing();
        if growing.is_empty() {
            return;
        }
        let (count, bytes) = (growing.len(), display_bytes(self.fit.growth_bytes));
        let values = if count == 1 { "1 value grows" } else { &format!("{count} values grow") };
        text.push_str(&format!("Besides, {values} with the data, in up to {bytes}:\n"));
        let rows = growing.iter().take(SHOWN_GROWING);
        let rows: Vec<_> = rows.map(|g| vec![g.what.clone(), format!("{} ({})", g.node, g.op)]).collect();
        text.push_str(&columns(&rows, &[]));
        if count > SHOWN_GROWING {
            text.push_str(&format!("  and {} more\n", count - SHOWN_GROWING));
        }
    }

    fn remark(&self, line: &str) -> String {
        let report = &self.report;
        match line {
            "weights" if self.fit.weights.kept_bytes() > 0 && self.is_streamed() => {
                "small, used in several places, or worth their memory".to_string()
            }
            "weights" if self.is_streamed() => "small, or used in several places".to_string(),
            "weights" if report.streamed_bytes > 0 => {
                format!(
                    "resident; {} of tables stay in the file, read row by row",
                    display_bytes(report.streamed_bytes)
                )
            }
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

/// The JSON of a plan with each of its rectangles and steps, which are never in memory as a whole.
struct Verbose<'a> {
    head: Value,
    plan: &'a Plan,
}

impl Serialize for Verbose<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.head.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("rectangles", &Rectangles(self.plan))?;
        map.serialize_entry("step_nodes", &StepNodes(self.plan))?;
        map.end()
    }
}

struct Rectangles<'a>(&'a Plan);

impl Serialize for Rectangles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rectangles().map(|rectangle| rectangle_json(&rectangle)))
    }
}

struct StepNodes<'a>(&'a Plan);

impl Serialize for StepNodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.steps.iter().map(|step| [&*step.name, step.op_name()]))
    }
}

fn step_json(step: &StepReport) -> Value {
    let alive: Vec<_> =
        step.alive.iter().map(|a| json!({"name": a.name, "what": a.what, "bytes": a.bytes})).collect();
    json!({"step": step.step, "node": step.node, "op": step.op, "alive_bytes": step.alive_bytes, "alive": alive})
}

fn grows_json(grows: &Grows) -> Value {
    json!({"node": grows.node, "op": grows.op, "what": grows.what})
}

fn rectangle_json(r: &Rectangle) -> Value {
    json!({"name": r.name, "what": r.what, "first": r.first, "end": r.end, "offset": r.offset, "bytes": r.bytes})
}
