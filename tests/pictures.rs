//! Graphs that decode pictures: fed a file, in memory that is reserved as they run.

mod common;

use std::path::Path;

use common::{Answer, Folder, pair, tightfit};

/// Two pixels, and eight by eight of two colours; TensorFlow's own numbers are below.
const BMP: &str = "Qk0+AAAAAAAAADYAAAAoAAAAAgAAAAEAAAABABgAAAAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAHhQKPDIoAAA=";
const JPEG: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAYEAEAAwEAAAAAAAAAAAAAAAAAAQMycf/EABUBAQEAAAAAAAAAAAAAAAAAAAQF/8QAGhEAAQUBAAAAAAAAAAAAAAAAAAIDBTE0cf/aAAwDAQACEQMRAD8Aq/ccASFWPisbfD//2Q==";

/// 18 by 35 pixels with colours at half the resolution, and what TensorFlow makes of the pixels again.
const COLOURS: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAASACMDASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwCxDKJlwahubTIyBVSzlKMAa2VZZI6MW7fwyJ4hqXskYiuYXrRt7gSLgmqd9AQSRUFrIY35rago+z97c2dFYePtDXNuCc4opyTjaKK5G5XOX+0ZGN/HWlak4HNFFaQM3/HHXI+Wst/v0UUT3PSxn8IsKTtHNFFFM8I//9k=";
const USUAL: &str = "/9j/4AAQSkZJRgABAQEBLAEsAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/wAARCAASACMDASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwCaKQSrg1FPb5GQKr20hVgDWmrK6UYh2+AmVZp+zRlqxiarkMwdcE1Xu4iCSKht3KNzWlJLk13NHTVFc5peSD2ooWUYFFY3Zh9dZm/xVft+goopxIf8UJ/u1Qb71FFOR24n+GTr0FFFFB5J/9k=";
const PASSES: &str = "/9j/4AAQSkZJRgABAQEBLAEsAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/wgARCAASACMDASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAAAAMCBP/EABgBAAMBAQAAAAAAAAAAAAAAAAABAgME/9oADAMBAAIQAxAAAAHeJ9QuW08VXSIz5rgkB7bByf/EABkQAAMBAQEAAAAAAAAAAAAAAAABAhARMf/aAAgBAQABBQJPo5PBM4S8pEncke//xAAdEQABAgcAAAAAAAAAAAAAAAAAEkIBAgMQEyEy/9oACAEDAQE/AYztEo2ZhxU5t//EABoRAAICAwAAAAAAAAAAAAAAAAABAhADMWH/2gAIAQIBAT8BycI6pDr/xAAUEAEAAAAAAAAAAAAAAAAAAAAw/9oACAEBAAY/An//xAAZEAEAAwEBAAAAAAAAAAAAAAABABARMUH/2gAIAQEAAT8hwVDqblcGCJUsYR7TmPYT/9oADAMBAAIAAwAAABBgAF6H3//EABcRAQEBAQAAAAAAAAAAAAAAAAEAERD/2gAIAQMBAT8QQcSBdz3f/8QAGBEBAAMBAAAAAAAAAAAAAAAAAQARMSD/2gAIAQIBAT8QVSTey3g//8QAGhABAQEBAQEBAAAAAAAAAAAAAQAREDEhQf/aAAgBAQABPxAsm2NCSgyWw/kwDwbipL9ocOPB2PBf/9k=";
const TABLES: &str = "/9j/4AAQSkZJRgABAQIAKAAUAAD/4QAjaHR0cDovL25zLmFkb2JlLmNvbS94YXAvMS4wLwA8eC8+/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpxkHNbXYW1hpCeo6utq2eAvMm6pseZqKuk/9sAQwEcHh4oIyhOKytOpG5dbqSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk/8AAEQgAEgAjAwERAAIRAQMRAf/EABcAAAMBAAAAAAAAAAAAAAAAAAMEBQD/xAAfEAACAgICAwEAAAAAAAAAAAABAgADBBExMhMhQUL/xAAZAQEAAwEBAAAAAAAAAAAAAAAEAQMFAgD/xAAdEQACAgIDAQAAAAAAAAAAAAAAAQIDERIEIjET/9oADAMBAAIRAxEAPwA1VgtXRiJ16lsZagr8fY2BATswcWW7Cysaml1PcN8mxym4OuiYqVeBVfQJ4QfkLsWfdCGNYVYAxNlmUD5EsFNWV0mdZDLKaW5Mn5dRBJETT0NiEFgDjuUb3FSsygXJlr4UltGhBtGduyb+pCE3j+PwJYiKDX9Z6RrrwQbtKzN5PodeBOwR/9k=";

