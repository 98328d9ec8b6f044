//! The examples in C and C++ are compiled against the header and the shared library, and run.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that Cargo put the shared library in, beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let holds = |folder: &&Path| folder.join("libtightfit_c.so").is_file();
    let found = [deps, deps.parent().unwrap()].into_iter().find(holds);
    found.expect("libtightfit_c.so").to_path_buf()
}

/// Compiles an example, and returns what it prints; nothing where there is no such compiler.
fn run(compiler: &str, source: &str, standard: &str) -> Option<String> {
    if Command::new(compiler).arg("--version").output().is_err() {
        eprintln!("skipped: there is no {compiler}");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("tightfit-capi-{}-{compiler}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (library, program) = (library(), folder.join("program"));
    let compiled = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .arg(root.join("examples").join(source))
        .arg("-I")
        .arg(root.join("include"))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .arg("-ltightfit_c")
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let done = Command::new(&program).arg(root.join("../../examples/digits/digits.pb")).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap())
}

#[test]
fn the_example_in_c() {
    let Some(text) = run("cc", "score.c", "-std=c99") else { return };
    let expected = "fits: yes\nprobabilities: 2 x 10\nrow 0 adds up to 1.000\nrow 1 adds up to 1.000\n\
                    wrong bytes: status 2, input 'image' has not as many bytes as its shape and type\n\
                    a million rows: status 3, smallest known: yes\n";
    assert_eq!(text, expected);
}

#[test]
fn the_example_in_cpp() {
    let Some(text) = run("c++", "classify.cpp", "-std=c++17") else { return };
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("error: ") && lines[0].contains("no such model"), "{text}");
    assert!(lines[1].starts_with("1 rows: 10 scores") && lines[2].starts_with("3 rows: 30 scores"), "{text}");
    assert_eq!(lines[1].rsplit(' ').next(), lines[2].rsplit(' ').next());
}

/// The numbers of types are their places in a list: the header's are the same.
#[test]
fn the_header_has_the_numbers_of_types() {
    let header =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/tightfit.h")).unwrap();
    let (_, list) = header.split_once("typedef enum tightfit_dtype {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    let numbers: Vec<(String, usize)> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("TIGHTFIT_")?.split_once(" = "))
        .map(|(name, rest)| {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (name.to_lowercase(), number.parse().unwrap())
        })
        .collect();
    let expected = tightfit::DType::ALL.iter().map(|dtype| dtype.name().to_string()).enumerate();
    assert_eq!(numbers, expected.map(|(number, name)| (name, number)).collect::<Vec<_>>());
}
