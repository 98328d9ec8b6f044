//! README and docs tell the truth: every command in them runs as printed and prints what is shown.
//!
//! Commands stand in blocks marked `console`, each after `$ `, with what it prints below it. A line `..` stands for any
//! lines, and in lines about time, speed, shares and peak memory every number is as good as another. A block marked
//! `console no-run` needs what is not in the repository; it says so in the text around it.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, repository};

/// What makes a line one about time, speed or peak memory.
const MEASURED: [&str; 5] = ["/s", " ms", " s,", "peak", "allowed"];

/// How the README starts the program before it is installed.
const UNINSTALLED: &str = "cargo run --release -p tightfit-cli --";

/// A command and what it is to print.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Vec<String>,
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages.insert(0, repository("README.md"));
    pages
}

/// The blocks of a page: what stands after the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_string(), Vec::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, lines)), None) => lines.push(line.to_string()),
            (None, None) => {}
        }
    }
    blocks
}

fn commands(lines: &[String]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut is_continued = false;
    for line in lines {
        if let (true, Some(last)) = (is_continued, shown.last_mut()) {
            last.command.push('\n');
            last.command.push_str(line);
        } else if let Some(command) = line.strip_prefix("$ ") {
            shown.push(Shown { command: command.to_string(), output: Vec::new() });
        } else {
            shown.last_mut().expect("a command before what it prints").output.push(line.clone());
        }
        is_continued = (is_continued || line.starts_with("$ ")) && line.ends_with('\\');
    }
    shown
}

/// Whether a line is about what differs from run to run.
fn is_measured(line: &str) -> bool {
    let is_share = line.contains(" %") && !line.starts_with("accuracy");
    is_share || MEASURED.iter().any(|part| line.contains(part))
}

/// The line with every number the same.
fn settled(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() || c == '.' { '0' } else { c };
        let is_again = (c == '0' && text.ends_with('0')) || (c == ' ' && text.ends_with(' '));
        if !is_again {
            text.push(c);
        }
    }
    // Sizes of one run have another unit in the next.
    ["KiB", "MiB", "GiB"].iter().fold(text, |text, unit| text.replace(unit, "B")).trim_end().to_string()
}

/// Whether `lines` are those of `pattern`, in which `..` stands for any lines.
fn fits(pattern: &[String], lines: &[String]) -> bool {
    match pattern.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == ".." => (0..=lines.len()).any(|at| fits(rest, &lines[at..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others))
        }
    }
}

/// Whether a line is the one that is shown, which may leave out its end or a part with `..`.
fn line_fits(shown: &str, line: &str) -> bool {
    let (shown, line) = match is_measured(shown) {
        true => (settled(shown), settled(line)),
        false => (shown.trim_end().to_string(), line.trim_end().to_string()),
    };
    match shown.split_once("..").filter(|_| shown != line) {
        Some((start, end)) => line.starts_with(start.trim_end()) && line.ends_with(end.trim_start()),
        None => shown == line,
    }
}

/// A folder in which the paths of the pages name the repository's files.
fn workplace() -> Folder {
    let folder = Folder::new();
    for name in ["examples", "docs", "tests"] {
        std::os::unix::fs::symlink(repository(name).canonicalize().unwrap(), folder.path(name)).unwrap();
    }
    folder
}

fn run(command: &str, folder: &Folder) -> (bool, Vec<String>) {
    let binary = Path::new(env!("CARGO_BIN_EXE_tightfit"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let script = format!("exec 2>&1\n{}", command.replace(UNINSTALLED, "tightfit"));
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(folder.path("")).env("PATH", path).output();
    let output = output.expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text.lines().map(str::to_string).collect())
}

#[test]
fn every_command_runs_and_prints_what_is_shown() {
    let mut count = 0;
    for page in pages() {
        let folder = workplace();
        let text = fs::read_to_string(&page).unwrap();
        for (info, lines) in blocks(&text) {
            if info != "console" {
                continue;
            }
            for Shown { command, output } in commands(&lines) {
                // These are what CI itself runs.
                if ["cargo test", "cargo install", "make "].iter().any(|own| command.starts_with(own)) {
                    continue;
                }
                let (is_good, printed) = run(&command, &folder);
                let name = page.file_name().unwrap().display();
                assert!(
                    fits(&output, &printed),
                    "{name}: $ {command}\nshown:\n{}\nprinted:\n{}",
                    output.join("\n"),
                    printed.join("\n")
                );
                let is_refusal = printed.iter().any(|line| line.starts_with("tightfit: "));
                assert!(is_good != is_refusal, "{name}: $ {command}\n{}", printed.join("\n"));
                count += 1;
            }
        }
    }
    assert!(count >= 12, "{count}");
}

#[test]
fn commands_stand_in_marked_blocks() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (info, lines) in blocks(&text) {
            let is_command = |line: &String| line.starts_with("$ ") || line.starts_with("tightfit ");
            let is_marked = matches!(info.as_str(), "console" | "console no-run");
            assert!(is_marked || !lines.iter().any(is_command), "{}: {info}: {lines:?}", page.display());
        }
        let is_loose = |line: &str| line.starts_with("    $ ");
        assert!(!text.lines().any(is_loose), "{}", page.display());
    }
}

#[test]
fn lines_are_compared_as_they_are_meant() {
    assert!(line_fits(
        "360 rows in 0.03 s: 11929.0 rows/s, batch 1",
        "360 rows in 1.5 s: 2.0 rows/s, batch 1"
    ));
    assert!(line_fits("memory: planned 4.1 MiB, peak 3.7 MiB", "memory: planned 4.4 MiB, peak 900.1 KiB"));
    assert!(!line_fits("accuracy 98.89 %", "accuracy 98.88 %"));
    assert!(line_fits("{\"row\": 0, ..}", "{\"row\": 0, \"x\": 1}"));
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    assert!(fits(&lines("a\n..\nd"), &lines("a\nb\nc\nd")) && !fits(&lines("a\n.."), &lines("b")));
    assert!(!fits(&lines("a"), &lines("a\nb")) && fits(&[], &[]));
}
