//! Floats for inputs of quantised integers. A file of floats, or of pixels, that feeds such an input of a `.tflite` means the
//! numbers that the integers stand for: `tfl.quantize` makes these of them, as the first step of the graph. Whole numbers are the
//! integers themselves, and pixels are so for an input of bytes, where nothing else is done to them.

use std::path::PathBuf;

use tightfit_core::{DType, MemoryBudget};
use tightfit_data::{Preprocess, Probe};
use tightfit_format::example::FeatureKind;
use tightfit_format::{AttrValue, ListValue, NodeDef};

use super::{Described, ModelFile};
use crate::error::Error;
use crate::feeds::array_dtype;
use crate::job::{DataOptions, probe};

/// An input of integers that stand for other numbers.
struct IntegerInput<'m> {
    name: &'m str,
    /// Its node.
    node: &'m str,
    dtype: DType,
    scale: f32,
    zero_point: i64,
}

/// The number of DT_FLOAT.
const FLOAT: i32 = 1;

/// Heap bytes of a node that quantises, with its names and attributes.
const NODE_BYTES: u64 = 2 << 10;

impl Described {
    /// The inputs whose integers stand for other numbers, each by one scale.
    fn integer_inputs(&self) -> Vec<IntegerInput<'_>> {
        let inputs = self.signature_def().into_iter().flat_map(|signature| &signature.inputs);
        inputs
            .filter_map(|(key, tensor)| {
                let own = tensor.quantization.as_ref()?;
                let (&[scale], zero_point) = (&own.scales[..], own.zero_points.first().copied().unwrap_or(0))
                else {
                    return None;
                };
                let dtype = tightfit_format::DataType(tensor.dtype).dtype()?;
                let node = tightfit_graph::import::split_name(&tensor.name).0;
                dtype.is_integer().then_some(IntegerInput { name: key, node, dtype, scale, zero_point })
            })
            .collect()
    }

    /// Makes these inputs ones of floats, each with a node behind it that quantises them.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is no quantised input, and what the budget says.
    pub(super) fn feed_floats(&mut self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let inputs = self.integer_inputs();
            let input = inputs.iter().find(|input| input.name == name);
            let input =
                input.ok_or_else(|| Error::Usage(format!("{name} is no input of quantised integers")))?;
            let (node, scale, zero_point) = (input.node.to_string(), input.scale, input.zero_point);
            self.quantize_behind(&node, scale, zero_point)?;
        }
        Ok(())
    }

    fn quantize_behind(&mut self, input: &str, scale: f32, zero_point: i64) -> Result<(), Error> {
        let not_there = || Error::Defect("an input of the signature is none of the graph");
        self.def.reservation.try_grow(NODE_BYTES)?;
        let at = self.def.nodes.iter().position(|node| &*node.name == input).ok_or_else(not_there)?;
        let mut name = format!("{input}/quantized");
        while self.def.nodes.iter().any(|node| *node.name == *name) {
            name.push('_');
        }
        let names_input = |given: &str| given == input || given.strip_suffix(":0") == Some(input);
        for given in
            self.def.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|given| names_input(given))
        {
            *given = name.as_str().into();
        }
        let placeholder = self.def.nodes.get_mut(at).ok_or_else(not_there)?;
        let dtype = placeholder.attrs.iter_mut().find(|(key, _)| &**key == "dtype").ok_or_else(not_there)?;
        let dtype = std::mem::replace(&mut dtype.1, AttrValue::Type(FLOAT));
        let node = NodeDef {
            name: name.into(),
            op: "tfl.quantize".into(),
            inputs: vec![input.into()],
            device: None,
            attrs: vec![
                ("output_type".into(), dtype),
                ("output_scale".into(), AttrValue::List(ListValue::Floats(vec![scale]))),
                ("output_zero_point".into(), AttrValue::List(ListValue::Ints(vec![zero_point]))),
            ],
            offset: placeholder.offset,
        };
        self.def.nodes.insert(at + 1, node);
        Ok(())
    }
}

impl ModelFile {
    /// The inputs of quantised integers that `files`, pairs of a tensor's name and its file, and the data set feed with floats or
    /// with pixels: what [`super::OpenOptions::float_inputs`] is to be for them. Of a model without such inputs nothing is looked
    /// at.
    ///
    /// # Errors
    /// [`Error::Dataset`] when the first file of the data set cannot be read.
    pub fn float_inputs(
        &self,
        files: &[(String, PathBuf)],
        data: &DataOptions,
        threads: usize,
        budget: &MemoryBudget,
    ) -> Result<Vec<String>, Error> {
        let inputs = self.described.integer_inputs();
        let mut floats = Vec::new();
        let mut looked = None;
        for input in inputs {
            let is_called =
                |name: &str| name == input.name || tightfit_graph::import::split_name(name).0 == input.node;
            let is_fed_floats = match files.iter().find(|(name, _)| is_called(name)) {
                Some((_, path)) => array_dtype(path).is_some_and(DType::is_float),
                None if data.sources.is_empty() => false,
                None => {
                    if looked.is_none() {
                        looked = Some(probe(data, threads, budget)?);
                    }
                    looked.as_ref().is_some_and(|probe| holds_floats(probe, &input, data))
                }
            };
            if is_fed_floats {
                floats.push(input.name.to_string());
            }
        }
        Ok(floats)
    }
}

/// Whether what feeds the input are floats, or pixels that its integers are not.
fn holds_floats(probe: &Probe, input: &IntegerInput<'_>, data: &DataOptions) -> bool {
    let feature =
        data.features.iter().find(|(own, _)| own == input.name).map_or(input.name, |(_, name)| name);
    let are_pixels_floats = input.dtype != DType::U8 || data.preprocess != Preprocess::None;
    match probe {
        Probe::Image { .. } => are_pixels_floats,
        Probe::Array { dtype, .. } => dtype.is_float(),
        Probe::Pipeline(schema) => {
            let only = if schema.fields().len() == 1 { schema.fields().first() } else { None };
            let field = schema.fields().iter().find(|field| field.name == feature).or(only);
            field.is_some_and(|field| field.dtype.is_float())
        }
        Probe::Records(features) => {
            let only = if features.len() == 1 { features.first() } else { None };
            let found = features.iter().find(|own| own.name == feature).or(only);
            found.is_some_and(|own| match own.kind {
                FeatureKind::Float => true,
                _ => own.image_size.is_some() && are_pixels_floats,
            })
        }
        _ => false,
    }
}
