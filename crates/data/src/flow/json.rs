//! Pipelines described in JSON:
//!
//! ```json
//! {"source": {"tfrecord": ["train-*.tfrecord"], "cycle": 4, "block": 16},
//!  "stages": [{"take": 1000}, {"batch": 32, "drop_remainder": true}, {"prefetch": 2}]}
//! ```
//!
//! Stages, with tf.data's meaning where it has the same:
//!
//! - `{"take": N}`, `{"skip": N}`, `{"shard": COUNT, "index": N}`, `{"repeat": N}` (null for no end), `{"prefetch": N}`
//! - `{"shuffle": "64MiB", "seed": N, "reshuffle": true}`
//! - `{"batch": N}`, `{"padded_batch": N, "padded_shapes": {"x": [null, 3]}, "padding_values": {"x": -1}}`,
//!   `{"ragged_batch": N, "fields": ["x"]}`, `{"window": N, "shift": N, "stride": N}`, `{"bucket_by_length": "x",
//!   "boundaries": [10, 20], "batch_sizes": [4, 2, 1], "pad_to_bucket_boundary": true}` with the options of padded_batch;
//!   all with `"drop_remainder": true`
//! - `{"unbatch": null}`, `{"skip_bad": N}` (null for any number)
//! - `{"cast": {"x": "float32"}, "truncate": true}`, `{"select": ["x"]}`, `{"drop": ["x"]}`, `{"rename": {"x": "y"}}`,
//!   `{"filter": "x", "equals": 3}` (or not_equals, less, greater, at_least, at_most, min_length, max_length),
//!   `{"normalise": "x", "mean": [..], "std": [..]}`, `{"one_hot": "x", "depth": N, "dtype": "float32", "on_value": 1,
//!   "off_value": 0}`, all with `"threads": N` and `"unordered": true`
//!
//! Sources of pipelines: `{"zip": [PIPELINE, ..], "prefixes": ["a/", ..]}` and `{"concatenate": [PIPELINE, ..]}`.
//!
//! A source and a stage are objects whose first key is their name and whose other keys are options. A list of stages
//! may also hold what the caller knows and this crate does not, such as models.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tightfit_core::DType;

use super::catalogue::{SOURCES, STAGES};
use super::schema::Kind;
use super::spec::{PipelineSpec, SourceSpec, StageSpec};
use crate::access::Access;
use crate::error::DataError;
use crate::meant::{self, did_you_mean};

/// The result of reading a description; the error says what is wrong with it.
pub type Read<T> = Result<T, String>;

