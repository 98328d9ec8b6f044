//! From the operators of a graph to its nodes, and from the graphs that these call to functions.

use std::collections::BTreeMap;

use tightfit_core::block_bytes;
use tightfit_format::tflite::SubGraph;
use tightfit_format::{ArgDef, AttrValue, FormatError, FunctionDef, NodeDef, TensorShapeDef};

use super::build::{Context, Lower, Refusal, WHY, place};
use super::names::Names;
use super::operator::Op;
use super::{constants, table};

/// What an input or output of a function takes: what it is, its name, and the name again where it is returned.
const ARGUMENT_BYTES: u64 = size_of::<ArgDef>() as u64 + 160;

impl Context<'_> {
    /// The functions that have been named, and those that these name; `main` is none.
    pub fn functions(&self, main: usize) -> Result<Vec<FunctionDef>, FormatError> {
        let mut made: BTreeMap<usize, FunctionDef> = BTreeMap::new();
        loop {
            let next = self.called.borrow().iter().copied().find(|number| !made.contains_key(number));
            let Some(number) = next else { return Ok(made.into_values().collect()) };
            let called = self.model.subgraphs.get(number).filter(|_| number != main);
            let function = match called {
                Some(graph) => Lower::body(self, graph)?.function(self.function(number))?,
                // Nodes that name it are refused.
                None => FunctionDef::default(),
            };
            made.insert(number, function);
        }
    }
}

impl<'c, 'm> Lower<'c, 'm> {
    /// The graph that is run: its inputs are placeholders.
    pub fn main(context: &'c Context<'m>, graph: &'m SubGraph) -> Result<Lower<'c, 'm>, FormatError> {
        let mut lower = Lower::new(context, graph)?;
        let has_state = graph.tensors.iter().any(|tensor| tensor.is_variable);
        if has_state || graph.operators.iter().any(|op| op.name() == "ASSIGN_VARIABLE") {
            lower.waiting = vec![false; graph.tensors.len()];
            for number in &graph.outputs {
                lower.waiting.get_mut(place(*number)).into_iter().for_each(|waits| *waits = true);
            }
        }
        for (position, number) in graph.inputs.iter().enumerate() {
            let Some(tensor) = graph.tensors.get(place(*number)) else { continue };
            let dtype = tensor.kind.data_type().map_or(0, |data_type| data_type.0);
            let shape = AttrValue::Shape(TensorShapeDef { dims: Some(tensor.open_shape()) });
            let attrs = vec![("dtype".into(), AttrValue::Type(dtype)), ("shape".into(), shape)];
            let wanted =
                if tensor.name.is_empty() { format!("#{position}") } else { tensor.name.to_string() };
            let name = lower.push(&wanted, "Placeholder", Vec::new(), attrs)?;
            lower.names.values[place(*number)] = Some(name);
        }
        Ok(lower)
    }

    /// A graph that operators call: its inputs are a function's.
    fn body(context: &'c Context<'m>, graph: &'m SubGraph) -> Result<Lower<'c, 'm>, FormatError> {
        let mut lower = Lower::new(context, graph)?;
        for (position, number) in graph.inputs.iter().enumerate() {
            if let Some(value) = lower.names.values.get_mut(place(*number)) {
                *value = Some(argument(position));
            }
        }
        Ok(lower)
    }

    /// Makes nodes of all operators.
    pub fn operators(&mut self) -> Result<(), FormatError> {
        let graph = self.graph;
        for (index, operator) in graph.operators.iter().enumerate() {
            let mut op = Op::new(self, operator, index);
            match table::lower(&mut op) {
                Ok(()) => {}
                Err(Refusal::Format(error)) => return Err(error),
                // What was made of it so far nothing needs.
                Err(Refusal::Why(why)) => self.refused(index, &why)?,
            }
        }
        Ok(())
    }

