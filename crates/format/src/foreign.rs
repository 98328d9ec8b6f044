//! What people bring in place of a model, told by its content, and what makes a model of it.

use std::fmt;
use std::path::Path;

/// What stands for the file's path in [`Foreign::advice`].
const FILE: &str = "{file}";

/// A kind of file or folder that is not a model, or one of another framework.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub name: &'static str,
    /// What to do with it.
    advice: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Foreign {
    /// What makes a model of the file at `path`, as a command or a line of Python where there is one.
    pub fn advice(&self, path: &Path) -> String {
        self.advice.replace(FILE, &path.display().to_string())
    }
}

/// Exports a Keras model.
const EXPORT_KERAS: &str =
    "export it: python -c \"import keras; keras.models.load_model('{file}').export('saved_model')\"";

macro_rules! kinds {
    ($($kind:ident: $name:literal, $advice:expr;)*) => {
        $(
            #[doc = concat!("It is ", $name, ".")]
            pub const $kind: Foreign = Foreign { name: $name, advice: $advice };
        )*

        /// All of them.
        pub const ALL: &[&Foreign] = &[$(&$kind),*];
    };
}

kinds! {
    ARROW: "an Arrow file", "it is data: feed it to a model";
    CHECKPOINT_FOLDER: "a folder of checkpoints", "give the .meta file of one of them";
    EMPTY: "an empty file", "write the model again";
    EMPTY_FOLDER: "an empty folder", "write the model again";
    FOLDER: "a folder without a model", "give the model's file, or a folder with a saved_model.pb";
    GZIP: "a gzip file", "unpack it: gunzip -k {file}";
    HDF5: "a Keras model in HDF5", EXPORT_KERAS;
    IMAGE: "an image", "it is data: feed it to a model";
    JSON: "JSON", "give the model's file";
    KERAS: "a Keras model (.keras)", EXPORT_KERAS;
    KERAS_JSON: "the architecture of a Keras model as JSON, without weights",
        "export the model with its weights: python -c \"model.export('saved_model')\"";
    NPZ: "a numpy archive (.npz)", "it is data: feed its arrays to a model";
    NUMPY: "a numpy array (.npy)", "it is data: feed it to a model";
    ONNX: "an ONNX model",
        "make a SavedModel of it (pip install onnx2tf; onnx2tf -i {file} -o saved_model -osd) and give that";
    PARQUET: "a Parquet file", "it is data: feed it to a model";
    PICKLE: "a Python pickle", "export the model from the Python that made it";
    PIPELINE: "the description of a data pipeline", "it is data: feed it to a model";
    PYTORCH: "a PyTorch file",
        "export the model to ONNX with the Python that made it: python -c \"torch.onnx.export(model, inputs, 'model.onnx')\"";
    SAFETENSORS: "a file of safetensors, which has weights and no graph",
        "load it into the model that it belongs to, and export that: python -c \"model.export('saved_model')\"";
    TAR: "a tar archive", "unpack it: tar -xf {file}";
    TEXT: "a text file", "give the model's file";
    TF_JS: "a TensorFlow.js model",
        "make a SavedModel of it (pip install tensorflowjs; tensorflowjs_converter --input_format=tfjs_graph_model \
         --output_format=tf_saved_model {file} saved_model) and give that";
    TF_RECORD: "a TFRecord file", "it is data: feed it to a model";
    ZIP: "a zip archive", "unpack it: unzip {file}";
}

/// What a file begins with, and what it is then. The first that fits counts.
const BEGINNINGS: &[(&[u8], &Foreign)] = &[
    (b"\x89HDF\r\n\x1a\n", &HDF5),
    (b"\x1f\x8b", &GZIP),
    (b"\x93NUMPY", &NUMPY),
    (b"PAR1", &PARQUET),
    (b"ARROW1", &ARROW),
    (b"\xff\xd8\xff", &IMAGE),
    (b"\x89PNG\r\n", &IMAGE),
    (b"GIF8", &IMAGE),
    (b"\x80\x02", &PICKLE),
    (b"\x80\x03", &PICKLE),
    (b"\x80\x04", &PICKLE),
    (b"\x80\x05", &PICKLE),
];

/// What stands in the first entry's name of a zip archive, and what it is then.
const IN_ZIP: &[(&str, &Foreign)] = &[
    ("metadata.json", &KERAS),
    ("config.json", &KERAS),
    ("model.weights.h5", &KERAS),
    ("data.pkl", &PYTORCH),
    (".format_version", &PYTORCH),
    (".npy", &NPZ),
];

/// What stands near the beginning of JSON, and what it is then.
const IN_JSON: &[(&str, &Foreign)] = &[
    ("\"modelTopology\"", &TF_JS),
    ("\"graph-model\"", &TF_JS),
    ("\"layers-model\"", &TF_JS),
    ("\"class_name\"", &KERAS_JSON),
    ("\"source\"", &PIPELINE),
];

/// Where the name of the first entry of a zip archive is, and where its length.
const ZIP_NAME_AT: usize = 30;
const ZIP_NAME_BYTES_AT: usize = 26;

