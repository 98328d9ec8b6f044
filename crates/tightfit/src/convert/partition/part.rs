//! One part of a graph as a SavedModel: what it takes becomes placeholders, its large constants become variables whose
//! values stand in a checkpoint of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use tightfit_format::{
    AttrValue, DataType, GraphDef, ListValue, NodeDef, SaverDef, SignatureDef, TensorContent, TensorDef,
    TensorInfo, TensorShapeDef, VariableDef,
};
use tightfit_graph::import::split_name;

use super::layout::{Kind, Layout, Tensor};

/// Constants from this size on become variables. Smaller ones may be shapes, which TensorFlow wants to see in the graph.
const VARIABLE_FROM_BYTES: u64 = 4 << 10;

const STRING: i32 = 7;

/// What is known of a tensor that goes from one part to another.
pub type Kinds<'k> = &'k dyn Fn(Tensor) -> Option<(i32, TensorShapeDef)>;

/// A part that is not written yet.
#[derive(Debug, Default)]
pub struct PartGraph {
    pub nodes: Vec<NodeDef>,
    pub signature: SignatureDef,
    pub variables: Vec<VariableDef>,
    pub saver: Option<SaverDef>,
    /// The constants that are variables, by their places in the graph.
    pub stored: Vec<usize>,
    /// What fills the tables in it.
    pub init_op: Option<String>,
    /// The files that tables are filled from: the node that takes a file's path, its name beside the part, and where it is.
    pub assets: Vec<(String, String, PathBuf)>,
    /// Nodes of the model in it.
    pub own_nodes: usize,
    pub weight_bytes: u64,
    /// Tensors that earlier parts or the caller give, with their keys.
    pub takes: Vec<(String, Tensor)>,
    /// Tensors that later parts take, with their keys.
    pub gives: Vec<(String, Tensor)>,
}

/// What all parts are made of.
pub struct Whole<'w> {
    pub def: &'w GraphDef,
    pub layout: &'w Layout,
    pub parts: &'w [Option<usize>],
    pub count: usize,
    /// What the model's outputs are called, and their tensors.
    pub outputs: Vec<(String, Tensor)>,
    pub kinds: Kinds<'w>,
    /// What callers call an input of the model.
    pub input_name: &'w dyn Fn(&str) -> String,
}

