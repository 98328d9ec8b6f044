//! JPEGs that are decoded smaller than they are, against TensorFlow's results, which `golden_reduced.py` made.
#![allow(missing_docs)]

mod common;

use std::fs::{self, File};
use std::io::Cursor;
use std::sync::Arc;

use common::golden;
use tightfit_core::DType;
use tightfit_data::image::{DecodeOptions, ImageHeader, JpegDecoding, JpegTransform};
use tightfit_format::npy::NpyReader;

fn decoded(bytes: &[u8], jpeg: JpegDecoding) -> (Vec<usize>, Vec<u8>) {
    let header = ImageHeader::read_reduced(&mut Cursor::new(bytes), bytes.len() as u64, jpeg.ratio).unwrap();
    let options = DecodeOptions { channels: 0, dtype: DType::U8, expand_animations: false };
    let made = options.output(bytes, &header).unwrap();
    let (mut out, mut scratch) = (vec![0; made.bytes().unwrap()], vec![0; made.scratch_bytes]);
    options.decode_by(jpeg, bytes, &header, &mut out, &mut scratch).unwrap();
    (made.image.shape.to_vec(), out)
}

#[test]
fn smaller_pictures_are_tensorflows() {
    for name in ["grey", "same", "across", "both", "four"] {
        let bytes = fs::read(golden(&format!("reduced/{name}.jpg"))).unwrap();
        for ratio in [2, 4, 8] {
            for (is_fast, kind) in [(true, "fast"), (false, "accurate")] {
                let path = golden(&format!("reduced/{name}.{ratio}.{kind}.npy"));
                let mut reader = NpyReader::new(Arc::from(path.clone()), File::open(path).unwrap()).unwrap();
                let mut expected = vec![0; reader.header().data_bytes() as usize];
                reader.read_all(&mut expected).unwrap();
                let transform = if is_fast { JpegTransform::Fast } else { JpegTransform::Accurate };
                let jpeg = JpegDecoding { transform, ratio, repeats_samples: !is_fast, columns: None };
                let (shape, found) = decoded(&bytes, jpeg);
                assert_eq!(shape, reader.header().shape.to_vec(), "{name} {ratio} {kind}");
                assert_eq!(found, expected, "{name} {ratio} {kind}");
            }
        }
    }
}
