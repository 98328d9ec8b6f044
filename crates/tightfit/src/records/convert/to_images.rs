//! Examples to a folder of images: the bytes of `image/encoded`, or of the only feature that is an image, as they are.
//! Files are called after the number of their record, so that no name out of a file becomes a path; the class, if it is
//! a plain name, is the folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tightfit_data::image::ImageFormat;
use tightfit_format::example::{Example, ExampleError};

use super::Job;
use super::from_images::format_name;
use crate::error::Error;
use crate::sink::beside::{create_folder, folder_of, remove_leftovers};

const ENCODED: &str = "image/encoded";
const CLASS: &str = "image/class/text";

/// The longest name of a class.
const MAX_CLASS_BYTES: usize = 200;

/// A folder that goes away unless it gets its name.
struct Folder {
    temporary: PathBuf,
    _lock: Option<File>,
    is_whole: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_whole {
            fs::remove_dir_all(&self.temporary).ok();
        }
    }
}

/// Converts all records of `job`.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    // Without the slash at the end, behind which nothing can be appended.
    let place: PathBuf = job.output.components().collect();
    if place.exists() {
        return Err(Error::Usage(format!("{} exists already", place.display())));
    }
    let at = |path: &Path, error| Error::io(path, error);
    if let Some(name) = place.file_name().and_then(|name| name.to_str()) {
        remove_leftovers(folder_of(&place), &|left| left == name);
    }
    let (temporary, lock) = create_folder(&place).map_err(|error| at(&place, error))?;
    let mut folder = Folder { temporary, _lock: lock, is_whole: false };
    let mut images = 0u64;
    job.each_record(&mut |place, record| {
        let image = image_of(record).map_err(|why| place.error(why))?;
        let parent = match image.class {
            Some(class) => folder.temporary.join(class),
            None => folder.temporary.clone(),
        };
        let path = parent.join(format!("{images:08}.{}", format_name(image.format)));
        fs::create_dir_all(&parent).and_then(|()| fs::write(&path, image.bytes)).map_err(|e| at(&path, e))?;
        images += 1;
        Ok(())
    })?;
    fs::rename(&folder.temporary, &place).map_err(|error| at(&place, error))?;
    folder.is_whole = true;
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
    let class = class.map(|name| class_name(name).ok_or("its class is no name for a folder")).transpose()?;
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
