//! docs/operators.md says what the registry says, and docs/functions.md what the tables of functions say. `UPDATE_DOCS=1 cargo test -p tightfit-graph --test
//! operators_doc` writes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tightfit_core::DType;
use tightfit_graph::import::tflite::builtins;
use tightfit_graph::import::{attributes, structure};
use tightfit_graph::ops::FAMILIES;
use tightfit_kernels::{BinaryOp, CompareOp, FunctionRow, UnaryOp};

const HEAD: &str = "\
# Operators

What can be run, by family: a family is a file of `crates/graph/src/ops`, and its first lines say what it means, which
shapes and types it takes, and what it refuses. `Const` and `Placeholder` are part of the graph itself.

| family | operators | what they are |
| --- | --- | --- |
";

const STRUCTURE_HEAD: &str = "
Calls of functions are inlined: PartitionedCall, StatefulPartitionedCall, BatchFunction, and nodes that have a function's name. The rest
of a graph's structure:

| what | nodes | what becomes of them |
| --- | --- | --- |
";

const BY_NAME_HEAD: &str = "
## By name

Each operator with the values that its attributes take, as TensorFlow's kernels for a CPU have them. Floats are float16,
bfloat16, float32 and float64; integers int8, int16, int32, int64, uint8, uint16, uint32 and uint64; complex numbers
complex64 and complex128. Attributes that may be any number, text or type are left out. Behind them stand the builtins of
TensorFlow Lite that become the operator, alone or with others.

| operator | family | attributes | TensorFlow Lite |
| --- | --- | --- | --- |
";

/// Types that are told of together.
const KINDS: [(&str, &[&str]); 3] = [
    ("floats", &["float16", "bfloat16", "float32", "float64"]),
    ("integers", &["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]),
    ("complex numbers", &["complex64", "complex128"]),
];

/// An attribute with its values; `None` for one that takes any.
fn shown(name: &str, mut values: Vec<String>) -> Option<String> {
    let mut text: Vec<String> = Vec::new();
    for (kind, types) in KINDS {
        if types.iter().all(|one| values.iter().any(|value| value == one)) {
            values.retain(|value| !types.contains(&value.as_str()));
            text.push(kind.to_string());
        }
    }
    text.append(&mut values);
    (!text.is_empty()).then(|| format!("{name}: {}", text.join(", ")))
}

const BUILTINS_HEAD: &str = "
The operators of a TensorFlow Lite model become nodes of the graph. With integers that stand for other numbers one is computed
in integers where there is a node `tfl.NAME` for it, and in floats between them otherwise.

| builtin or custom operator | supported | what it becomes, or why not |
| --- | --- | --- |
";

/// The words of a text, dots between letters included.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
    text.split(is_between).map(|word| word.trim_matches('.'))
}

#[test]
fn the_list_of_operators_is_true() {
    let mut text = HEAD.to_string();
    for (family, operators) in FAMILIES {
        let names: Vec<_> = operators.iter().map(|o| format!("`{}`", o.name)).collect();
        let source = root().join(format!("crates/graph/src/ops/{family}.rs"));
        let summary = summary(&fs::read_to_string(&source).unwrap());
        writeln!(text, "| {family} | {} | {summary} |", names.join(", ")).unwrap();
    }
    text.push_str(STRUCTURE_HEAD);
    for (what, names, meaning) in structure() {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        writeln!(text, "| {what} | {} | {meaning} |", names.join(", ")).unwrap();
    }
    text.push_str(BY_NAME_HEAD);
    let mut all: Vec<_> = FAMILIES
        .iter()
        .flat_map(|(family, operators)| operators.iter().map(move |o| (o.name, family)))
        .collect();
    all.sort_unstable();
    for (name, family) in all {
        let attributes: Vec<_> =
            attributes(name).into_iter().filter_map(|(name, values)| shown(name, values)).collect();
        let serves: Vec<_> = builtins()
            .filter(|builtin| builtin.is_supported && words(builtin.becomes).any(|word| word == name))
            .map(|builtin| format!("`{}`", builtin.name))
            .collect();
        writeln!(text, "| `{name}` | {family} | {} | {} |", attributes.join("; "), serves.join(", "))
            .unwrap();
    }
    text.push_str(BUILTINS_HEAD);
    for builtin in builtins() {
        let supported = if builtin.is_supported { "yes" } else { "no" };
        writeln!(text, "| `{}` | {supported} | {} |", builtin.name, builtin.becomes).unwrap();
    }
    check("docs/operators.md", &text);
}

const FUNCTIONS_HEAD: &str = "\
# Functions of one element and of two

What `crates/kernels/src/elementwise/functions.rs` computes of each element. Those with vector code run it for float32, and
where it says so a convolution or matrix product applies them to its sums before it stores them.

| function | operators | what it computes | vector code | behind products |
| --- | --- | --- | --- | --- |
";

const PAIRS_HEAD: &str = "
What `crates/kernels/src/elementwise/binary_functions.rs` computes of two elements, a and b, and for which types.

| function | operators | what it computes | types |
| --- | --- | --- | --- |
";

fn pairs<Op>(text: &mut String, rows: &[FunctionRow<Op>], supports: impl Fn(&Op, DType) -> bool) {
    for row in rows {
        let nodes: Vec<_> = row.nodes.iter().map(|node| format!("`{node}`")).collect();
        let kinds = [("floats", DType::F32), ("integers", DType::I32), ("bool", DType::Bool)];
        let types: Vec<_> =
            kinds.iter().filter(|kind| supports(&row.op, kind.1)).map(|kind| kind.0).collect();
        let meaning = row.meaning.trim().replace('|', "\\|");
        writeln!(text, "| {} | {} | {meaning} | {} |", row.name, nodes.join(", "), types.join(", ")).unwrap();
    }
}

#[test]
fn the_list_of_functions_is_true() {
    let mut text = FUNCTIONS_HEAD.to_string();
    for row in UnaryOp::TABLE {
        let nodes: Vec<_> = row.nodes.iter().map(|node| format!("`{node}`")).collect();
        let meaning = row.meaning.trim().replace('|', "\\|");
        let yes = |is: bool| if is { "yes" } else { "" };
        let (vector, fused) = (yes(row.op.has_vector_code()), yes(row.op.epilogue().is_some()));
        writeln!(text, "| {} | {} | {meaning} | {vector} | {fused} |", row.name, nodes.join(", ")).unwrap();
    }
    text.push_str(PAIRS_HEAD);
    pairs(&mut text, BinaryOp::TABLE, |op, dtype| op.supports(dtype));
    pairs(&mut text, CompareOp::TABLE, |op, dtype| op.supports(dtype));
    check("docs/functions.md", &text);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn check(path: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), text).unwrap();
    }
    let written = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(written == text, "{path} is out of date: see the head of this test");
}

/// The first sentence of a file's own documentation.
fn summary(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ").replace('|', "\\|");
    let end = paragraph.find(". ").map_or(paragraph.len(), |i| i + 1);
    paragraph[..end].to_string()
}