pub(super) type ReadSource = fn(&mut Args<'_>) -> Read<Arc<dyn SourceSpec>>;
pub(super) type ReadStage = fn(&mut Args<'_>) -> Read<Arc<dyn StageSpec>>;

/// Reads a stage that this crate does not know, by its name; `None` when it is not known there either.
pub type ReadOther<'a> = &'a dyn Fn(&mut Args<'_>) -> Option<Read<Arc<dyn StageSpec>>>;

/// A source or a stage by its name.
pub(super) struct Entry<T> {
    pub name: &'static str,
    pub read: T,
    /// It with all its options, and what they are, as docs/pipelines.md has it.
    pub example: &'static str,
    pub about: &'static str,
}

/// What whoever reads a description says of it.
#[derive(Clone, Copy)]
struct Host<'a> {
    access: &'a Access,
    other: ReadOther<'a>,
    /// The files of the source, where they are given beside the description.
    files: Option<&'a [PathBuf]>,
}

/// One object of a description: the name, its value and the options. Each is to be asked for; one that was not is an
/// unknown option.
pub struct Args<'a> {
    name: &'a str,
    value: &'a Value,
    object: &'a Map<String, Value>,
    /// The options that were asked for, and as what.
    pub(super) asked: Vec<(&'static str, Kind)>,
    /// What the value after the name was taken for.
    pub(super) taken: Cell<Option<Kind>>,
    pub(super) may_be_null: Cell<bool>,
    /// Options that it may have beside another value of the name.
    pub(super) mentioned: Vec<(&'static str, Kind)>,
    host: Host<'a>,
}

impl<'a> Args<'a> {
    fn new(value: &'a Value, what: &str, host: Host<'a>) -> Read<Args<'a>> {
        let object = value.as_object().ok_or_else(|| format!("a {what} is an object, not {value}"))?;
        let (name, value) = object.iter().next().ok_or_else(|| format!("a {what} without a name"))?;
        Ok(Args {
            name,
            value,
            object,
            asked: Vec::new(),
            taken: Cell::new(None),
            may_be_null: Cell::new(false),
            mentioned: Vec::new(),
            host,
        })
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value after the name.
    pub fn value(&self) -> &'a Value {
        self.may_be_null.set(true);
        self.value
    }

    /// An option.
    pub fn option(&mut self, key: &'static str) -> Option<&'a Value> {
        self.option_of(key, Kind::Any)
    }

    fn option_of(&mut self, key: &'static str, kind: Kind) -> Option<&'a Value> {
        self.asked.push((key, kind));
        self.object.get(key)
    }

    /// Tells the schema of an option that there is only beside another value of the name.
    pub(crate) fn mention(&mut self, key: &'static str) {
        self.mentioned.push((key, Kind::Any));
    }

    /// Takes the value after the name for a `kind`.
    fn take(&self, kind: Kind) -> &'a Value {
        self.taken.set(Some(kind));
        self.value
    }

    /// What is wrong with the value of `key`.
    pub fn wrong(&self, key: &str, needed: &str) -> String {
        match self.object.get(key) {
            Some(found) => format!("{}: {key} is to be {needed}, not {found}", self.name),
            None => format!("{}: {key} is to be {needed}, and is missing", self.name),
        }
    }

    /// The value after the name, a whole number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self) -> Read<u64> {
        self.take(Kind::Whole).as_u64().ok_or_else(|| self.wrong(self.name, "a whole number"))
    }

    /// The value after the name, text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self) -> Read<&'a str> {
        self.take(Kind::Text).as_str().ok_or_else(|| self.wrong(self.name, "text"))
    }

    /// The value after the name, a path or a list of them.
    ///
    /// # Errors
    /// When it is none, or one that the pipeline may not open.
    pub fn paths(&self) -> Read<Vec<PathBuf>> {
        if let Some(files) = self.host.files {
            return files.iter().map(|path| self.allowed(path.clone())).collect();
        }
        let paths = texts(self.take(Kind::Texts))
            .ok_or_else(|| self.wrong(self.name, "a path or a list of paths"))?;
        paths.into_iter().map(|path| self.allowed(path.into())).collect()
    }

    /// The value after the name, a path.
    ///
    /// # Errors
    /// When it is none, or one that the pipeline may not open.
    pub fn path(&self) -> Read<PathBuf> {
        self.allowed(self.text()?.into())
    }

    /// An option that is a path.
    ///
    /// # Errors
    /// When it is there and none, or one that the pipeline may not open.
    pub fn path_option(&mut self, key: &'static str) -> Read<Option<PathBuf>> {
        self.text_option(key)?.map(|path| self.allowed(path.into())).transpose()
    }

    fn allowed(&self, path: PathBuf) -> Read<PathBuf> {
        self.host.access.check(&path)?;
        Ok(path)
    }

    /// An option that is a whole number.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn number_option(&mut self, key: &'static str) -> Read<Option<u64>> {
        let Some(value) = self.option_of(key, Kind::Whole) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "a whole number"))
    }

    /// An option that is bytes: a number, or text such as `64MiB`.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn bytes_option(&mut self, key: &'static str) -> Read<Option<u64>> {
        let Some(value) = self.option_of(key, Kind::Size) else { return Ok(None) };
        bytes(value).map(Some).ok_or_else(|| self.wrong(key, "a size, as 64MiB"))
    }

    /// The value after the name, bytes: a number, or text such as `64MiB`.
    ///
    /// # Errors
    /// When it is none.
    pub fn bytes(&self) -> Read<u64> {
        bytes(self.take(Kind::Size)).ok_or_else(|| self.wrong(self.name, "a size, as 64MiB"))
    }

    /// An option that is true or false; false when left out.
    ///
    /// # Errors
    /// When it is there and neither.
    pub fn flag(&mut self, key: &'static str) -> Read<bool> {
        let Some(value) = self.option_of(key, Kind::Flag) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))
    }

    /// An option that is text.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn text_option(&mut self, key: &'static str) -> Read<Option<&'a str>> {
        let Some(value) = self.option_of(key, Kind::Text) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "text"))
    }

    /// An option that is a list of whole numbers.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn numbers_option(&mut self, key: &'static str) -> Read<Option<Vec<u64>>> {
        let Some(value) = self.option_of(key, Kind::Wholes) else { return Ok(None) };
        let numbers = value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
        numbers.map(Some).ok_or_else(|| self.wrong(key, "a list of whole numbers"))
    }

    /// An option that is a list of numbers, or a single one.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn floats_option(&mut self, key: &'static str) -> Read<Option<Vec<f64>>> {
        let Some(value) = self.option_of(key, Kind::Floats) else { return Ok(None) };
        let numbers = match value {
            Value::Array(list) => list.iter().map(Value::as_f64).collect(),
            value => value.as_f64().map(|number| vec![number]),
        };
        numbers.map(Some).ok_or_else(|| self.wrong(key, "a list of numbers"))
    }

    /// An option that is an element type, as `float32`.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn dtype_option(&mut self, key: &'static str) -> Read<Option<DType>> {
        let Some(text) = self.text_option(key)? else { return Ok(None) };
        let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == text);
        dtype.map(Some).ok_or_else(|| self.wrong(key, "an element type, as float32"))
    }

    /// An option that is a list of texts, or a single one.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn texts_option(&mut self, key: &'static str) -> Read<Option<Vec<String>>> {
        let Some(value) = self.option_of(key, Kind::Texts) else { return Ok(None) };
        texts(value).map(Some).ok_or_else(|| self.wrong(key, "a list of texts"))
    }

    /// The value after the name, a list of texts, or a single one.
    ///
    /// # Errors
    /// When it is none.
    pub fn texts(&self) -> Read<Vec<String>> {
        texts(self.take(Kind::Texts)).ok_or_else(|| self.wrong(self.name, "a list of texts"))
    }

    /// An option that is an object.
    ///
    /// # Errors
    /// When it is there and none.
    pub fn object_option(&mut self, key: &'static str) -> Read<Option<&'a Map<String, Value>>> {
        let Some(value) = self.option_of(key, Kind::Object) else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| self.wrong(key, "an object"))
    }

    /// The value after the name, an object of texts.
    ///
    /// # Errors
    /// When it is none.
    pub fn text_pairs(&self) -> Read<Vec<(String, String)>> {
        let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_string()));
        let pairs =
            self.take(Kind::TextPairs).as_object().and_then(|object| object.iter().map(pair).collect());
        pairs.ok_or_else(|| self.wrong(self.name, "an object of texts"))
    }

    /// Pipelines inside this one.
    ///
    /// # Errors
    /// When the value after the name is no list of descriptions.
    pub fn pipelines(&self) -> Read<Vec<PipelineSpec>> {
        let list = self
            .take(Kind::Pipelines)
            .as_array()
            .ok_or_else(|| self.wrong(self.name, "a list of pipelines"))?;
        let read = |(number, value)| {
            read(value, self.host).map_err(|why| format!("{}: pipeline {number}: {why}", self.name))
        };
        list.iter().enumerate().map(read).collect()
    }

    pub(super) fn finish(&self) -> Read<()> {
        let is_asked = |key: &str| self.asked.iter().any(|(asked, _)| *asked == key);
        let Some(key) = self.object.keys().find(|key| *key != self.name && !is_asked(key)) else {
            return Ok(());
        };
        let options: Vec<_> = self.asked.iter().map(|(key, _)| *key).collect();
        let has = match options.as_slice() {
            [] => "it has none".to_string(),
            options => format!("it has {}", options.join(", ")),
        };
        Err(format!("{} has no option {key:?}; {has}{}", self.name, did_you_mean(key, &options)))
    }
}

