//! Examples to a folder of images: the bytes of `image/encoded`, or of the only feature that is an image, as they are.
//! Files are called after the number of their record, so that no name out of a file becomes a path; the class, if it is
//! a plain name, is the folder.

use std::fs;
use std::io;

use tightfit_data::image::ImageFormat;
use tightfit_format::example::{Example, ExampleError};
use tightfit_format::whole::WholeFolder;

use super::Job;
use super::from_images::format_name;
use crate::error::Error;

const ENCODED: &str = "image/encoded";
const CLASS: &str = "image/class/text";

/// The longest name of a class.
const MAX_CLASS_BYTES: usize = 200;

/// Converts all records of `job`.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    let output = job.output;
    let folder = WholeFolder::create(output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Usage(format!("{} exists already", output.display())),
        _ => Error::io(output, error),
    })?;
    let mut images = 0u64;
    job.each_record(&mut |place, record| {
        let image = image_of(record).map_err(|why| place.error(why))?;
        let parent = match image.class {
            Some(class) => folder.path().join(class),
            None => folder.path().to_path_buf(),
        };
        let path = parent.join(format!("{images:08}.{}", format_name(image.format)));
        fs::create_dir_all(&parent)
            .and_then(|()| fs::write(&path, image.bytes))
            .map_err(|e| Error::io(&path, e))?;
        images += 1;
        Ok(())
    })?;
    folder.commit().map_err(|error| Error::io(output, error))?;
    Ok(images)
}

struct Image<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    class: Option<&'a str>,
}

fn image_of(record: &[u8]) -> Result<Image<'_>, String> {
    let example = Example::new(record);
    let text = |error: ExampleError| error.to_string();
    let mut found: Option<(&[u8], ImageFormat)> = None;
    for entry in example.features() {
        let (name, feature) = entry.map_err(text)?;
        let Some(bytes) = feature.bytes().next().transpose().map_err(text)? else { continue };
        let Some(format) = ImageFormat::detect(bytes) else { continue };
        if name == ENCODED.as_bytes() {
            found = Some((bytes, format));
            break;
        }
        if found.replace((bytes, format)).is_some() {
            return Err(format!("several features are images and none is called '{ENCODED}'"));
        }
    }
    let (bytes, format) = found.ok_or("no feature is an image")?;
    let class = match example.find(CLASS).map_err(text)? {
        Some(feature) => feature.bytes().next().transpose().map_err(text)?,
        None => None,
    };
    let class = class.map(|name| class_name(name).ok_or("its class cannot name a folder")).transpose()?;
    Ok(Image { bytes, format, class })
}

/// The class as the name of a folder, when it can be nothing else.
fn class_name(name: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(name).ok()?;
    let is_plain = !text.is_empty()
        && text.len() <= MAX_CLASS_BYTES
        && !text.starts_with('.')
        && !text.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control());
    is_plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_never_a_path() {
        assert_eq!(class_name("für 3".as_bytes()), Some("für 3"));
        for bad in [&b""[..], b"..", b".x", b"a/b", b"/etc", b"a\\b", b"c:", b"a\0b", b"\xff", &[b'a'; 201]] {
            assert_eq!(class_name(bad), None);
        }
    }
}