impl Whole<'_> {
    fn name(&self, (node, output): Tensor) -> String {
        let name = &self.def.nodes[node].name;
        if output == 0 { name.to_string() } else { format!("{name}:{output}") }
    }

    /// The name that a tensor has in manifests and signatures.
    pub fn key(&self, tensor: Tensor) -> String {
        match self.layout.kinds[tensor.0] {
            Kind::Input => (self.input_name)(&self.def.nodes[tensor.0].name),
            _ => self.name(tensor),
        }
    }

    fn is_last(&self, part: usize) -> bool {
        part + 1 == self.count
    }

    /// The tensors that a part takes of others, in the order of the graph.
    fn taken_by(&self, part: usize) -> Vec<Tensor> {
        let mut taken = BTreeMap::new();
        let mut take = |tensor: Tensor| {
            let is_other = match self.layout.kinds[tensor.0] {
                Kind::Moved => self.parts[tensor.0] != Some(part),
                Kind::Input => true,
                Kind::Constant => false,
            };
            if is_other {
                taken.insert(tensor, ());
            }
        };
        for node in self.layout.order.iter().filter(|node| self.parts[**node] == Some(part)) {
            self.layout.inputs[*node].iter().for_each(|tensor| take(*tensor));
        }
        if self.is_last(part) {
            self.outputs.iter().for_each(|(_, tensor)| take(*tensor));
        }
        taken.into_keys().collect()
    }

    /// The tensors of a part that later ones take.
    fn given_by(&self, part: usize) -> Vec<Tensor> {
        let mut given = HashSet::new();
        for later in part + 1..self.count {
            given
                .extend(self.taken_by(later).into_iter().filter(|(node, _)| self.parts[*node] == Some(part)));
        }
        let mut given: Vec<Tensor> = given.into_iter().collect();
        given.sort_unstable();
        given
    }

    /// Part number `part`.
    ///
    /// # Errors
    /// What cannot be told of a tensor that it takes or gives.
    pub fn part(&self, part: usize) -> Result<PartGraph, String> {
        let mut made = PartGraph::default();
        let mut names = Names { layout: self.layout, made: HashSet::new() };
        let mut renamed: HashMap<Tensor, String> = HashMap::new();
        for tensor in self.taken_by(part) {
            self.take(tensor, &mut made, &mut names, &mut renamed)?;
        }
        let mut is_here = vec![false; self.def.nodes.len()];
        let own: Vec<usize> =
            self.layout.order.iter().copied().filter(|node| self.parts[*node] == Some(part)).collect();
        let mut constants = Vec::new();
        let mut is_seen = vec![false; self.def.nodes.len()];
        for node in &own {
            self.layout.constants_of(*node, &mut is_seen, &mut |constant| constants.push(constant));
        }
        if self.is_last(part) {
            for (_, (node, _)) in
                self.outputs.iter().filter(|(_, (n, _))| self.layout.kinds[*n] == Kind::Constant)
            {
                if !std::mem::replace(&mut is_seen[*node], true) {
                    constants.push(*node);
                    self.layout.constants_of(*node, &mut is_seen, &mut |constant| constants.push(constant));
                }
            }
        }
        own.iter().chain(&constants).for_each(|node| is_here[*node] = true);
        made.takes
            .iter()
            .filter(|(_, (_, output))| *output == 0)
            .for_each(|(_, (node, _))| is_here[*node] = true);
        made.own_nodes = own.len();
        constants.sort_unstable();
        for constant in &constants {
            self.constant(*constant, &is_here, &mut made, &mut names);
        }
        self.fill_tables(&constants, &mut made, &mut names);
        for node in own {
            made.nodes.push(self.copy(node, &is_here, &renamed));
        }
        for tensor in self.given_by(part) {
            let key = self.key(tensor);
            let (dtype, shape) = self.kind(tensor)?;
            let name = format!("{}:{}", self.def.nodes[tensor.0].name, tensor.1).into();
            made.signature
                .outputs
                .push((key.clone().into(), TensorInfo { name, dtype, shape, ..TensorInfo::default() }));
            made.gives.push((key, tensor));
        }
        if self.is_last(part) {
            self.end(&mut made, &mut names, &renamed)?;
        }
        made.signature.method = "tensorflow/serving/predict".into();
        save_and_restore(self.def, &mut made, &mut names);
        Ok(made)
    }

    fn kind(&self, tensor: Tensor) -> Result<(i32, TensorShapeDef), String> {
        (self.kinds)(tensor).ok_or_else(|| format!("the type of '{}' is not known", self.name(tensor)))
    }

    /// A placeholder for a tensor of another part, or an input of the model.
    fn take(
        &self,
        tensor: Tensor,
        made: &mut PartGraph,
        names: &mut Names<'_>,
        renamed: &mut HashMap<Tensor, String>,
    ) -> Result<(), String> {
        let (index, output) = tensor;
        let node = &self.def.nodes[index];
        let (dtype, shape) = self.kind(tensor)?;
        let name = match output {
            0 => node.name.to_string(),
            output => names.free(format!("{}/output_{output}", node.name)),
        };
        if output != 0 {
            renamed.insert(tensor, name.clone());
        }
        let shape_attribute = match self.layout.kinds[index] {
            Kind::Input => node.attr("shape").cloned().unwrap_or(AttrValue::Shape(shape.clone())),
            _ => AttrValue::Shape(shape.clone()),
        };
        made.nodes.push(NodeDef {
            name: name.clone().into(),
            op: "Placeholder".into(),
            attrs: vec![("dtype".into(), AttrValue::Type(dtype)), ("shape".into(), shape_attribute)],
            ..NodeDef::default()
        });
        let key = self.key(tensor);
        let info = TensorInfo { name: format!("{name}:0").into(), dtype, shape, ..TensorInfo::default() };
        made.signature.inputs.push((key.clone().into(), info));
        made.takes.push((key, tensor));
        Ok(())
    }

    /// A node of the model, with names as they are in this part.
    fn copy(&self, index: usize, is_here: &[bool], renamed: &HashMap<Tensor, String>) -> NodeDef {
        let mut node = self.def.nodes[index].clone();
        // What another part has done is done before this one begins.
        node.inputs.retain(|input| {
            let waits = input.strip_prefix('^').map(|name| self.layout.find(name));
            waits.is_none_or(|found| found.is_ok_and(|index| is_here[index]))
        });
        for input in node.inputs.iter_mut().filter(|input| !input.starts_with('^')) {
            let (name, output) = split_name(input);
            let name = self.layout.find(name).ok().and_then(|index| renamed.get(&(index, output)));
            if let Some(name) = name {
                *input = name.clone().into();
            }
        }
        node
    }

    /// A constant, which is a variable where it is large.
    fn constant(&self, index: usize, is_here: &[bool], made: &mut PartGraph, names: &mut Names<'_>) {
        let node = &self.def.nodes[index];
        let bytes = self.layout.bytes[index];
        made.weight_bytes += bytes;
        let tensor = match node.attr("value") {
            Some(AttrValue::Tensor(tensor))
                if bytes >= VARIABLE_FROM_BYTES
                    && tensor.dtype != STRING
                    && !self.layout.fillers.is_content(index) =>
            {
                tensor
            }
            _ => {
                made.nodes.push(self.copy(index, is_here, &HashMap::new()));
                return;
            }
        };
        let handle = names.free(format!("{}/variable", node.name));
        let shape = TensorShapeDef { dims: Some(tensor.shape.clone()) };
        let text = |text: &str| AttrValue::Str(text.as_bytes().into());
        let dtype = ("dtype".into(), AttrValue::Type(tensor.dtype));
        made.nodes.push(NodeDef {
            name: handle.clone().into(),
            op: "VarHandleOp".into(),
            attrs: vec![
                ("container".into(), text("")),
                dtype.clone(),
                ("shape".into(), AttrValue::Shape(shape)),
                ("shared_name".into(), text(&handle)),
            ],
            ..NodeDef::default()
        });
        made.nodes.push(NodeDef {
            name: node.name.clone(),
            op: "ReadVariableOp".into(),
            inputs: vec![handle.clone().into()],
            attrs: vec![dtype],
            ..NodeDef::default()
        });
        made.variables.push(VariableDef {
            handle: format!("{handle}:0"),
            value: format!("{}:0", node.name),
            ..VariableDef::default()
        });
        made.stored.push(index);
    }

    /// Names what fills the tables among `constants` as what is to be run first, and takes along the files that they are
    /// filled from.
    fn fill_tables(&self, constants: &[usize], made: &mut PartGraph, names: &mut Names<'_>) {
        let fillers = constants.iter().filter(|node| self.layout.fillers.is_one(**node));
        let mut inputs: Vec<Box<str>> = Vec::new();
        for filler in fillers {
            let node = &self.def.nodes[*filler];
            inputs.push(format!("^{}", node.name).into());
            let Some((file, _)) =
                self.layout.inputs[*filler].get(1).filter(|_| node.op.contains("FromTextFile"))
            else {
                continue;
            };
            let file = &self.def.nodes[self.layout.source(self.def, *file)];
            let Some(path) = text_of(file).map(PathBuf::from) else { continue };
            if made.assets.iter().all(|(node, ..)| **node != *file.name) {
                let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_taken = made.assets.iter().any(|(_, name, other)| *name == own && *other != path);
                let own = if is_taken { format!("{}_{own}", made.assets.len()) } else { own };
                made.assets.push((file.name.to_string(), own, path));
            }
        }
        if inputs.is_empty() {
            return;
        }
        // Where the file is for this part is said by whoever loads it.
        for (node, own, _) in &made.assets {
            if let Some(node) = made.nodes.iter_mut().find(|made| *made.name == **node) {
                *node = strings(&node.name, vec![own.as_bytes().into()], true);
            }
        }
        let name = names.free("init_all_tables".to_string());
        made.nodes.push(NodeDef {
            name: name.clone().into(),
            op: "NoOp".into(),
            inputs,
            ..NodeDef::default()
        });
        made.init_op = Some(name);
    }

    /// What the model gives, under its own names.
    fn end(
        &self,
        made: &mut PartGraph,
        names: &mut Names<'_>,
        renamed: &HashMap<Tensor, String>,
    ) -> Result<(), String> {
        for (key, tensor) in &self.outputs {
            let (dtype, shape) = self.kind(*tensor)?;
            let own = renamed.get(tensor).cloned().unwrap_or_else(|| self.name(*tensor));
            let is_taken = made.takes.iter().any(|(_, taken)| taken == tensor);
            let mut name = own.clone();
            if is_taken {
                // What goes through is an operator's result, as TensorFlow wants it of outputs.
                name = names.free(format!("{own}/passed"));
                made.nodes.push(NodeDef {
                    name: name.clone().into(),
                    op: "Identity".into(),
                    inputs: vec![own.into()],
                    attrs: vec![("T".into(), AttrValue::Type(dtype))],
                    ..NodeDef::default()
                });
            }
            let (node, output) = split_name(&name);
            let info =
                TensorInfo { name: format!("{node}:{output}").into(), dtype, shape, ..TensorInfo::default() };
            made.signature.outputs.push((key.clone().into(), info));
        }
        Ok(())
    }
}