/// An element type by TensorFlow's name, as `float32`.
pub(crate) fn read_dtype(value: &Value) -> Read<DType> {
    let dtype = DType::ALL.into_iter().find(|dtype| Some(dtype.name()) == value.as_str());
    dtype.ok_or_else(|| format!("{value} is not an element type such as \"float32\""))
}

fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => tightfit_core::parse_bytes(text).ok(),
        value => value.as_u64(),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_string)).collect(),
        _ => None,
    }
}

/// That there is no `what` of this name in `table`.
fn unknown<T>(what: &str, name: &str, table: &[Entry<T>]) -> String {
    meant::unknown(what, name, &table.iter().map(|entry| entry.name).collect::<Vec<_>>())
}

fn read_source(value: &Value, host: Host<'_>) -> Read<Arc<dyn SourceSpec>> {
    let mut args = Args::new(value, "source", host)?;
    let entry = SOURCES.iter().find(|entry| entry.name == args.name);
    let source = (entry.ok_or_else(|| unknown("source", args.name, SOURCES))?.read)(&mut args)?;
    args.finish()?;
    Ok(source)
}

fn read_stage(value: &Value, host: Host<'_>) -> Read<Arc<dyn StageSpec>> {
    let mut args = Args::new(value, "stage", host)?;
    let stage = match STAGES.iter().find(|entry| entry.name == args.name) {
        Some(entry) => (entry.read)(&mut args)?,
        None => (host.other)(&mut args).ok_or_else(|| unknown("stage", args.name, STAGES))??,
    };
    args.finish()?;
    Ok(stage)
}