/// The largest header of safetensors, after their own limit.
const MAX_SAFETENSORS_HEADER_BYTES: u64 = 100_000_000;

/// What a file of `file_bytes` is that begins with `head`; `None` for what has to be looked at in another way.
pub fn by_head(head: &[u8], file_bytes: u64) -> Option<&'static Foreign> {
    if file_bytes == 0 {
        return Some(&EMPTY);
    }
    if let Some((_, kind)) = BEGINNINGS.iter().find(|(beginning, _)| head.starts_with(beginning)) {
        return Some(kind);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(in_zip(head));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(&TAR);
    }
    if let Some((length, rest)) = head.split_first_chunk::<8>() {
        let header_bytes = u64::from_le_bytes(*length);
        if rest.starts_with(b"{") && (2..=MAX_SAFETENSORS_HEADER_BYTES).contains(&header_bytes) {
            return Some(&SAFETENSORS);
        }
    }
    None
}

fn in_zip(head: &[u8]) -> &'static Foreign {
    let length = head.get(ZIP_NAME_BYTES_AT..ZIP_NAME_BYTES_AT + 2);
    let length = length.map_or(0, |bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let name = head.get(ZIP_NAME_AT..).unwrap_or_default();
    let name = String::from_utf8_lossy(name.get(..length).unwrap_or(name));
    IN_ZIP.iter().find(|(part, _)| name.contains(part)).map_or(&ZIP, |(_, kind)| kind)
}

/// What text is that begins with `head` and is not a graph; `None` where it is not text.
pub fn by_text(head: &[u8]) -> Option<&'static Foreign> {
    // The last character may be cut off.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    if !text.trim_start().starts_with(['{', '[']) {
        return Some(&TEXT);
    }
    Some(IN_JSON.iter().find(|(part, _)| text.contains(part)).map_or(&JSON, |(_, kind)| kind))
}

/// What a folder is that is not a SavedModel.
pub fn by_folder(path: &Path) -> &'static Foreign {
    let Ok(entries) = std::fs::read_dir(path) else { return &FOLDER };
    let mut is_empty = true;
    for entry in entries.flatten() {
        is_empty = false;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "checkpoint" || name.ends_with(".ckpt.index") {
            return &CHECKPOINT_FOLDER;
        }
        if name.ends_with(".safetensors") {
            return &SAFETENSORS;
        }
    }
    if is_empty { &EMPTY_FOLDER } else { &FOLDER }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip archive's beginning, with the name of its first entry.
    fn zip(name: &str) -> Vec<u8> {
        let mut head = b"PK\x03\x04".to_vec();
        head.resize(ZIP_NAME_AT, 0);
        head[ZIP_NAME_BYTES_AT] = name.len() as u8;
        head.extend(name.as_bytes());
        head.extend(b"config.json in the data");
        head
    }

    #[test]
    fn files_are_what_they_hold() {
        let safetensors = [&40u64.to_le_bytes()[..], b"{\"weight\": {}}"].concat();
        let cases: &[(&[u8], Option<&Foreign>)] = &[
            (b"", Some(&EMPTY)),
            (b"\x89HDF\r\n\x1a\nxyz", Some(&HDF5)),
            (&zip("metadata.json"), Some(&KERAS)),
            (&zip("archive/data.pkl"), Some(&PYTORCH)),
            (&zip("x.npy"), Some(&NPZ)),
            (&zip("photo.jpg"), Some(&ZIP)),
            (b"PK\x03\x04", Some(&ZIP)),
            (&safetensors, Some(&SAFETENSORS)),
            (b"\x80\x04\x95", Some(&PICKLE)),
            (b"\x0a\x05\x0a\x01n\x12\x02Op", None),
        ];
        for (head, kind) in cases {
            assert_eq!(by_head(head, head.len() as u64), *kind, "{head:?}");
        }
    }

    #[test]
    fn text_is_what_it_says() {
        let cases: &[(&[u8], Option<&Foreign>)] = &[
            (b"Dear all,\n", Some(&TEXT)),
            ("a\u{e9}".as_bytes().split_last().unwrap().1, Some(&TEXT)),
            (b" {\"source\": {\"range\": 3}}", Some(&PIPELINE)),
            (b"{\"format\": \"graph-model\", \"x\": 1}", Some(&TF_JS)),
            (b"{\"class_name\": \"Functional\"}", Some(&KERAS_JSON)),
            (b"[1, 2]", Some(&JSON)),
            (b"\x00\x01", None),
            (b"\xff\xfe text", None),
        ];
        for (head, kind) in cases {
            assert_eq!(by_text(head), *kind, "{head:?}");
        }
    }

    #[test]
    fn advice_names_the_file_and_takes_one_line() {
        for kind in ALL {
            let advice = kind.advice(Path::new("my/model.x"));
            assert!(!advice.contains("{") && !advice.contains('\n') && !advice.contains("  "), "{advice}");
            assert!(!kind.name.is_empty() && !advice.is_empty());
        }
        assert!(KERAS.advice(Path::new("my/model.x")).contains("load_model('my/model.x')"));
    }
}
