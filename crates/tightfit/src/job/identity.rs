//! What a job is: everything that its results follow from, so that it is gone on with as the same job or not at all.
//!
//! Memory and threads are not among it: results depend on them by no more than the rounding of convolutions, which have faster
//! ways where there is memory for their scratch.

use std::fmt::Display;

use tightfit_data::storage::Location;
use tightfit_data::{Dataset, FileStamp};
use tightfit_format::location::Shown;
use tightfit_kernels::Isa;

use super::{BatchSize, JobOptions};
use crate::error::{Error, OtherJob};
use crate::model::Model;
use crate::sink::SinkOptions;
use crate::tensor::Tensor;

/// Data files that are named one by one, so that an error can say which has changed. All of them, these too, are in
/// the digest.
const NAMED_FILES: usize = 16;

/// How the names of what is no option begin.
const NO_OPTIONS: [&str; 5] = ["tightfit", "processor", "model", "method of resizing", "data"];

/// Names of what makes up a job, with their values.
#[derive(Debug, Default)]
pub struct Identity(Vec<(String, String)>);

impl Identity {
    /// What the job of `model`, `options` and `sink` over `dataset` is.
    ///
    /// # Errors
    /// [`Error::Dataset`] for a file that is gone.
    pub fn new(
        model: &Model,
        options: &JobOptions,
        sink: &SinkOptions,
        shard_rows: Option<u64>,
        dataset: &Dataset,
    ) -> Result<Identity, Error> {
        let mut job = Identity::default();
        job.put("tightfit", env!("CARGO_PKG_VERSION"));
        job.put("processor", format!("{:?}", Isa::detect()));
        let stamp = display(FileStamp::of(model.path())?);
        job.put("model", format!("{} {stamp}", model.path().display()));
        let outputs = model.graph().outputs.iter().map(|port| port.name.as_str());
        job.put("fetch", outputs.collect::<Vec<_>>().join(" "));
        for (name, tensor) in &options.fixed {
            let digest = tensor_digest(tensor);
            job.put(format!("input {name}"), format!("{}{} {digest}", tensor.dtype(), tensor.shape()));
        }
        job.put_options(options, shard_rows);
        job.put_optional("top", sink.top);
        job.put_optional("labels", sink.labels.as_ref().map(|labels| digest(labels.names())));
        job.put_data(dataset)?;
        Ok(job)
    }

    fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn put_optional(&mut self, name: &str, value: Option<impl Display>) {
        self.put(name, value.map_or("left out".to_string(), |value| value.to_string()));
    }

    fn put_options(&mut self, options: &JobOptions, shard_rows: Option<u64>) {
        let data = &options.data;
        match options.batch {
            BatchSize::Fixed(batch) => self.put("batch", batch.to_string()),
            BatchSize::Auto => self.put("batch", "auto"),
        }
        self.put_optional("shard-rows", shard_rows);
        let mut shapes: Vec<_> = options.shapes.iter().map(|(name, s)| format!("{name}={s}")).collect();
        shapes.sort();
        self.put("shape", shapes.join(" "));
        let features: Vec<_> = data.features.iter().map(|(input, name)| format!("{input}={name}")).collect();
        self.put("feature", features.join(" "));
        self.put_optional("label", data.label.as_ref());
        self.put_optional("resize", data.resize.map(|[height, width]| format!("{height}x{width}")));
        self.put_optional("method of resizing", data.method.map(|method| format!("{method:?}")));
        self.put("preprocess", data.preprocess.name());
        self.put("skip-bad", data.skip_bad.to_string());
        self.put_optional("record-memory", data.record_bytes);
        self.put_optional("decode-memory", data.decode_bytes);
        self.put_optional("string-memory", data.string_bytes);
    }

    fn put_data(&mut self, dataset: &Dataset) -> Result<(), Error> {
        if let Some(key) = dataset.pipeline_key() {
            let mut all = Digest::default();
            all.add(key.as_bytes());
            self.put("data", format!("a pipeline, digest {}", all.text()));
            return Ok(());
        }
        let files = &dataset.list().files;
        let mut all = Digest::default();
        for (number, file) in files.iter().enumerate() {
            let stamp = FileStamp::of(file.on_disk())?;
            // A URL that was signed anew is of the same file.
            match Location::of(&file.path).is_url() {
                true => all.add(Shown(&file.path).to_string().as_bytes()),
                false => all.add(file.path.as_os_str().as_encoded_bytes()),
            }
            all.add(&stamp.bytes.to_le_bytes());
            all.add(&stamp.modified_ns.to_le_bytes());
            if number < NAMED_FILES {
                let value = format!("{} {}", Shown(&file.path), display(stamp));
                self.put(format!("data file {number}"), value);
            }
        }
        self.put("data", format!("{} files, digest {}", files.len(), all.text()));
        Ok(())
    }

    /// Names with their values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What has changed since names had the values that `before` gives. Of several changes it is the first: those
    /// after it are its consequences more often than not.
    pub fn change(&self, before: &dyn Fn(&str) -> Option<String>) -> Option<OtherJob> {
        let mut changes = self.entries().filter_map(|(name, now)| {
            // A journal of an earlier version lacks what came to be of account later.
            let then = before(name).unwrap_or_default();
            (then != now).then(|| OtherJob {
                path: Default::default(),
                name: name.to_string(),
                is_option: !NO_OPTIONS.iter().any(|other| name.starts_with(other)),
                then,
                now: now.to_string(),
                results: String::new(),
            })
        });
        changes.next()
    }
}

fn display(stamp: FileStamp) -> String {
    let (seconds, rest) = (stamp.modified_ns / 1_000_000_000, stamp.modified_ns % 1_000_000_000);
    format!("of {} bytes, written at {seconds}.{rest:09}", stamp.bytes)
}

fn tensor_digest(tensor: &Tensor) -> String {
    match tensor {
        Tensor::Dense { bytes, .. } => digest([&bytes[..]]),
        Tensor::Strings { texts, .. } => digest(texts),
    }
}

fn digest(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut digest = Digest::default();
    parts.into_iter().for_each(|part| digest.add(part.as_ref()));
    digest.text()
}

/// FNV-1a of 64 bits over parts, each with its length. It finds changes, and is no protection from anyone.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_parts_apart() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_ne!(digest([""]), digest(Vec::<&str>::new()));
    }
}
