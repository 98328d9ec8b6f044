//! TensorFlow.js graph models: `model.json` has a GraphDef in protobuf's JSON encoding, and a list of weights that stand one
//! after the other in the shards beside it, in less precise types maybe.

use std::path::{Component, Path};
use std::sync::Arc;

use serde_json::{Map, Value};
use tightfit_core::{Account, Buffer, MemoryBudget, block_bytes};

use crate::base64;
use crate::data_type::DataType;
use crate::error::{FormatError, Place, Problem};
use crate::graph_def::{
    ArgDef, AttrValue, FunctionDef, GraphDef, InlineBytes, ListValue, MetaGraphDef, MetaInfo, NameAttrList,
    NodeDef, SignatureDef, TensorContent, TensorDef, TensorInfo, TensorShapeDef,
};
use crate::limits;
use crate::source::SourceFile;

type Result<T> = std::result::Result<T, FormatError>;

const PURPOSE: &str = "description of the model's graph";

/// The largest `model.json` that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Bytes of memory that a byte of JSON takes at most while it is read: an element of a list is two bytes, and a value.
const JSON_SHARE: u64 = 40;

/// Values are made out of this many bytes of a shard at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Reads the graph model of `source`, and its weights out of the files beside it, which are held in memory.
///
/// # Errors
/// [`FormatError`] for what is no graph model, weights that are not all there, and for what does not fit the budget.
pub fn read(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<MetaGraphDef> {
    let reader = Reader { source: &source, budget };
    let bytes = source.len();
    if bytes > MAX_BYTES {
        let problem = Problem::Limit { name: "bytes of a model.json", limit: MAX_BYTES, found: bytes };
        return Err(reader.error(problem));
    }
    let held = |bytes| budget.try_reserve("model.json", bytes).map_err(|e| reader.error(Problem::Budget(e)));
    let _json = held(bytes.saturating_mul(JSON_SHARE))?;
    let mut text =
        Buffer::new(budget, "model.json", bytes as usize).map_err(|e| reader.error(Problem::Budget(e)))?;
    source.read_exact_at(0, &mut text)?;
    let json: Value =
        serde_json::from_slice(&text).map_err(|error| reader.invalid("JSON", error.to_string()))?;
    drop(text);
    let topology = json.get("modelTopology").filter(|topology| topology.get("node").is_some());
    let topology =
        topology.ok_or_else(|| reader.invalid("a graph model", "JSON without 'modelTopology.node'"))?;
    let mut account = Account::new(budget, PURPOSE);
    let charge =
        |account: &mut Account, bytes| account.grow(bytes).map_err(|e| reader.error(Problem::Budget(e)));
    let mut nodes = Vec::new();
    for node in list(topology, "node") {
        let node = reader.node(node)?;
        charge(&mut account, node_bytes(&node))?;
        nodes.push(node);
    }
    let mut functions = Vec::new();
    for function in list(topology.get("library").unwrap_or(&Value::Null), "function") {
        let function = reader.function(function)?;
        charge(&mut account, function.nodes.iter().map(node_bytes).sum::<u64>() + 512)?;
        functions.push(function);
    }
    reader.weights(&json, &mut nodes, &mut account)?;
    let versions = topology.get("versions").unwrap_or(&Value::Null);
    let version = |key: &str| int(versions.get(key)).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    let (producer, min_consumer) = (version("producer"), version("minConsumer"));
    let of_user = json.get("userDefinedMetadata").and_then(|user| user.get("signature"));
    let signature =
        json.get("signature").or(of_user).map(|signature| reader.signature(signature)).transpose()?;
    let signature = signature.filter(|signature| !signature.outputs.is_empty());
    let signatures = signature.into_iter().map(|signature| ("serving_default".into(), signature)).collect();
    let info = MetaInfo { signatures, ..MetaInfo::default() };
    let reservation = account.finish().map_err(|e| reader.error(Problem::Budget(e)))?;
    let graph = GraphDef { nodes, functions, producer, min_consumer, source: source.clone(), reservation };
    Ok(MetaGraphDef { graph, info })
}

struct Reader<'r> {
    source: &'r Arc<SourceFile>,
    budget: &'r MemoryBudget,
}