/// The one text that a constant holds.
fn text_of(node: &NodeDef) -> Option<String> {
    let Some(AttrValue::Tensor(tensor)) = node.attr("value") else { return None };
    let TensorContent::Strings(texts) = &tensor.content else { return None };
    let [text] = &texts[..] else { return None };
    String::from_utf8(text.to_vec()).ok()
}

/// Names that no node has yet.
struct Names<'l> {
    layout: &'l Layout,
    made: HashSet<String>,
}

impl Names<'_> {
    fn free(&mut self, wanted: String) -> String {
        let numbered = (1..).map(|n| format!("{wanted}_{n}"));
        let is_free = |name: &String| self.layout.is_free(name) && !self.made.contains(name);
        let name = std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or_default();
        self.made.insert(name.clone());
        name
    }
}

fn strings(name: &str, texts: Vec<Box<[u8]>>, is_scalar: bool) -> NodeDef {
    let shape = if is_scalar { Vec::new() } else { vec![texts.len() as i64] };
    let value = TensorDef { dtype: STRING, shape, content: TensorContent::Strings(texts) };
    NodeDef {
        name: name.into(),
        op: "Const".into(),
        attrs: vec![
            ("dtype".into(), AttrValue::Type(STRING)),
            ("value".into(), AttrValue::Tensor(Box::new(value))),
        ],
        ..NodeDef::default()
    }
}

