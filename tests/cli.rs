//! The command line: help, exit codes, and what it says of models without running them.

mod common;

use std::process::Stdio;

use common::{Folder, command, digits, repository, tightfit};
use serde_json::Value;

#[test]
fn help_tells_every_command_and_flag() {
    let help = tightfit(["--help"]);
    assert_eq!(help.code, 0);
    for command in
        ["inspect", "plan", "run", "bench", "freeze", "optimize", "quantize", "prune", "compare", "partition"]
    {
        assert!(help.stdout.contains(command), "{help:?}");
        let own = tightfit([command, "--help"]);
        assert_eq!((own.code, own.stderr.as_str()), (0, ""));
        assert!(own.stdout.contains("--json"), "{own:?}");
    }
    let version = tightfit(["--version"]);
    assert_eq!((version.code, version.stdout.trim()), (0, concat!("tightfit ", env!("CARGO_PKG_VERSION"))));
}

/// Every command, in words.
const COMMANDS: [&str; 25] = [
    "",
    "inspect",
    "plan",
    "run",
    "bench",
    "freeze",
    "optimize",
    "quantize",
    "prune",
    "compare",
    "partition",
    "records",
    "records inspect",
    "records head",
    "records verify",
    "records convert",
    "records shard",
    "records shuffle",
    "records preprocess",
    "data",
    "data head",
    "data bench",
    "data schema",
    "completions",
    "man",
];

/// What docs/commands.md begins with.
const HELP_HEAD: &str = "\
# Commands

This is what `tightfit help COMMAND` prints for each command. `tightfit man COMMAND` shows the same as a manual page, and
[cookbook.md](cookbook.md) lists the commands you know from other tools beside ours.
";

/// Of each command; `TIGHTFIT_BLESS=1` writes docs/commands.md anew.
#[test]
fn help_fits_80_columns_and_is_the_same_in_both_ways() {
    let mut page = HELP_HEAD.to_string();
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().collect();
        let help = tightfit([&words[..], &["--help"]].concat());
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        let wide: Vec<&str> = help.stdout.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{command}: {wide:?}");
        assert!(help.stdout.contains(&format!("Usage: tightfit {command}")), "{help:?}");
        let is_group = ["", "records", "data"].contains(&command);
        assert!(is_group || help.stdout.contains("-q, --quiet"), "{help:?}");
        assert!(!help.stdout.contains('\x1b'), "colours without a terminal");
        assert_eq!(tightfit([&["help"], &words[..]].concat()).stdout, help.stdout, "{command}");
        let title = format!("tightfit {command}");
        page.push_str(&format!("\n## {}\n\n```text\n{}\n```\n", title.trim_end(), help.stdout.trim_end()));
    }
    let path = repository("docs/commands.md");
    if std::env::var_os("TIGHTFIT_BLESS").is_some() {
        std::fs::write(path, page).unwrap();
    } else {
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            page,
            "TIGHTFIT_BLESS=1 writes docs/commands.md anew"
        );
    }
}

#[test]
fn man_pages_and_completions() {
    let folder = Folder::new();
    let man = tightfit(["man".as_ref(), folder.path("").as_os_str()]);
    assert_eq!((man.code, man.stderr.as_str()), (0, ""));
    let names = folder.names();
    assert_eq!(names.len(), COMMANDS.len(), "{names:?}");
    for command in COMMANDS {
        let name = format!("tightfit {command}").trim().replace(' ', "-");
        let page = std::fs::read_to_string(folder.path(&format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page}");
    }
    assert!(tightfit(["man", "records", "verify"]).stdout.contains("\\-\\-threads"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tightfit(["completions", shell]).stdout;
        assert!(script.contains("memory") && script.contains("preprocess"), "{shell}");
    }
}

#[test]
fn errors_are_objects_under_json() {
    let folder = Folder::new();
    let model = digits().0;
    let model = model.to_str().unwrap();
    let absent = folder.path("absent.pb").display().to_string();
    let bad = folder.write("bad.tfrecord", "not records, but more than twelve bytes").display().to_string();
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["inspect", &absent, "--json"], 1, "format", "file"),
        (&["plan", model, "--json", "--memory", "1MiB"], 3, "memory", "minimum_bytes"),
        (&["run", model, "--input", &bad, "--output", "x.npz", "--json"], 1, "data", "record"),
        (&["bench", model, "--json", "--batch", "0"], 2, "usage", "message"),
    ];
    for (args, code, kind, fact) in cases {
        let answer = tightfit(args.iter());
        let json: Value = serde_json::from_str(&answer.stdout).unwrap();
        let error = &json["error"];
        assert_eq!((answer.code, &error["kind"]), (*code, &Value::from(*kind)), "{answer:?}");
        assert!(error.get(*fact).is_some() && error["exit_code"] == *code, "{answer:?}");
        assert!(answer.stderr.starts_with("tightfit: "), "{answer:?}");
    }
    // What is printed already stays one object.
    let verified = tightfit(["records", "verify", &bad, "--json"]);
    let json: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((verified.code, json["bad_records"].as_u64()), (1, Some(1)));
    let head = tightfit(["records", "head", &bad, "--json"]);
    let json: Value = serde_json::from_str(&head.stdout).unwrap();
    assert_eq!((head.code, &json["error"]["kind"]), (1, &Value::from("data")));
}

