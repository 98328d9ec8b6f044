//! Image files to Examples with the features that TensorFlow's image data sets have: `image/encoded` holds the file's
//! bytes as they are. In a folder of folders, each is a class, numbered in the order of their names.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use tightfit_core::Buffer;
use tightfit_data::ExampleEncoder;
use tightfit_data::image::{ImageFormat, ImageHeader};
use tightfit_format::example::{NamedValues, Values};

use super::{Job, finish};
use crate::error::Error;
use crate::records::output::RecordOutput;

/// Memory of a class beside its name.
const CLASS_BYTES: u64 = 96;

/// Converts all images of `job`, which came out of `sources`.
pub fn convert(job: &Job<'_>, sources: &[PathBuf]) -> Result<u64, Error> {
    let mut reservation = job.budget.try_reserve("image classes", 0)?;
    let mut classes: Vec<String> = Vec::new();
    for name in job.list.files.iter().filter_map(|file| class_of(&file.path, sources)) {
        if let Err(place) = classes.binary_search(&name) {
            reservation.try_grow(name.len() as u64 + CLASS_BYTES)?;
            classes.insert(place, name);
        }
    }
    let mut output = RecordOutput::create(job.output, job.budget)?;
    let mut encoder = ExampleEncoder::new(job.budget)?;
    let mut buffer = Buffer::new(job.budget, "image file", 0)?;
    for file in &job.list.files {
        job.check_stop()?;
        let at = |error| Error::io(&file.path, error);
        let mut read = file.open(job.budget).map_err(at)?;
        let file_bytes = usize::try_from(read.len()).unwrap_or(usize::MAX);
        if file_bytes > buffer.len() {
            drop(std::mem::replace(&mut buffer, Buffer::new(job.budget, "image file", 0)?));
            buffer = Buffer::new(job.budget, "image file", file_bytes)?;
        }
        let bytes = buffer.get_mut(..file_bytes).ok_or(Error::Defect("a file is longer than its buffer"))?;
        read.read_exact(bytes).map_err(at)?;
        let header = ImageHeader::read(&mut Cursor::new(&*bytes), file_bytes as u64).map_err(at)?;
        let class = class_of(&file.path, sources);
        let label = class.as_ref().and_then(|name| classes.binary_search(name).ok());
        let name = file.path.file_name().map(|n| n.as_encoded_bytes());
        let name = name.ok_or(Error::Defect("a file has no name"))?;
        let example = Image { bytes, header, name, class: class.as_deref().zip(label) };
        output.write(example.encode(&mut encoder)?)?;
    }
    finish(output)
}

/// The folder of `path` directly inside one of the sources.
fn class_of(path: &Path, sources: &[PathBuf]) -> Option<String> {
    let inside = sources.iter().find_map(|source| path.strip_prefix(source).ok())?;
    let mut parts = inside.iter();
    let first = parts.next()?;
    parts.next().map(|_| first.to_string_lossy().into_owned())
}

struct Image<'a> {
    bytes: &'a [u8],
    header: ImageHeader,
    name: &'a [u8],
    class: Option<(&'a str, usize)>,
}

impl Image<'_> {
    fn encode<'e>(&self, encoder: &'e mut ExampleEncoder) -> Result<&'e [u8], Error> {
        let format: &[u8] = format_name(self.header.format).as_bytes();
        let [height, width] = [self.header.height, self.header.width].map(|n| [n as i64]);
        let label = [self.class.map_or(0, |(_, label)| label as i64)];
        let text = [self.class.map_or("", |(text, _)| text).as_bytes()];
        let (encoded, format, name) = ([self.bytes], [format], [self.name]);
        // In the order of their names, as TensorFlow's deterministic serialization has them.
        let features: [NamedValues<'_>; 7] = [
            ("image/class/label", Values::Int64(&label)),
            ("image/class/text", Values::Bytes(&text)),
            ("image/encoded", Values::Bytes(&encoded)),
            ("image/filename", Values::Bytes(&name)),
            ("image/format", Values::Bytes(&format)),
            ("image/height", Values::Int64(&height)),
            ("image/width", Values::Int64(&width)),
        ];
        let [_, _, unlabelled @ ..] = &features;
        Ok(encoder.encode(if self.class.is_some() { &features } else { unlabelled })?)
    }
}

/// The name of a format, which is also the extension of its files.
pub fn format_name(format: ImageFormat) -> &'static str {
    format.name()
}