    /// A node of the builtin's own name in the place of an operator that cannot be computed.
    fn refused(&mut self, index: usize, why: &str) -> Result<(), FormatError> {
        let Some(operator) = self.graph.operators.get(index) else { return Ok(()) };
        let mut inputs = Vec::new();
        for number in operator.inputs.iter().map(|number| place(*number)) {
            // What has no value either is no reason of its own.
            if let Some(Some(value)) = self.names.values.get(number) {
                self.context.charge(block_bytes(value.len() as u64))?;
                inputs.push(value.clone());
            }
        }
        let tensor = |number: &i32| self.graph.tensors.get(place(*number));
        let output = operator.outputs.first().and_then(tensor).map_or("", |tensor| &tensor.name);
        let wanted = format!("{output} (operator {index})");
        let op = operator.name();
        let op = if operator.custom.is_some() { format!("CUSTOM:{op}") } else { op.to_string() };
        let attrs = vec![(WHY.into(), AttrValue::Str(why.as_bytes().into()))];
        let node = self.push(&wanted, &op, inputs, attrs)?;
        for (output, number) in operator.outputs.iter().enumerate() {
            let reference = if output == 0 { node.clone() } else { format!("{node}:{output}").into() };
            if let Some(value) = self.names.values.get_mut(place(*number)) {
                *value = Some(reference);
            }
        }
        if operator.outputs.is_empty() {
            self.effects.push(node);
        }
        Ok(())
    }

    /// The values of the graph's outputs, which are constants or made by now.
    fn returned(&mut self) -> Result<Vec<Box<str>>, FormatError> {
        let mut values = Vec::with_capacity(self.graph.outputs.len());
        for number in &self.graph.outputs {
            values.push(constants::value(self, place(*number))?.unwrap_or_default());
        }
        Ok(values)
    }

    /// The nodes of the graph that is run. Its outputs wait for what is there for its effects.
    pub fn finish_main(mut self) -> Result<(Vec<NodeDef>, Names), FormatError> {
        let returned = self.returned()?;
        if self.waiting.is_empty() {
            return Ok((self.nodes, self.names));
        }
        let effects: Vec<Box<str>> = self.effects.iter().map(|node| format!("^{node}").into()).collect();
        for (value, number) in returned.into_iter().zip(&self.graph.outputs) {
            let Some(tensor) = self.graph.tensors.get(place(*number)).filter(|_| !value.is_empty()) else {
                continue;
            };
            let dtype = tensor.kind.data_type().map_or(0, |data_type| data_type.0);
            let inputs = [value].into_iter().chain(effects.iter().cloned()).collect();
            let attrs = vec![("T".into(), AttrValue::Type(dtype))];
            let name = self.push(&tensor.name, "Identity", inputs, attrs)?;
            self.names.values[place(*number)] = Some(name);
        }
        Ok((self.nodes, self.names))
    }

    /// The graph as a function.
    fn function(mut self, name: Box<str>) -> Result<FunctionDef, FormatError> {
        self.operators()?;
        let returned = self.returned()?;
        let graph = self.graph;
        self.context.charge((graph.inputs.len() + graph.outputs.len()) as u64 * ARGUMENT_BYTES)?;
        let arg = |number: &i32, name: Box<str>| {
            let data_type = graph.tensors.get(place(*number)).and_then(|tensor| tensor.kind.data_type());
            ArgDef { name, dtype: data_type.map_or(0, |data_type| data_type.0), ..ArgDef::default() }
        };
        let numbered = graph.inputs.iter().enumerate();
        let input_args = numbered.map(|(position, number)| arg(number, argument(position))).collect();
        let numbered = graph.outputs.iter().enumerate();
        let output_args: Vec<ArgDef> =
            numbered.map(|(position, number)| arg(number, format!("output_{position}").into())).collect();
        let ret = output_args.iter().map(|arg| arg.name.clone()).zip(returned).collect();
        let control_ret = self.effects.iter().map(|node| (node.clone(), node.clone())).collect();
        let is_stateful = !self.effects.is_empty();
        let (nodes, attrs) = (self.nodes, Vec::new());
        Ok(FunctionDef { name, input_args, output_args, nodes, ret, control_ret, is_stateful, attrs })
    }
}

/// The name of a function's argument.
fn argument(position: usize) -> Box<str> {
    format!("argument_{position}").into()
}
