//! The memory contract end to end: whatever budget is accepted, the process stays inside it, and works under a limit of
//! the system's.
#![cfg(target_os = "linux")]

mod graphs;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use graphs::{Graph, TempDir, attr, float_type, int, int32s, outcome, tightfit};

/// Address space that is no resident memory of the budget: the mapped binary and libraries, and stacks reserved but not
/// used, of two threads that compute, one that reads and the main one.
const ADDRESS_SPACE_BYTES: u64 = 48 << 20;

/// Layers of a dense net with 48 MiB of weights, none like the other.
fn dense_net(dir: &TempDir) -> (PathBuf, PathBuf) {
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 1024]);
    let mut last = "x".to_string();
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for (layer, [from, to]) in [[1024, 1024], [1024, 4096], [4096, 1024], [1024, 3072]].iter().enumerate() {
        let (weight, product, relu) = (format!("w{layer}"), format!("p{layer}"), format!("r{layer}"));
        let values: Vec<f32> = (0..from * to).map(|_| random() / 32.0).collect();
        graph.constant(&weight, &[*from, *to], &values);
        graph.node(&product, "MatMul", &[&last, &weight], &[float_type("T")]);
        graph.node(&relu, "Relu", &[&product], &[float_type("T")]);
        last = relu;
    }
    (dir.write("dense.pb", &graph.finish()), dir.npy("x.npy", &[3, 1024], 0.5))
}

/// A chain of small operators: all of its memory is the description of the graph.
fn deep_net(dir: &TempDir) -> (PathBuf, PathBuf) {
    let mut graph = Graph::default();
    graph.placeholder("x", &[-1, 4]);
    let mut last = "x".to_string();
    for layer in 0..10_000 {
        let name = format!("n{layer}");
        graph.node(&name, if layer % 2 == 0 { "Neg" } else { "Relu" }, &[&last], &[float_type("T")]);
        last = name;
    }
    (dir.write("deep.pb", &graph.finish()), dir.npy("deep.npy", &[2, 4], 1.0))
}

/// The arguments of several kinds of runs, but for the memory.
fn jobs(dir: &TempDir) -> Vec<Vec<String>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |path: PathBuf| path.display().to_string();
    let job = |model: PathBuf, input: String, more: &[&str]| {
        let first = ["run".into(), text(model), "--input".into(), input];
        let more = ["--quiet", "--threads", "2"].iter().chain(more).map(|s| s.to_string());
        first.into_iter().chain(more).collect::<Vec<String>>()
    };
    let fed = |(model, x): (PathBuf, PathBuf), input: &str| job(model, format!("{input}={}", text(x)), &[]);
    let structure = |name: &str, size: usize| {
        let x = dir.npy(&format!("{name}.npy"), &[1, size, size, 3], 0.25);
        fed((repository.join(format!("tests/golden/structures/{name}.pb")), x), "input")
    };
    let output = text(dir.0.join("out.npz"));
    let digits = |data: &str, batch: &str| {
        let model = repository.join("examples/digits/digits.pb");
        let data = text(repository.join("examples/digits").join(data));
        job(model, data, &["--batch", batch, "--output", &output])
    };
    let rows = text(dir.npy("rows.npy", &[1000, 1024], 0.5));
    vec![
        fed(dense_net(dir), "x"),
        fed(deep_net(dir), "x"),
        structure("mobilenet_v2", 224),
        structure("inception_v3", 299),
        digits("test.tfrecord", "32"),
        digits("digit_2.png", "1"),
        job(dense_net(dir).0, rows, &["--batch", "64", "--output", &output]),
        // Laid out once more for the last batch, beside everything else.
        job(
            deep_net(dir).0,
            text(dir.npy("seven.npy", &[7, 4], 1.0)),
            &["--batch", "4", "--output", &output],
        ),
    ]
}

