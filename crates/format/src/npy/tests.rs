use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tightfit_core::Shape;

use super::writer::WRITTEN_HEADER_BYTES;
use super::*;
use crate::error::{FormatError, Place, Problem};

fn path() -> Arc<Path> {
    Arc::from(Path::new("x.npy"))
}

fn reader(bytes: &[u8]) -> Result<NpyReader<&[u8]>, FormatError> {
    NpyReader::new(path(), bytes)
}

fn with_text(version: u8, text: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn goes_on_at_any_row() {
    let mut bytes = with_text(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3, 2), }\n");
    bytes.extend(0..12);
    for row in 0..=3 {
        let mut reader = NpyReader::new(path(), Cursor::new(&bytes)).unwrap();
        reader.skip_to_row(row).unwrap();
        let mut rows = [0; 12];
        let read = reader.read_rows(&mut rows).unwrap();
        assert_eq!((read as u64, reader.row()), (3 - row, 3));
        assert!(rows[..read * 4].iter().copied().eq(row as u8 * 4..12));
    }
    assert!(NpyReader::new(path(), Cursor::new(&bytes)).unwrap().skip_to_row(4).is_err());
}

#[test]
fn headers_numpy_writes() {
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }   \n";
    for version in [1, 2, 3] {
        let header = *reader(&with_text(version, text)).unwrap().header();
        assert_eq!(header.element, NpyType::Plain(DType::F32));
        assert_eq!((header.rows(), header.row_shape(), header.row_bytes()), (3, &[2][..], 8));
        assert_eq!(header.data_bytes(), 24);
    }
    for (descr, element, is_big) in [
        ("|S7", NpyType::Bytes(7), false),
        (">U3", NpyType::Unicode(3), true),
        (">i2", NpyType::Plain(DType::I16), true),
        ("|b1", NpyType::Plain(DType::Bool), false),
        ("<V2", NpyType::Plain(DType::BF16), false),
    ] {
        let text = format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': (), }}");
        let header = *reader(&with_text(1, &text)).unwrap().header();
        assert_eq!((header.element, header.is_big_endian, header.rows()), (element, is_big, 1));
        assert!(!header.is_fortran_order);
    }
}

#[test]
fn refuses_with_a_reason() {
    for (text, reason) in [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "dtype"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "records"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", "a dimension"),
        ("{'descr': '<f4', 'fortran_order': False}", "shape"),
        ("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (), }", "True or False"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,2)}", "elements"),
        ("{'descr': '|S9223372036854775807', 'fortran_order': False, 'shape': (9,)}", "elements"),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}",
            "dimensions",
        ),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", "a dimension"),
        ("", "'{'"),
    ] {
        let error = reader(&with_text(1, text)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("x.npy"), "{text}: {error}");
    }
    assert!(reader(&with_text(4, "{}")).unwrap_err().to_string().contains("version"));
    assert!(reader(b"PK\x03\x04abcdefgh").unwrap_err().to_string().contains(".npy"));
    assert!(reader(&with_text(2, &" ".repeat(5000))).unwrap_err().to_string().contains("4096"));
}

#[test]
fn writes_rows_and_reads_them_back() {
    let row_shape = Shape::new(&[3]).unwrap();
    let mut writer = NpyWriter::new(Cursor::new(Vec::new()), NpyType::Plain(DType::I32), row_shape).unwrap();
    let values: Vec<i32> = (0..30).collect();
    writer.write_rows(4, bytemuck::cast_slice(&values[..12])).unwrap();
    writer.write_rows(6, bytemuck::cast_slice(&values[12..])).unwrap();
    assert!(writer.write_rows(1, &[0; 11]).is_err());
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(bytes.len(), WRITTEN_HEADER_BYTES + 120);
    let mut reader = reader(&bytes).unwrap();
    assert_eq!(&*reader.header().shape, [10, 3]);
    let mut rows = [0i32; 12];
    let mut all = Vec::new();
    loop {
        let count = reader.read_rows(bytemuck::cast_slice_mut(&mut rows)).unwrap();
        if count == 0 {
            break;
        }
        all.extend_from_slice(&rows[..count * 3]);
    }
    assert_eq!(all, values);
}

#[test]
fn swaps_big_endian_and_turns_fortran_order() {
    let mut bytes = with_text(1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }");
    for value in [0i16, 10, 1, 11, 2, 12] {
        bytes.extend(value.to_be_bytes());
    }
    let mut whole = [0i16; 6];
    reader(&bytes).unwrap().read_all(bytemuck::cast_slice_mut(&mut whole)).unwrap();
    assert_eq!(whole, [0, 1, 2, 10, 11, 12]);
    assert!(reader(&bytes).unwrap().read_rows(&mut [0; 6]).is_err());
    bytes.pop();
    let error = reader(&bytes).unwrap().read_all(bytemuck::cast_slice_mut(&mut whole)).unwrap_err();
    assert!(matches!(error.problem(), Problem::Truncated { .. }));
}

#[test]
fn gives_the_rows_before_a_broken_end() {
    let mut bytes = with_text(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (5, 4), }");
    bytes.extend(0..10);
    let mut reader = reader(&bytes).unwrap();
    let mut out = [0; 16];
    assert_eq!(reader.read_rows(&mut out).unwrap(), 2);
    let error = reader.read_rows(&mut out).unwrap_err();
    assert!(matches!(error.problem(), Problem::Truncated { needed_bytes: 4, present_bytes: 2, .. }));
    assert_eq!(error.place(), Place::Offset(reader.header().data_offset + 8));
}

#[test]
fn strings() {
    assert_eq!(trim_zeros(b"ab\0c\0\0"), b"ab\0c");
    assert_eq!(trim_zeros(b"\0\0"), b"");
    let ucs4: Vec<u8> = "zé\u{1f600}\0".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    let mut out = [0; 16];
    let bytes = utf8_of_ucs4(&ucs4, &mut out).unwrap();
    assert_eq!(std::str::from_utf8(&out[..bytes]).unwrap(), "zé\u{1f600}");
    assert_eq!(utf8_of_ucs4(&0xd800u32.to_le_bytes(), &mut out), None);
    assert_eq!(utf8_of_ucs4(&ucs4, &mut out[..6]), None);
}

fn read_everything(bytes: &[u8]) {
    let Ok(mut reader) = reader(bytes) else { return };
    let mut out = [0; 64];
    while matches!(reader.read_rows(&mut out), Ok(1..)) && reader.row() < 1000 {}
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        random in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[{}(), :'LTrueFals0-9<>SUfidcrshapnoe_|]{0,120}",
        edit in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        read_everything(&random);
        read_everything(&with_text(1, &text));
        let mut valid = with_text(1, "{'descr': '<U4', 'fortran_order': False, 'shape': (3, 2), }");
        valid.extend([7; 96]);
        let at = edit.index(valid.len());
        read_everything(&valid[..at]);
        valid[at] = byte;
        read_everything(&valid);
    }
}
