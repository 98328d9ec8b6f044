//! A SavedModel's file, written: one graph with its signature, its variables, and what restores them. Values of variables
//! stand in the checkpoint beside it.

use std::io::{self, Write};

use tightfit_core::{Buffer, MemoryBudget};

use super::write::{SCRATCH_BYTES, function_fields, node_fields, shape_fields};
use super::{FunctionDef, NodeDef, SignatureDef, TensorInfo};
use crate::proto::encode::{Encoder, Sink, bytes, int, int_or_nothing, text_or_nothing};
use crate::source::SourceFile;

/// A variable as TensorFlow's collections name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VariableDef {
    /// The tensor that is its handle.
    pub handle: String,
    /// The operator that sets it.
    pub initializer: String,
    /// The tensor that it is set to.
    pub initial: String,
    /// The tensor that is its value.
    pub value: String,
}

/// What saves and restores a graph's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaverDef {
    /// The tensor that is fed with the checkpoint.
    pub filename: String,
    /// The tensor that saves when it is fetched.
    pub save: String,
    /// The operator that restores.
    pub restore: String,
}

/// The signature that names an operator instead of tensors.
const INIT_OP: &str = "__saved_model_init_op";

/// A SavedModel of one graph.
#[derive(Debug)]
pub struct SavedModelDef<'a> {
    /// The nodes.
    pub nodes: &'a [NodeDef],
    /// The functions that they name.
    pub functions: Vec<&'a FunctionDef>,
    /// The version of TensorFlow's graphs it is of.
    pub producer: i32,
    /// The oldest version that may read it.
    pub min_consumer: i32,
    /// The signature, which is the default one.
    pub signature: SignatureDef,
    /// Variables, with what restores them.
    pub variables: Vec<VariableDef>,
    /// `None` where there are no variables.
    pub saver: Option<SaverDef>,
    /// The operator to run once the variables are restored, if there is one.
    pub init_op: Option<String>,
    /// Files beside the graph: the node that takes the file's path, and its name in the folder `assets`.
    pub assets: Vec<(String, String)>,
}

impl SavedModelDef<'_> {
    /// Writes the file `saved_model.pb`, under the tag `serve`; values of constants are copied from `source`.
    ///
    /// # Errors
    /// As [`super::GraphDef::write`].
    pub fn write(&self, out: &mut impl Write, source: &SourceFile, budget: &MemoryBudget) -> io::Result<()> {
        let mut scratch = Buffer::new(budget, "copying tensor values", SCRATCH_BYTES)?;
        let mut encoder = Encoder { out: &mut *out, source: Some(source), scratch: &mut scratch };
        int(&mut encoder, 1, 1)?;
        encoder.message(2, &|sink| self.meta_graph(sink))?;
        out.flush()
    }

    fn meta_graph(&self, sink: &mut dyn Sink) -> io::Result<()> {
        sink.message(1, &|info| bytes(info, 4, b"serve"))?;
        sink.message(2, &|graph| {
            self.nodes.iter().try_for_each(|node| graph.message(1, &|sink| node_fields(sink, node)))?;
            graph.message(2, &|library| {
                let mut functions = self.functions.iter();
                functions.try_for_each(|f| library.message(1, &|sink| function_fields(sink, f)))
            })?;
            graph.message(4, &|versions| {
                int_or_nothing(versions, 1, self.producer.into())?;
                int_or_nothing(versions, 2, self.min_consumer.into())
            })
        })?;
        if let Some(saver) = &self.saver {
            sink.message(3, &|sink| {
                text_or_nothing(sink, 1, &saver.filename)?;
                text_or_nothing(sink, 2, &saver.save)?;
                text_or_nothing(sink, 3, &saver.restore)?;
                int(sink, 4, 5)?;
                // The second version of the format.
                int(sink, 7, 2)
            })?;
        }
        for collection in ["variables", "trainable_variables"].iter().filter(|_| !self.variables.is_empty()) {
            sink.message(4, &|entry| {
                bytes(entry, 1, collection.as_bytes())?;
                entry.message(2, &|collection| {
                    collection.message(2, &|list| {
                        self.variables
                            .iter()
                            .try_for_each(|v| list.message(1, &|sink| variable_fields(sink, v)))
                    })
                })
            })?;
        }
        sink.message(5, &|entry| {
            bytes(entry, 1, b"serving_default")?;
            entry.message(2, &|signature| {
                tensors(signature, 1, &self.signature.inputs)?;
                tensors(signature, 2, &self.signature.outputs)?;
                text_or_nothing(signature, 3, &self.signature.method)
            })
        })?;
        if let Some(operator) = &self.init_op {
            let named =
                [(INIT_OP.into(), TensorInfo { name: (&**operator).into(), ..TensorInfo::default() })];
            sink.message(5, &|entry| {
                bytes(entry, 1, INIT_OP.as_bytes())?;
                entry.message(2, &|signature| tensors(signature, 2, &named))
            })?;
        }
        self.assets.iter().try_for_each(|(node, file)| {
            sink.message(6, &|asset| {
                asset.message(1, &|tensor| text_or_nothing(tensor, 1, &format!("{node}:0")))?;
                text_or_nothing(asset, 2, file)
            })
        })
    }
}

fn variable_fields(sink: &mut dyn Sink, variable: &VariableDef) -> io::Result<()> {
    text_or_nothing(sink, 1, &variable.handle)?;
    text_or_nothing(sink, 2, &variable.initializer)?;
    text_or_nothing(sink, 3, &variable.value)?;
    // A resource, and one that is trained.
    int(sink, 5, 1)?;
    text_or_nothing(sink, 6, &variable.initial)?;
    int(sink, 7, 1)
}

fn tensors(sink: &mut dyn Sink, number: u32, tensors: &[(Box<str>, TensorInfo)]) -> io::Result<()> {
    for (key, tensor) in tensors {
        sink.message(number, &|entry| {
            bytes(entry, 1, key.as_bytes())?;
            entry.message(2, &|sink| {
                text_or_nothing(sink, 1, &tensor.name)?;
                int_or_nothing(sink, 2, tensor.dtype.into())?;
                sink.message(3, &|sink| shape_fields(sink, &tensor.shape))
            })
        })?;
    }
    Ok(())
}
