//! Operations on images against TensorFlow's results, which `tests/golden/images.py` wrote.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use proptest::prelude::*;
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::image::{
    Argument, DecodeOptions, Decoded, ImageError, ImageHeader, ImageOp, ImageType, OPS, ResizeMethod,
    encode_png, op_by_name,
};
use tightfit_format::npz::NpzReader;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images")
}

#[derive(Debug)]
struct Array {
    shape: Vec<usize>,
    dtype: DType,
    bytes: Vec<u8>,
}

fn arrays(name: &str) -> impl FnMut(&str) -> Array {
    let path = folder().join(name);
    let file = File::open(&path).unwrap();
    let mut npz = NpzReader::new(Arc::from(path), file, &MemoryBudget::unlimited()).unwrap();
    move |name| {
        let mut reader = npz.array(name).unwrap().unwrap();
        let header = reader.header();
        let (shape, dtype) = (header.shape.to_vec(), header.element.dtype());
        let mut bytes = vec![0; header.data_bytes() as usize];
        reader.read_all(&mut bytes).unwrap();
        Array { shape, dtype, bytes }
    }
}

/// Bytes that are aligned to every element type.
struct Aligned(Vec<u128>, usize);

impl Aligned {
    fn new(bytes: usize, fill: u8) -> Aligned {
        Aligned(vec![u128::from_ne_bytes([fill; 16]); bytes.div_ceil(16)], bytes)
    }

    fn of(bytes: &[u8]) -> Aligned {
        let mut aligned = Aligned::new(bytes.len(), 0);
        aligned.bytes().copy_from_slice(bytes);
        aligned
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.0)[..self.1]
    }
}

/// What the operation makes of it. Output and scratch begin as garbage and are as long as they must be.
fn run(
    op: &ImageOp,
    input: ImageType,
    pixels: &[u8],
    position: u64,
) -> Result<(ImageType, Vec<u8>), ImageError> {
    let output = op.output(input)?;
    let mut pixels = Aligned::of(pixels);
    let mut out = Aligned::new(output.bytes()?, 0xa5);
    let mut scratch = Aligned::new(op.scratch_bytes(input)?, 0xff);
    let result = op.run(input, pixels.bytes(), out.bytes(), scratch.bytes(), position)?;
    assert_eq!(result, output);
    Ok((result, out.bytes().to_vec()))
}

fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
    }
    match dtype {
        DType::U8 => each(bytes, |[b]| f64::from(b)),
        DType::I8 => each(bytes, |[b]| f64::from(b as i8)),
        DType::U16 => each(bytes, |b| f64::from(u16::from_le_bytes(b))),
        DType::I32 => each(bytes, |b| f64::from(i32::from_le_bytes(b))),
        DType::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f64()),
        DType::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        DType::F64 => each(bytes, f64::from_le_bytes),
        dtype => panic!("{dtype}"),
    }
}

fn op_of(words: &[&str]) -> ImageOp {
    let (name, words) = words.split_first().unwrap();
    let pairs: Vec<(&str, &str)> = words.iter().map(|word| word.split_once('=').unwrap()).collect();
    let numbers: Vec<Vec<f64>> =
        pairs.iter().map(|(_, value)| value.split(',').filter_map(|v| v.parse().ok()).collect()).collect();
    let arguments: Vec<(&str, Argument<'_>)> = pairs
        .iter()
        .zip(&numbers)
        .map(|((key, value), numbers)| {
            let argument = match (*value, numbers.len()) {
                ("true" | "false", _) => Argument::Flag(*value == "true"),
                (_, 0) => Argument::Text(value),
                (_, 1) => Argument::Number(numbers[0]),
                _ => Argument::Numbers(numbers),
            };
            (*key, argument)
        })
        .collect();
    op_by_name(name, &arguments).unwrap().unwrap()
}

/// How far results may lie from TensorFlow's: steps of integers; of floats parts of the largest value, at least of 1.
fn tolerance(op: &ImageOp, dtype: DType) -> f64 {
    let is_area = matches!(op, ImageOp::Resize { method, .. } | ImageOp::ResizeWithPad { method, .. }
        if method.name() == "area");
    match (op, dtype) {
        // Sums in another order.
        _ if is_area => 3e-7,
        (ImageOp::Resize { .. } | ImageOp::ResizeWithPad { .. }, _) => 0.0,
        (ImageOp::PerImageStandardization, _) | (ImageOp::AdjustContrast { .. }, DType::F32) => 2e-7,
        // Another power function: its last bit decides which way a value is cut off.
        (ImageOp::AdjustGamma { .. }, DType::F32 | DType::F64) => 2e-7,
        (ImageOp::AdjustGamma { .. }, _) => 1.0,
        // Rounded once, not after every step.
        (ImageOp::RgbToHsv | ImageOp::HsvToRgb, DType::F16) => 0.002,
        _ => 0.0,
    }
}

#[test]
fn does_what_tensorflow_does() {
    let mut array = arrays("cases.npz");
    let cases = fs::read_to_string(folder().join("cases.txt")).unwrap();
    let mut seen: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    let mut failed = Vec::new();
    for line in cases.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [number, picture, rest @ ..] = words.as_slice() else { panic!("{line}") };
        let op = op_of(rest);
        let (input, expected) = (array(picture), array(number));
        let [height, width, channels] = input.shape[..] else { panic!("{line}") };
        let input_type = ImageType::new([height, width, channels], input.dtype);
        let (output, found) = run(&op, input_type, &input.bytes, 0).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!((&output.shape[..], output.dtype), (&expected.shape[..], expected.dtype), "{line}");
        let (found, expected) = (values(output.dtype, &found), values(output.dtype, &expected.bytes));
        let scale = if output.dtype.is_float() {
            expected.iter().fold(0.0, |largest: f64, v| largest.max(v.abs())).max(1.0)
        } else {
            1.0
        };
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
        let entry = seen.entry(op.name()).or_default();
        *entry = (entry.0 + 1, entry.1.max(error));
        if error.is_nan() || error > tolerance(&op, output.dtype) {
            failed.push(format!("{line}: {error}"));
        }
    }
    for (op, (cases, error)) in &seen {
        println!("{op}: {cases} cases, largest difference {error:e}");
    }
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
    // Only what is left to chance has no case.
    for spec in OPS {
        assert!(seen.contains_key(spec.name) || spec.name.starts_with("random_"), "{}", spec.name);
    }
}

