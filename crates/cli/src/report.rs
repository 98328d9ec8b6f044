//! `--report`: what a run took, as JSON, or as a page with bytes over time beside the plan.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tightfit::usage::{Recorder, Sample};
use tightfit::{Error, MemoryBudget, display_bytes, limits};

use crate::failure::Failure;
use crate::html::{self, Script, escape};
use crate::progress::Summary;
use crate::show::Gallery;
use crate::table::count_of;

/// The page, with marks where things go.
const TEMPLATE: &str = include_str!("report.html");

/// Width and height of the picture, and what is left of it for the numbers beside the axes.
const SIZE: [f64; 2] = [1200.0, 420.0];
const MARGIN: [f64; 4] = [10.0, 150.0, 26.0, 76.0];

/// Marks of each axis.
const MARKS: usize = 5;

/// A report that will be written.
pub struct Recording {
    path: PathBuf,
    /// For a page: what is in use, over time.
    recorder: Option<Recorder>,
}

impl Recording {
    /// Begins the report that goes to `path`; `None` without one.
    ///
    /// # Errors
    /// What the budget says when there is no memory for it.
    pub fn start(path: Option<&Path>, budget: &MemoryBudget) -> Result<Option<Recording>, Failure> {
        let Some(path) = path.map(Path::to_path_buf) else { return Ok(None) };
        let recorder = is_page(&path).then(|| Recorder::start(budget)).transpose().map_err(Error::from)?;
        Ok(Some(Recording { path, recorder }))
    }

    /// The memory that it holds, in bytes, from before the model is read.
    pub fn memory_bytes(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |_| Recorder::MEMORY_BYTES)
    }

    /// Writes what a run took.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn write(self, summary: &Summary, model: &str, gallery: Option<&Gallery>) -> Result<(), Failure> {
        let Some(recorder) = self.recorder else {
            let text = format!("{:#}\n", summary.json());
            return Ok(tightfit::whole::write(&self.path, text.as_bytes())
                .map_err(|error| Error::io(&self.path, error))?);
        };
        let samples = recorder.finish();
        html::write(&self.path, TEMPLATE, &mut |name, out| match name {
            "rows" => gallery.map_or(Ok(()), |gallery| gallery.write_html(out)),
            name => fill(name, out, model, summary, &samples),
        })
        .map_err(Failure::from)
    }
}

/// Whether a report of this name is a page.
pub fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html"))
}

/// Writes what goes to a mark of the page, all but the rows.
fn fill(
    name: &str,
    out: &mut dyn Write,
    model: &str,
    summary: &Summary,
    samples: &[Sample],
) -> io::Result<()> {
    match name {
        "title" => write!(out, "{}", escape(model)),
        "subtitle" => {
            let seconds = summary.elapsed.as_secs_f64();
            write!(out, "{} in {seconds:.2} s, batch {}", count_of(summary.rows, "row"), summary.batch)
        }
        "tiles" => write!(out, "{}", tiles(summary)),
        "legend" => write!(out, "{}", legend(summary)),
        "picture" => Picture::new(summary, samples).write_svg(out),
        "lines" => write!(out, "{}", table(summary)),
        "data" => {
            let mut value = summary.json();
            if let Some(object) = value.as_object_mut() {
                object.insert("model".to_string(), json!(model));
            }
            Ok(serde_json::to_writer_pretty(Script(out), &value)?)
        }
        _ => Ok(()),
    }
}

fn tiles(summary: &Summary) -> String {
    let resident = limits::peak_resident_bytes();
    let tile = |name: &str, bytes: Option<u64>| {
        let text = bytes.map_or("unknown".to_string(), display_bytes);
        format!("<div class=\"card tile\"><span class=\"soft\">{name}</span><b>{text}</b></div>")
    };
    [
        tile("planned", Some(summary.lines.total_bytes())),
        tile("resident at most", resident),
        tile("reserved at most", Some(summary.usage.peak_bytes)),
        tile("allowed", Some(summary.memory_bytes)),
    ]
    .concat()
}

