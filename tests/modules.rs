//! No module leans on one that leans on it, in any folder of the crates: read from the paths that code names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 7] = ["core", "format", "kernels", "graph", "tightfit", "python", "capi"];

/// For each folder, by its path in the crate, which of its modules name which.
type Edges = BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>>;

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The module of a file: `a/b.rs` and `a/b/mod.rs` are `[a, b]`, the crate's root is empty.
fn module_of(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().map(|name| name.to_string_lossy().into()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
        names.pop();
    }
    names
}

/// The code of a file: no comments, and no tests, which stand at the end.
fn code(text: &str) -> String {
    let text = text.split("\nmod tests").next().unwrap_or(text);
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The paths that begin with `start`, as `crate::a::b` does with `crate`; of a list in braces each.
fn paths<'t>(code: &'t str, start: &str) -> Vec<Vec<&'t str>> {
    let start = format!("{start}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
            continue;
        }
        let (mut rest, mut path) = (&code[at + start.len()..], Vec::new());
        loop {
            if let Some(list) = rest.strip_prefix('{') {
                let list = list.split('}').next().unwrap_or(list);
                let each =
                    list.split(',').map(|item| identifier(item.trim())).filter(|name| !name.is_empty());
                found.extend(each.map(|name| path.iter().copied().chain([name]).collect()));
                break;
            }
            let name = identifier(rest);
            path.push(name);
            match rest[name.len()..].strip_prefix("::") {
                Some(behind) => rest = behind,
                None => {
                    found.push(path);
                    break;
                }
            }
        }
    }
    found
}

fn edges(root: &Path) -> Edges {
    let mut files = Vec::new();
    sources(root, &mut files);
    let modules: BTreeSet<Vec<String>> =
        files.iter().map(|path| module_of(path.strip_prefix(root).unwrap())).collect();
    let mut edges = Edges::new();
    for path in &files {
        let module = module_of(path.strip_prefix(root).unwrap());
        let is_test =
            module.iter().any(|name| matches!(name.as_str(), "tests" | "testing" | "conformance" | "proofs"));
        if is_test || module.last().is_some_and(|name| name.ends_with("_tests")) {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let code = code(&text);
        let whole =
            paths(&code, "crate").into_iter().map(|path| path.into_iter().map(String::from).collect());
        let above = module.split_last().map_or(Vec::new(), |(_, above)| above.to_vec());
        let near = paths(&code, "super").into_iter().map(|path| {
            let named = path.into_iter().map(String::from);
            above.iter().cloned().chain(named).collect::<Vec<String>>()
        });
        for named in whole.chain(near) {
            // What both have in common is the folder that the two modules are in.
            let shared = module.iter().zip(&named).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (module.get(shared), named.get(shared)) else { continue };
            if modules.contains(&named[..=shared]) {
                let folder = edges.entry(module[..shared].to_vec()).or_default();
                folder.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    edges
}

/// The modules that `from` leads to.
fn reached<'e>(edges: &'e BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'e str> {
    let mut reached = BTreeSet::new();
    let mut stack: Vec<&str> = edges.get(from).into_iter().flatten().map(String::as_str).collect();
    while let Some(module) = stack.pop() {
        if reached.insert(module) {
            stack.extend(edges.get(module).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

#[test]
fn no_module_leans_on_one_that_leans_on_it() {
    let mut circles = Vec::new();
    for name in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        for (folder, edges) in edges(&root) {
            assert!(!edges.is_empty());
            for module in edges.keys().filter(|module| reached(&edges, module).contains(module.as_str())) {
                let ways: Vec<&str> = edges[module].iter().map(String::as_str).collect();
                circles.push(format!("{name}: {}/{module} -> {}", folder.join("/"), ways.join(", ")));
            }
        }
    }
    assert!(circles.is_empty(), "modules in circles:\n{}", circles.join("\n"));
}

#[test]
fn paths_are_read_from_code() {
    let text = code(
        "use crate::a::{b, c};\n// crate::no\nlet x = super::d(crate::e::F::new());\n#[cfg(test)]\nmod tests { use crate::g; }",
    );
    assert_eq!(paths(&text, "crate"), [vec!["a", "b"], vec!["a", "c"], vec!["e", "F", "new"]]);
    assert_eq!(paths(&text, "super"), [["d"]]);
}
