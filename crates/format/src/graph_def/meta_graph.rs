//! A graph with what belongs to it (meta_graph.proto): which inputs and outputs callers mean, how variables are restored,
//! which files come with it. A SavedModel is a list of them, a checkpoint's `.meta` is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Account, MemoryBudget, Quantization};

use super::decode::{Decoder, GraphParts};
use super::schema::{
    ANY, ASSET_FILE, COLLECTION, COLLECTION_ANYS, COLLECTION_NODES, COMPOSITE, COO_SPARSE, MAP_TO_MESSAGE,
    META_GRAPH, META_INFO, META_INFO_ONLY, SAVED_MODEL, SAVER, SIGNATURE, TENSOR_INFO, TENSOR_NAME,
};
use super::{GraphDef, PURPOSE, TensorShapeDef};
use crate::error::{FormatError, Place, Problem};
use crate::example::{Message, Wire};
use crate::limits;
use crate::proto::Input;
use crate::proto::text::TextReader;
use crate::proto::wire::WireReader;
use crate::source::{Cursor, SourceFile};

type Result<T> = std::result::Result<T, FormatError>;

/// A graph with its signatures.
#[derive(Debug)]
pub struct MetaGraphDef {
    /// The graph.
    pub graph: GraphDef,
    /// What it is.
    pub info: MetaInfo,
}

/// What a MetaGraph says of its graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetaInfo {
    /// What this graph is for, as in `serve` or `train`.
    pub tags: Vec<Box<str>>,
    /// The TensorFlow that has written it.
    pub tensorflow_version: Box<str>,
    /// The operator that restores the variables, and the tensor it takes the checkpoint's prefix from; empty without one.
    pub restore_op: Box<str>,
    /// The tensor that takes the checkpoint's prefix.
    pub filename_tensor: Box<str>,
    /// Signatures by their keys.
    pub signatures: Vec<(Box<str>, SignatureDef)>,
    /// Files beside the graph: the tensor that takes the file's path, and its name in the folder `assets`.
    pub assets: Vec<(Box<str>, Box<str>)>,
    /// The operator to run once before anything else, if there is one.
    pub init_op: Option<Box<str>>,
    /// The operators that fill the graph's tables, where they are listed one by one.
    pub table_initializers: Vec<Box<str>>,
}

/// What a caller feeds and fetches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignatureDef {
    /// Tensors to feed, by the names that callers use.
    pub inputs: Vec<(Box<str>, TensorInfo)>,
    /// Tensors to fetch, by the names that callers use.
    pub outputs: Vec<(Box<str>, TensorInfo)>,
    /// What it is for, as in `tensorflow/serving/predict`.
    pub method: Box<str>,
}

/// A tensor of a signature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorInfo {
    /// Its name in the graph; empty for what is several tensors, as a sparse one is.
    pub name: Box<str>,
    /// What a file that is no graph calls it.
    pub alias: Box<str>,
    /// The names of those.
    pub components: Vec<Box<str>>,
    /// A number of [`crate::DataType`].
    pub dtype: i32,
    /// Its shape, as far as it is known.
    pub shape: TensorShapeDef,
    /// What its integers stand for, in a TensorFlow Lite model.
    pub quantization: Option<Quantization>,
}

impl MetaInfo {
    /// The signature of this key.
    pub fn signature(&self, key: &str) -> Option<&SignatureDef> {
        self.signatures.iter().find(|(own, _)| &**own == key).map(|(_, signature)| signature)
    }
}

/// The file with the graphs of the SavedModel in `folder`, and whether it is a text.
pub fn saved_model_file(folder: &Path) -> Option<(PathBuf, bool)> {
    let files = [("saved_model.pb", false), ("saved_model.pbtxt", true)];
    files.iter().map(|(name, is_text)| (folder.join(name), *is_text)).find(|(path, _)| path.is_file())
}

/// The tags of each graph of a SavedModel's file, in its order.
///
/// # Errors
/// [`FormatError`] when it cannot be read or is none.
pub fn saved_model_tags(
    source: &Arc<SourceFile>,
    is_text: bool,
    budget: &MemoryBudget,
) -> Result<Vec<Vec<Box<str>>>> {
    fn tags<I: Input>(input: I, ledger: Account) -> Result<Vec<Vec<Box<str>>>> {
        let mut decoder = Decoder::new(input, ledger);
        let mut graphs = Vec::new();
        while let Some(field) = decoder.input.next(SAVED_MODEL)? {
            if field == 1 {
                decoder.input.skip()?;
                continue;
            }
            let mut info = MetaInfo::default();
            decoder.message(META_INFO_ONLY, |this, _| this.meta_info(&mut info))?;
            decoder.keep(&mut graphs, info.tags, limits::META_GRAPHS)?;
        }
        Ok(graphs)
    }
    let ledger = Account::new(budget, PURPOSE);
    let cursor = Cursor::new(source.clone(), budget)?;
    match is_text {
        true => tags(TextReader::new(cursor), ledger),
        false => tags(WireReader::new(cursor), ledger),
    }
}

