//! The decoders and encoders of [`tightfit_data`], for operators of a graph that take or make pictures.

use std::io::{self, Cursor};

use tightfit_core::{DType, TensorView};
use tightfit_data::image::{
    DecodeOptions, ImageFormat, ImageHeader, ImageType, JpegDecoding, JpegEncoding, JpegTransform,
    encode_jpeg, encode_jpeg_scratch_bytes, encode_png, encode_png_heap_bytes,
};
use tightfit_graph::pictures::{
    Decoding, Encoding, EncodingBytes, Picture, PictureFormat, Pictures, WritePicture,
};

/// Provides the decoders for graphs that are read from now on.
pub(crate) fn provide() {
    tightfit_graph::pictures::provide(&Decoders);
}

struct Decoders;

fn header(coded: &[u8], wanted: &Decoding) -> Result<ImageHeader, String> {
    let header = ImageHeader::read_reduced(&mut Cursor::new(coded), coded.len() as u64, wanted.ratio);
    header.map_err(|error| error.to_string())
}

fn options(wanted: &Decoding) -> DecodeOptions {
    DecodeOptions { channels: wanted.channels, dtype: wanted.dtype, expand_animations: wanted.has_frames }
}

impl Pictures for Decoders {
    fn inspect(&self, coded: &[u8], wanted: &Decoding) -> Result<Picture, String> {
        let header = header(coded, wanted)?;
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
        let how = JpegDecoding {
            transform,
            ratio: wanted.ratio,
            repeats_samples: wanted.repeats_colours,
            columns: wanted.columns,
        };
        let decoded = options(wanted).decode_by(how, coded, &header(coded, wanted)?, out, scratch);
        decoded.map(|_| ()).map_err(|error| error.to_string())
    }

    fn encoding_bytes(
        &self,
        shape: [usize; 3],
        dtype: DType,
        how: &Encoding<'_>,
    ) -> Result<EncodingBytes, String> {
        let bytes = match how {
            Encoding::Png => encode_png_heap_bytes(ImageType::new(shape, dtype))
                .map(|heap| EncodingBytes { scratch: 0, heap: heap as u64 }),
            Encoding::Jpeg(form) => encode_jpeg_scratch_bytes(shape, form.halves_colours)
                .map(|scratch| EncodingBytes { scratch, heap: 0 }),
        };
        bytes.map_err(|error| error.to_string())
    }

    fn encode<'w>(
        &self,
        shape: [usize; 3],
        pixels: TensorView<'_>,
        how: &Encoding<'_>,
        scratch: &mut [u8],
        write: &'w mut WritePicture<'w>,
    ) -> Result<(), String> {
        let encoded = match how {
            Encoding::Png => encode_png(ImageType::new(shape, pixels.dtype()), pixels.bytes(), Writer(write)),
            Encoding::Jpeg(form) => {
                let how = JpegEncoding {
                    quality: form.quality,
                    is_progressive: form.is_progressive,
                    is_optimized: form.is_optimized,
                    halves_colours: form.halves_colours,
                    density: form.density,
                    is_metric: form.is_metric,
                    xmp: form.xmp,
                };
                encode_jpeg(shape, pixels.bytes(), &how, scratch, write)
            }
        };
        encoded.map_err(|error| error.to_string())
    }
}

/// Where a picture goes, as a writer.
struct Writer<'w>(&'w mut WritePicture<'w>);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0)(bytes) { Ok(bytes.len()) } else { Err(io::Error::other("the picture has no room")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
