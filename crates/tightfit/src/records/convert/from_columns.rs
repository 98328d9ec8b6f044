//! Parquet and Arrow files to Examples: a feature a column, as the pipeline stage `serialize` makes them. A null is a
//! feature without values.

use std::sync::Arc;

use tightfit_data::flow::{ColumnFiles, ColumnKind, Map, MapMode, Pipeline, PipelineSpec, Serialize};
use tightfit_data::storage;

use super::{Job, finish};
use crate::error::Error;
use crate::records::output::RecordOutput;

/// What a Parquet file begins with.
const MAGIC: &[u8; 4] = b"PAR1";

/// Converts all files of `job`, which must have the same columns.
pub fn convert(job: &Job<'_>) -> Result<u64, Error> {
    let mut kind = None;
    for file in &job.list.files {
        let found = kind_of(job, &file.path)?;
        if *kind.get_or_insert(found) != found {
            return Err(Error::Usage("the files to convert are of several kinds".to_string()));
        }
    }
    let paths = job.list.files.iter().map(|file| file.path.to_path_buf()).collect();
    let files = ColumnFiles::new(kind.unwrap_or(ColumnKind::Parquet), paths);
    let files = ColumnFiles { nulls_are_empty: true, ..files };
    let spec = PipelineSpec::new(files).then(Map { op: Arc::new(Serialize::new()), mode: MapMode::Inline });
    let mut output = RecordOutput::create(job.output, job.budget)?;
    let mut rows = Pipeline::open(&spec, job.budget, 1)?;
    while rows.advance()? {
        job.check_stop()?;
        output.write(rows.current().string(0).map_err(|defect| Error::Defect(defect.0))?)?;
    }
    finish(output)
}

fn kind_of(job: &Job<'_>, path: &std::path::Path) -> Result<ColumnKind, Error> {
    let mut head = [0; 4];
    let read = storage::open(path, job.budget).and_then(|file| file.read_at(&mut head, 0));
    read.map_err(|error| Error::io(path, error))?;
    Ok(if head == *MAGIC { ColumnKind::Parquet } else { ColumnKind::Arrow })
}
