//! What a person sees of a run: how it goes, and what it took.

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tightfit::Progress;
use tightfit::job::JobReport;
use tightfit::usage::Usage;
use tightfit::{Lines, display_bytes, limits, storage};

use crate::table::count_of;

/// The least time between two pictures of the bar.
const FRAME: Duration = Duration::from_millis(100);

/// Characters of the bar.
const WIDTH: usize = 12;

/// A line on a terminal that tells how far a run is.
#[derive(Debug)]
pub struct Bar {
    is_shown: bool,
    memory_bytes: u64,
    last: Option<Instant>,
}

impl Bar {
    /// A bar, where stderr is a terminal.
    pub fn new(is_quiet: bool, memory_bytes: u64) -> Bar {
        Bar { is_shown: !is_quiet && std::io::stderr().is_terminal(), memory_bytes, last: None }
    }

    /// Shows where the run is, unless it did so just now.
    pub fn show(&mut self, progress: &Progress) {
        let memory_bytes = self.memory_bytes;
        self.show_text(|| bar_text(progress, memory_bytes));
    }

    /// Shows a line, unless one was shown just now.
    pub fn show_text(&mut self, text: impl FnOnce() -> String) {
        if !self.is_shown || self.last.is_some_and(|last| last.elapsed() < FRAME) {
            return;
        }
        self.last = Some(Instant::now());
        // What is wider than the terminal is cut off: a line that wraps could not be taken back.
        self.write(&format!("\r\x1b[K\x1b[?7l{}\x1b[?7h", text()));
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if self.last.is_some() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Where stderr cannot be written to there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// A thread that shows how many bytes of how many are read, on a terminal. Whoever works is not slowed down by it.
#[derive(Debug)]
pub struct Watch {
    // Dropping it wakes the thread.
    ends: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// Shows how much of `total` bytes, where that is known, this process has read from data files since now. `total` is
    /// only asked for where there is something to show.
    pub fn new(is_quiet: bool, total: impl FnOnce() -> Option<u64>) -> Watch {
        let mut bar = Bar::new(is_quiet, 0);
        if !bar.is_shown {
            return Watch { ends: None, thread: None };
        }
        let (total, begin, before) = (total(), Instant::now(), storage::bytes_read());
        let (ends, ended) = mpsc::channel::<()>();
        let show = move || {
            while ended.recv_timeout(FRAME) == Err(mpsc::RecvTimeoutError::Timeout) {
                let bytes = storage::bytes_read().saturating_sub(before);
                bar.show_text(|| bytes_text(bytes, total, begin.elapsed()));
            }
            bar.clear();
        };
        // Without the thread there is no bar, and the work is done all the same.
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(show).ok();
        Watch { ends: Some(ends), thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn bytes_text(bytes: u64, total: Option<u64>, elapsed: Duration) -> String {
    let speed = bytes as f64 / elapsed.as_secs_f64().max(1e-9);
    let (read, per_second) = (display_bytes(bytes), display_bytes(speed as u64));
    // What is read several times, as a pipeline may do, has no known end.
    let Some(total) = total.filter(|total| *total >= bytes && *total > 0) else {
        return format!("{read} read, {per_second}/s");
    };
    let filled = (bytes as f64 / total as f64 * WIDTH as f64) as usize;
    let bar = format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled));
    let total_text = display_bytes(total);
    if bytes == 0 {
        return format!("{bar} {read} of {total_text}");
    }
    let left = Duration::from_secs_f64((total - bytes) as f64 / speed.max(1e-9));
    format!("{bar} {read} of {total_text}, {per_second}/s, {} left", display_time(left))
}

fn bar_text(progress: &Progress, memory_bytes: u64) -> String {
    let speed = (progress.rows - progress.resumed_rows) as f64 / progress.elapsed.as_secs_f64().max(1e-9);
    let used = &progress.usage.used;
    let mut memory = format!("{} of {}", display_bytes(used.total_bytes()), display_bytes(memory_bytes));
    for (name, bytes) in used.named().into_iter().filter(|(_, bytes)| *bytes > 0) {
        memory.push_str(&format!(", {name} {}", display_bytes(bytes)));
    }
    let Some(total) = progress.total_rows.filter(|total| *total > 0) else {
        return format!("{} rows, {speed:.1} rows/s, {memory}", progress.rows);
    };
    let done = (progress.rows as f64 / total as f64).min(1.0);
    let filled = (done * WIDTH as f64) as usize;
    let left = Duration::from_secs_f64((total.saturating_sub(progress.rows)) as f64 / speed.max(1e-9));
    format!(
        "[{}{}] {} of {total} rows, {speed:.1} rows/s, {} left, {memory}",
        "#".repeat(filled),
        ".".repeat(WIDTH - filled),
        progress.rows,
        display_time(left)
    )
}

fn display_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds % 3600 / 60),
    }
}

/// What a run took.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Rows computed.
    pub rows: u64,
    /// Rows among them that an earlier run computed.
    pub resumed_rows: u64,
    /// True when an earlier run had done everything.
    pub was_done: bool,
    /// Rows at once.
    pub batch: usize,
    /// From the start of the work to the last byte of output.
    pub elapsed: Duration,
    /// What was planned.
    pub lines: Lines,
    /// What was set aside besides for values that grow.
    pub growth_bytes: u64,
    /// What was taken, and the most, by line of the plan.
    pub usage: Usage,
    /// What was allowed.
    pub memory_bytes: u64,
    /// Rows left out.
    pub skipped_rows: u64,
    /// Why the first of them were.
    pub skipped: Vec<String>,
    /// Rows whose top class was the label, where there are labels.
    pub right_rows: Option<u64>,
    /// Inputs whose floats became quantised integers.
    pub quantized_inputs: Vec<String>,
}