impl MetaGraphDef {
    /// Reads graph number `index` of a SavedModel's file. Tensor values stay in the file, as in [`GraphDef::read`].
    ///
    /// # Errors
    /// [`FormatError`] as for [`GraphDef::read`], and for a file that has no such graph.
    pub fn read_saved_model(
        source: Arc<SourceFile>,
        is_text: bool,
        index: usize,
        budget: &MemoryBudget,
    ) -> Result<MetaGraphDef> {
        fn find<I: Input>(decoder: &mut Decoder<I>, index: usize) -> Result<Option<(GraphParts, MetaInfo)>> {
            let mut at = 0;
            let mut found = None;
            while let Some(field) = decoder.input.next(SAVED_MODEL)? {
                if field == 2 && at == index {
                    let scope = decoder.input.enter()?;
                    found = Some(decoder.meta_graph()?);
                    decoder.input.leave(scope);
                } else {
                    decoder.input.skip()?;
                }
                at += usize::from(field == 2);
            }
            Ok(found)
        }
        let missing = |source: &SourceFile| {
            let expected = format!("a SavedModel with a graph number {index}");
            FormatError::new(source.path(), Place::Whole, Problem::invalid(expected, "fewer graphs"))
        };
        MetaGraphDef::decode(source, is_text, budget, |d| find(d, index), |d| find(d, index), missing)
    }

    /// Reads a MetaGraphDef by itself, as a checkpoint's `.meta` is one.
    ///
    /// # Errors
    /// [`FormatError`] as for [`GraphDef::read`].
    pub fn read(source: Arc<SourceFile>, is_text: bool, budget: &MemoryBudget) -> Result<MetaGraphDef> {
        let missing = |source: &SourceFile| source.error_at(0, Problem::invalid("a MetaGraph", "nothing"));
        MetaGraphDef::decode(
            source,
            is_text,
            budget,
            |d| d.meta_graph().map(Some),
            |d| d.meta_graph().map(Some),
            missing,
        )
    }

    fn decode(
        source: Arc<SourceFile>,
        is_text: bool,
        budget: &MemoryBudget,
        text: impl FnOnce(&mut Decoder<TextReader>) -> Result<Option<(GraphParts, MetaInfo)>>,
        binary: impl FnOnce(&mut Decoder<WireReader>) -> Result<Option<(GraphParts, MetaInfo)>>,
        missing: impl FnOnce(&SourceFile) -> FormatError,
    ) -> Result<MetaGraphDef> {
        let ledger = Account::new(budget, PURPOSE);
        let cursor = Cursor::new(source.clone(), budget)?;
        let (found, ledger) = match is_text {
            true => {
                let mut decoder = Decoder::new(TextReader::new(cursor), ledger);
                (text(&mut decoder)?, decoder.into_ledger())
            }
            false => {
                let mut decoder = Decoder::new(WireReader::new(cursor), ledger);
                (binary(&mut decoder)?, decoder.into_ledger())
            }
        };
        let (parts, info) = found.ok_or_else(|| missing(&source))?;
        Ok(MetaGraphDef { graph: GraphDef::from_parts(source, parts, ledger)?, info })
    }
}

impl<I: Input> Decoder<I> {
    /// A `MetaGraphDef` without its enclosing message.
    fn meta_graph(&mut self) -> Result<(GraphParts, MetaInfo)> {
        let (mut graph, mut info) = (None, MetaInfo::default());
        while let Some(field) = self.input.next(META_GRAPH)? {
            match field {
                1 => self.meta_info(&mut info)?,
                2 => {
                    self.only_one(graph.is_some(), "graph of a MetaGraph")?;
                    let scope = self.input.enter()?;
                    graph = Some(self.graph()?);
                    self.input.leave(scope);
                }
                3 => self.message(SAVER, |this, field| {
                    let name = this.name()?;
                    match field {
                        1 => info.filename_tensor = name,
                        _ => info.restore_op = name,
                    }
                    Ok(())
                })?,
                4 => self.collection(&mut info)?,
                5 => {
                    let (key, signature) = self.entry(Self::signature_def)?;
                    self.set(&mut info.signatures, key, signature, limits::SIGNATURES)?;
                }
                _ => {
                    let (mut tensor, mut file) = (Box::default(), Box::default());
                    self.message(ASSET_FILE, |this, field| {
                        match field {
                            1 => {
                                this.message(TENSOR_NAME, |this, _| this.name().map(|name| tensor = name))?
                            }
                            _ => file = this.name()?,
                        }
                        Ok(())
                    })?;
                    self.keep(&mut info.assets, (tensor, file), limits::SIGNATURES)?;
                }
            }
        }
        self.take_init_signature(&mut info);
        Ok((graph.unwrap_or_default(), info))
    }

