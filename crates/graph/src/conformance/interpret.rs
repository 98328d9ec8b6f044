//! A graph node by node in plain memory, each call checked: what a plan and its session must agree with.

use std::collections::HashMap;
use std::sync::Arc;

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::Philox;

use super::call::{Caller, Shapes, Value};
use crate::dim::{Dim, Dims};
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES, List};
use crate::ir::{Constant, ConstantData, Graph, Node, NodeId, NodeKind, Region, RegionKind, ValueRef};

impl Value {
    /// What is known of it as it is.
    pub fn fact(&self) -> Fact {
        if self.dtype != DType::String && self.bytes.len() <= KNOWN_VALUE_MAX_BYTES {
            Fact::known(self.dtype, self.shape, &self.bytes[..])
        } else {
            Fact::new(self.dtype, self.shape)
        }
    }
}

/// How far the random numbers of each node have come.
type Drawn = HashMap<String, Philox>;

impl Caller {
    /// A tensor of strings.
    pub fn strings(&self, shape: Shape, texts: &[impl AsRef<[u8]>]) -> Value {
        let push = |text: &[u8]| self.strings.push(text).expect("room for the strings of a test");
        let mut references: Vec<_> = texts.iter().map(|t| push(t.as_ref())).collect();
        let last = references.last().copied().unwrap_or_default();
        references.resize(shape.elements(), last);
        Value { dtype: DType::String, shape, bytes: bytemuck::cast_slice(&references).to_vec() }
    }

    fn constant(&self, constant: &Constant) -> Value {
        let mut bytes = vec![0; constant.bytes()];
        match &constant.data {
            ConstantData::Strings(texts) => return self.strings(constant.shape, texts),
            _ => constant.read_at(0, &mut bytes).unwrap(),
        }
        Value { dtype: constant.dtype, shape: constant.shape, bytes }
    }

    /// The outputs of a graph whose shapes are known.
    ///
    /// # Errors
    /// The node that broke a promise, and which; or its own error.
    pub fn interpret(&self, graph: &Graph, feeds: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
        self.interpret_from(graph, feeds, &mut Drawn::new())
    }

    fn interpret_from(
        &self,
        graph: &Graph,
        feeds: &HashMap<String, Value>,
        drawn: &mut Drawn,
    ) -> Result<Vec<Value>, String> {
        let mut values: HashMap<ValueRef, Value> = HashMap::new();
        for id in graph.order().map_err(|id| format!("a cycle at {id}"))? {
            let node = graph.node(id);
            let outputs = match &node.kind {
                // One that was let go of: nobody takes it.
                NodeKind::Constant(_) if node.facts.is_empty() => vec![],
                NodeKind::Constant(constant) => vec![self.constant(constant)],
                NodeKind::Input { .. } => match feeds.get(&*node.name) {
                    Some(value) => vec![value.clone()],
                    // A variable, which nobody takes the value of where it has none to begin with.
                    None => {
                        let state = graph.states.iter().find(|state| state.before.node == id);
                        let state = state.ok_or_else(|| format!("input '{}' is not fed", node.name))?;
                        state.initial.iter().map(|constant| self.constant(constant)).collect()
                    }
                },
                NodeKind::Region(region) => {
                    let inputs: Vec<Value> = node.inputs.iter().map(|v| values[v].clone()).collect();
                    let outputs = self
                        .region(region, &inputs, drawn)
                        .map_err(|why| format!("node '{}': {why}", node.name))?;
                    node.facts.iter().zip(&outputs).try_for_each(|(fact, value)| describes(fact, value))?;
                    outputs
                }
                NodeKind::Operator(_) => self
                    .node(graph, id, &values, drawn)
                    .map_err(|why| format!("node '{}' ({:?}): {why}", node.name, node.operator()))?,
            };
            for (output, value) in outputs.into_iter().enumerate() {
                values.insert(ValueRef { node: id, output: output as u32 }, value);
            }
        }
        Ok(graph.outputs.iter().map(|port| values[&port.value].clone()).collect())
    }

    fn region(&self, region: &Region, inputs: &[Value], drawn: &mut Drawn) -> Result<Vec<Value>, String> {
        let mut run = |body: &Graph, given: &[Value]| {
            let names = body.inputs.iter().map(|port| body.producer(port.value).name.to_string());
            self.interpret_from(body, &names.zip(given.iter().cloned()).collect(), drawn)
        };
        match region.kind {
            RegionKind::Branch => {
                let last = region.bodies.len() - 1;
                let number = match inputs[0].dtype {
                    DType::Bool => usize::from(inputs[0].bytes[0] == 0),
                    _ => usize::try_from(i32::from_le_bytes(inputs[0].bytes[..].try_into().unwrap()))
                        .map_or(last, |number| number.min(last)),
                };
                run(&region.bodies[number], &inputs[1..])
            }
            RegionKind::Loop => {
                let mut values = inputs.to_vec();
                while run(&region.bodies[0], &values)?[0].bytes[0] != 0 {
                    let next = run(&region.bodies[1], &values)?;
                    values.splice(..next.len(), next);
                }
                values.truncate(region.variables());
                Ok(values)
            }
        }
    }

