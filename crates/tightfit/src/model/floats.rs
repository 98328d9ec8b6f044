//! Floats for inputs of quantised integers. A file of floats, or of pixels, that feeds such an input of a `.tflite` means the
//! numbers that the integers stand for: `tfl.quantize` makes these of them, as the first step of the graph. Whole numbers are the
//! integers themselves, and pixels are so for an input of bytes, where nothing else is done to them.

use tightfit_core::DType;
use tightfit_format::{AttrValue, ListValue, NodeDef};

use super::{Described, ModelFile};
use crate::error::Error;

/// An input of integers that stand for other numbers.
pub(crate) struct IntegerInput<'m> {
    pub name: &'m str,
    /// Its node.
    pub node: &'m str,
    pub dtype: DType,
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
    /// The inputs whose integers stand for other numbers.
    pub(crate) fn integer_inputs(&self) -> Vec<IntegerInput<'_>> {
        self.described.integer_inputs()
    }
}