#[test]
fn wrong_usage_is_exit_2() {
    let model = digits().0;
    let model = model.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&[], "no command"),
        (&["fly"], "no command 'fly'"),
        (&["explode", "x"], "no command 'explode'"),
        (&["bnech", "x"], "did you mean bench?"),
        (&["plan", model, "--memroy", "1"], "did you mean --memory?"),
        (&["run", model, "--input", "x", "--batch", "atuo"], "or auto"),
        (&["--json"], "before a command"),
        (&["plan"], "needs a MODEL"),
        (&["plan", model, "second"], "does not take 'second'"),
        (&["plan", model, "--output", "x"], "does not take '--output'"),
        (&["plan", model, "-x"], "does not take '-x'"),
        (&["plan", model, "--memory"], "--memory needs a value"),
        (&["plan", model, "--memory", "much"], "not a size"),
        (&["plan", model, "--batch", "0"], "--batch 0"),
        (&["plan", model, "--batch", "1", "--batch", "2"], "given twice"),
        (&["plan", model, "--threads", "x"], "--threads x"),
        (&["plan", model, "--shape", "image"], "--shape image"),
        (&["plan", model, "--shape", "picture=1,8,8,1"], "inputs are image"),
        (&["plan", model, "--fetch", "absent"], "absent"),
        (&["run", model], "not fed: image"),
        (&["run", model, "--input", "imge=x.npy"], "imge"),
        (&["run", model, "--input", "x", "--output", "x.txt"], "x.txt"),
        (&["run", model, "--input", "x", "--resize", "8"], "--resize 8"),
        (&["run", model, "--input", "x", "--preprocess", "magic"], "--preprocess magic"),
        (&["run", model, "--input", "image=x.npy", "--batch", "2"], "for a data set"),
        (&["run", model, "--input", "x", "--signature", "s"], "signatures"),
        (&["bench", model, "--seconds", "-1"], "--seconds -1"),
        (&["bench", model, "--precision", "bf16"], "only f32"),
        (&["bench", model, "--isa", "sse"], "give one of avx512, avx2, portable"),
    ];
    for (args, why) in cases {
        tightfit(args.iter()).assert_fails(2, why);
    }
}

#[test]
fn files_that_are_no_model_are_exit_1() {
    let folder = Folder::new();
    let whole = std::fs::read(digits().0).unwrap();
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    let files = [
        folder.path("absent.pb"),
        folder.path(""),
        folder.write("empty.pb", b""),
        folder.write("noise.pb", noise),
        folder.write("cut.pb", &whole[..whole.len() / 2]),
        folder.write(
            "cycle.pbtxt",
            "node { name: 'a' op: 'Relu' input: 'b' }\nnode { name: 'b' op: 'Relu' input: 'a' }",
        ),
        folder.write("lost.pbtxt", "node { name: 'a' op: 'Relu' input: 'nowhere' }"),
    ];
    for file in &files {
        for command in ["plan", "bench"] {
            let answer = tightfit([command.as_ref(), file.as_os_str(), "--fetch".as_ref(), "a".as_ref()]);
            answer.assert_fails(1, "");
        }
    }
}

#[test]
fn operators_that_cannot_run_are_named_in_one_line() {
    let folder = Folder::new();
    let nodes = |i: u32| format!("node {{ name: 'n{i}' op: 'Strange{}' }}\n", i % 7);
    let model = folder.write("strange.pbtxt", (0..2000).map(nodes).collect::<String>());
    let answer = tightfit(["plan".as_ref(), model.as_os_str()]);
    answer.assert_fails(1, "2000 nodes cannot be run");
    (0..7).for_each(|kind| assert!(answer.stderr.contains(&format!("Strange{kind}")), "{answer:?}"));
    let json = tightfit(["inspect".as_ref(), model.as_os_str(), "--json".as_ref()]).json();
    assert_eq!(json["unsupported"].as_object().unwrap().len(), 7);
}

