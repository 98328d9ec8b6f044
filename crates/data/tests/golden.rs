//! Decoding and resizing against TensorFlow's results, which `golden.py` made.
#![allow(missing_docs)]

mod common;

use std::fs::{self, File};
use std::io::Cursor;
use std::sync::Arc;

use common::{column, golden, read, spec};
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::image::{ImageHeader, decode};
use tightfit_data::{Dataset, Preprocess, Resize};
use tightfit_format::npy::NpyReader;

const FILES: [&str; 11] = [
    "rgb.png",
    "grey.png",
    "alpha.png",
    "wide.png",
    "palette.png",
    "rgb.bmp",
    "palette.gif",
    "rgb.jpg",
    "full.jpg",
    "progressive.jpg",
    "grey.jpg",
];

fn array(name: &str) -> (Vec<usize>, Vec<u8>) {
    let path = golden(name);
    let mut reader = NpyReader::new(Arc::from(path.clone()), File::open(path).unwrap()).unwrap();
    let mut bytes = vec![0; reader.header().data_bytes() as usize];
    reader.read_all(&mut bytes).unwrap();
    (reader.header().shape.to_vec(), bytes)
}

/// The pixels of an image file with `channels`, and their shape.
fn decoded(name: &str, channels: usize) -> (Vec<usize>, Vec<u8>) {
    let bytes = fs::read(golden(name)).unwrap();
    let header = ImageHeader::read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let mut out = vec![0; header.pixel_bytes as usize];
    let found = decode(&bytes, &header, channels, &mut out).unwrap();
    out.truncate(header.height * header.width * found);
    if found < channels {
        out = out.iter().flat_map(|grey| [*grey; 3]).collect();
    }
    (vec![header.height, header.width, channels], out)
}

#[test]
fn decodes_as_tensorflow_does() {
    for name in FILES {
        for channels in [1, 3] {
            let expected = format!("{name}.{channels}.npy");
            if !golden(&expected).exists() {
                continue;
            }
            let (shape, expected) = array(&expected);
            let (found_shape, found) = decoded(name, channels);
            assert_eq!(found_shape, shape, "{name}");
            if !name.ends_with(".jpg") {
                assert_eq!(found, expected, "{name} {channels}");
                continue;
            }
            // TensorFlow's default transform and its accurate one differ by 7 themselves.
            let (largest, mean) = difference(&found, &expected);
            assert!(largest <= 7 && mean <= 1.5, "{name} {channels}: {largest}, {mean}");
            let (_, accurate) = array(&format!("{name}.{channels}.accurate.npy"));
            assert_eq!(found, accurate, "{name} {channels} accurate");
        }
    }
}

/// The largest and the mean difference.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    let differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = differences.iter().map(|d| f64::from(*d)).sum::<f64>() / differences.len() as f64;
    (differences.into_iter().max().unwrap(), mean)
}

#[test]
fn resizes_as_tensorflow_does() {
    for (method, word) in [(Resize::Bilinear, "bilinear"), (Resize::Nearest, "nearest")] {
        for [height, width] in [[16, 16], [61, 80], [37, 20], [1, 1]] {
            let (shape, expected) = array(&format!("resize_{word}_{height}x{width}.npy"));
            assert_eq!(shape, [height, width, 3]);
            let mut spec = spec(&[golden("rgb.png")], vec![column("x", DType::F32, &shape)]);
            spec.resize = Some(method);
            let dataset = Dataset::open(spec, &MemoryBudget::new(u64::MAX)).unwrap();
            let (values, _) = read::<f32>(&dataset, 1, 1).unwrap();
            let expected: Vec<f32> = bytemuck::pod_collect_to_vec(&expected);
            let error = values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 2e-5 * 255.0, "{word} {height}x{width}: {error}");
        }
    }
}

#[test]
fn preprocesses_what_it_decodes() {
    let (_, pixels) = array("rgb.png.3.npy");
    let mut spec = spec(&[golden("rgb.png")], vec![column("x", DType::F32, &[37, 45, 3])]);
    spec.preprocess = Preprocess::Caffe;
    let dataset = Dataset::open(spec, &MemoryBudget::new(u64::MAX)).unwrap();
    let (values, _) = read::<f32>(&dataset, 1, 1).unwrap();
    let expected =
        pixels.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [(*b, 103.939), (*g, 116.779), (*r, 123.68)]);
    assert!(values.iter().zip(expected).all(|(v, (p, mean))| *v == f32::from(p) - mean));
}

#[test]
fn broken_images_are_errors() {
    for name in FILES {
        let bytes = fs::read(golden(name)).unwrap();
        for cut in [3, 20, bytes.len() / 2, bytes.len() - 5] {
            let bytes = &bytes[..cut];
            let Ok(header) = ImageHeader::read(&mut Cursor::new(bytes), cut as u64) else { continue };
            let mut out = vec![0; header.pixel_bytes as usize];
            let result = decode(bytes, &header, 3, &mut out);
            // The last bytes of a PNG are its end mark, and those of a GIF follow the last pixel's code.
            let is_only_end = cut == bytes.len() && cut > bytes.len() - 6;
            assert!(result.is_err() || is_only_end, "{name} cut at {cut}");
        }
    }
}
