//! Graphs that decode pictures: fed a file, in memory that is reserved as they run.

mod common;

use std::path::Path;

use common::{Answer, Folder, pair, tightfit};

/// Two pixels, and eight by eight of two colours; TensorFlow's own numbers are below.
const BMP: &str = "Qk0+AAAAAAAAADYAAAAoAAAAAgAAAAEAAAABABgAAAAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAHhQKPDIoAAA=";
const JPEG: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAYEAEAAwEAAAAAAAAAAAAAAAAAAQMycf/EABUBAQEAAAAAAAAAAAAAAAAAAAQF/8QAGhEAAQUBAAAAAAAAAAAAAAAAAAIDBTE0cf/aAAwDAQACEQMRAD8Aq/ccASFWPisbfD//2Q==";

/// A graph of one operator on a string, and what is behind it.
fn graph(op: &str, attributes: &str, more: &str) -> String {
    format!(
        r#"node {{ name: "file" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_STRING }} }} attr {{ key: "shape" value {{ shape {{ }} }} }} }}
        node {{ name: "window" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT32 }} }} attr {{ key: "value" value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ dim {{ size: 4 }} }} int_val: 2 int_val: 1 int_val: 1 int_val: 4 }} }} }} }}
        node {{ name: "picture" op: "{op}" input: "file" {more} {attributes} }}
        versions {{ producer: 1000 }}"#
    )
}

fn text(name: &str, value: &str) -> String {
    format!(r#"attr {{ key: "{name}" value {{ s: "{value}" }} }}"#)
}

fn run(folder: &Folder, graph: &str, file: &Path, more: &[&str]) -> Answer {
    let model = folder.write("model.pbtxt", graph);
    let fed = pair("file", file);
    let mut args: Vec<&str> = vec!["run", "--quiet", model.to_str().unwrap(), "--input", &fed];
    args.extend(["--fetch", "picture"]);
    args.extend(more);
    tightfit(args)
}

fn coded(folder: &Folder, name: &str, base64: &str) -> std::path::PathBuf {
    folder.write(name, format!("{{\"b64\": \"{base64}\"}}"))
}

#[test]
fn pixels_are_tensorflows() {
    let folder = Folder::new();
    let (bmp, jpeg) = (coded(&folder, "bmp.json", BMP), coded(&folder, "jpeg.json", JPEG));
    let window = r#"input: "window""#;
    let accurate = text("dct_method", "INTEGER_ACCURATE");
    for (graph, file, expected) in [
        (graph("DecodeBmp", "", ""), &bmp, "[[[10, 20, 30], [40, 50, 60]]]"),
        (graph("DecodeImage", "", ""), &bmp, "[[[10, 20, 30], [40, 50, 60]]]"),
        (
            graph("DecodeAndCropJpeg", "", window),
            &jpeg,
            "[[[37, 210, 84], [88, 178, 80], [125, 142, 64], [166, 111, 54]]]",
        ),
        (
            graph("DecodeAndCropJpeg", &accurate, window),
            &jpeg,
            "[[[40, 210, 87], [90, 177, 80], [127, 141, 64], [168, 112, 55]]]",
        ),
        (graph("ExtractJpegShape", "", ""), &jpeg, "[8, 8, 3]"),
    ] {
        let answer = run(&folder, &graph, file, &[]);
        assert_eq!(answer.stdout, format!("{{\"picture\": {expected}}}\n"), "{graph}: {answer:?}");
    }
}

#[test]
fn what_is_not_decoded_is_said() {
    let folder = Folder::new();
    let (bmp, jpeg) = (coded(&folder, "bmp.json", BMP), coded(&folder, "jpeg.json", JPEG));
    let broken = coded(&folder, "broken.json", &JPEG[..200]);
    let other = folder.write("other.txt", "no picture");
    let ratio = r#"attr { key: "ratio" value { i: 2 } }"#;
    for (graph, file, why) in [
        (graph("DecodeJpeg", "", ""), &bmp, "DecodeBmp"),
        (graph("DecodeBmp", "", ""), &jpeg, "not a BMP"),
        (graph("DecodeJpeg", "", ""), &broken, "input 0"),
        (graph("DecodePng", "", ""), &other, "not a JPEG, PNG, BMP or GIF"),
        (graph("DecodeJpeg", ratio, ""), &jpeg, "ratio"),
    ] {
        run(&folder, &graph, file, &[]).assert_fails(1, why);
    }
}