#[test]
fn inspect_suggests_the_operator_that_was_meant() {
    let folder = Folder::new();
    let ops = ["Conv2d", "TensorListFormTensor", "Qzwjx"];
    let nodes: String = ops.iter().map(|op| format!("node {{ name: '{op}' op: '{op}' }}\n")).collect();
    let model = folder.write("misspelt.pbtxt", nodes);
    let json = tightfit(["inspect".as_ref(), model.as_os_str(), "--json".as_ref()]).json();
    let nearest = serde_json::json!({"Conv2d": "Conv2D", "TensorListFormTensor": "TensorListFromTensor", "Qzwjx": null});
    assert_eq!(json["nearest"], nearest);
    let text = tightfit(["inspect".as_ref(), model.as_os_str()]).stdout;
    assert!(text.contains("Conv2d                1  did you mean Conv2D?\n"), "{text}");
}

#[test]
fn inspect_tells_what_a_file_is() {
    let model = digits().0;
    let json = tightfit(["inspect".as_ref(), model.as_os_str(), "--json".as_ref()]).json();
    assert_eq!(json["format"], "frozen GraphDef");
    assert_eq!(json["inputs"][0]["name"], "image");
    assert_eq!(json["inputs"][0]["dtype"], "float32");
    assert_eq!(json["inputs"][0]["shape"], serde_json::json!([-1, 8, 8, 1]));
    assert_eq!(json["outputs"], serde_json::json!(["probabilities"]));
    assert_eq!(json["operators"]["Conv2D"], 3);
    assert_eq!(json["file_bytes"].as_u64(), Some(std::fs::metadata(&model).unwrap().len()));
    let scopes = json["weight_bytes_by_scope"].as_object().unwrap().values().map(|n| n.as_u64().unwrap());
    assert_eq!(Some(scopes.sum::<u64>()), json["weight_bytes"].as_u64());
    let text = tightfit(["inspect".as_ref(), model.as_os_str()]).stdout;
    assert!(text.contains("float32[?, 8, 8, 1]") && text.lines().count() < 30, "{text}");
}

fn plan(args: &[&str]) -> Value {
    let model = digits().0;
    let args = [&["plan", model.to_str().unwrap(), "--json"], args].concat();
    tightfit(args).json()
}