fn legend(summary: &Summary) -> String {
    let lines = summary.usage.peak.named();
    let mut text = String::new();
    for (number, (name, _)) in lines.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
        let _ = write!(text, "<span><i class=\"swatch c{number}\"></i>{name}</span>");
    }
    text + "<span><i class=\"swatch resident\"></i>resident</span>"
}

fn table(summary: &Summary) -> String {
    let (planned, peak, used) =
        (summary.lines.named(), summary.usage.peak.named(), summary.usage.used.named());
    let mut text = String::new();
    let cell = |bytes: u64| format!("<td class=\"number\">{}</td>", display_bytes(bytes));
    for (((name, planned), (_, peak)), (_, used)) in planned.iter().zip(peak).zip(used) {
        let _ = write!(text, "<tr><td>{name}</td>{}{}{}</tr>", cell(*planned), cell(peak), cell(used));
    }
    let total = [summary.lines.total_bytes(), summary.usage.peak_bytes, summary.usage.used.total_bytes()];
    text + &format!("<tr class=\"total\"><td>total</td>{}</tr>", total.map(cell).concat())
}

/// Bytes over time: what each line of the plan holds, one on the other, and lines for what is planned, allowed and
/// resident.
struct Picture<'a> {
    summary: &'a Summary,
    samples: &'a [Sample],
    seconds: f64,
    most_bytes: f64,
}

