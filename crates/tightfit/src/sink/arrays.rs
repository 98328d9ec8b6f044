//! NumPy files: .npz with an array for each output, .npy with the only one.
//!
//! Rows of several batches make one array. A tensor that is not by rows can only be written of a single batch. numpy
//! has no bfloat16, so those are widened to float32, which holds the same values.
//!
//! The results of a single call are whole when they come, so they go straight into the file. Rows of many batches are
//! spooled, an array each, until there are all.

use std::io::{self, Read, Write};
use std::path::Path;

use tightfit_core::{DType, Shape, TensorView};
use tightfit_format::npy::{self, NpyType};
use tightfit_format::npz::NpzWriter;
use tightfit_format::spool::{ArraySpool, Rows as Spooled};
use tightfit_format::zip::{self, ZipWriter};

use super::elements::string;
use super::file::Output;
use super::{OutputRows, Sink, row_shape};
use crate::error::Error;
use crate::outputs::Outputs;

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
    kind: Kind,
    store: Store,
    /// An array that is no array of rows, if there is one.
    not_by_rows: Option<String>,
    batches: u64,
}

enum Store {
    Npz(NpzWriter),
    Npy(Option<ArraySpool>),
    /// All is in the file.
    Written,
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
            Store::Written => Ok(()),
        }
    }

    fn array(&mut self, index: usize) -> Option<&mut ArraySpool> {
        match self {
            Store::Npz(npz) => npz.array(index),
            Store::Npy(spool) => spool.as_mut().filter(|_| index == 0),
            Store::Written => None,
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
        Arrays { output, kind, store, not_by_rows: None, batches: 0 }
    }

    fn check_count(&self, rows: &OutputRows<'_>) -> Result<(), Error> {
        match (self.kind, rows.outputs.len()) {
            (Kind::Npz, _) | (Kind::Npy, 1) => Ok(()),
            (Kind::Npy, count) => {
                let why =
                    format!("a .npy holds one tensor, and there are {count}: use .npz, or fetch one of them");
                Err(Error::Usage(why))
            }
        }
    }

    fn start(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        self.check_count(rows)?;
        for named in rows.named() {
            let (name, tensor) = named?;
            let by_rows = row_shape(name, &tensor, rows.rows).ok();
            if by_rows.is_none() {
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
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        if rows.is_whole {
            self.check_count(rows)?;
            self.store = Store::Written;
            return write_whole(&mut self.output, self.kind, rows);
        }
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
            if self.not_by_rows.is_none() {
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
            Store::Written => Ok(()),
        };
        written.map_err(|error| output.error(error))?;
        output.commit()
    }
}

/// The type that elements have in the file.
fn written(dtype: DType) -> DType {
    if dtype == DType::BF16 { DType::F32 } else { dtype }
}

/// What the entry of an array takes in the directory of an archive, which is held until the end.
pub fn entry_bytes(name: &str) -> u64 {
    (zip::entry_bytes(name) + ENDING.len()) as u64
}

const ENDING: &str = ".npy";

/// Writes tensors that are all there.
fn write_whole(output: &mut Output, kind: Kind, rows: &OutputRows<'_>) -> Result<(), Error> {
    let outputs = &rows.outputs;
    if kind == Kind::Npy {
        let Some(named) = rows.named().next() else { return Ok(()) };
        let array = Whole::new(outputs, named?.1);
        return array.write(output).map_err(|error| output.error(error));
    }
    let names = (0..outputs.len()).filter_map(|index| outputs.name(index));
    let directory_bytes: u64 = names.map(entry_bytes).sum();
    let path = output.path().to_path_buf();
    let at = |error| Error::io(&path, error);
    let mut zip = ZipWriter::with_directory(&mut *output, directory_bytes as usize);
    for named in rows.named() {
        let (name, tensor) = named?;
        let array = Whole::new(outputs, tensor);
        zip.entry(&format!("{name}{ENDING}"), array.bytes(), |content| array.write(content)).map_err(at)?;
    }
    zip.finish().map_err(at)?;
    Ok(())
}

/// A tensor as a .npy file.
struct Whole<'a> {
    outputs: &'a Outputs<'a>,
    tensor: TensorView<'a>,
    element: NpyType,
}

impl<'a> Whole<'a> {
    fn new(outputs: &'a Outputs<'a>, tensor: TensorView<'a>) -> Whole<'a> {
        let element = match written(tensor.dtype()) {
            DType::String => {
                let elements = tensor.bytes().chunks_exact(DType::String.bytes());
                // numpy reads |S0 as |S1, so an array of empty strings is written as the latter.
                NpyType::Bytes(elements.map(|e| string(outputs, e).len()).fold(1, usize::max))
            }
            dtype => NpyType::Plain(dtype),
        };
        Whole { outputs, tensor, element }
    }

    fn header(&self) -> Vec<u8> {
        let dims: Vec<u64> = self.tensor.shape().iter().map(|d| *d as u64).collect();
        npy::header_of(self.element, &dims)
    }

    fn bytes(&self) -> u64 {
        let elements = self.tensor.shape().elements() as u64;
        elements.saturating_mul(self.element.bytes() as u64).saturating_add(self.header().len() as u64)
    }

    fn write(&self, write: &mut impl Write) -> io::Result<()> {
        write.write_all(&self.header())?;
        let mut elements = self.tensor.bytes().chunks_exact(self.tensor.dtype().bytes());
        match self.tensor.dtype() {
            DType::String => elements.try_for_each(|element| {
                let text = string(self.outputs, element);
                write.write_all(text)?;
                let padding_bytes = self.element.bytes().saturating_sub(text.len()) as u64;
                io::copy(&mut io::repeat(0).take(padding_bytes), write).map(|_| ())
            }),
            // A bfloat16 is the upper half of a float32.
            DType::BF16 => elements.try_for_each(|e| write.write_all(&[0, 0, e[0], e[1]])),
            _ => write.write_all(self.tensor.bytes()),
        }
    }
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