/// A graph of one operator on a string, and what is after it.
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
    let ratio = |ratio: u8| format!(r#"attr {{ key: "ratio" value {{ i: {ratio} }} }}"#);
    let repeated = r#"attr { key: "fancy_upscaling" value { b: false } }"#;
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
        (
            graph("DecodeAndCropJpeg", repeated, window),
            &jpeg,
            "[[[11, 223, 86], [115, 165, 78], [103, 153, 66], [188, 100, 52]]]",
        ),
        (
            graph("DecodeJpeg", &ratio(4), ""),
            &jpeg,
            "[[[60, 191, 79], [200, 100, 51]], [[60, 191, 79], [200, 100, 51]]]",
        ),
        (graph("DecodeJpeg", &ratio(8), ""), &jpeg, "[[[130, 144, 65]]]"),
        (graph("ExtractJpegShape", "", ""), &jpeg, "[8, 8, 3]"),
    ] {
        let answer = run(&folder, &graph, file, &[]);
        assert_eq!(answer.stdout, format!("{{\"picture\": {expected}}}\n"), "{graph}: {answer:?}");
    }
}

/// A part begins in the middle of the picture: its colours are not mixed with those beside it.
#[test]
fn a_part_has_the_colours_of_what_is_decoded() {
    let folder = Folder::new();
    let file = coded(&folder, "colours.json", COLOURS);
    let accurate = text("dct_method", "INTEGER_ACCURATE");
    let graph = graph("DecodeAndCropJpeg", &accurate, r#"input: "window""#).replace(
        "int_val: 2 int_val: 1 int_val: 1 int_val: 4",
        "int_val: 2 int_val: 16 int_val: 1 int_val: 4",
    );
    let answer = run(&folder, &graph, &file, &[]);
    let expected = "[[[38, 129, 50], [35, 129, 53], [31, 128, 61], [32, 131, 67]]]";
    assert_eq!(answer.stdout, format!("{{\"picture\": {expected}}}\n"), "{answer:?}");
}

#[test]
fn files_are_tensorflows() {
    let folder = Folder::new();
    let file = coded(&folder, "colours.json", COLOURS);
    let quality = r#"attr { key: "quality" value { i: 30 } }"#;
    let flag = |name: &str, on: bool| format!(r#"attr {{ key: "{name}" value {{ b: {on} }} }}"#);
    let int = |name: &str, n: i64| format!(r#"attr {{ key: "{name}" value {{ i: {n} }} }}"#);
    let tables = [
        flag("optimize_size", true),
        flag("chroma_downsampling", false),
        text("density_unit", "cm"),
        int("x_density", 40),
        int("y_density", 20),
        text("xmp_metadata", "<x/>"),
    ]
    .concat();
    let decode =
        graph("DecodeJpeg", &text("dct_method", "INTEGER_ACCURATE"), "").replace("\"picture\"", "\"pixels\"");
    for (attributes, expected) in
        [(String::new(), USUAL), (flag("progressive", true), PASSES), (tables, TABLES)]
    {
        let encode =
            format!(r#"node {{ name: "picture" op: "EncodeJpeg" input: "pixels" {quality} {attributes} }}"#);
        let answer = run(&folder, &format!("{decode}\n{encode}"), &file, &[]);
        assert_eq!(answer.stdout, format!("{{\"picture\": {{\"b64\": \"{expected}\"}}}}\n"), "{answer:?}");
    }
    let png = r#"node { name: "file2" op: "EncodePng" input: "pixels" }
        node { name: "picture" op: "DecodePng" input: "file2" }"#;
    let plain = graph("DecodeJpeg", &text("dct_method", "INTEGER_ACCURATE"), "");
    let [pixels, again] = [plain, format!("{decode}\n{png}")].map(|graph| run(&folder, &graph, &file, &[]));
    assert!(pixels.code == 0 && pixels.stdout.len() > 1000, "{pixels:?}");
    assert_eq!(pixels.stdout, again.stdout, "{again:?}");
}

#[test]
fn what_is_not_decoded_is_said() {
    let folder = Folder::new();
    let (bmp, jpeg) = (coded(&folder, "bmp.json", BMP), coded(&folder, "jpeg.json", JPEG));
    let broken = coded(&folder, "broken.json", &JPEG[..200]);
    let other = folder.write("other.txt", "no picture");
    for (graph, file, why) in [
        (graph("DecodeJpeg", "", ""), &bmp, "DecodeBmp"),
        (graph("DecodeBmp", "", ""), &jpeg, "not a BMP"),
        (graph("DecodeJpeg", "", ""), &broken, "input 0"),
        (graph("DecodePng", "", ""), &other, "not a JPEG, PNG, BMP or GIF"),
    ] {
        run(&folder, &graph, file, &[]).assert_fails(1, why);
    }
}
