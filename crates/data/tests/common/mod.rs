//! Files to test with.
#![allow(dead_code, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tightfit_core::{DType, Element, Shape, TensorView};
use tightfit_data::{Column, DataError, Dataset, DatasetSpec};
use tightfit_format::example::{Values, write_example};
use tightfit_format::npy::write_tensor;
use tightfit_format::tfrecord::RecordWriter;

/// A folder that goes when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tightfit-data-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn npy<T: Element>(&self, name: &str, dims: &[usize], values: &[T]) -> PathBuf {
        let mut bytes = Vec::new();
        let view = TensorView::from_slice(Shape::new(dims).unwrap(), values).unwrap();
        write_tensor(&mut bytes, &view).unwrap();
        self.write(name, &bytes)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn records(examples: &[Vec<(&str, Values<'_>)>]) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    for features in examples {
        let mut bytes = Vec::new();
        write_example(&mut bytes, features);
        writer.write(&bytes).unwrap();
    }
    writer.into_inner()
}

/// Records of `x`: two floats (i, -i), and `label`: i.
pub fn numbered(range: std::ops::Range<i64>) -> Vec<u8> {
    let values: Vec<[f32; 2]> = range.clone().map(|i| [i as f32, -i as f32]).collect();
    let labels: Vec<[i64; 1]> = range.map(|i| [i]).collect();
    let examples: Vec<_> = values
        .iter()
        .zip(&labels)
        .map(|(x, label)| vec![("label", Values::Int64(label)), ("x", Values::Float(x))])
        .collect();
    records(&examples)
}

pub fn column(input: &str, dtype: DType, dims: &[usize]) -> Column {
    Column { input: input.to_string(), feature: None, dtype, row_shape: Shape::new(dims).unwrap() }
}

pub fn spec(sources: &[PathBuf], columns: Vec<Column>) -> DatasetSpec {
    DatasetSpec::new(sources.to_vec(), columns)
}

/// All values of column 0, and all rows' sources.
pub fn read<T: Element>(
    dataset: &Dataset,
    batch: usize,
    threads: usize,
) -> Result<(Vec<T>, Vec<String>), DataError> {
    let budget = tightfit_core::MemoryBudget::new(u64::MAX);
    let mut batches = dataset.start(batch, threads, 3, &budget)?;
    let (mut values, mut sources) = (Vec::new(), Vec::new());
    while let Some(batch) = batches.next()? {
        values.extend_from_slice(batch.column(0).unwrap().as_slice::<T>().unwrap());
        sources.extend((0..batch.rows()).map(|row| batch.source(row).unwrap().to_string()));
    }
    Ok((values, sources))
}
