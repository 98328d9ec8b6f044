//! Coded pictures: what operators that decode and encode them need of somebody who can. This library has no decoders; whoever uses it
//! [provides](provide) them once, and a graph that is read before is refused where it has pictures in it.

use std::sync::OnceLock;

use tightfit_core::{DType, TensorView};

use crate::operator::OpError;

/// The formats that there are decoders for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// GIF, whose pictures may move.
    Gif,
    /// BMP.
    Bmp,
}

/// What is wanted of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoding {
    /// 1, 3 or 4; 0 for what the picture has.
    pub channels: usize,
    /// uint8, uint16 or float32.
    pub dtype: DType,
    /// Whether all frames of a GIF come out, one after the other; otherwise the first.
    pub has_frames: bool,
    /// Whether JPEGs are transformed accurately, not by the faster transform that TensorFlow prefers.
    pub is_accurate: bool,
    /// How many times smaller than they are coded JPEGs come out, each way: 1, 2, 4 or 8.
    pub ratio: usize,
    /// Whether colours of JPEGs that are coarser than their pixels are repeated, and not interpolated.
    pub repeats_colours: bool,
    /// The columns of a JPEG that are wanted, where not all are: the first, and how many. The others are what they happen
    /// to be.
    pub columns: Option<[usize; 2]>,
}

/// What a picture becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Its format.
    pub format: PictureFormat,
    /// How many frames there are in all.
    pub frames: usize,
    /// `[height, width, channels]` of a frame.
    pub shape: [usize; 3],
    /// Bytes of scratch that decoding takes.
    pub scratch_bytes: usize,
    /// The most bytes of heap that the decoder takes besides.
    pub heap_bytes: u64,
    /// Components of a JPEG as it is coded: 1, 3 or 4.
    pub components: usize,
}

/// What pixels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding<'a> {
    /// A PNG.
    Png,
    /// A JPEG.
    Jpeg(JpegForm<'a>),
}

/// The form of a JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegForm<'a> {
    /// From 0, the smallest file, to 100.
    pub quality: u8,
    /// In passes that get finer.
    pub is_progressive: bool,
    /// With tables of its own.
    pub is_optimized: bool,
    /// Colours at half the resolution.
    pub halves_colours: bool,
    /// Pixels per inch, or per centimetre where `is_metric`, across and down.
    pub density: [u16; 2],
    /// See there.
    pub is_metric: bool,
    /// What is said of the picture beside it.
    pub xmp: &'a [u8],
}

/// What encoding takes besides the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodingBytes {
    /// Bytes of scratch.
    pub scratch: usize,
    /// The most bytes of heap.
    pub heap: u64,
}

/// Where a coded picture goes, in pieces; false stops.
pub type WritePicture<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Decoders and encoders of pictures.
pub trait Pictures: Send + Sync {
    /// What the coded picture becomes, from its headers.
    ///
    /// # Errors
    /// What is wrong with it, or why it is not decoded so.
    fn inspect(&self, coded: &[u8], wanted: &Decoding) -> Result<Picture, String>;

    /// Decodes the picture, all frames that are wanted of it, to the start of `out`.
    ///
    /// # Errors
    /// As [`Pictures::inspect`], and for memory that is too small.
    fn decode(
        &self,
        coded: &[u8],
        wanted: &Decoding,
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), String>;

    /// What encoding of pixels `[height, width, channels]` of a type takes.
    ///
    /// # Errors
    /// Why they are not encoded so.
    fn encoding_bytes(
        &self,
        shape: [usize; 3],
        dtype: DType,
        how: &Encoding<'_>,
    ) -> Result<EncodingBytes, String>;

    /// Encodes pixels.
    ///
    /// # Errors
    /// As [`Pictures::encoding_bytes`], and for memory that is too small.
    fn encode<'w>(
        &self,
        shape: [usize; 3],
        pixels: TensorView<'_>,
        how: &Encoding<'_>,
        scratch: &mut [u8],
        write: &'w mut WritePicture<'w>,
    ) -> Result<(), String>;
}

static PICTURES: OnceLock<&'static dyn Pictures> = OnceLock::new();

/// Provides the decoders for all graphs of the process; the first ones that are provided stay.
pub fn provide(pictures: &'static dyn Pictures) {
    let _ = PICTURES.set(pictures);
}

/// The decoders that were provided.
///
/// # Errors
/// [`OpError::Unsupported`] when none were.
pub(crate) fn provided() -> Result<&'static dyn Pictures, OpError> {
    let none = || OpError::Unsupported("needs decoders of pictures, which were not provided".to_string());
    PICTURES.get().copied().ok_or_else(none)
}
