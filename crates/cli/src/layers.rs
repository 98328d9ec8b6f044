//! `--report` of what changes weights: layers and outputs beside the model of floats, as JSON or as a page.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tightfit::quantize::{Agreement, Layer};
use tightfit::{Error, display_bytes};

use crate::commands::{decibels, finite, percent};
use crate::failure::Failure;
use crate::html::{self, Script, escape};
use crate::report::is_page;
use crate::table::columns;

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
    if is_page(path) {
        return html::write(path, TEMPLATE, &mut |name, out| fill(name, out, json, head, outputs, layers));
    }
    tightfit::whole::write(path, format!("{json:#}\n").as_bytes())
        .map_err(|error| Error::io(path, error).into())
}

/// Writes what goes to a mark of the page.
fn fill(
    name: &str,
    out: &mut dyn io::Write,
    json: &Value,
    head: &Head<'_>,
    outputs: &[Agreement],
    layers: &[Layer],
) -> io::Result<()> {
    match name {
        "title" => out.write_all(escape(head.title).as_bytes()),
        "subtitle" => out.write_all(escape(head.subtitle).as_bytes()),
        "tiles" => out.write_all(tiles(head, outputs).as_bytes()),
        "outputs" => out.write_all(output_rows(outputs).as_bytes()),
        "layers" => out.write_all(layer_rows(layers).as_bytes()),
        _ => write!(Script(out), "{json:#}"),
    }
}

/// Layers as JSON.
pub fn layers_json(layers: &[Layer]) -> Vec<Value> {
    let layer = |layer: &Layer| {
        json!({
            "tensor": layer.name,
            "op": layer.op,
            "dtype": layer.dtype,
            "bytes_before": layer.bytes[0],
            "bytes": layer.bytes[1],
            "snr_db": finite(layer.snr_db),
            "output_snr_db": layer.output_snr_db.map(finite),
        })
    };
    layers.iter().map(layer).collect()
}

/// Outputs as JSON.
pub fn outputs_json(outputs: &[Agreement]) -> Vec<Value> {
    let output = |output: &Agreement| {
        json!({
            "output": output.name,
            "snr_db": finite(output.snr_db),
            "top1_agreement_percent": output.top1_agreement,
        })
    };
    outputs.iter().map(output).collect()
}

/// Outputs, where there are any, and layers as tables.
pub fn text(outputs: &[Agreement], layers: &[Layer]) -> String {
    let mut text = String::new();
    if !outputs.is_empty() {
        let mut rows = vec![["output", "SNR", "same top 1"].map(String::from).to_vec()];
        rows.extend(outputs.iter().map(|output| {
            vec![output.name.clone(), decibels(output.snr_db), percent(output.top1_agreement)]
        }));
        text.push_str(&columns(&rows, &[1, 2]));
    }
    let mut rows = vec![["weight", "for", "type", "bytes", "SNR", "output SNR"].map(String::from).to_vec()];
    rows.extend(layers.iter().map(|layer| {
        vec![
            layer.name.clone(),
            layer.op.clone(),
            layer.dtype.into(),
            display_bytes(layer.bytes[1]),
            decibels(layer.snr_db),
            layer.output_snr_db.map_or("-".into(), decibels),
        ]
    }));
    text + &columns(&rows, &[3, 4, 5])
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
        let mut text = Vec::new();
        for name in ["title", "layers", "data"] {
            fill(name, &mut text, &json, &head, &[], std::slice::from_ref(&layer)).unwrap();
        }
        let page = String::from_utf8(text).unwrap();
        assert!(page.contains("&lt;b&gt;") && page.contains("width:35.0%"));
        assert!(!page.contains("alert(1)</script>"));
        assert!(!page.contains("</script>"));
    }
}
