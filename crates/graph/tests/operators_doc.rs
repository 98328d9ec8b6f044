//! docs/operators.md says what the registry says. `UPDATE_DOCS=1 cargo test -p tightfit-graph --test
//! operators_doc` writes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tightfit_graph::ops::FAMILIES;

const HEAD: &str = "\
# Operators

What can be run, by family: a family is a file of `crates/graph/src/ops`, and its first lines say what it means, which
shapes and types it takes, and what it refuses. `Const` and `Placeholder` are part of the graph itself.

| family | operators | what they are |
| --- | --- | --- |
";

#[test]
fn the_list_of_operators_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = HEAD.to_string();
    for (family, operators) in FAMILIES {
        let names: Vec<_> = operators.iter().map(|o| format!("`{}`", o.name)).collect();
        let source = root.join(format!("crates/graph/src/ops/{family}.rs"));
        let summary = summary(&fs::read_to_string(&source).unwrap());
        writeln!(text, "| {family} | {} | {summary} |", names.join(", ")).unwrap();
    }
    let path = root.join("docs/operators.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/operators.md is out of date: see the head of this test");
}

/// The first sentence of a file's own documentation.
fn summary(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ").replace('|', "\\|");
    let end = paragraph.find(". ").map_or(paragraph.len(), |i| i + 1);
    paragraph[..end].to_string()
}