fn with_memory(job: &[String], memory_bytes: u64, more: &[&str]) -> Command {
    let mut arguments: Vec<&str> = job.iter().map(String::as_str).collect();
    let memory = memory_bytes.to_string();
    arguments.extend(["--memory", &memory]);
    arguments.extend(more);
    tightfit(&arguments)
}

/// The smallest memory a run says it needs.
fn minimum(job: &[String]) -> u64 {
    let outcome = outcome(with_memory(job, 1, &[]));
    outcome.fails(3, &["the smallest --memory that works is "]);
    let (_, rest) = outcome.stderr.split_once("that works is ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Budgets from the smallest upwards.
fn budgets(minimum_bytes: u64) -> Vec<u64> {
    let steps = [0, 1, 64 << 10, 1 << 20, 3 << 20, 8 << 20, 24 << 20, 64 << 20, 256 << 20];
    steps.iter().map(|step| minimum_bytes + step).collect()
}

/// What a command that succeeds prints as JSON.
fn json(mut command: std::process::Command) -> serde_json::Value {
    let output = command.stdout(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn report(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_process_never_passes_the_budget_it_accepts() {
    let dir = TempDir::new();
    let report_path = dir.0.join("report.json");
    let report_text = report_path.display().to_string();
    for job in jobs(&dir) {
        let minimum_bytes = minimum(&job);
        for budget_bytes in budgets(minimum_bytes) {
            let outcome = outcome(with_memory(&job, budget_bytes, &["--report", &report_text]));
            assert_eq!(outcome.code, Some(0), "{job:?} in {budget_bytes}: {}", outcome.stderr);
            let report = report(&report_path);
            let peak_bytes = report["peak_resident_bytes"].as_u64().unwrap();
            assert!(peak_bytes <= budget_bytes, "{job:?}: {peak_bytes} in {budget_bytes}: {report}");
        }
        outcome(with_memory(&job, minimum_bytes - 1, &[])).fails(3, &["does not fit"]);
    }
}

/// A bitmap of one colour.
fn bitmap(height: usize, width: usize) -> Vec<u8> {
    let bytes = height * (width * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for number in [54 + bytes as u32, 0, 54, 40, width as u32, height as u32, 1 | 24 << 16] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0; 24]);
    file.resize(54 + bytes, 77);
    file
}

#[test]
fn images_of_all_sizes_are_scored_in_the_memory_that_plan_names() {
    let dir = TempDir::new();
    let images = dir.0.join("images");
    std::fs::create_dir(&images).unwrap();
    for i in 0..200 {
        let bitmap = bitmap(1 + i * 37 % 200 * 3, 1 + i * 53 % 200 * 4);
        std::fs::write(images.join(format!("{i:03}.bmp")), bitmap).unwrap();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = repository.join("examples/digits/digits.pb").display().to_string();
    let (output, report_path) = (dir.0.join("out.jsonl"), dir.0.join("report.json"));
    let flags = format!(
        "--input {} --output {} --batch 32 --resize 8x8 --skip-bad --threads 2",
        images.display(),
        output.display()
    );
    let job = |command: &str| {
        [command, &model].into_iter().chain(flags.split(' ')).map(String::from).collect::<Vec<_>>()
    };
    let plan = json(with_memory(&job("plan"), 1 << 30, &["--json"]));
    let minimum_bytes = plan["minimum_bytes"].as_u64().unwrap();
    let report_text = report_path.display().to_string();
    for _ in 0..5 {
        let outcome =
            outcome(with_memory(&job("run"), minimum_bytes, &["--quiet", "--report", &report_text]));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let report = report(&report_path);
        assert_eq!((&report["rows"], &report["skipped_rows"]), (&200.into(), &0.into()), "{report}");
        assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 200);
    }
    outcome(with_memory(&job("run"), minimum_bytes - (1 << 20), &["--quiet"])).fails(3, &["does not fit"]);
    // What is too large is not bad.
    std::fs::write(images.join("large.bmp"), bitmap(3000, 3000)).unwrap();
    outcome(with_memory(&job("run"), minimum_bytes, &["--quiet"])).fails(3, &["does not fit"]);
    let limited = ["--quiet", "--decode-memory", "8MiB"];
    outcome(with_memory(&job("run"), 1 << 30, &limited)).fails(3, &["large.bmp", "--decode-memory"]);
}

/// The command with no more address space than a process of so many resident bytes needs.
fn limited(mut command: Command, budget_bytes: u64) -> Command {
    let limit = budget_bytes + ADDRESS_SPACE_BYTES;
    // SAFETY: setrlimit is async-signal-safe, and nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command
}

#[test]
fn a_plan_of_many_rectangles_is_shown_inside_the_budget() {
    const LAYERS: usize = 30_000;
    const BUDGET_BYTES: u64 = 60 << 20;
    let dir = TempDir::new();
    let mut graph = Graph::default();
    graph.placeholder("x", &[4, 4]);
    let mut last = "x".to_string();
    for layer in 0..LAYERS {
        let name = format!("product{layer}");
        graph.node(&name, "MatMul", &[&last, &last], &[float_type("T")]);
        last = name;
    }
    let model = dir.write("products.pb", &graph.finish()).display().to_string();
    let (page, listed) = (dir.0.join("plan.html"), dir.0.join("plan.json"));
    let job =
        ["plan", &model, "--json", "--verbose", "--html", &page.display().to_string()].map(String::from);
    let mut shown = limited(with_memory(&job, BUDGET_BYTES, &[]), BUDGET_BYTES);
    let shown = shown.stdout(std::fs::File::create(&listed).unwrap()).output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&std::fs::read(&listed).unwrap()).unwrap();
    assert!(listed["planned_bytes"].as_u64().unwrap() <= BUDGET_BYTES, "{listed}");
    assert_eq!(listed["step_nodes"].as_array().unwrap().len(), LAYERS);
    let rectangles = listed["rectangles"].as_array().unwrap();
    assert!(rectangles.len() >= 2 * LAYERS, "{}", rectangles.len());
    let page = std::fs::read_to_string(&page).unwrap();
    let plan = page.split("const plan = ").nth(1).unwrap().split(";\n").next().unwrap();
    let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    assert_eq!((&plan["rectangles"], &plan["peak_step"]), (&listed["rectangles"], &listed["peak_step"]));
}

#[test]
fn it_works_under_a_limit_of_the_system() {
    let dir = TempDir::new();
    for job in jobs(&dir) {
        let minimum_bytes = minimum(&job);
        for budget_bytes in [minimum_bytes, minimum_bytes + (64 << 20)] {
            let outcome = outcome(limited(with_memory(&job, budget_bytes, &[]), budget_bytes));
            assert_eq!(outcome.code, Some(0), "{job:?} in {budget_bytes}: {}", outcome.stderr);
        }
    }
}

/// What the kernel counts against a group besides the process: page tables, stacks, pages of files that are being written.
/// README tells people to leave it eight times as much.
const KERNEL_BYTES: u64 = 1 << 20;

/// A memory control group of its own with a limit, removed when dropped.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// `None` where the system does not let this process make one.
    fn new(limit_bytes: u64) -> Option<ControlGroup> {
        let name = format!("tightfit-{}", std::process::id());
        let kinds = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        kinds.iter().find_map(|(root, limit)| {
            // Without the file of a limit it is another kind of group, or a plain folder.
            let root_has_memory = Path::new(root).join("cgroup.procs").exists();
            let group = ControlGroup(Path::new(root).join(&name));
            let is_made = root_has_memory && std::fs::create_dir(&group.0).is_ok();
            let is_limited = is_made && std::fs::write(group.0.join(limit), limit_bytes.to_string()).is_ok();
            is_limited.then_some(group)
        })
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}

#[test]
fn it_works_in_a_control_group_of_its_budget() {
    let dir = TempDir::new();
    for job in jobs(&dir) {
        let budget_bytes = minimum(&job);
        let Some(group) = ControlGroup::new(budget_bytes + KERNEL_BYTES) else {
            println!("no memory control group can be made here");
            return;
        };
        // A shell that moves itself into the group and becomes the program.
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.0.display());
        let mut limited = Command::new("sh");
        limited.args(["-c", &script, env!("CARGO_BIN_EXE_tightfit")]).args(&job);
        limited.args(["--memory", &budget_bytes.to_string()]).stdout(std::process::Stdio::null());
        let outcome = outcome(limited);
        assert_eq!(outcome.code, Some(0), "{job:?} in {budget_bytes}: {}", outcome.stderr);
    }
}

#[test]
fn less_than_the_program_itself_is_refused_at_once() {
    let missing = ["run", "no-such-model.pb", "--input", "x=no-such-file.npy"].map(String::from);
    // Less than the program has taken when it looks is given no thought: whether the model exists is told first.
    let told = |bytes: u64| {
        let outcome = outcome(with_memory(&missing, bytes, &[]));
        let needed = outcome.stderr.split("the program itself needs ").nth(1)?;
        assert!(outcome.code == Some(3) && outcome.stderr.contains("does not fit "), "{}", outcome.stderr);
        needed.split(' ').next()?.parse::<u64>().ok()
    };
    let floor_bytes = (48..128).find_map(|steps| told(steps << 16)).expect("a size that is too small");
    assert_eq!(told(floor_bytes - 1), Some(floor_bytes));
    outcome(with_memory(&missing, floor_bytes, &[])).fails(1, &["no-such-model.pb"]);
}

#[test]
fn what_is_planned_is_what_the_system_sees() {
    const SLACK_BYTES: u64 = 1 << 20;
    let dir = TempDir::new();
    let report_path = dir.0.join("report.json");
    let report_text = report_path.display().to_string();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |path: PathBuf| path.display().to_string();
    let model = text(repository.join("examples/digits/digits.pb"));
    let records = text(repository.join("examples/digits/test.tfrecord"));
    let output = text(dir.0.join("out.jsonl"));
    let data = ["--input", &records, "--label", "label", "--output", &output, "--threads", "2"];
    let call = |command: &str, flag: &str| -> Vec<String> {
        [&[command, model.as_str()], &data[..], &[flag]].concat().into_iter().map(String::from).collect()
    };
    let (job, plan) = (call("run", "--quiet"), call("plan", "--json"));
    let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
    let planned = json(tightfit(&plan));
    let minimum_bytes = planned["minimum_bytes"].as_u64().unwrap();
    for budget_bytes in [minimum_bytes, 64 << 20] {
        // How much of the program the system maps differs from run to run: a plan holds the most.
        let left_bytes = (0..6).map(|_| {
            let outcome = outcome(with_memory(&job, budget_bytes, &["--report", &report_text]));
            assert_eq!(outcome.code, Some(0), "{budget_bytes}: {}", outcome.stderr);
            let report = report(&report_path);
            let number = |name: &str| report[name].as_u64().unwrap();
            let planned_bytes = report["planned_bytes"]["total"].as_u64().unwrap();
            let lines = report["peak_bytes"]["lines"].as_object().unwrap();
            assert_eq!(lines.len(), 6, "{report}");
            assert!(
                lines["weights"].as_u64().unwrap() > 0 && lines["arena"].as_u64().unwrap() > 0,
                "{report}"
            );
            assert!(report["peak_bytes"]["total"].as_u64().unwrap() <= number("budget_bytes"), "{report}");
            planned_bytes.checked_sub(number("peak_resident_bytes")).expect("a peak below the plan")
        });
        let least_left_bytes = left_bytes.min().unwrap();
        assert!(least_left_bytes <= SLACK_BYTES, "{least_left_bytes} of {budget_bytes}");
    }
    outcome(with_memory(&job, minimum_bytes - SLACK_BYTES, &[])).fails(3, &["does not fit"]);
}

#[test]
fn models_are_planned_with_what_they_take() {
    const SLACK_BYTES: u64 = 1 << 20;
    let dir = TempDir::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (report_path, output) = (dir.0.join("report.json"), dir.0.join("out.npz"));
    let report_text = report_path.display().to_string();
    for (name, size) in
        [("mobilenet_v2", 224), ("resnet50", 224), ("inception_v3", 299), ("efficientnet_b0", 224)]
    {
        let model = repository.join(format!("tests/golden/structures/{name}.pb"));
        let x = dir.npy(&format!("{name}.npy"), &[1, size, size, 3], 0.25);
        let job = format!(
            "run {} --input input={} --output {} --threads 2 --quiet",
            model.display(),
            x.display(),
            output.display()
        );
        let job: Vec<String> = job.split(' ').map(String::from).collect();
        let minimum_bytes = minimum(&job);
        for budget_bytes in [minimum_bytes, 1 << 30, minimum_bytes, 1 << 30] {
            let outcome = outcome(with_memory(&job, budget_bytes, &["--report", &report_text]));
            assert_eq!(outcome.code, Some(0), "{name} in {budget_bytes}: {}", outcome.stderr);
            let report = report(&report_path);
            let planned_bytes = report["planned_bytes"]["total"].as_u64().unwrap();
            let peak_bytes = report["peak_resident_bytes"].as_u64().unwrap();
            assert!(
                peak_bytes <= planned_bytes && planned_bytes - peak_bytes <= SLACK_BYTES,
                "{name} in {budget_bytes}: {report}"
            );
        }
        outcome(with_memory(&job, minimum_bytes - SLACK_BYTES, &[])).fails(3, &["does not fit"]);
        // Run after run as well, where code stays.
        for threads in ["1", "2"] {
            benchmark(&model, threads);
        }
    }
}

/// `bench` of a model, whose process takes no more than is planned.
fn benchmark(model: &Path, threads: &str) {
    let arguments = ["bench", model.to_str().unwrap(), "--json", "--threads", threads, "--seconds", "0.5"];
    let bench = json(tightfit(&arguments));
    let peak_bytes = bench["peak_resident_bytes"].as_u64();
    assert!(peak_bytes.is_some() && peak_bytes <= bench["planned_bytes"].as_u64(), "{bench}");
}

#[test]
fn a_report_can_be_a_page() {
    let dir = TempDir::new();
    let page = dir.0.join("report.html");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let job = ["run".to_string(), repository.join("examples/digits/digits.pb").display().to_string()];
    let records = repository.join("examples/digits/test.tfrecord").display().to_string();
    let (page_text, output) = (page.display().to_string(), dir.0.join("out.npz").display().to_string());
    let more = ["--input", &records, "--output", &output, "--quiet", "--report", &page_text];
    let job: Vec<String> = job.into_iter().chain(more.map(String::from)).collect();
    let data = |page: &str| -> serde_json::Value {
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        serde_json::from_str(data).unwrap()
    };
    // Who looks on is planned too: the record, and the rows that are drawn.
    for more in [&[][..], &["--show", "6"], &["--show", "500"]] {
        let job: Vec<String> = job.iter().cloned().chain(more.iter().map(|s| s.to_string())).collect();
        let minimum_bytes = minimum(&job);
        assert_eq!(outcome(with_memory(&job, minimum_bytes, &[])).code, Some(0), "{more:?}");
        let data = data(&std::fs::read_to_string(&page).unwrap());
        assert!(data["peak_resident_bytes"].as_u64().unwrap() <= minimum_bytes, "{data}");
    }
    assert_eq!(outcome(with_memory(&job, 64 << 20, &[])).code, Some(0));
    let page = std::fs::read_to_string(&page).unwrap();
    for part in
        ["<svg id=\"usage\"", "planned ", "allowed 64.0 MiB", "class=\"resident\"", "<title>arena: at most "]
    {
        assert!(page.contains(part), "no {part}");
    }
    assert_eq!(data(&page)["rows"], 360);
}

/// A table of 16 MiB, of which it multiplies the rows that it is given by weights of `[512, columns]`.
fn embedding(dir: &TempDir, columns: i64) -> PathBuf {
    let mut graph = Graph::default();
    let mut table = vec![0.0f32; 8192 * 512];
    table[7 * 512..8 * 512].fill(0.5);
    let (int32, float) = (attr("DstT", &int(6, 3)), attr("SrcT", &int(6, 1)));
    graph.placeholder("x", &[-1]).node("ids", "Cast", &["x"], &[float, int32]);
    graph.constant("table", &[8192, 512], &table);
    graph.constant("w", &[512, columns], &vec![1.0 / 512.0; 512 * columns as usize]);
    graph.node("axis", "Const", &[], &[attr("dtype", &int(6, 3)), attr("value", &int32s(&[], &[0]))]);
    let types = [float_type("Tparams"), attr("Tindices", &int(6, 3)), attr("Taxis", &int(6, 3))];
    graph.node("rows", "GatherV2", &["table", "ids", "axis"], &types);
    graph.node("y", "MatMul", &["rows", "w"], &[float_type("T")]);
    dir.write(&format!("embedding-{columns}.pb"), &graph.finish())
}

#[test]
fn a_large_table_stays_in_the_file_where_most_time_goes_elsewhere() {
    let dir = TempDir::new();
    let report_path = dir.0.join("report.json");
    let x = dir.npy("x.npy", &[3], 7.0);
    for (columns, is_in_file) in [(4096, true), (64, false)] {
        let model = embedding(&dir, columns);
        let output = dir.0.join("out.npy");
        let more = ["--output", output.to_str().unwrap(), "--report", report_path.to_str().unwrap()];
        let outcome = outcome(graphs::run(&model, &x, &more));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let report = report(&report_path);
        let table_bytes = 8192 * 512 * 4;
        let weights_bytes = report["planned_bytes"]["lines"]["weights"].as_u64().unwrap();
        assert_eq!(weights_bytes < table_bytes, is_in_file, "{report}");
        let planned_bytes = report["planned_bytes"]["total"].as_u64().unwrap();
        assert!(report["peak_resident_bytes"].as_u64().unwrap() <= planned_bytes, "{report}");
        let bytes = std::fs::read(&output).unwrap();
        let values = bytes[bytes.len() - 3 * columns as usize * 4..].chunks_exact(4);
        let is_right = |value: &[u8]| (f32::from_le_bytes(value.try_into().unwrap()) - 0.5).abs() < 1e-5;
        assert!(values.into_iter().all(is_right));
        // Run after run as well.
        benchmark(&model, "2");
    }
}

#[test]
fn a_plan_says_how_long_a_run_takes_where_it_is_asked() {
    let dir = TempDir::new();
    let (model, _) = dense_net(&dir);
    let model = model.to_str().unwrap();
    let plan = |more: &[&str]| json(tightfit(&[&["plan", model, "--json", "--threads", "2"], more].concat()));
    let unasked = plan(&[]);
    assert!(unasked["expected_ms"].is_null(), "{unasked}");
    let all = plan(&["--speed"]);
    assert!(all["expected_ms"].as_f64() > Some(0.0) && all["expected_waiting_ms"] == 0.0, "{all}");
    let least = plan(&["--speed", "--memory", &unasked["minimum_bytes"].to_string()]);
    assert_eq!(least["streamed"], true, "{least}");
    assert!(least["expected_ms"].as_f64() > least["expected_waiting_ms"].as_f64(), "{least}");
}