fn read(value: &Value, host: Host<'_>) -> Read<PipelineSpec> {
    let object = value.as_object().ok_or("a pipeline is an object with a source and stages")?;
    const PARTS: [&str; 2] = ["source", "stages"];
    if let Some(key) = object.keys().find(|key| !PARTS.contains(&key.as_str())) {
        return Err(format!("a pipeline has a source and stages, not {key:?}{}", did_you_mean(key, &PARTS)));
    }
    let source = object.get("source").ok_or("the pipeline has no source")?;
    let source = read_source(source, host).map_err(|why| format!("source: {why}"))?;
    let stages = match object.get("stages") {
        None => Vec::new(),
        Some(stages) => {
            let stages = stages.as_array().ok_or("stages are to be a list")?;
            // Numbered as elements and records are, from 0.
            let read =
                |(number, stage)| read_stage(stage, host).map_err(|why| format!("stage {number}: {why}"));
            stages.iter().enumerate().map(read).collect::<Read<_>>()?
        }
    };
    Ok(PipelineSpec { source, stages, access: host.access.clone() })
}

impl PipelineSpec {
    /// Reads a description in JSON, which may open what `access` allows; `other` reads stages that are not known here.
    ///
    /// # Errors
    /// [`DataError::Spec`] that says what is wrong with it, or what it may not open.
    pub fn from_json(text: &str, access: &Access, other: ReadOther<'_>) -> Result<PipelineSpec, DataError> {
        let value = serde_json::from_str(text).map_err(|e| DataError::Spec(format!("not JSON: {e}")))?;
        read(&value, Host { access, other, files: None }).map_err(DataError::Spec)
    }

    /// A pipeline without stages: the source called `source`, without options, over files, folders and patterns of any
    /// names, as far as `access` allows them.
    ///
    /// # Errors
    /// [`DataError::Spec`] when there is no such source, or it may not open one of them.
    pub fn of_files(source: &str, files: &[PathBuf], access: &Access) -> Result<PipelineSpec, DataError> {
        let value = json!({source: []});
        let host = Host { access, other: &|_| None, files: Some(files) };
        let source = read_source(&value, host).map_err(DataError::Spec)?;
        Ok(PipelineSpec { source, stages: Vec::new(), access: access.clone() })
    }
}

