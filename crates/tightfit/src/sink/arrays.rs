//! NumPy files: .npz with an array for each output, .npy with the only one.
//!
//! Rows of several batches make one array. A tensor that is not by rows can only be written of a single batch. numpy
//! has no bfloat16, so those are widened to float32, which holds the same values.

use std::io;
use std::path::Path;

use tightfit_core::{DType, Shape, TensorView};
use tightfit_format::npz::NpzWriter;
use tightfit_format::spool::{ArraySpool, Rows as Spooled};

use super::elements::string;
use super::file::Output;
use super::{Rows, Sink, row_shape};
use crate::error::Error;
use crate::run::Outputs;

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An archive of arrays.
    Npz,
    /// One array.
    Npy,
}

/// Arrays that grow until they are written out at the end.
pub struct Arrays {
    output: Output,
    store: Store,
    /// An array that is no array of rows, if there is one.
    not_by_rows: Option<String>,
    batches: u64,
}

enum Store {
    Npz(NpzWriter),
    Npy(Option<ArraySpool>),
}

impl Store {
    fn add(
        &mut self,
        folder: &Path,
        name: &str,
        dtype: DType,
        rows: Spooled,
        shape: Shape,
    ) -> io::Result<()> {
        match self {
            Store::Npz(npz) => npz.add(name, dtype, rows, shape).map(|_| ()),
            Store::Npy(spool) => ArraySpool::create(folder, dtype, rows, shape).map(|s| *spool = Some(s)),
        }
    }

    fn array(&mut self, index: usize) -> Option<&mut ArraySpool> {
        match self {
            Store::Npz(npz) => npz.array(index),
            Store::Npy(spool) => spool.as_mut().filter(|_| index == 0),
        }
    }
}

impl Arrays {
    /// No arrays yet.
    pub fn new(output: Output, kind: Kind) -> Arrays {
        let store = match kind {
            Kind::Npz => Store::Npz(NpzWriter::new(output.folder())),
            Kind::Npy => Store::Npy(None),
        };
        Arrays { output, store, not_by_rows: None, batches: 0 }
    }

    fn start(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        if matches!(self.store, Store::Npy(_)) && rows.outputs.len() != 1 {
            let why =
                format!("a .npy holds one tensor, and there are {}: use .npz or --fetch", rows.outputs.len());
            return Err(Error::Usage(why));
        }
        for named in rows.named() {
            let (name, tensor) = named?;
            let by_rows = if rows.is_whole { None } else { row_shape(name, &tensor, rows.rows).ok() };
            if by_rows.is_none() && !rows.is_whole {
                self.not_by_rows = Some(name.to_string());
            }
            let kept = if by_rows.is_some() { Spooled::Counted } else { Spooled::None };
            let shape = by_rows.unwrap_or(*tensor.shape());
            let added = self.store.add(self.output.folder(), name, written(tensor.dtype()), kept, shape);
            added.map_err(|error| self.output.error(error))?;
        }
        Ok(())
    }
}

impl Sink for Arrays {
    fn write(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        if self.batches == 0 {
            self.start(rows)?;
        } else if let Some(name) = &self.not_by_rows {
            let why =
                format!("'{name}' has no row for each input row, so only one batch of it can be written");
            return Err(Error::Usage(why));
        }
        self.batches += 1;
        for (index, named) in rows.named().enumerate() {
            let (name, tensor) = named?;
            if !rows.is_whole && self.not_by_rows.is_none() {
                row_shape(name, &tensor, rows.rows)?;
            }
            let Some(spool) = self.store.array(index) else { continue };
            push(spool, &rows.outputs, &tensor).map_err(|error| self.output.error(error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        let Arrays { mut output, store, .. } = *self;
        let written = match store {
            Store::Npz(npz) => npz.finish(&mut output).map(|_| ()),
            Store::Npy(spool) => spool.into_iter().try_for_each(|spool| spool.write_npy(&mut output)),
        };
        written.map_err(|error| output.error(error))?;
        output.commit()
    }
}

/// The type that elements have in the file.
fn written(dtype: DType) -> DType {
    if dtype == DType::BF16 { DType::F32 } else { dtype }
}

fn push(spool: &mut ArraySpool, outputs: &Outputs<'_>, tensor: &TensorView<'_>) -> io::Result<()> {
    let mut elements = tensor.bytes().chunks_exact(tensor.dtype().bytes());
    match tensor.dtype() {
        DType::String => elements.try_for_each(|e| spool.push_string(string(outputs, e))),
        // A bfloat16 is the upper half of a float32.
        DType::BF16 => elements.try_for_each(|e| spool.push(&[0, 0, e[0], e[1]])),
        _ => spool.push(tensor.bytes()),
    }
}
