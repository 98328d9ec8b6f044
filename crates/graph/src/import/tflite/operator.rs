//! An operator of the file while nodes are made of it.

use tightfit_core::Quantization;
use tightfit_format::DataType;
use tightfit_format::tflite::{FlexValue, Operator, Tensor, flex_map};

use super::attrs::{Attrs, Value, data_type, kind, scales_of, types, why};
use super::build::{Lower, Refusal};
use super::constants;

/// The bytes of custom options that are looked at.
const CUSTOM_OPTIONS_BYTES: u64 = 16 << 10;

/// An operator, and the graph that its nodes go to.
pub(super) struct Op<'l, 'c, 'm> {
    pub lower: &'l mut Lower<'c, 'm>,
    pub operator: &'m Operator,
    /// Its number in its graph.
    pub index: usize,
    /// How many nodes there were before it.
    first: usize,
    /// True where it computes with the floats that its integers stand for.
    pub in_floats: bool,
}

impl<'l, 'c, 'm> Op<'l, 'c, 'm> {
    pub fn new(lower: &'l mut Lower<'c, 'm>, operator: &'m Operator, index: usize) -> Op<'l, 'c, 'm> {
        let first = lower.nodes.len();
        Op { lower, operator, index, first, in_floats: false }
    }

    /// How many inputs it has, those that are left out too.
    pub fn count(&self) -> usize {
        self.operator.inputs.len()
    }

    fn number(&self, input: usize) -> Option<usize> {
        self.operator.inputs.get(input).and_then(|number| usize::try_from(*number).ok())
    }

    /// True where an input is given.
    pub fn has(&self, input: usize) -> bool {
        self.number(input).is_some()
    }

    /// The tensor that an input is.
    pub fn tensor(&self, input: usize) -> Result<&'m Tensor, Refusal> {
        let tensor = self.number(input).and_then(|number| self.lower.graph.tensors.get(number));
        tensor.ok_or_else(|| Refusal::Why(format!("lacks input {input}")))
    }

    /// The tensor that an output is.
    pub fn made(&self, output: usize) -> Result<&'m Tensor, Refusal> {
        let number = self.operator.outputs.get(output).and_then(|number| usize::try_from(*number).ok());
        let tensor = number.and_then(|number| self.lower.graph.tensors.get(number));
        tensor.ok_or_else(|| Refusal::Why(format!("lacks output {output}")))
    }

    /// The type in which it computes with a tensor.
    fn computed_type(&self, tensor: &Tensor) -> Result<i32, Refusal> {
        if self.in_floats && tensor.is_quantized() { Ok(types::F32) } else { data_type(tensor) }
    }

    /// The type of an input.
    pub fn dtype(&self, input: usize) -> Result<i32, Refusal> {
        self.computed_type(self.tensor(input)?)
    }

    /// The type of an output.
    pub fn output_dtype(&self, output: usize) -> Result<i32, Refusal> {
        self.computed_type(self.made(output)?)
    }

    /// The value of an input.
    pub fn input(&mut self, input: usize) -> Result<Value, Refusal> {
        let tensor = self.tensor(input)?;
        let number = self.number(input).unwrap_or(usize::MAX);
        match constants::made(self.lower, number)? {
            Some(value) if self.in_floats && tensor.is_quantized() => self.dequantized(value, input),
            Some(value) => Ok(value),
            None => why(format!("takes '{}', which nothing before it makes", tensor.name)),
        }
    }

    /// The values of all inputs that are given.
    pub fn inputs(&mut self) -> Result<Vec<Value>, Refusal> {
        let given = (0..self.count()).filter(|input| self.has(*input)).collect::<Vec<_>>();
        given.into_iter().map(|input| self.input(input)).collect()
    }

    /// True where an input is a constant of the file.
    pub fn is_constant(&self, input: usize) -> bool {
        let is_made = self.number(input).and_then(|number| self.lower.names.values.get(number));
        let tensor = self.tensor(input);
        tensor.is_ok_and(|t| t.values.bytes > 0 && !t.is_variable) && is_made.is_some()
    }

    /// The value of an input whose elements are seen through another shape.
    pub fn shaped(&mut self, input: usize, shape: &[i64]) -> Result<Value, Refusal> {
        let tensor = self.tensor(input)?;
        if self.is_constant(input)
            && !self.in_floats
            && let Some(constant) = constants::constant(self.lower, tensor, shape)?
        {
            return Ok(constant);
        }
        let (value, dtype) = (self.input(input)?, self.dtype(input)?);
        self.reshape(value, dtype, shape)
    }

    /// Adds a node, whose first output is returned.
    pub fn node(&mut self, op: &str, inputs: Vec<Value>, attrs: Attrs) -> Result<Value, Refusal> {
        let name = self.made(0).map_or("", |tensor| &tensor.name);
        let name = match name {
            "" => format!("operator {}", self.index),
            name => name.to_string(),
        };
        Ok(self.lower.push(&format!("{name}/{op}"), op, inputs, attrs)?)
    }

    /// A vector of int32.
    pub fn vector(&mut self, values: &[i64]) -> Result<Value, Refusal> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect();
        let name = format!("operator {}/numbers", self.index);
        Ok(constants::inline(self.lower, &name, types::I32, &[values.len() as i64], &bytes)?)
    }

    /// One int32.
    pub fn scalar(&mut self, value: i64) -> Result<Value, Refusal> {
        let name = format!("operator {}/number", self.index);
        Ok(constants::inline(self.lower, &name, types::I32, &[], &(value as i32).to_le_bytes())?)
    }

    /// A number in one of the types of floats and integers.
    pub fn number_of(&mut self, dtype: i32, value: f64) -> Result<Value, Refusal> {
        let bytes: Vec<u8> = match dtype {
            types::F32 => (value as f32).to_le_bytes().to_vec(),
            types::I32 => (value as i32).to_le_bytes().to_vec(),
            types::I64 => (value as i64).to_le_bytes().to_vec(),
            types::I16 => (value as i16).to_le_bytes().to_vec(),
            types::I8 => (value as i8).to_le_bytes().to_vec(),
            types::U8 => vec![value as u8],
            types::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
            2 => value.to_le_bytes().to_vec(),
            other => return why(format!("computes in {}, which is not supported", DataType(other))),
        };
        let name = format!("operator {}/number", self.index);
        Ok(constants::inline(self.lower, &name, dtype, &[], &bytes)?)
    }

    /// A vector of float32.
    pub fn float_vector(&mut self, values: &[f32], shape: &[i64]) -> Result<Value, Refusal> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let name = format!("operator {}/numbers", self.index);
        Ok(constants::inline(self.lower, &name, types::F32, shape, &bytes)?)
    }

    /// A value under another shape.
    pub fn reshape(&mut self, value: Value, dtype: i32, shape: &[i64]) -> Result<Value, Refusal> {
        let shape = self.vector(shape)?;
        self.node("Reshape", vec![value, shape], vec![kind("T", dtype)])
    }

    /// A value with its axes in another order.
    pub fn transpose(&mut self, value: Value, dtype: i32, order: &[i64]) -> Result<Value, Refusal> {
        let order = self.vector(order)?;
        self.node("Transpose", vec![value, order], vec![kind("T", dtype)])
    }

    /// What the activation that is fused to the operator makes of a value.
    pub fn activated(&mut self, value: Value, dtype: i32) -> Result<Value, Refusal> {
        let number = self.operator.options.int("fused_activation_function");
        self.activation(value, dtype, number)
    }

    /// What an activation makes of a value.
    pub fn activation(&mut self, value: Value, dtype: i32, number: i64) -> Result<Value, Refusal> {
        let attrs = vec![kind("T", dtype)];
        match number {
            0 => Ok(value),
            1 => self.node("Relu", vec![value], attrs),
            2 => self.clip(value, dtype, (-1.0, 1.0)),
            3 => self.node("Relu6", vec![value], attrs),
            4 => self.node("Tanh", vec![value], attrs),
            other => why(format!("has the activation {other}, which is not supported")),
        }
    }

    /// A value held between two numbers.
    pub fn clip(&mut self, value: Value, dtype: i32, (low, high): (f64, f64)) -> Result<Value, Refusal> {
        let (low, high) = (self.number_of(dtype, low)?, self.number_of(dtype, high)?);
        let value = self.node("Minimum", vec![value, high], vec![kind("T", dtype)])?;
        self.node("Maximum", vec![value, low], vec![kind("T", dtype)])
    }

    /// Says what an output is. The node that has made it gets the tensor's name, if it was made for this operator and
    /// nothing takes it yet.
    pub fn bind(&mut self, output: usize, value: Value) -> Result<(), Refusal> {
        let value = self.of_integers(output, value)?;
        let own = self.lower.nodes.iter().skip(self.first).rposition(|node| node.name == value);
        let is_taken = self.lower.nodes.iter().skip(self.first).any(|node| node.inputs.contains(&value));
        let Some(at) = own.filter(|_| !is_taken) else { return self.hand_on(output, value) };
        let Some(number) = self.output_number(output) else { return self.hand_on(output, value) };
        self.lower.names.release(&value);
        let wanted = self.lower.wanted(number);
        let name = self.lower.names.free(&wanted);
        self.lower.context.charge(2 * wanted.len() as u64)?;
        if let Some(node) = self.lower.nodes.get_mut(self.first + at) {
            node.name = name.clone();
        }
        self.lower.names.values[number] = Some(name);
        Ok(())
    }

    /// What has been computed in floats as the integers of an output.
    fn of_integers(&mut self, output: usize, value: Value) -> Result<Value, Refusal> {
        let tensor = self.made(output)?;
        if !self.in_floats || !tensor.is_quantized() {
            return Ok(value);
        }
        let attrs = scales_of(tensor)?;
        self.node("tfl.quantize", vec![value], attrs)
    }

    fn output_number(&self, output: usize) -> Option<usize> {
        let number = self.operator.outputs.get(output).and_then(|number| usize::try_from(*number).ok());
        number.filter(|number| *number < self.lower.names.values.len())
    }

    /// A node of the tensor's name for an output that is another node's value.
    pub fn hand_on(&mut self, output: usize, value: Value) -> Result<(), Refusal> {
        let dtype = data_type(self.made(output)?)?;
        let Some(number) = self.output_number(output) else { return Ok(()) };
        let wanted = self.lower.wanted(number);
        let name = self.lower.push(&wanted, "Identity", vec![value], vec![kind("T", dtype)])?;
        self.lower.names.values[number] = Some(name);
        Ok(())
    }

    /// What a value of the type and the scales of input `input` stands for: float32.
    pub fn dequantized(&mut self, value: Value, input: usize) -> Result<Value, Refusal> {
        let tensor = self.tensor(input)?;
        let dtype = data_type(tensor)?;
        let value = self.node("Cast", vec![value], vec![kind("SrcT", dtype), kind("DstT", types::F32)])?;
        if dtype == types::F16 {
            return Ok(value);
        }
        let quantization = quantization(tensor)?;
        let shape = broadcast(tensor, quantization);
        let zero_points: Vec<f32> = quantization.zero_points.iter().map(|zero| *zero as f32).collect();
        let value = self.less(value, &zero_points, &shape)?;
        let scale = self.float_vector(&quantization.scales, &shape)?;
        self.node("Mul", vec![value, scale], vec![kind("T", types::F32)])
    }

    /// A value less zero points, which are of this shape.
    pub fn less(&mut self, value: Value, zeros: &[f32], shape: &[i64]) -> Result<Value, Refusal> {
        if zeros.iter().all(|zero| *zero == 0.0) {
            return Ok(value);
        }
        let zeros = self.float_vector(zeros, shape)?;
        self.node("Sub", vec![value, zeros], vec![kind("T", types::F32)])
    }

    /// Adds the node that is the operator's one output.
    pub fn result(&mut self, op: &str, inputs: Vec<Value>, attrs: Attrs) -> Result<(), Refusal> {
        let value = self.node(op, inputs, attrs)?;
        self.bind(0, value)
    }

    /// Adds the node whose outputs are the operator's.
    pub fn results(&mut self, op: &str, inputs: Vec<Value>, attrs: Attrs) -> Result<(), Refusal> {
        let node = self.node(op, inputs, attrs)?;
        match self.operator.outputs.len() {
            1 => self.bind(0, node),
            outputs => (0..outputs).try_for_each(|output| {
                let value = if output == 0 { node.clone() } else { format!("{node}:{output}").into() };
                let value = self.of_integers(output, value)?;
                self.hand_on(output, value)
            }),
        }
    }

    /// The bytes of a custom operator's options.
    pub fn raw_options(&self) -> Result<Vec<u8>, Refusal> {
        let place = self.operator.custom_options;
        if place.bytes > CUSTOM_OPTIONS_BYTES {
            return why(format!("has {} bytes of options, which is not supported", place.bytes));
        }
        let mut bytes = vec![0; place.bytes as usize];
        self.lower.context.source().read_exact_at(place.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The options of a custom operator that are a map.
    pub fn custom_options(&self) -> Result<Vec<(String, FlexValue)>, Refusal> {
        let options = flex_map(&self.raw_options()?);
        options.ok_or_else(|| Refusal::Why("has options that are no flexbuffer's map".into()))
    }
}

/// The quantisation of a tensor of integers, each of whose scales is for one index of an axis that the tensor has.
pub(super) fn quantization(tensor: &Tensor) -> Result<&Quantization, Refusal> {
    let name = &tensor.name;
    if tensor.blockwise.is_some() {
        return why(format!("takes '{name}', which has a scale for each block, which is not supported"));
    }
    let Some(quantization) = tensor.quantization.as_ref() else {
        return why(format!("takes the integers '{name}' without a scale"));
    };
    let count = match quantization.axis {
        Some(axis) => tensor.shape.get(axis).map(|dim| i64::from(*dim)),
        None => Some(1),
    };
    if count != Some(quantization.scales.len() as i64) {
        let found = quantization.scales.len();
        return why(format!("takes '{name}' of shape {:?} with {found} scales", tensor.shape));
    }
    Ok(quantization)
}

/// The shape of scales that are multiplied with a tensor.
fn broadcast(tensor: &Tensor, quantization: &Quantization) -> Vec<i64> {
    let Some(axis) = quantization.axis else { return Vec::new() };
    let behind = tensor.shape.len().saturating_sub(axis + 1);
    [quantization.scales.len() as i64].into_iter().chain(std::iter::repeat_n(1, behind)).collect()
}