/// Reads `example`, of which nothing is opened, with `reader`, and hands the arguments to `look`.
pub(super) fn look_at<T>(
    example: &str,
    reader: impl FnOnce(&mut Args<'_>) -> Read<T>,
    look: impl FnOnce(&Args<'_>),
) -> Read<()> {
    let value: Value = serde_json::from_str(example).map_err(|error| error.to_string())?;
    let access = Access::everything();
    let mut args = Args::new(&value, "example", Host { access: &access, other: &|_| None, files: None })?;
    reader(&mut args)?;
    look(&args);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use super::*;
    use crate::image::OPS;

    /// A host that allows everything and knows no more stages.
    fn host() -> Host<'static> {
        static ACCESS: LazyLock<Access> = LazyLock::new(Access::everything);
        Host { access: &ACCESS, other: &|_| None, files: None }
    }

    /// The cells of the tables of the document that begin with a name, row by row.
    fn rows(part: &str) -> Vec<Vec<&str>> {
        const DOCUMENT: &str = include_str!("../../../../docs/pipelines.md");
        let part = DOCUMENT.split("\n## ").find(|text| text.starts_with(part)).unwrap();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.trim_end_matches(" |").split(" | ").map(|cell| cell.trim_matches('`')).collect())
            .collect()
    }

    /// That the first of `rows` are `table`, that all in their examples is known, and that they have every option.
    fn check<T>(rows: &[Vec<&str>], table: &[Entry<T>], read: impl Fn(&T, &mut Args<'_>) -> Read<()>) {
        for Entry { name, read: reads, example, about } in table {
            let row = rows.iter().find(|row| row[0] == *name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(
                row[1..],
                [*example, about.trim_matches('`')],
                "the row of {name} in docs/pipelines.md"
            );
            let example: Value = serde_json::from_str(row[1]).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut args = Args::new(&example, "row", host()).unwrap();
            assert_eq!(args.name, *name);
            if cfg!(not(feature = "arrow")) && ["arrow", "parquet"].contains(name) {
                continue;
            }
            read(reads, &mut args).and_then(|()| args.finish()).unwrap();
            // These two are those of all operations on single elements, and the arguments of images have a table.
            let is_common = |key: &str| ["threads", "unordered"].contains(&key);
            for (key, _) in args.asked.iter().filter(|(key, _)| !is_common(key)) {
                assert!(args.object.contains_key(*key), "{name}: the option {key} is missing");
            }
        }
    }

    #[test]
    fn the_document_has_every_source_stage_and_option() {
        let (sources, stages) = (rows("Sources"), rows("Stages"));
        check(&sources, SOURCES, |read, args| read(args).map(drop));
        check(&stages, STAGES, |read, args| read(args).map(drop));
        // The tables hold nothing else, but the stage of whoever runs models.
        let names = |rows: &[Vec<&str>]| rows.iter().map(|row| row[0].to_string()).collect::<BTreeSet<_>>();
        let known: BTreeSet<_> = SOURCES.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(names(&sources), known);
        let is_stage = |name: &&str| STAGES.iter().any(|entry| entry.name == *name) || *name == "model";
        let is_op = |row: &Vec<&str>| {
            let arguments = row.get(1).map_or("", |cell| cell.trim_matches(['|', ' ']));
            let arguments: Vec<_> = arguments.split("` `").filter(|name| !name.is_empty()).collect();
            OPS.iter().any(|op| op.name == row[0] && op.arguments == arguments)
        };
        let is_feature = |row: &Vec<&str>| row[0].starts_with('{');
        for row in &stages {
            assert!(is_stage(&row[0]) || is_op(row) || is_feature(row), "{row:?} is nothing");
        }
        for op in OPS {
            assert!(stages.iter().any(|row| row[0] == op.name && is_op(row)), "{} is missing", op.name);
        }
    }

    /// Saved states and caches are of a pipeline by these: they change only together with the version of their format.
    #[test]
    fn identities_are_those_of_files_that_there_are() {
        use crate::flow::identity::canonical;

        const KNOWN: &str = include_str!("identities.txt");
        let mut found = String::new();
        for row in rows("Sources").iter().filter(|row| !["arrow", "parquet"].contains(&row[0])) {
            let source = read_source(&serde_json::from_str(row[1]).unwrap(), host()).unwrap();
            found += &format!("{} {}\n", row[0], canonical(&source.identity()));
        }
        for row in
            rows("Stages").iter().filter(|row| row.len() == 3 && row[1].starts_with('{') && row[0] != "model")
        {
            let stage = read_stage(&serde_json::from_str(row[1]).unwrap(), host()).unwrap();
            found += &format!("{} {}\n", row[0], canonical(&stage.identity()));
        }
        assert_eq!(found, KNOWN);
    }

    #[test]
    fn the_document_describes_features_that_are_read() {
        for row in rows("Stages").iter().filter(|row| row[0].starts_with('{')) {
            let spec = format!(r#"{{"parse": {{"features": {{"x": {}}}}}}}"#, row[0]);
            let value = serde_json::from_str(&spec).unwrap();
            read_stage(&value, host()).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        }
    }
}
