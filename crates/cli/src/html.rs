//! Pages that need nothing else: no network, no other file. They are written piece by piece, since what they show grows with
//! the model and the run.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use tightfit::Error;
use tightfit::whole::WholeFile;

/// What all pages look like.
const STYLE: &str = include_str!("page.css");

/// Writes a page to `path`, whole or not at all: the template, and at each mark `{{name}}` what `fill` writes for that name.
/// The mark `{{style}}` is filled already.
///
/// # Errors
/// What the system says about the file.
pub fn write(path: &Path, template: &str, fill: &mut Fill<'_>) -> Result<(), Error> {
    let written = WholeFile::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill_in(&mut out, template, fill)?;
        out.into_inner()?.commit()
    });
    written.map_err(|error| Error::io(path, error))
}

/// Writes what goes to the mark of a name.
pub type Fill<'a> = dyn FnMut(&str, &mut dyn Write) -> io::Result<()> + 'a;

fn fill_in(out: &mut dyn Write, template: &str, fill: &mut Fill<'_>) -> io::Result<()> {
    let mut rest = template;
    while let Some((text, (name, after))) =
        rest.split_once("{{").and_then(|(text, marked)| Some((text, marked.split_once("}}")?)))
    {
        out.write_all(text.as_bytes())?;
        match name {
            "style" => out.write_all(STYLE.as_bytes())?,
            name => fill(name, out)?,
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// Text that a page shows as it is.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON on its way into a script, where only `</` could end it early, and only a `<!--` change how it is read.
pub struct Script<'a>(pub &'a mut dyn Write);

impl Write for Script<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (number, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if number > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let model = serde_json::json!({"model": "</script><script>alert(1)</script>"});
        let mut page = Vec::new();
        let mut fill = |name: &str, out: &mut dyn Write| match name {
            "plan" => Ok(serde_json::to_writer(Script(out), &model)?),
            name => out.write_all(escape(&format!("<b>&{name}")).as_bytes()),
        };
        fill_in(&mut page, "<title>{{title}}</title>{{style}}<script>{{plan}}</script>{{", &mut fill)
            .unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with("<title>&lt;b&gt;&amp;title</title>:root"), "{page}");
        let script =
            "<script>{\"model\":\"\\u003c/script>\\u003cscript>alert(1)\\u003c/script>\"}</script>{{";
        assert!(page.ends_with(script), "{page}");
    }
}
