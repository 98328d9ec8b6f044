//! The decoders of [`tightfit_data`], for operators of a graph that decode pictures.

use std::io::Cursor;

use tightfit_data::image::{DecodeOptions, ImageFormat, ImageHeader, JpegTransform};
use tightfit_graph::pictures::{Decoding, Picture, PictureFormat, Pictures};

/// Provides the decoders for graphs that are read from now on.
pub(crate) fn provide() {
    tightfit_graph::pictures::provide(&Decoders);
}

struct Decoders;

fn header(coded: &[u8]) -> Result<ImageHeader, String> {
    ImageHeader::read(&mut Cursor::new(coded), coded.len() as u64).map_err(|error| error.to_string())
}

fn options(wanted: &Decoding) -> DecodeOptions {
    DecodeOptions { channels: wanted.channels, dtype: wanted.dtype, expand_animations: wanted.has_frames }
}

impl Pictures for Decoders {
    fn inspect(&self, coded: &[u8], wanted: &Decoding) -> Result<Picture, String> {
        let header = header(coded)?;
        let decoded = options(wanted).output(coded, &header).map_err(|error| error.to_string())?;
        let format = match header.format {
            ImageFormat::Jpeg => PictureFormat::Jpeg,
            ImageFormat::Png => PictureFormat::Png,
            ImageFormat::Gif => PictureFormat::Gif,
            ImageFormat::Bmp => PictureFormat::Bmp,
            other => return Err(format!("is a {}, which is not decoded", other.name())),
        };
        Ok(Picture {
            format,
            frames: decoded.frames,
            shape: decoded.image.shape,
            scratch_bytes: decoded.scratch_bytes,
            heap_bytes: header.heap_bytes,
            components: header.components(),
        })
    }

    fn decode(
        &self,
        coded: &[u8],
        wanted: &Decoding,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), String> {
        let transform = if wanted.is_accurate { JpegTransform::Accurate } else { JpegTransform::Fast };
        let decoded = options(wanted).decode_by(transform, coded, &header(coded)?, out, scratch);
        decoded.map(|_| ()).map_err(|error| error.to_string())
    }
}