impl<'a> Picture<'a> {
    fn new(summary: &'a Summary, samples: &'a [Sample]) -> Picture<'a> {
        let seconds = samples.last().map_or(0.0, |last| last.seconds).max(1e-6);
        let planned_bytes = summary.lines.total_bytes();
        let of_sample = |sample: &Sample| sample.used.total_bytes().max(sample.resident_bytes);
        let most = samples.iter().map(of_sample).max().unwrap_or(0).max(planned_bytes);
        // What is allowed may be far above: then there is no line for it, only a word.
        let allowed = Some(summary.memory_bytes).filter(|bytes| *bytes <= most.saturating_mul(2));
        Picture { summary, samples, seconds, most_bytes: most.max(allowed.unwrap_or(0)).max(1) as f64 * 1.04 }
    }

    fn x(&self, seconds: f64) -> f64 {
        let [_, right, _, left] = MARGIN;
        left + (SIZE[0] - left - right) * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    fn y(&self, bytes: f64) -> f64 {
        let [top, _, bottom, _] = MARGIN;
        SIZE[1] - bottom - (SIZE[1] - top - bottom) * (bytes / self.most_bytes).clamp(0.0, 1.0)
    }

    fn write_svg(&self, out: &mut dyn Write) -> io::Result<()> {
        let [width, height] = SIZE;
        writeln!(
            out,
            "<svg id=\"usage\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"Bytes in use over time, by line of the plan\">"
        )?;
        self.write_axes(out)?;
        self.write_areas(out)?;
        let resident = self.samples.iter().map(|s| (s.seconds, s.resident_bytes as f64));
        writeln!(out, "<path class=\"resident\" d=\"{}\"/>", self.steps('M', resident))?;
        self.write_level(out, "planned", self.summary.lines.total_bytes())?;
        self.write_level(out, "allowed", self.summary.memory_bytes)?;
        write!(out, "</svg>")
    }

    /// A path that keeps each value until the next one.
    fn steps(&self, first: char, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        let mut before = None;
        for (seconds, bytes) in points {
            let (x, y) = (self.x(seconds), self.y(bytes));
            match before {
                None => drop(write!(path, "{first}{x:.1} {y:.1}")),
                Some(y_before) if y_before == y => drop(write!(path, "H{x:.1}")),
                Some(_) => drop(write!(path, "H{x:.1}V{y:.1}")),
            }
            before = Some(y);
        }
        path
    }

    fn write_areas(&self, out: &mut dyn Write) -> io::Result<()> {
        let below = |sample: &Sample, lines: usize| {
            sample.used.named()[..lines].iter().map(|(_, b)| *b as f64).sum::<f64>()
        };
        let lines = self.summary.usage.peak.named();
        for (number, (name, peak_bytes)) in lines.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
            let upper = self.samples.iter().map(|s| (s.seconds, below(s, number + 1)));
            let mut path = self.steps('M', upper);
            // Back along what is below it, a step at a time.
            for (sample, next) in self.samples.iter().zip(self.samples.iter().skip(1)).rev() {
                let y = self.y(below(sample, number));
                let _ = write!(path, "L{:.1} {y:.1}H{:.1}", self.x(next.seconds), self.x(sample.seconds));
            }
            let title = format!("{name}: at most {}", display_bytes(*peak_bytes));
            writeln!(out, "<path class=\"c{number}\" d=\"{path}Z\"><title>{title}</title></path>")?;
        }
        Ok(())
    }

    fn write_level(&self, out: &mut dyn Write, name: &str, bytes: u64) -> io::Result<()> {
        let text = format!("{name} {}", display_bytes(bytes));
        let (left, right) = (self.x(0.0), self.x(self.seconds));
        if bytes as f64 > self.most_bytes {
            return writeln!(
                out,
                "<text class=\"{name}\" x=\"{:.1}\" y=\"20\">{text} &#8593;</text>",
                right + 6.0
            );
        }
        let y = self.y(bytes as f64);
        // The two lines may be one: the names stand above and below.
        let text_y = if name == "planned" { y + 14.0 } else { y - 4.0 };
        writeln!(out, "<path class=\"level {name}\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>")?;
        writeln!(out, "<text class=\"{name}\" x=\"{:.1}\" y=\"{text_y:.1}\">{text}</text>", right + 6.0)
    }

    fn write_axes(&self, out: &mut dyn Write) -> io::Result<()> {
        let (left, right) = (self.x(0.0), self.x(self.seconds));
        for mark in 0..MARKS {
            let share = mark as f64 / (MARKS - 1) as f64;
            let bytes = share * self.most_bytes / 1.04;
            let (x, y) = (self.x(share * self.seconds), self.y(bytes));
            writeln!(out, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>")?;
            let text = display_bytes(bytes as u64);
            writeln!(out, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", left - 6.0, y + 4.0)?;
            let seconds = share * self.seconds;
            writeln!(
                out,
                "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{seconds:.2} s</text>",
                SIZE[1] - 6.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tightfit::Lines;
    use tightfit::usage::Usage;

    use super::*;

    fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut text = Vec::new();
        write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_page_needs_nothing_else_and_shows_each_line() {
        let lines = Lines { runtime_bytes: 100, arena_bytes: 50, ..Lines::default() };
        let sample = |seconds: f64, arena_bytes: u64| Sample {
            seconds,
            used: Lines { runtime_bytes: 100, arena_bytes, ..Lines::default() },
            resident_bytes: 120,
        };
        let summary = Summary {
            rows: 3,
            elapsed: Duration::from_secs(2),
            lines,
            usage: Usage { used: lines, peak: lines, peak_bytes: 150 },
            memory_bytes: 1000,
            ..Summary::default()
        };
        let samples = [sample(0.0, 0), sample(1.0, 50), sample(2.0, 0)];
        let page = written(|out| {
            for name in ["title", "subtitle", "tiles", "legend", "picture", "lines", "data"] {
                assert!(TEMPLATE.contains(&format!("{{{{{name}}}}}")));
                fill(name, out, "<script>&", &summary, &samples)?;
            }
            Ok(())
        });
        for part in [
            "&lt;script&gt;&amp;",
            "class=\"c0\"",
            "class=\"c3\"",
            "planned 150 B",
            "allowed 1000 B",
            "resident",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert!(!TEMPLATE.contains("http") && !TEMPLATE.contains("src="));
        assert!(!page.contains("class=\"c1\""), "weights were never held");
        // The arena rises at 1 s and falls at 2 s.
        let area = page.split("<path class=\"c3\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(area.matches('V').count(), 2, "{area}");
    }

    #[test]
    fn a_run_of_no_time_has_a_picture() {
        let summary = Summary::default();
        let svg = |samples: &[Sample]| written(|out| Picture::new(&summary, samples).write_svg(out));
        let moments = svg(&[Sample::default(); 2]);
        assert!(moments.starts_with("<svg") && moments.ends_with("</svg>"), "{moments}");
        assert!(!moments.contains("NaN") && !svg(&[]).contains("NaN"), "{moments}");
    }
}
