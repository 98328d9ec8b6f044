//! `--report`: what a run took, as JSON, or as a page with bytes over time beside the plan.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tightfit::usage::{Recorder, Sample};
use tightfit::{Error, MemoryBudget, display_bytes, limits};

use crate::failure::Failure;
use crate::html::{STYLE, escape};
use crate::progress::Summary;
use crate::show::Gallery;

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
    pub fn start(path: Option<&Path>, budget: &MemoryBudget) -> Option<Recording> {
        let path = path?.to_path_buf();
        let is_page = is_page(&path);
        Some(Recording { path, recorder: is_page.then(|| Recorder::start(budget)) })
    }

    /// Writes what a run took.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn write(self, summary: &Summary, model: &str, gallery: Option<&Gallery>) -> Result<(), Failure> {
        let text = match self.recorder {
            None => format!("{:#}\n", summary.json()),
            Some(recorder) => {
                let rows = gallery.map_or_else(String::new, Gallery::html);
                page(model, summary, &recorder.finish(), &rows)
            }
        };
        tightfit::whole::write(&self.path, text.as_bytes())
            .map_err(|error| Error::io(&self.path, error).into())
    }
}

/// Whether a report of this name is a page.
pub fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html"))
}

fn page(model: &str, summary: &Summary, samples: &[Sample], rows: &str) -> String {
    let mut value = summary.json();
    if let Some(object) = value.as_object_mut() {
        object.insert("model".to_string(), json!(model));
    }
    // In a script only `</` could end it early, and only a `<!--` change how it is read.
    let data = format!("{value:#}").replace('<', "\\u003c");
    let subtitle =
        format!("{} rows in {:.2} s, batch {}", summary.rows, summary.elapsed.as_secs_f64(), summary.batch);
    TEMPLATE
        .replace("{{style}}", STYLE)
        .replace("{{title}}", &escape(model))
        .replace("{{subtitle}}", &subtitle)
        .replace("{{tiles}}", &tiles(summary))
        .replace("{{legend}}", &legend(summary))
        .replace("{{picture}}", &Picture::new(summary, samples).svg())
        .replace("{{rows}}", rows)
        .replace("{{lines}}", &table(summary))
        .replace("{{data}}", &data)
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

    fn svg(&self) -> String {
        let [width, height] = SIZE;
        let mut svg = format!(
            "<svg id=\"usage\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"Bytes in use over time, by line of the plan\">\n"
        );
        self.axes(&mut svg);
        self.areas(&mut svg);
        let resident = self.samples.iter().map(|s| (s.seconds, s.resident_bytes as f64));
        let _ = writeln!(svg, "<path class=\"resident\" d=\"{}\"/>", self.steps('M', resident));
        let planned_bytes = self.summary.lines.total_bytes();
        self.level(&mut svg, "planned", planned_bytes);
        self.level(&mut svg, "allowed", self.summary.memory_bytes);
        svg + "</svg>"
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

    fn areas(&self, svg: &mut String) {
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
            let _ = writeln!(svg, "<path class=\"c{number}\" d=\"{path}Z\"><title>{title}</title></path>");
        }
    }

    fn level(&self, svg: &mut String, name: &str, bytes: u64) {
        let text = format!("{name} {}", display_bytes(bytes));
        let (left, right) = (self.x(0.0), self.x(self.seconds));
        if bytes as f64 > self.most_bytes {
            let _ = writeln!(
                svg,
                "<text class=\"{name}\" x=\"{:.1}\" y=\"20\">{text} &#8593;</text>",
                right + 6.0
            );
            return;
        }
        let y = self.y(bytes as f64);
        // The two lines may be one: the names stand above and below.
        let text_y = if name == "planned" { y + 14.0 } else { y - 4.0 };
        let _ = writeln!(svg, "<path class=\"level {name}\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
        let _ =
            writeln!(svg, "<text class=\"{name}\" x=\"{:.1}\" y=\"{text_y:.1}\">{text}</text>", right + 6.0);
    }

    fn axes(&self, svg: &mut String) {
        let (left, right) = (self.x(0.0), self.x(self.seconds));
        for mark in 0..MARKS {
            let share = mark as f64 / (MARKS - 1) as f64;
            let bytes = share * self.most_bytes / 1.04;
            let (x, y) = (self.x(share * self.seconds), self.y(bytes));
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
            let text = display_bytes(bytes as u64);
            let _ = writeln!(
                svg,
                "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                left - 6.0,
                y + 4.0
            );
            let seconds = share * self.seconds;
            let _ = writeln!(
                svg,
                "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{seconds:.2} s</text>",
                SIZE[1] - 6.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tightfit::Lines;
    use tightfit::usage::Usage;

    use super::*;

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
        let page = page("<script>&", &summary, &[sample(0.0, 0), sample(1.0, 50), sample(2.0, 0)], "");
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
        assert!(!page.contains("{{") && !page.contains("http") && !page.contains("src="));
        assert!(!page.contains("class=\"c1\""), "weights were never held");
        // The arena rises at 1 s and falls at 2 s.
        let area = page.split("<path class=\"c3\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(area.matches('V').count(), 2, "{area}");
    }

    #[test]
    fn a_run_of_no_time_has_a_picture() {
        let summary = Summary::default();
        let svg = Picture::new(&summary, &[Sample::default(); 2]).svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        assert!(!Picture::new(&summary, &[]).svg().contains("NaN"));
    }
}