/// Decodes to memory that held other things, and no more of it than the header says.
fn decoded(options: &DecodeOptions, bytes: &[u8]) -> Result<(Decoded, Vec<u8>), String> {
    let header = ImageHeader::read(&mut Cursor::new(bytes), bytes.len() as u64).map_err(|e| e.to_string())?;
    let decoded = options.output(bytes, &header).map_err(|e| e.to_string())?;
    let [most_bytes, most_scratch_bytes] = options.most_bytes(&header);
    assert!(options.expand_animations || decoded.bytes().unwrap() as u64 <= most_bytes);
    assert!(decoded.scratch_bytes as u64 <= most_scratch_bytes);
    let mut out = vec![0xa5; decoded.bytes().unwrap()];
    let mut scratch = vec![0xff; decoded.scratch_bytes];
    options.decode(bytes, &header, &mut out, &mut scratch).map_err(|e| e.to_string())?;
    Ok((decoded, out))
}

#[test]
fn decodes_files_as_tensorflow_does() {
    let mut array = arrays("files.npz");
    let cases = fs::read_to_string(folder().join("files.txt")).unwrap();
    let mut failed = Vec::new();
    for line in cases.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [number, name, kind, channels, dtype] = words[..] else { panic!("{line}") };
        let (file, expected) = (array(name), array(number));
        let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype).unwrap();
        let expand_animations = kind == "frames";
        let options = DecodeOptions { channels: channels.parse().unwrap(), dtype, expand_animations };
        let (decoded, out) = match decoded(&options, &file.bytes) {
            Ok(decoded) => decoded,
            // Of what libpng makes grey with a gamma some is not.
            Err(error) if kind == "image" && error.contains("does not become grey") => continue,
            Err(error) => {
                assert_eq!(kind, "refused", "{line}: {error}");
                continue;
            }
        };
        assert_ne!(kind, "refused", "{line}");
        let mut shape = decoded.image.shape.to_vec();
        if expand_animations {
            shape.insert(0, decoded.frames);
        }
        assert_eq!((&shape, dtype), (&expected.shape, expected.dtype), "{line}");
        let pairs = values(dtype, &out).into_iter().zip(values(dtype, &expected.bytes));
        let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // JPEG goes through another transform; see the folder's documentation.
        let steps = if name.ends_with(".jpg") { 8.0 } else { 0.0 };
        let step = match dtype {
            DType::F32 => 1.0 / 255.0,
            DType::U16 => 256.0,
            _ => 1.0,
        };
        if error > steps * step * 1.0001 {
            failed.push(format!("{line}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn broken_files_are_errors() {
    let mut array = arrays("files.npz");
    for name in ["parts.gif", "animated.gif", "rgb.bmp", "palettealpha.png", "widegrey.png", "cmyk.jpg"] {
        let file = array(name).bytes;
        let options = DecodeOptions { channels: 0, dtype: DType::U16, expand_animations: true };
        let decode = |bytes: &[u8]| {
            let Ok(header) = ImageHeader::read(&mut Cursor::new(bytes), bytes.len() as u64) else {
                return false;
            };
            let Ok(decoded) = options.output(bytes, &header) else { return false };
            let Ok(out_bytes) = decoded.bytes() else { return false };
            if out_bytes > 1 << 24 || decoded.scratch_bytes > 1 << 24 {
                return false;
            }
            let (mut out, mut scratch) = (vec![0; out_bytes], vec![0; decoded.scratch_bytes]);
            let short = options.decode(bytes, &header, &mut out[..out_bytes - 1], &mut scratch);
            assert!(matches!(short, Err(ImageError::Memory { .. })), "{name}");
            options.decode(bytes, &header, &mut out, &mut scratch).is_ok()
        };
        assert!(decode(&file), "{name}");
        // Of a GIF, TensorFlow takes the frames that are there.
        let frames_from = match name {
            "parts.gif" => &[(908, 1), (1085, 2)][..],
            "animated.gif" => &[(549, 1), (1105, 2)],
            _ => &[],
        };
        for cut in 0..file.len() * 9 / 10 {
            let file = &file[..cut];
            let frames = frames_from.iter().rfind(|(from, _)| *from <= cut).map(|(_, frames)| *frames);
            assert_eq!(decode(file), frames.is_some(), "{name} cut at {cut}");
            if let Some(frames) = frames {
                let header = ImageHeader::read(&mut Cursor::new(file), cut as u64).unwrap();
                assert_eq!(options.output(file, &header).unwrap().frames, frames, "{name} cut at {cut}");
            }
        }
        // Any single byte may be another: no panic, whatever comes out.
        let mut changed = file.clone();
        for at in 0..file.len().min(2000) {
            for other in [0, 0xff, file[at] ^ 0x10, file[at].wrapping_add(1)] {
                changed[at] = other;
                decode(&changed);
            }
            changed[at] = file[at];
        }
    }
}

#[test]
fn chance_depends_on_seed_and_position_alone() {
    let input = ImageType::new([9, 11, 3], DType::U8);
    let pixels: Vec<u8> = (0..297).map(|v| (v * 7 % 256) as u8).collect();
    let ops = |seed| {
        [
            ImageOp::RandomCrop { size: [4, 5], seed },
            ImageOp::RandomFlipLeftRight { seed },
            ImageOp::RandomFlipUpDown { seed },
            ImageOp::RandomBrightness { max_delta: 0.4, seed },
            ImageOp::RandomContrast { range: [0.2, 1.8], seed },
            ImageOp::RandomHue { max_delta: 0.5, seed },
            ImageOp::RandomSaturation { range: [0.2, 1.8], seed },
        ]
    };
    for (op, other) in ops(1).iter().zip(ops(2)) {
        let at = |op: &ImageOp, position| run(op, input, &pixels, position).unwrap().1;
        let all: Vec<_> = (0..64).map(|position| at(op, position)).collect();
        assert!((0..64).all(|position| all[position] == at(op, position as u64)), "{op:?}");
        assert!(all.iter().any(|result| *result != all[0]), "{op:?}");
        assert!((0..64).any(|position| all[position] != at(&other, position as u64)), "{op:?}");
    }
    // A crop is a window of the image, and every place is drawn.
    let crop = ImageOp::RandomCrop { size: [9, 10], seed: 3 };
    let mut counts = [0; 2];
    for position in 0..1000 {
        let (_, found) = run(&crop, input, &pixels, position).unwrap();
        let window =
            |x: usize| pixels.chunks(33).flat_map(|l| l[3 * x..3 * x + 30].to_vec()).collect::<Vec<u8>>();
        counts[(0..2).find(|x| found == window(*x)).unwrap()] += 1;
    }
    assert!(counts.iter().all(|n| (430..570).contains(n)), "{counts:?}");
}

#[test]
fn what_cannot_be_is_an_error() {
    let image = |shape, dtype| ImageType::new(shape, dtype);
    let rgb = image([4, 5, 3], DType::U8);
    let resize = |size| ImageOp::Resize {
        size,
        method: ResizeMethod::Lanczos3,
        antialias: true,
        preserve_aspect_ratio: false,
    };
    for (op, input) in [
        (resize([0, 3]), rgb),
        (resize([1 << 24, 3]), rgb),
        (resize([3, 3]), image([4, 5, 3], DType::String)),
        (resize([3, 3]), image([4, 0, 3], DType::U8)),
        (resize([3, 3]), image([1 << 20, 1 << 20, 3], DType::U8)),
        (ImageOp::CropToBoundingBox { offset: [2, 0], size: [3, 3] }, rgb),
        (ImageOp::CropToBoundingBox { offset: [usize::MAX, 0], size: [3, 3] }, rgb),
        (ImageOp::PadToBoundingBox { offset: [1, 0], size: [4, 5] }, rgb),
        (ImageOp::RandomCrop { size: [5, 5], seed: 0 }, rgb),
        (ImageOp::CentralCrop { fraction: 0.0 }, rgb),
        (ImageOp::CentralCrop { fraction: f64::NAN }, rgb),
        (ImageOp::AdjustHue { delta: 1.5 }, rgb),
        (ImageOp::AdjustHue { delta: 0.5 }, image([4, 5, 4], DType::U8)),
        (ImageOp::RgbToHsv, rgb),
        (ImageOp::GrayscaleToRgb, rgb),
        (ImageOp::Cast { dtype: DType::I64 }, rgb),
        (ImageOp::FlipUpDown, image([usize::MAX, 2, 1], DType::U8)),
    ] {
        assert!(op.output(input).is_err() && op.scratch_bytes(input).is_err(), "{op:?} {input}");
    }
    let mut scratch = Aligned::new(resize([3, 3]).scratch_bytes(rgb).unwrap(), 0);
    let (pixels, mut out) = (vec![0; 60], Aligned::new(3 * 3 * 3 * 4, 0));
    let run =
        |pixels: &[u8], out: &mut [u8], scratch: &mut [u8]| resize([3, 3]).run(rgb, pixels, out, scratch, 0);
    assert!(run(&pixels, out.bytes(), scratch.bytes()).is_ok());
    for (short, result) in [
        ("input", run(&pixels[1..], out.bytes(), scratch.bytes())),
        ("output", run(&pixels, &mut out.bytes()[4..], scratch.bytes())),
        ("scratch", run(&pixels, out.bytes(), &mut scratch.bytes()[4..])),
    ] {
        assert!(matches!(result, Err(ImageError::Memory { what, .. }) if what == short), "{short}");
    }
}

proptest! {
    /// What is planned for the largest image suffices for every smaller one.
    #[test]
    fn the_largest_image_is_the_bound(
        sides in [1usize..90, 1..90, 0..30, 0..30],
        size in [1usize..60, 1..60],
        method in 0..8usize,
        flags in any::<[bool; 2]>(),
        fraction in 0.01f64..1.0,
        channels in 1..5usize,
    ) {
        let [height, width, more_high, more_wide] = sides;
        let method = ResizeMethod::ALL[method];
        let [antialias, preserve_aspect_ratio] = flags;
        for op in [
            ImageOp::Resize { size, method, antialias, preserve_aspect_ratio },
            ImageOp::ResizeWithPad { size, method, antialias },
            ImageOp::CentralCrop { fraction },
        ] {
            let input = ImageType::new([height, width, channels], DType::F32);
            let largest = ImageType::new([height + more_high, width + more_wide, channels], DType::F32);
            let (Ok(output), Ok(bound)) = (op.output(input), op.largest_output(largest)) else { continue };
            prop_assert!(output.shape.iter().zip(bound.shape).all(|(side, most)| *side <= most), "{:?}", op);
            prop_assert!(op.scratch_bytes(input).unwrap() <= op.scratch_bytes(largest).unwrap(), "{:?}", op);
            let pixels = vec![0x3f; input.bytes().unwrap()];
            prop_assert!(run(&op, input, &pixels, 0).is_ok(), "{:?}", op);
        }
    }
}

#[test]
fn what_is_encoded_is_decoded_again() {
    for dtype in [DType::U8, DType::U16] {
        for channels in 1..=4 {
            let image = ImageType::new([7, 5, channels], dtype);
            let pixels: Vec<u8> = (0..image.bytes().unwrap()).map(|v| (v * 37 % 251) as u8).collect();
            let mut file = Vec::new();
            encode_png(image, &pixels, &mut file).unwrap();
            let header = ImageHeader::read(&mut Cursor::new(&file), file.len() as u64).unwrap();
            let options = DecodeOptions { channels: 0, dtype, expand_animations: false };
            let decoded = options.output(&file, &header).unwrap();
            assert_eq!(decoded.image, image);
            let (mut out, mut scratch) = (vec![0; pixels.len()], vec![0; decoded.scratch_bytes]);
            options.decode(&file, &header, &mut out, &mut scratch).unwrap();
            assert_eq!(out, pixels);
        }
    }
    let image = ImageType::new([2, 2, 1], DType::U8);
    assert!(matches!(encode_png(image, &[0; 5], Vec::new()), Err(ImageError::Memory { .. })));
    let image = ImageType::new([2, 2, 1], DType::F32);
    assert!(matches!(encode_png(image, &[0; 16], Vec::new()), Err(ImageError::DType { .. })));
}