/// Weights as they follow each other in shards.
struct Shards {
    files: Vec<Arc<SourceFile>>,
    /// The file that is read, and where.
    at: (usize, u64),
}

impl Shards {
    fn left(&self) -> u64 {
        let files = self.files.iter().skip(self.at.0).map(|file| file.len());
        files.fold(0u64, u64::saturating_add).saturating_sub(self.at.1)
    }

    fn read(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let Some(file) = self.files.get(self.at.0) else { return Ok(()) };
            let count = (file.len() - self.at.1).min(out.len() as u64) as usize;
            let (head, rest) = out.split_at_mut(count);
            file.read_exact_at(self.at.1, head)?;
            self.at.1 += count as u64;
            if self.at.1 == file.len() {
                self.at = (self.at.0 + 1, 0);
            }
            out = rest;
        }
        Ok(())
    }
}

/// How a weight is stored.
#[derive(Debug, Clone, Copy)]
enum Stored {
    AsIs,
    Half,
    /// A number of one or two bytes, times a scale, above the least value.
    Steps {
        bytes: usize,
        scale: f64,
        min: f64,
    },
}

impl Reader<'_> {
    fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(self.source.path(), Place::Whole, problem)
    }

    fn invalid(&self, expected: impl Into<String>, found: impl Into<String>) -> FormatError {
        self.error(Problem::invalid(expected.into(), found.into()))
    }

    fn text<'v>(&self, value: &'v Value, key: &str) -> Result<&'v str> {
        value
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| self.invalid(format!("a text '{key}'"), shown(value)))
    }

    fn node(&self, value: &Value) -> Result<NodeDef> {
        let inputs = list(value, "input").iter().map(|input| input.as_str().map(Box::from));
        let inputs = inputs
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.invalid("names of inputs", shown(value)))?;
        Ok(NodeDef {
            name: self.text(value, "name")?.into(),
            op: self.text(value, "op")?.into(),
            inputs,
            device: None,
            attrs: self.attrs(value.get("attr"))?,
            offset: 0,
        })
    }

    fn attrs(&self, value: Option<&Value>) -> Result<Vec<(Box<str>, AttrValue)>> {
        let Some(Value::Object(attrs)) = value else { return Ok(Vec::new()) };
        attrs.iter().map(|(name, value)| Ok((name.as_str().into(), self.attr(value)?))).collect()
    }

    fn attr(&self, value: &Value) -> Result<AttrValue> {
        let bad = || self.invalid("the value of an attribute", shown(value));
        let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
            return Ok(AttrValue::None);
        };
        Ok(match kind.as_str() {
            "s" => AttrValue::Str(inner.as_str().and_then(base64::decode_either).ok_or_else(bad)?.into()),
            "i" => AttrValue::Int(int(Some(inner)).ok_or_else(bad)?),
            "f" => AttrValue::Float(float(inner).ok_or_else(bad)?),
            "b" => AttrValue::Bool(inner.as_bool().ok_or_else(bad)?),
            "type" => AttrValue::Type(dtype(inner).ok_or_else(bad)?),
            "shape" => AttrValue::Shape(shape(inner).ok_or_else(bad)?),
            "tensor" => AttrValue::Tensor(Box::new(self.tensor(inner)?)),
            "placeholder" => AttrValue::Placeholder(inner.as_str().ok_or_else(bad)?.into()),
            "func" => AttrValue::Func(Box::new(self.func(inner)?)),
            "list" => AttrValue::List(self.list_value(inner)?),
            _ => return Err(bad()),
        })
    }

    fn func(&self, value: &Value) -> Result<NameAttrList> {
        Ok(NameAttrList { name: self.text(value, "name")?.into(), attrs: self.attrs(value.get("attr"))? })
    }

    fn list_value(&self, value: &Value) -> Result<ListValue> {
        let bad = || self.invalid("a list", shown(value));
        fn all<T>(list: &[Value], each: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
            list.iter().map(each).collect()
        }
        let empty = Map::new();
        let kinds = value.as_object().unwrap_or(&empty);
        let Some((kind, items)) =
            kinds.iter().find(|(_, items)| items.as_array().is_some_and(|list| !list.is_empty()))
        else {
            return Ok(ListValue::Empty);
        };
        let items = items.as_array().ok_or_else(bad)?;
        Ok(match kind.as_str() {
            "s" => ListValue::Strs(
                all(items, |v| v.as_str().and_then(base64::decode_either).map(Into::into)).ok_or_else(bad)?,
            ),
            "i" => ListValue::Ints(all(items, |v| int(Some(v))).ok_or_else(bad)?),
            "f" => ListValue::Floats(all(items, float).ok_or_else(bad)?),
            "b" => ListValue::Bools(all(items, Value::as_bool).ok_or_else(bad)?),
            "type" => ListValue::Types(all(items, dtype).ok_or_else(bad)?),
            "shape" => ListValue::Shapes(all(items, shape).ok_or_else(bad)?),
            "func" => ListValue::Funcs(items.iter().map(|v| self.func(v)).collect::<Result<_>>()?),
            _ => return Err(bad()),
        })
    }

    /// A tensor without values, which the weights have.
    fn tensor(&self, value: &Value) -> Result<TensorDef> {
        let bad = || self.invalid("a tensor of known shape", shown(value));
        let dtype = value.get("dtype").and_then(dtype).ok_or_else(bad)?;
        let dims = match value.get("tensorShape") {
            Some(of) => shape(of).and_then(|shape| shape.dims).ok_or_else(bad)?,
            None => Vec::new(),
        };
        if dims.iter().any(|dim| *dim < 0) {
            return Err(bad());
        }
        // What has values of its own here would lose them.
        let has_values = |(key, value): (&String, &Value)| {
            (key.ends_with("Val") || key == "tensorContent")
                && !matches!(value, Value::Array(list) if list.is_empty())
        };
        if value.as_object().is_some_and(|object| object.iter().any(has_values)) {
            return Err(self.invalid("a tensor whose values are among the weights", shown(value)));
        }
        Ok(TensorDef { dtype, shape: dims, content: TensorContent::Opaque })
    }

    fn function(&self, value: &Value) -> Result<FunctionDef> {
        let signature = value.get("signature").unwrap_or(&Value::Null);
        let args =
            |key: &str| list(signature, key).iter().map(|arg| self.arg(arg)).collect::<Result<Vec<_>>>();
        let pairs = |key: &str| -> Vec<(Box<str>, Box<str>)> {
            let map = value.get(key).and_then(Value::as_object);
            let pairs = map.into_iter().flatten();
            pairs.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect()
        };
        Ok(FunctionDef {
            name: self.text(signature, "name")?.into(),
            input_args: args("inputArg")?,
            output_args: args("outputArg")?,
            nodes: list(value, "nodeDef").iter().map(|node| self.node(node)).collect::<Result<_>>()?,
            ret: pairs("ret"),
            control_ret: pairs("controlRet"),
            is_stateful: signature.get("isStateful").and_then(Value::as_bool).unwrap_or(false),
            attrs: self.attrs(value.get("attr"))?,
        })
    }

    fn arg(&self, value: &Value) -> Result<ArgDef> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().into();
        Ok(ArgDef {
            name: self.text(value, "name")?.into(),
            dtype: value.get("type").and_then(dtype).unwrap_or(0),
            type_attr: text("typeAttr"),
            number_attr: text("numberAttr"),
            type_list_attr: text("typeListAttr"),
        })
    }

    fn signature(&self, value: &Value) -> Result<SignatureDef> {
        let tensors = |key: &str| -> Result<Vec<(Box<str>, TensorInfo)>> {
            let map = value.get(key).and_then(Value::as_object);
            let one = |(key, value): (&String, &Value)| {
                let info = TensorInfo {
                    name: self.text(value, "name")?.into(),
                    dtype: value.get("dtype").and_then(dtype).unwrap_or(0),
                    shape: value.get("tensorShape").and_then(shape).unwrap_or_default(),
                    ..TensorInfo::default()
                };
                Ok((key.as_str().into(), info))
            };
            map.into_iter().flatten().map(one).collect()
        };
        Ok(SignatureDef { inputs: tensors("inputs")?, outputs: tensors("outputs")?, method: Box::default() })
    }

    /// Gives the constants their values.
    fn weights(&self, json: &Value, nodes: &mut [NodeDef], account: &mut Account) -> Result<()> {
        let mut constants: std::collections::HashMap<Box<str>, usize> = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| &*node.op == "Const")
            .map(|(index, node)| (node.name.clone(), index))
            .collect();
        let folder = self.source.path().parent().unwrap_or(Path::new("")).to_path_buf();
        for group in list(json, "weightsManifest") {
            let mut files = Vec::new();
            for path in list(group, "paths") {
                let name = path.as_str().unwrap_or_default();
                let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                if name.is_empty() || !is_inside {
                    return Err(self.invalid("shards beside model.json", shown(path)));
                }
                let file = SourceFile::open(folder.join(name))?;
                if !file.is_empty() {
                    files.push(file);
                }
            }
            let mut shards = Shards { files, at: (0, 0) };
            for weight in list(group, "weights") {
                let name = self.text(weight, "name")?;
                let tensor = self.weight(name, weight, &mut shards, account)?;
                // A weight that no node has is passed over.
                let Some(index) = constants.remove(name) else { continue };
                let node = &mut nodes[index];
                node.attrs = vec![
                    ("dtype".into(), AttrValue::Type(tensor.dtype)),
                    ("value".into(), AttrValue::Tensor(Box::new(tensor))),
                ];
            }
        }
        match constants.into_keys().min() {
            Some(name) => Err(self.invalid(format!("the values of '{name}' among the weights"), "none")),
            None => Ok(()),
        }
    }

    fn weight(
        &self,
        name: &str,
        value: &Value,
        shards: &mut Shards,
        account: &mut Account,
    ) -> Result<TensorDef> {
        let bad = || self.invalid(format!("a description of the weights '{name}'"), shown(value));
        let dims = list(value, "shape").iter().map(|dim| int(Some(dim)).filter(|dim| *dim >= 0));
        let dims = dims.collect::<Option<Vec<i64>>>().ok_or_else(bad)?;
        let count = crate::stored::elements(&dims)
            .filter(|_| dims.len() as u64 <= limits::RANK.max)
            .ok_or_else(bad)?;
        let quantization = value.get("quantization");
        let stored = match quantization {
            None => Stored::AsIs,
            Some(of) => {
                let number = |key: &str| of.get(key).and_then(Value::as_f64);
                let steps =
                    |bytes| Some(Stored::Steps { bytes, scale: number("scale")?, min: number("min")? });
                let stored = match self.text(of, "dtype")? {
                    "float16" => Some(Stored::Half),
                    "uint8" => steps(1),
                    "uint16" => steps(2),
                    _ => None,
                };
                stored.ok_or_else(bad)?
            }
        };
        let (dtype, bytes) = match self.text(value, "dtype")? {
            "float32" => (1, 4),
            "int32" => (3, 4),
            "bool" if quantization.is_none() => (10, 1),
            "complex64" if quantization.is_none() => (8, 8),
            "string" if quantization.is_none() => return self.strings(name, &dims, count, shards, account),
            _ => return Err(bad()),
        };
        let in_file = match stored {
            Stored::AsIs => bytes,
            Stored::Half => 2,
            Stored::Steps { bytes, .. } => bytes,
        };
        if count.checked_mul(in_file as u64).is_none_or(|wanted| wanted > shards.left()) {
            let needed_bytes = count.saturating_mul(in_file as u64);
            let present_bytes = shards.left();
            return Err(self.error(Problem::Truncated { what: "a weight", needed_bytes, present_bytes }));
        }
        let total = usize::try_from(count).ok().and_then(|count| count.checked_mul(bytes)).ok_or_else(bad)?;
        let mut out = Buffer::new(self.budget, "weights of model.json", total)
            .map_err(|e| self.error(Problem::Budget(e)))?;
        let mut piece = [0; PIECE_BYTES];
        for part in out.chunks_mut(PIECE_BYTES / in_file * bytes) {
            let from = &mut piece[..part.len() / bytes * in_file];
            shards.read(from)?;
            fill(part, from, stored, dtype);
        }
        Ok(TensorDef {
            dtype,
            shape: dims,
            content: TensorContent::Inline(InlineBytes::Large(Arc::new(out))),
        })
    }

    /// Texts, each after its length.
    fn strings(
        &self,
        name: &str,
        dims: &[i64],
        count: u64,
        shards: &mut Shards,
        account: &mut Account,
    ) -> Result<TensorDef> {
        let short = || self.invalid(format!("the texts of '{name}'"), "fewer bytes");
        // Each length takes four bytes.
        if count > shards.left() / 4 || count > limits::STRINGS.max {
            return Err(short());
        }
        let mut texts = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let mut length = [0; 4];
            if shards.left() < 4 {
                return Err(short());
            }
            shards.read(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if length > shards.left() || length > limits::STRING_BYTES.max {
                return Err(short());
            }
            account.grow(block_bytes(length) + 16).map_err(|e| self.error(Problem::Budget(e)))?;
            let mut text = vec![0; length as usize].into_boxed_slice();
            shards.read(&mut text)?;
            texts.push(text);
        }
        Ok(TensorDef { dtype: 7, shape: dims.to_vec(), content: TensorContent::Strings(texts) })
    }
}

