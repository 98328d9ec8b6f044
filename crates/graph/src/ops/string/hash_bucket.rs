//! Hashes of strings: StringToHashBucket (of any of its three hashes), and Fingerprint.
//!
//! Buckets are int64 of the input's shape: the hash modulo `num_buckets`. Fast is FarmHash's Fingerprint64, Strong SipHash under
//! `key`, and the first one TensorFlow's `Hash64`. Fingerprint: of each row of its input, of any type, or of the string
//! where that is one, 8 bytes, `uint8[rows, 8]`; its method is farmhash64.

use tightfit_core::{DType, StringRef};
use tightfit_kernels::{fingerprint64, hash64, sip_hash};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::string::text::of_each_string;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "StringToHashBucket", import: |a| import(a, Hash::Legacy) },
    Registration { name: "StringToHashBucketFast", import: |a| import(a, Hash::Fast) },
    Registration { name: "StringToHashBucketStrong", import: import_strong },
    Registration { name: "Fingerprint", import: |_| Ok(Box::new(Fingerprint)) },
];

/// The hash that a bucket is chosen by.
#[derive(Debug, Clone, Copy)]
enum Hash {
    Legacy,
    Fast,
    Strong([u64; 2]),
}

fn import(attributes: &Attributes<'_>, hash: Hash) -> Result<Box<dyn Operator>, OpError> {
    let buckets = attributes.int("num_buckets")?;
    match u64::try_from(buckets) {
        Ok(buckets @ 1..) => Ok(Box::new(ToBucket { hash, buckets })),
        _ => Err(OpError::attribute("num_buckets", format!("is {buckets}; at least 1 is needed"))),
    }
}

fn import_strong(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.ints("key")?[..] {
        [a, b] => import(attributes, Hash::Strong([a as u64, b as u64])),
        _ => Err(OpError::attribute("key", "does not have 2 elements")),
    }
}

/// A bucket for each string.
#[derive(Debug)]
struct ToBucket {
    hash: Hash,
    buckets: u64,
}

impl Operator for ToBucket {
    fn name(&self) -> &'static str {
        match self.hash {
            Hash::Legacy => "StringToHashBucket",
            Hash::Fast => "StringToHashBucketFast",
            Hash::Strong(_) => "StringToHashBucketStrong",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::I64)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        for (to, text) in run.out::<i64>(0)?.iter_mut().zip(texts) {
            let text = run.string(*text);
            let hash = match self.hash {
                Hash::Legacy => hash64(text),
                Hash::Fast => fingerprint64(text),
                Hash::Strong(key) => sip_hash(key, text),
            };
            *to = (hash % self.buckets) as i64;
        }
        Ok(())
    }
}

/// Fingerprint.
#[derive(Debug)]
struct Fingerprint;

impl Operator for Fingerprint {
    fn name(&self) -> &'static str {
        "Fingerprint"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (data, method) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, method, &[DType::String])?;
        let rows = match data.dims.get() {
            None => Dim::Unknown,
            Some([]) => return Err(OpError::input(0, "is a scalar; rows are needed")),
            Some(dims) => dims[0],
        };
        Ok(vec![Fact::new(DType::U8, Dims::new([rows, Dim::Known(8)]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // The fingerprints of the strings of a row.
        let is_text = call.inputs.first().is_some_and(|input| input.dtype == DType::String);
        let row = call.inputs.first().map_or(0, |input| input.shape.iter().skip(1).product::<usize>());
        Memory::scratch(if is_text { row * 8 } else { 0 })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rows = *run.shape(0).first()?;
        reshape::set(run, 0, [rows, 8])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let method = run.slice::<StringRef>(1)?.first().map_or(&b""[..], |method| run.string(*method));
        if method != b"farmhash64" {
            let why = format!("is '{}'; farmhash64 is what there is", String::from_utf8_lossy(method));
            return Err(OpError::input(1, why));
        }
        let data = run.input(0)?;
        let scratch = run.scratch()?;
        let rows = data.shape().first().copied().unwrap_or(0);
        let row_bytes = data.bytes().len().checked_div(rows).unwrap_or(0);
        let output = run.out_bytes(0)?;
        for (row, to) in output.chunks_exact_mut(8).enumerate() {
            let bytes = data.bytes().get(row * row_bytes..(row + 1) * row_bytes).unwrap_or_default();
            let hash = if data.dtype() == DType::String {
                let texts = bytes.chunks_exact(size_of::<StringRef>()).map(bytemuck::pod_read_unaligned);
                let mut last = 0;
                let mut hashes = scratch.chunks_exact_mut(8);
                for text in texts {
                    last = fingerprint64(run.string(text));
                    if let Some(to) = hashes.next() {
                        to.copy_from_slice(&last.to_le_bytes());
                    }
                }
                // Of a row of one string its own; of more the fingerprint of theirs.
                if row_bytes == size_of::<StringRef>() {
                    last
                } else {
                    fingerprint64(&scratch[..scratch.len().min(row_bytes / 2)])
                }
            } else {
                fingerprint64(bytes)
            };
            to.copy_from_slice(&hash.to_le_bytes());
        }
        Ok(())
    }
}
