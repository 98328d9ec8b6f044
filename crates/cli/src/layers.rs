//! `--report` of what changes weights: layers and outputs beside the model of floats, as JSON or as a page.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tightfit::quantize::{Agreement, Layer, Rewritten};
use tightfit::{Error, display_bytes};

use crate::commands::{decibels, finite, percent};
use crate::html::{self, Script, escape};
use crate::report::is_page;
use crate::table::columns;

/// The page, with marks where things go.
const TEMPLATE: &str = include_str!("layers.html");

/// The SNR whose bar is as long as there is room for, and that below which it is marked.
const MOST_DB: f64 = 60.0;
const LOW_DB: f64 = 15.0;

/// Writes the report: a page where the name ends in .html, else the JSON that tells of the run.
///
/// # Errors
/// What the system says about the file.
pub fn write(
    path: &Path,
    json: &Value,
    title: &str,
    subtitle: &str,
    written: &Rewritten,
) -> Result<(), Error> {
    if is_page(path) {
        return html::write(path, TEMPLATE, &mut |name, out| match name {
            "title" => out.write_all(escape(title).as_bytes()),
            "subtitle" => out.write_all(escape(subtitle).as_bytes()),
            name => fill(name, out, json, written),
        });
    }
    tightfit::whole::write(path, format!("{json:#}\n").as_bytes()).map_err(|error| Error::io(path, error))
}

/// What was written as JSON, with what `more` says of how.
pub fn json(output: &Path, written: &Rewritten, more: Value) -> Value {
    let mut json = json!({
        "output": output.display().to_string(),
        "bytes": written.bytes,
        "constant_bytes_before": written.constant_bytes[0],
        "constant_bytes": written.constant_bytes[1],
    });
    if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
        json.insert("outputs".into(), outputs_json(&written.outputs).into());
        json.insert("layers".into(), layers_json(&written.layers).into());
    }
    json
}

/// Writes what goes to a mark of the page below its title.
fn fill(name: &str, out: &mut dyn io::Write, json: &Value, written: &Rewritten) -> io::Result<()> {
    match name {
        "tiles" => out.write_all(tiles(written).as_bytes()),
        "outputs" => out.write_all(output_rows(&written.outputs).as_bytes()),
        "layers" => out.write_all(layer_rows(&written.layers).as_bytes()),
        _ => write!(Script(out), "{json:#}"),
    }
}

fn layers_json(layers: &[Layer]) -> Vec<Value> {
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

fn outputs_json(outputs: &[Agreement]) -> Vec<Value> {
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
pub fn text(Rewritten { outputs, layers, .. }: &Rewritten) -> String {
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

fn tiles(written: &Rewritten) -> String {
    let tile = |name: &str, text: String| {
        format!("<div class=\"card tile\"><span class=\"soft\">{name}</span><b>{text}</b></div>")
    };
    let [before, now] = written.constant_bytes;
    let mut text = tile("file", display_bytes(written.bytes));
    text += &tile("constants before", display_bytes(before));
    text += &tile("constants now", display_bytes(now));
    if let Some(output) = written.outputs.first() {
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
        let mut written = Rewritten::default();
        written.layers = vec![layer];
        let path = std::env::temp_dir().join(format!("tightfit-layers-{}.html", std::process::id()));
        write(&path, &json, "<b>", "", &written).unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(page.contains("&lt;b&gt;") && page.contains("width:35.0%"));
        assert!(!page.contains("alert(1)</script>"));
        assert_eq!(page.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    }
}