/// Adds what saves and restores the variables, as TensorFlow's Saver does.
fn save_and_restore(def: &GraphDef, made: &mut PartGraph, names: &mut Names<'_>) {
    if made.stored.is_empty() {
        return;
    }
    let node = |name: &str, op: &str, inputs: Vec<String>, attrs: Vec<(Box<str>, AttrValue)>| {
        let inputs = inputs.into_iter().map(String::into_boxed_str).collect();
        NodeDef { name: name.into(), op: op.into(), inputs, attrs, ..NodeDef::default() }
    };
    let types: Vec<i32> = made
        .stored
        .iter()
        .filter_map(|index| match def.nodes[*index].attr("value") {
            Some(AttrValue::Tensor(tensor)) => Some(tensor.dtype),
            _ => None,
        })
        .collect();
    let keys = || {
        made.stored.iter().map(|index| def.nodes[*index].name.as_bytes().into()).collect::<Vec<Box<[u8]>>>()
    };
    let empty = || vec![Box::default(); made.stored.len()];
    let [initial, file, tensor_names, slices, save, saved, restore, all] = [
        "save/filename/input",
        "save/Const",
        "save/tensor_names",
        "save/shape_and_slices",
        "save/SaveV2",
        "save/control_dependency",
        "save/RestoreV2",
        "save/restore_all",
    ]
    .map(|name| names.free(name.to_string()));
    let list = || vec![("dtypes".into(), AttrValue::List(ListValue::Types(types.clone())))];
    let scalar_shape = TensorShapeDef { dims: Some(Vec::new()) };
    let mut nodes = vec![
        strings(&initial, vec![b"model".to_vec().into()], true),
        node(
            &file,
            "PlaceholderWithDefault",
            vec![initial.clone()],
            vec![("dtype".into(), AttrValue::Type(STRING)), ("shape".into(), AttrValue::Shape(scalar_shape))],
        ),
        strings(&tensor_names, keys(), false),
        strings(&slices, empty(), false),
    ];
    let three = || vec![file.clone(), tensor_names.clone(), slices.clone()];
    let values = made.stored.iter().map(|index| def.nodes[*index].name.to_string());
    nodes.push(node(&save, "SaveV2", three().into_iter().chain(values).collect(), list()));
    let identity = vec![("T".into(), AttrValue::Type(STRING))];
    nodes.push(node(&saved, "Identity", vec![file.clone(), format!("^{save}")], identity));
    nodes.push(node(&restore, "RestoreV2", three(), list()));
    let mut assigned = Vec::with_capacity(made.stored.len());
    for (number, (variable, dtype)) in made.variables.iter_mut().zip(&types).enumerate() {
        let value = if number == 0 { restore.clone() } else { format!("{restore}:{number}") };
        let (handle, _) = split_name(&variable.handle);
        let assign = names.free(format!("save/AssignVariableOp_{number}"));
        let attrs = vec![("dtype".into(), AttrValue::Type(*dtype))];
        nodes.push(node(&assign, "AssignVariableOp", vec![handle.to_string(), value], attrs));
        variable.initializer = assign.clone();
        variable.initial = format!("{restore}:{number}");
        assigned.push(format!("^{assign}"));
    }
    nodes.push(node(&all, "NoOp", assigned, Vec::new()));
    made.nodes.append(&mut nodes);
    made.saver = Some(SaverDef { filename: format!("{file}:0"), save: format!("{saved}:0"), restore: all });
}

/// The bytes of one row of a tensor; an open dimension counts as one.
pub fn row_bytes(dtype: i32, shape: &TensorShapeDef) -> u64 {
    let dims = shape.dims.iter().flatten().map(|dim| u64::try_from(*dim).unwrap_or(1));
    let element = DataType(dtype).storage().map_or(8, |dtype| dtype.bytes() as u64);
    dims.fold(element, u64::saturating_mul)
}
