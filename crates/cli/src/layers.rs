//! `--report` of what changes weights: layers and outputs beside the model of floats, as JSON or as a page.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tightfit::quantize::{Agreement, Layer};
use tightfit::{Error, display_bytes};

use crate::commands::{decibels, percent};
use crate::failure::Failure;
use crate::html::{STYLE, escape};
use crate::report::is_page;

/// The page, with marks where things go.
const TEMPLATE: &str = include_str!("layers.html");

/// The SNR whose bar is as long as there is room for, and that below which it is marked.
const MOST_DB: f64 = 60.0;
const LOW_DB: f64 = 15.0;

/// What a page shows besides layers and outputs.
pub struct Head<'h> {
    pub title: &'h str,
    pub subtitle: &'h str,
    pub file_bytes: u64,
    pub constant_bytes: [u64; 2],
}

/// Writes the report: a page where the name ends in .html, else the JSON that tells of the run.
///
/// # Errors
/// What the system says about the file.
pub fn write(
    path: &Path,
    json: &Value,
    head: &Head<'_>,
    outputs: &[Agreement],
    layers: &[Layer],
) -> Result<(), Failure> {
    let text = match is_page(path) {
        true => page(json, head, outputs, layers),
        false => format!("{json:#}\n"),
    };
    tightfit::whole::write(path, text.as_bytes()).map_err(|error| Error::io(path, error).into())
}

fn page(json: &Value, head: &Head<'_>, outputs: &[Agreement], layers: &[Layer]) -> String {
    // In a script only `</` could end it early, and only a `<!--` change how it is read.
    let data = format!("{json:#}").replace('<', "\\u003c");
    TEMPLATE
        .replace("{{style}}", STYLE)
        .replace("{{title}}", &escape(head.title))
        .replace("{{subtitle}}", &escape(head.subtitle))
        .replace("{{tiles}}", &tiles(head, outputs))
        .replace("{{outputs}}", &output_rows(outputs))
        .replace("{{layers}}", &layer_rows(layers))
        .replace("{{data}}", &data)
}

fn tiles(head: &Head<'_>, outputs: &[Agreement]) -> String {
    let tile = |name: &str, text: String| {
        format!("<div class=\"card tile\"><span class=\"soft\">{name}</span><b>{text}</b></div>")
    };
    let [before, now] = head.constant_bytes;
    let mut text = tile("file", display_bytes(head.file_bytes));
    text += &tile("constants before", display_bytes(before));
    text += &tile("constants now", display_bytes(now));
    if let Some(output) = outputs.first() {
        text += &tile("SNR of the output", decibels(output.snr_db));
        text += &tile("same top 1", percent(output.top1_agreement));
    }
    text
}

fn output_rows(outputs: &[Agreement]) -> String {
    let mut text = String::new();
    for output in outputs {
        let _ = write!(
            text,
            "<tr><td class=\"name\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escape(&output.name),
            decibels(output.snr_db),
            percent(output.top1_agreement)
        );
    }
    text
}

fn layer_rows(layers: &[Layer]) -> String {
    let mut text = String::new();
    for layer in layers {
        let [before, now] = layer.bytes.map(display_bytes);
        let made = layer.output_snr_db.map_or("-".to_string(), |snr| {
            let width = (snr / MOST_DB).clamp(0.0, 1.0) * 70.0;
            let low = if snr < LOW_DB { " low" } else { "" };
            format!("{}<i class=\"bar{low}\" style=\"width:{width:.1}%\"></i>", decibels(snr))
        });
        let _ = write!(
            text,
            "<tr><td class=\"name\">{}</td><td>{}</td><td>{}</td><td class=\"number\">{before}</td><td class=\"number\">{now}\
             </td><td class=\"number\">{}</td><td class=\"bars\">{made}</td></tr>",
            escape(&layer.name),
            escape(&layer.op),
            layer.dtype,
            decibels(layer.snr_db)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let mut layer = Layer::default();
        layer.name = "</script><script>alert(1)</script>".into();
        layer.output_snr_db = Some(30.0);
        let json = serde_json::json!({"tensor": layer.name});
        let head = Head { title: "<b>", subtitle: "", file_bytes: 1, constant_bytes: [4, 1] };
        let page = page(&json, &head, &[], &[layer]);
        assert!(page.contains("&lt;b&gt;") && page.contains("width:35.0%"));
        assert!(!page.contains("alert(1)</script>"));
        assert_eq!(page.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    }
}