    fn node(
        &self,
        graph: &Graph,
        id: NodeId,
        values: &HashMap<ValueRef, Value>,
        drawn: &mut Drawn,
    ) -> Result<Vec<Value>, String> {
        let node = graph.node(id);
        let operator = node.operator().ok_or("is no operator")?;
        let inputs: Vec<Value> = node.inputs.iter().map(|v| values[v].clone()).collect();
        let shapes = self.shapes(graph, node, &inputs)?;
        self.drawn.set((drawn.get(&*node.name).copied(), None));
        let outputs = self.check(operator, &inputs, &shapes)?.map_err(|error| error.to_string())?;
        if let (_, Some(place)) = self.drawn.take() {
            drawn.insert(node.name.to_string(), place);
        }
        for (fact, output) in node.facts.iter().zip(&outputs) {
            describes(fact, output)?;
        }
        Ok(outputs)
    }
}

impl Caller {
    /// The shapes of a call. What grows is planned for as what it is.
    fn shapes(&self, graph: &Graph, node: &Node, inputs: &[Value]) -> Result<Shapes, String> {
        let facts = graph.input_facts(node);
        let operator = node.operator().ok_or("is no operator")?;
        let planned_inputs = facts
            .iter()
            .zip(inputs)
            .map(|(fact, value)| fact.planned_dims().concrete().unwrap_or(value.shape));
        let planned_inputs: Vec<Shape> = planned_inputs.collect();
        let mut planned: Vec<Option<Shape>> =
            node.facts.iter().map(|f| f.planned_dims().concrete()).collect();
        let mut outputs = planned.clone();
        let mut inferred = Vec::new();
        if facts.iter().any(|f| f.depends_on_data() || f.grows()) || planned.contains(&None) {
            // A list is one in a run as well, as long as its first axis.
            let actual = inputs.iter().zip(&facts).map(|(value, fact)| {
                let length = value.shape.first().map(|n| Dim::Known(*n as i64));
                let known = value.fact();
                let dims = if is_open(fact, value) { Dims::UNKNOWN } else { known.dims.clone() };
                let list = fact
                    .list
                    .as_ref()
                    .zip(length)
                    .map(|(list, length)| Arc::new(List { length, ..(**list).clone() }));
                Fact { list, dims, ..known }
            });
            let actual: Vec<Fact> = actual.collect();
            inferred = operator.infer(&actual.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
            outputs = inferred.iter().map(|fact| fact.planned_dims().concrete()).collect();
        }
        let types: Vec<DType> = node.facts.iter().map(|fact| fact.dtype).collect();
        if outputs.contains(&None) {
            let grown = self.grow(operator, inputs, &inferred).map_err(|e| e.to_string())?;
            outputs.iter_mut().zip(grown).for_each(|(shape, grown)| *shape = Some(shape.unwrap_or(grown)));
        }
        planned.iter_mut().zip(&outputs).for_each(|(shape, real)| *shape = shape.or(*real));
        let open = || "an output has no shape".to_string();
        let planned: Option<Vec<_>> =
            types.into_iter().zip(planned).map(|(dtype, shape)| Some((dtype, shape?))).collect();
        Ok(Shapes {
            planned_inputs,
            planned_outputs: planned.ok_or_else(open)?,
            outputs: outputs.into_iter().collect::<Option<_>>().ok_or_else(open)?,
        })
    }
}

/// True for a list whose elements need not have one shape.
fn is_open(fact: &Fact, value: &Value) -> bool {
    fact.list.is_some() && value.shape.rank() == MAX_RANK
}

/// Fails when a fact says what is not so.
pub fn describes(fact: &Fact, value: &Value) -> Result<(), String> {
    let fits = |dims: &Dims, is_bound: bool| {
        let dims = dims.get()?;
        let pairs = dims.iter().zip(value.shape.iter());
        let fits = |(dim, size): (&crate::dim::Dim, &usize)| match dim.size() {
            Some(n) if is_bound => *size <= n,
            Some(n) => *size == n,
            None => dim.known().is_none(),
        };
        Some(dims.len() == value.shape.rank() && pairs.into_iter().all(fits))
    };
    let is_wrong = !is_open(fact, value)
        && (fits(&fact.dims, false) == Some(false)
            || fits(fact.planned_dims(), fact.depends_on_data()) == Some(false));
    if fact.dtype != value.dtype || is_wrong {
        return Err(format!("inferred is {fact}, computed {}{}", value.dtype, value.shape));
    }
    if let Some(view) = fact.view()
        && view.bytes() != value.bytes
    {
        return Err(format!("inferred is the value {:02x?}, computed {value:?}", view.bytes()));
    }
    Ok(())
}
