//! Telling kinds of model files apart by their content.

mod common;

use common::{TempFile, data, field, int};
use tightfit_format::{ModelFormat, detect, foreign};

#[test]
fn files() {
    let meta_info = field(1, &[field(2, &field(1, &field(1, b"Add"))), field(5, b"1.4.0")].concat());
    let graph = field(2, &std::fs::read(data("distributed_inference.pb")).unwrap());
    // As `tf.io.TFRecordWriter` writes it.
    let record = b"\x05\x00\x00\x00\x00\x00\x00\x00\xea\xb2\x04>hello\xbb\x1f\x1c\x19".to_vec();
    for (content, expected) in [
        (std::fs::read(data("goog_tf_rnn.pb")).unwrap(), ModelFormat::GraphDef),
        (std::fs::read(data("every_kind.pb")).unwrap(), ModelFormat::GraphDef),
        (std::fs::read(data("every_kind.pbtxt")).unwrap(), ModelFormat::GraphDefText),
        (b"# made by hand\n\n  versions { producer: 1 }".to_vec(), ModelFormat::GraphDefText),
        (
            [field(4, &int(1, 22)), field(1, &[field(1, b"n"), field(2, b"Op")].concat())].concat(),
            ModelFormat::GraphDef,
        ),
        ([meta_info.clone(), graph.clone()].concat(), ModelFormat::MetaGraph),
        ([int(1, 1), field(2, &[meta_info, graph].concat())].concat(), ModelFormat::SavedModelFile),
        (b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00".to_vec(), ModelFormat::TfLite),
        (record, ModelFormat::TfRecord),
        ([&[1u8; 40][..], &0xdb47_7524_8b80_fb57u64.to_le_bytes()].concat(), ModelFormat::Checkpoint),
        (b"".to_vec(), ModelFormat::Foreign(&foreign::EMPTY)),
        (b"\xff\xd8\xff\xe0 a picture".to_vec(), ModelFormat::Foreign(&foreign::IMAGE)),
        (b"Some text of no kind: yes".to_vec(), ModelFormat::Foreign(&foreign::TEXT)),
        (b"\x07\x01noise\xff".to_vec(), ModelFormat::Unknown),
    ] {
        let file = TempFile::new(&content);
        assert_eq!(detect(&file.0).unwrap(), expected);
    }
    let zip = TempFile::new(b"PK\x03\x04....");
    assert!(detect(&zip.0).unwrap().to_string().contains("zip"));
    let onnx = TempFile::new(&[int(1, 8), field(2, b"pytorch")].concat());
    assert!(detect(&onnx.0).unwrap().to_string().contains("ONNX"));
}

#[test]
fn folders_and_prefixes() {
    let index = TempFile::new(b"");
    let prefix = index.0.with_file_name(format!("{}.ckpt", index.0.file_name().unwrap().display()));
    let mut name = prefix.clone().into_os_string();
    name.push(".index");
    let named = TempFile(name.into());
    std::fs::write(&named.0, b"").unwrap();
    assert_eq!(detect(&prefix).unwrap(), ModelFormat::Checkpoint);
    let folder = index.0.with_extension("folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(detect(&folder).unwrap(), ModelFormat::Foreign(&foreign::EMPTY_FOLDER));
    std::fs::write(folder.join("saved_model.pb"), b"").unwrap();
    assert_eq!(detect(&folder).unwrap(), ModelFormat::SavedModelDir);
    std::fs::remove_dir_all(&folder).unwrap();
    let error = detect(&folder).unwrap_err().to_string();
    assert!(error.contains("folder") && error.contains("No such file"), "{error}");
}