impl Summary {
    /// The summary of a job.
    pub fn of(report: JobReport, usage: Usage, memory_bytes: u64) -> Summary {
        Summary {
            rows: report.rows,
            resumed_rows: report.resumed_rows,
            was_done: report.was_done,
            batch: report.batch,
            elapsed: report.elapsed,
            lines: report.lines,
            growth_bytes: report.growth_bytes,
            usage,
            memory_bytes,
            skipped_rows: report.skipped_rows,
            skipped: report.skipped,
            right_rows: report.right_rows,
            quantized_inputs: Vec::new(),
        }
    }

    /// Shows it on stderr.
    pub fn show(&self) {
        // Where stderr cannot be written to there is nobody to tell.
        let _ = std::io::stderr().write_all(self.text().as_bytes());
    }

    fn rows_per_second(&self) -> f64 {
        (self.rows - self.resumed_rows) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn accuracy(&self) -> Option<f64> {
        self.right_rows.map(|right| right as f64 / (self.rows as f64).max(1.0))
    }

    fn text(&self) -> String {
        let mut text = count_of(self.rows, "row");
        if self.resumed_rows > 0 && !self.was_done {
            text.push_str(&format!(", {} of them before,", self.resumed_rows));
        }
        text.push_str(&match self.was_done {
            true => ": all of it was done before\n".to_string(),
            false => {
                let (seconds, speed) = (self.elapsed.as_secs_f64(), self.rows_per_second());
                format!(" in {seconds:.2} s: {speed:.1} rows/s, batch {}\n", self.batch)
            }
        });
        if let (Some(right), Some(accuracy)) = (self.right_rows, self.accuracy()) {
            text.push_str(&format!("accuracy {:.2} %: {right} of {} right\n", 100.0 * accuracy, self.rows));
        }
        if self.skipped_rows > 0 {
            text.push_str(&format!("skipped {}\n", count_of(self.skipped_rows, "bad row")));
            self.skipped.iter().for_each(|why| text.push_str(&format!("  {}\n", why.replace('\n', " "))));
        }
        if !self.quantized_inputs.is_empty() {
            text.push_str(&format!("quantized as fed: {}\n", self.quantized_inputs.join(", ")));
        }
        let peak = limits::peak_resident_bytes().map_or("unknown".to_string(), display_bytes);
        let (planned, allowed) = (display_bytes(self.lines.total_bytes()), display_bytes(self.memory_bytes));
        let growth = match self.growth_bytes {
            0 => String::new(),
            bytes => format!(" and up to {} for values that grow", display_bytes(bytes)),
        };
        let planned = if self.was_done { String::new() } else { format!("planned {planned}{growth}, ") };
        text.push_str(&format!("memory: {planned}peak {peak}, allowed {allowed}\n"));
        text
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let by_line = |total: u64, lines: &Lines| json!({"total": total, "lines": lines_json(lines)});
        json!({
            "rows": self.rows,
            "resumed_rows": self.resumed_rows,
            "seconds": self.elapsed.as_secs_f64(),
            "rows_per_second": self.rows_per_second(),
            "batch": self.batch,
            "skipped_rows": self.skipped_rows,
            "quantized_inputs": self.quantized_inputs,
            "right_rows": self.right_rows,
            "accuracy": self.accuracy(),
            "planned_bytes": by_line(self.lines.total_bytes(), &self.lines),
            "growth_bytes": self.growth_bytes,
            "used_bytes": by_line(self.usage.used.total_bytes(), &self.usage.used),
            "peak_bytes": by_line(self.usage.peak_bytes, &self.usage.peak),
            "peak_resident_bytes": limits::peak_resident_bytes(),
            "budget_bytes": self.memory_bytes,
        })
    }
}

/// The lines of a budget by name.
pub fn lines_json(lines: &Lines) -> Value {
    Value::Object(
        lines.named().iter().map(|(name, bytes)| (name.to_string(), json!(bytes))).collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_how_long_it_takes() {
        let elapsed = Duration::from_secs(10);
        let used = Lines { weights_bytes: 3 << 18, arena_bytes: 1 << 18, ..Lines::default() };
        let usage = Usage { used, ..Usage::default() };
        let progress = Progress { rows: 100, resumed_rows: 50, total_rows: Some(400), usage, elapsed };
        let text = bar_text(&progress, 2 << 20);
        assert!(text.starts_with("[###........."), "{text}");
        assert!(text.ends_with("100 of 400 rows, 5.0 rows/s, 1:00 min left, 1.0 MiB of 2.0 MiB, weights 768.0 KiB, arena 256.0 KiB"), "{text}");
        let text = bar_text(&Progress { total_rows: None, ..progress }, 2 << 20);
        assert_eq!(text, "100 rows, 5.0 rows/s, 1.0 MiB of 2.0 MiB, weights 768.0 KiB, arena 256.0 KiB");
        assert_eq!(display_time(Duration::from_secs(3700)), "1:01 h");
        let text = |bytes, total| bytes_text(bytes, total, elapsed);
        assert_eq!(text(1 << 20, Some(2 << 20)), "[######......] 1.0 MiB of 2.0 MiB, 102.4 KiB/s, 10 s left");
        assert_eq!(text(0, Some(5)), "[............] 0 B of 5 B");
        for total in [None, Some(0), Some(10)] {
            assert_eq!(text(1 << 20, total), "1.0 MiB read, 102.4 KiB/s");
        }
    }
}