/// Makes elements of what is stored.
fn fill(out: &mut [u8], from: &[u8], stored: Stored, dtype: i32) {
    match stored {
        Stored::AsIs => out.copy_from_slice(from),
        Stored::Half => {
            for (element, half) in out.chunks_exact_mut(4).zip(from.chunks_exact(2)) {
                let value = half_to_f32(u16::from_le_bytes([half[0], half[1]]));
                element.copy_from_slice(&of_type(f64::from(value), dtype));
            }
        }
        Stored::Steps { bytes, scale, min } => {
            for (element, step) in out.chunks_exact_mut(4).zip(from.chunks_exact(bytes)) {
                let step = step.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
                element.copy_from_slice(&of_type(f64::from(step) * scale + min, dtype));
            }
        }
    }
}

/// The bytes of a float, or of the nearest integer.
fn of_type(value: f64, dtype: i32) -> [u8; 4] {
    if dtype == 3 { (value.round() as i32).to_le_bytes() } else { (value as f32).to_le_bytes() }
}

fn half_to_f32(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match (exponent, fraction) {
        (31, fraction) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        (0, fraction) => {
            let value = fraction as f32 / 16_777_216.0;
            if sign == 0 { value } else { -value }
        }
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number, which protobuf writes as a text where it has 64 bits.
fn int(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

fn float(value: &Value) -> Option<f32> {
    match value {
        Value::String(text) if text == "NaN" => Some(f32::NAN),
        Value::String(text) if text == "Infinity" => Some(f32::INFINITY),
        Value::String(text) if text == "-Infinity" => Some(f32::NEG_INFINITY),
        value => value.as_f64().map(|value| value as f32),
    }
}

/// A type's number, of its name.
fn dtype(value: &Value) -> Option<i32> {
    match value {
        Value::String(name) => DataType::from_name(name).map(|dtype| dtype.0),
        value => value.as_i64().and_then(|number| i32::try_from(number).ok()),
    }
}

fn shape(value: &Value) -> Option<TensorShapeDef> {
    if value.get("unknownRank").and_then(Value::as_bool) == Some(true) {
        return Some(TensorShapeDef { dims: None });
    }
    let dims = list(value, "dim").iter().map(|dim| int(dim.get("size")).or(Some(0)));
    let dims = dims.collect::<Option<Vec<i64>>>()?;
    (dims.len() as u64 <= limits::RANK.max).then_some(TensorShapeDef { dims: Some(dims) })
}

/// The beginning of a value, for messages.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let end = text.char_indices().nth(60).map_or(text.len(), |(at, _)| at);
    text[..end].to_string()
}

fn node_bytes(node: &NodeDef) -> u64 {
    let text = |text: &str| block_bytes(text.len() as u64);
    let inputs = node.inputs.iter().map(|input| 16 + text(input)).sum::<u64>();
    let attrs = node.attrs.iter().map(|(name, _)| 256 + text(name)).sum::<u64>();
    size_of::<NodeDef>() as u64 * 2 + text(&node.name) + text(&node.op) + inputs + attrs
}

#[cfg(test)]
mod tests;