    /// TensorFlow 2 keeps the operator to begin with in a signature of its own.
    fn take_init_signature(&mut self, info: &mut MetaInfo) {
        const KEY: &str = "__saved_model_init_op";
        let own = info.signature(KEY).and_then(|s| s.outputs.first().map(|(_, tensor)| tensor.name.clone()));
        info.init_op = own.filter(|name| !name.is_empty()).or(info.init_op.take());
        info.signatures.retain(|(key, _)| &**key != KEY);
    }

    fn meta_info(&mut self, info: &mut MetaInfo) -> Result<()> {
        self.message(META_INFO, |this, field| {
            let text = this.name()?;
            match field {
                4 => this.keep(&mut info.tags, text, limits::SIGNATURES)?,
                _ => info.tensorflow_version = text,
            }
            Ok(())
        })
    }

    /// TensorFlow 1 keeps the operator to begin with in a collection, and the files that come with the graph.
    fn collection(&mut self, info: &mut MetaInfo) -> Result<()> {
        let mut key = Box::default();
        let mut names = Vec::new();
        let mut assets = Vec::new();
        self.message(MAP_TO_MESSAGE, |this, field| {
            if field == 1 {
                key = this.name()?;
                return Ok(());
            }
            this.message(COLLECTION, |this, field| match field {
                1 if is_initializer(&key) => this.message(COLLECTION_NODES, |this, _| {
                    let name = this.name()?;
                    this.keep(&mut names, name, limits::SIGNATURES)
                }),
                _ if &*key == "saved_model_assets" => this.message(COLLECTION_ANYS, |this, _| {
                    this.message(ANY, |this, _| {
                        let packed = this.bytes(limits::NAME_BYTES)?;
                        match asset_file(&packed) {
                            Some((tensor, file)) => {
                                this.charge((tensor.len() + file.len()) as u64)?;
                                this.keep(&mut assets, (tensor.into(), file.into()), limits::SIGNATURES)
                            }
                            None => Ok(()),
                        }
                    })
                }),
                _ => this.input.skip(),
            })
        })?;
        info.assets.append(&mut assets);
        match &*key {
            "table_initializer" => info.table_initializers.append(&mut names),
            _ => info.init_op = info.init_op.take().or(names.into_iter().next()),
        }
        Ok(())
    }

    /// An entry of a map to messages that `value` reads.
    fn entry<T: Default>(&mut self, mut value: impl FnMut(&mut Self) -> Result<T>) -> Result<(Box<str>, T)> {
        let (mut key, mut found) = (Box::default(), None);
        self.message(MAP_TO_MESSAGE, |this, field| {
            match field {
                1 => key = this.name()?,
                _ => {
                    this.only_one(found.is_some(), "value of a map's entry")?;
                    found = Some(value(this)?);
                }
            }
            Ok(())
        })?;
        Ok((key, found.unwrap_or_default()))
    }

    fn signature_def(&mut self) -> Result<SignatureDef> {
        let mut signature = SignatureDef::default();
        self.message(SIGNATURE, |this, field| {
            if field == 3 {
                signature.method = this.name()?;
                return Ok(());
            }
            let (key, tensor) = this.entry(Self::tensor_info)?;
            let map = if field == 1 { &mut signature.inputs } else { &mut signature.outputs };
            this.set(map, key, tensor, limits::SIGNATURES)
        })?;
        self.ledger.fit(&mut signature.inputs);
        self.ledger.fit(&mut signature.outputs);
        Ok(signature)
    }

    fn tensor_info(&mut self) -> Result<TensorInfo> {
        let mut info = TensorInfo::default();
        self.message(TENSOR_INFO, |this, field| {
            match field {
                1 => info.name = this.name()?,
                2 => info.dtype = this.int32()?,
                4 => this.message(COO_SPARSE, |this, _| {
                    let name = this.name()?;
                    this.keep(&mut info.components, name, limits::SIGNATURES)
                })?,
                5 => this.message(COMPOSITE, |this, _| {
                    this.message(TENSOR_NAME, |this, _| {
                        let name = this.name()?;
                        this.keep(&mut info.components, name, limits::SIGNATURES)
                    })
                })?,
                _ => {
                    this.only_one(info.shape.dims.is_some(), "shape of a tensor")?;
                    info.shape = this.shape()?;
                }
            }
            Ok(())
        })?;
        Ok(info)
    }
}

/// True for the collections of operators that are run before all others.
fn is_initializer(key: &str) -> bool {
    matches!(key, "saved_model_main_op" | "legacy_init_op" | "table_initializer")
}

/// The tensor and the file of an AssetFileDef that stands packed in a message.
fn asset_file(packed: &[u8]) -> Option<(&str, &str)> {
    let (mut tensor, mut file) = ("", "");
    let mut message = Message(packed);
    while let Some((number, value)) = message.field().ok()? {
        match (number, value) {
            (1, Wire::Bytes(info)) => {
                tensor = std::str::from_utf8(Message(info).next_bytes(1).ok()??).ok()?;
            }
            (2, Wire::Bytes(name)) => file = std::str::from_utf8(name).ok()?,
            _ => {}
        }
    }
    (!tensor.is_empty() && !file.is_empty()).then_some((tensor, file))
}