#[test]
fn plan_tells_lines_peak_and_minimum() {
    let json = plan(&["--batch", "4", "--threads", "2"]);
    assert_eq!((json["batch"].as_u64(), json["threads"].as_u64()), (Some(4), Some(2)));
    let lines: u64 = json["lines"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(Some(lines), json["planned_bytes"].as_u64());
    let number = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"));
    assert!(number("minimum_bytes") <= number("planned_bytes"));
    assert!(number("arena_lower_bound_bytes") <= number("arena_bytes"));
    assert_eq!(number("arena_lower_bound_bytes"), json["peak_step"]["alive_bytes"].as_u64().unwrap());
    assert!(number("steps") > 3);
    assert!(
        json["streamed"].is_boolean() && json["streamed_bytes"].is_u64() && json.get("rectangles").is_none()
    );
    let verbose = plan(&["--verbose"]);
    let tops = verbose["rectangles"].as_array().unwrap().iter();
    let top = tops.map(|r| r["offset"].as_u64().unwrap() + r["bytes"].as_u64().unwrap()).max();
    assert!(
        top <= verbose["arena_bytes"].as_u64()
            && top >= verbose["arena_lower_bound_bytes"].as_u64().map(|b| b - 64)
    );
}

#[test]
fn the_smallest_memory_works_and_less_is_exit_3() {
    let model = digits().0;
    let minimum = plan(&["--threads", "2"])["minimum_bytes"].as_u64().unwrap();
    let call = |command: &[&str], memory: u64| {
        let mut args: Vec<String> = command.iter().map(|part| part.to_string()).collect();
        args.insert(1, model.display().to_string());
        args.extend(["--threads=2".to_string(), format!("--memory={memory}")]);
        tightfit(args)
    };
    assert_eq!(call(&["plan"], minimum).code, 0);
    call(&["plan"], minimum - 1).assert_fails(3, &format!("smallest --memory that works is {minimum}"));
    call(&["plan"], 1).assert_fails(3, "at the peak");
    // What plan says suffices for whatever runs.
    let records = model.with_file_name("test.tfrecord").display().to_string();
    for command in [&["bench", "--seconds=0.05"][..], &["run", "--input", &records, "--label", "label"]] {
        let answer = call(command, minimum);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}

#[test]
fn plan_as_text_and_as_a_page() {
    let folder = Folder::new();
    let model = digits().0;
    let page = folder.path("plan.html");
    let answer = tightfit(["plan".as_ref(), model.as_os_str(), "--html".as_ref(), page.as_os_str()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        answer.stdout.contains("smallest that works") && answer.stdout.contains("Peak: step"),
        "{answer:?}"
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("digits.pb") && page.contains("\"rectangles\":[{"));
    // It works offline: the one address in it names the dialect of its pictures.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
    let graph = tightfit(["plan".as_ref(), model.as_os_str(), "--text".as_ref()]).stdout;
    assert!(graph.contains("return") && graph.contains("Conv2d"), "{graph}");
}

#[test]
fn bench_measures() {
    let model = repository("examples/digits/digits.pb");
    let args =
        ["bench", model.to_str().unwrap(), "--seconds", "0.1", "--batch", "3", "--threads", "1", "--json"];
    let json = tightfit(args).json();
    assert_eq!((json["batch"].as_u64(), json["threads"].as_u64()), (Some(3), Some(1)));
    assert_eq!(json["precision"], "f32");
    assert!(["avx512", "avx2", "portable"].contains(&json["isa"].as_str().unwrap()), "{json}");
    assert_eq!(tightfit(args.iter().chain(&["--isa", "portable"])).json()["isa"], "portable");
    assert!(json["runs"].as_u64() >= Some(3));
    let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{key} in {json}"));
    assert!(0.0 < number("ms_min") && number("ms_min") <= number("ms_median"));
    assert!(number("ms_median") <= number("ms_p90") && number("ms_p90") <= number("ms_p99"));
    assert!(number("first_ms") > 0.0);
    assert!(number("peak_resident_bytes") <= number("planned_bytes"), "{json}");
}

#[test]
fn bench_tells_what_each_step_achieves() {
    let (model, folder) = (repository("examples/digits/digits.pb"), Folder::new());
    let trace = folder.path("trace.json");
    let (model, to) = (model.to_str().unwrap(), trace.to_str().unwrap());
    let json = tightfit([
        "bench",
        model,
        "--seconds",
        "0.1",
        "--steps",
        "100",
        "--profile",
        to,
        "--roofline",
        "--json",
    ])
    .json();
    let steps = json["steps"].as_array().unwrap();
    for figure in ["gflops", "gbytes_per_second"] {
        assert!(json["roofline"][figure].as_f64() > Some(0.0), "{json}");
    }
    for step in steps {
        assert!(step["roofline_share"].as_f64() > Some(0.0), "{step}");
        let is_product = ["Conv2D", "MatMul"].contains(&step["op"].as_str().unwrap());
        assert_eq!(step["gflops"].as_f64().is_some_and(|rate| rate > 0.0), is_product, "{step}");
        assert!(step["gbytes_per_second"].as_f64() > Some(0.0), "{step}");
    }
    let shares: f64 = steps.iter().map(|step| step["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.len() > steps.len() && events.len().is_multiple_of(steps.len()));
    for pair in events.windows(2) {
        let end = pair[0]["ts"].as_f64().unwrap() + pair[0]["dur"].as_f64().unwrap();
        assert!(end <= pair[1]["ts"].as_f64().unwrap() + 0.01, "{pair:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_reader_that_went_away_is_no_error() {
    let (model, records) = digits();
    let args =
        ["run".as_ref(), model.as_os_str(), "--quiet".as_ref(), "--input".as_ref(), records.as_os_str()];
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn the_readme_shows_the_example_that_compiles() {
    let read = |path| std::fs::read_to_string(repository(path)).unwrap();
    let (readme, example) = (read("README.md"), read("crates/tightfit/examples/score.rs"));
    let snippet = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut lines = example.lines().map(str::trim);
    for line in snippet.lines().map(str::trim) {
        assert!(lines.any(|other| other == line), "not in the example, or not there: {line}");
    }
}

#[test]
#[cfg(unix)]
fn pipes_are_refused_without_waiting_for_a_writer() {
    let folder = Folder::new();
    let pipe = folder.path("pipe.pb");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    tightfit(["plan".as_ref(), pipe.as_os_str()]).assert_fails(1, "a device or pipe");
    let model = digits().0;
    for source in [pipe.as_path(), std::path::Path::new("/dev/zero")] {
        let args = ["run".as_ref(), model.as_os_str(), "--input".as_ref(), source.as_os_str()];
        tightfit(args).assert_fails(1, "a device or pipe");
    }
}

#[test]
fn graphs_are_written_to_standard_output() {
    let folder = Folder::new();
    let (model, _) = digits();
    for name in ["freeze", "optimize"] {
        let path = folder.path("model.pb");
        let arguments = |output: &std::path::Path| {
            [name.as_ref(), model.as_os_str(), "--output".as_ref(), output.as_os_str()]
                .map(std::ffi::OsStr::to_owned)
        };
        assert_eq!(tightfit(arguments(&path)).code, 0);
        let answer =
            command(arguments("-".as_ref())).current_dir(folder.path("")).output().expect("it starts");
        assert!(answer.status.success() && answer.stdout == std::fs::read(&path).expect("a graph"), "{name}");
        assert!(String::from_utf8_lossy(&answer.stderr).starts_with("-: "), "{name}");
        assert_eq!(folder.names(), ["model.pb"], "{name}");
    }
}
