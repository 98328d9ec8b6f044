//! Operations on images against TensorFlow's results, which `tests/golden/images.py` wrote.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::image::{Argument, ImageError, ImageOp, ImageType, OPS, op_by_name};
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
        if !(error <= tolerance(&op, output.dtype)) {
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
