//! Fields into records: an element becomes a tf.train.Example, the string `record`.
//!
//! ```json
//! {"serialize": null, "raw": ["pixels"], "shapes": true}
//! ```
//!
//! Floats of every width become a float list, integers and bools an int64 list, strings a bytes list: an Example has
//! no other lists, and no shapes. A field in `raw` (all of numbers with `true`) becomes one byte string, its numbers as
//! they lie in memory, little-endian, which is exact for every type and what [`parse`](super::parse) reads with
//! `"raw"`. With `shapes` each field of two dimensions and more has another feature, `name/shape`. Features are in the
//! order of their names, as TensorFlow's deterministic serialization has them.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{DType, MemoryBudget, Reservation};
use tightfit_format::example::{NamedValues, Values};

use super::{MapOp, MapWorker, Verdict, recycled};
use crate::convert::cast;
use crate::encode::ExampleEncoder;
use crate::error::{DataError, Needed, RowFault};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::growing::Growing;
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::sources::records::RECORD;
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

const PURPOSE: &str = "serialize";

/// What is put after the name of a field for that of its shape.
const SHAPE: &str = "/shape";

/// Elements into tf.train.Examples.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Serialize {
    /// The fields of numbers that become one byte string; `None` for all.
    pub raw: Option<Vec<String>>,
    /// Whether fields of two dimensions and more have their shape beside them.
    pub has_shapes: bool,
}

impl Serialize {
    /// Every field a list of values, without shapes.
    pub fn new() -> Serialize {
        Serialize { raw: Some(Vec::new()), has_shapes: false }
    }

    fn is_raw(&self, field: &Field) -> bool {
        let is_named = self.raw.as_ref().is_none_or(|names| names.contains(&field.name));
        is_named && field.dtype != DType::String
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    if !args.value().is_null() {
        return Err(args.wrong(args.name(), "null"));
    }
    let raw = match args.option("raw") {
        None | Some(Value::Bool(false)) => Some(Vec::new()),
        Some(Value::Bool(true)) => None,
        Some(_) => args.texts_option("raw")?,
    };
    read_each(Serialize { raw, has_shapes: args.flag("shapes")? }, args)
}

impl MapOp for Serialize {
    fn identity(&self) -> serde_json::Value {
        identity::of("serialize", self)
    }

    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        for name in self.raw.iter().flatten() {
            let field = input.fields().get(input.index(name)?);
            if field.is_some_and(|field| field.dtype == DType::String) {
                return Err(format!("{name} is strings, which are bytes already"));
            }
        }
        for field in input.fields() {
            if field.dtype.is_complex() && !self.is_raw(field) {
                return Err(format!("{field}: an Example holds complex numbers only raw"));
            }
        }
        Schema::new(vec![Field::fixed(RECORD, DType::String, &[])])
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let mut features = Vec::new();
        for (field, described) in input.fields().iter().enumerate() {
            let dtype = described.dtype;
            let kind = match dtype {
                _ if self.is_raw(described) => Kind::Raw,
                DType::String => Kind::Strings,
                _ if dtype.is_float() => Kind::Floats,
                _ => Kind::Ints,
            };
            features.push(Feature { name: described.name.clone(), field, kind, range: 0..0 });
            if self.has_shapes && described.dims.len() > 1 {
                let name = format!("{}{SHAPE}", described.name);
                features.push(Feature { name, field, kind: Kind::Shape, range: 0..0 });
            }
        }
        features.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = features.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(DataError::Spec(format!("serialize: two features are called {:?}", pair[0].name)));
        }
        Ok(Box::new(SerializeWorker {
            features,
            numbers: Growing::new(PURPOSE, budget),
            encoder: ExampleEncoder::new(budget)?,
            strings: Vec::new(),
            lists: Vec::new(),
            string_bytes: budget.try_reserve(PURPOSE, 0)?,
        }))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Floats,
    Ints,
    Strings,
    Raw,
    Shape,
}

struct Feature {
    name: String,
    field: usize,
    kind: Kind,
    /// Where its values are: the bytes in `numbers`, or its strings in `strings`.
    range: Range<usize>,
}

impl Feature {
    /// Its values, of those of all features.
    fn values<'a>(&self, numbers: &'a [u8], strings: &'a [&'a [u8]]) -> Result<Values<'a>, RowFault> {
        const LOST: &str = "a feature has lost its values";
        let bytes = || numbers.get(self.range.clone()).needed(LOST);
        Ok(match self.kind {
            Kind::Floats => Values::Float(bytemuck::try_cast_slice(bytes()?).needed(LOST)?),
            Kind::Ints | Kind::Shape => Values::Int64(bytemuck::try_cast_slice(bytes()?).needed(LOST)?),
            Kind::Strings | Kind::Raw => Values::Bytes(strings.get(self.range.clone()).needed(LOST)?),
        })
    }
}

/// One thread's memory; all of it is used again.
struct SerializeWorker {
    features: Vec<Feature>,
    /// float32 and int64 values of all fields.
    numbers: Growing,
    encoder: ExampleEncoder,
    strings: Vec<&'static [u8]>,
    lists: Vec<NamedValues<'static>>,
    string_bytes: Reservation,
}

impl SerializeWorker {
    /// Puts the numbers of all features where they can be lent from as what an Example holds.
    fn convert(&mut self, input: &ElementView<'_>) -> Result<(), RowFault> {
        self.numbers.set_used(0);
        for feature in &mut self.features {
            let Some(tensor) = input.tensor(feature.field) else { continue };
            let (to, count) = match feature.kind {
                Kind::Floats => (DType::F32, tensor.shape().elements()),
                Kind::Ints => (DType::I64, tensor.shape().elements()),
                Kind::Shape => (DType::I64, tensor.shape().rank()),
                Kind::Strings | Kind::Raw => continue,
            };
            // So that each begins where both types may.
            let from = self.numbers.used().next_multiple_of(8);
            let end = from.saturating_add(count.saturating_mul(to.bytes()));
            self.numbers.grow_to(end)?;
            let target = self.numbers.range_mut(from, end)?;
            if feature.kind == Kind::Shape {
                for (dim, to) in tensor.shape().iter().zip(target.as_chunks_mut::<8>().0) {
                    *to = (*dim as i64).to_le_bytes();
                }
            } else {
                cast(tensor.dtype(), tensor.bytes(), to, target).map_err(|fault| RowFault::Feature {
                    feature: feature.name.clone(),
                    fault: Box::new(fault),
                })?;
            }
            feature.range = from..end;
        }
        Ok(())
    }

    /// Notes the strings of all features in `strings`.
    fn note<'a>(&mut self, input: &ElementView<'a>, strings: &mut Vec<&'a [u8]>) -> Result<(), RowFault> {
        for feature in &mut self.features {
            let count = match feature.kind {
                Kind::Strings => input.tensor(feature.field).map_or(0, |t| t.shape().elements()),
                Kind::Raw => 1,
                _ => continue,
            };
            let from = strings.len();
            if from + count > strings.capacity() {
                let more = count.max(from).max(16);
                self.string_bytes.try_grow((more * size_of::<&[u8]>()) as u64)?;
                strings.reserve_exact(more);
            }
            match feature.kind {
                Kind::Raw => strings.extend(input.tensor(feature.field).map(|tensor| tensor.bytes())),
                _ => input.strings(feature.field).try_for_each(|string| {
                    strings.push(string?);
                    Ok::<_, RowFault>(())
                })?,
            }
            feature.range = from..strings.len();
        }
        Ok(())
    }
}

impl MapWorker for SerializeWorker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        self.convert(input)?;
        let mut strings: Vec<&[u8]> = mem::take(&mut self.strings);
        let noted = self.note(input, &mut strings);
        let mut lists: Vec<NamedValues<'_>> = mem::take(&mut self.lists);
        let numbers = self.numbers.bytes();
        let listed = noted.and_then(|()| {
            for feature in &self.features {
                lists.push((feature.name.as_str(), feature.values(numbers, &strings)?));
            }
            Ok(())
        });
        let encoded = listed.and_then(|()| self.encoder.encode(&lists).map_err(RowFault::Memory));
        let added = encoded.and_then(|record| out.add_string(record));
        self.lists = recycled(lists);
        self.strings = recycled(strings);
        added.map(|()| Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow::maps::parse::{Parse, ParseSpec};
    use crate::flow::origin::Origin;
    use tightfit_core::Shape;

    fn run(op: &dyn MapOp, input: &ElementView<'_>, budget: &MemoryBudget) -> Result<Element, RowFault> {
        let schema = op.schema(input.schema()).map_err(RowFault::Map)?;
        let mut worker = op.worker(input.schema(), budget).map_err(|e| RowFault::Map(e.to_string()))?;
        let mut out = Element::new(Arc::new(schema), "test", budget);
        // Twice, as memory is used again.
        for _ in 0..2 {
            out.begin(Origin::default());
            worker.run(input, &mut out)?;
        }
        Ok(out)
    }

    fn element(budget: &MemoryBudget) -> Element {
        let schema = Schema::new(vec![
            Field::fixed("x", DType::F16, &[2]),
            Field::fixed("flag", DType::Bool, &[]),
            Field::new("words", DType::String, &[None]),
            Field::fixed("image", DType::U8, &[2, 2, 1]),
            Field::fixed("exact", DType::F64, &[]),
        ]);
        let mut element = Element::new(Arc::new(schema.unwrap()), "test", budget);
        element.begin(Origin::default());
        let x = [half::f16::from_f32(0.5), half::f16::from_f32(-2.0)];
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        element.add(shape(&[2])).unwrap().copy_from_slice(bytemuck::cast_slice(&x.map(|x| x.to_bits())));
        element.add(Shape::SCALAR).unwrap().copy_from_slice(&[1]);
        let words = ["one", "", "three"].map(|word| element.add_text(word.as_bytes()).unwrap());
        element.add(shape(&[3])).unwrap().copy_from_slice(bytemuck::cast_slice(&words));
        element.add(shape(&[2, 2, 1])).unwrap().copy_from_slice(&[1, 2, 3, 255]);
        element.add(Shape::SCALAR).unwrap().copy_from_slice(&0.1f64.to_le_bytes());
        element
    }

    #[test]
    fn what_is_written_is_read() {
        let budget = MemoryBudget::new(1 << 20);
        let element = element(&budget);
        let raw = vec!["image".to_string(), "exact".to_string()];
        let op = Serialize { raw: Some(raw), has_shapes: true };
        let record = run(&op, &element.view(), &budget).unwrap();
        let spec = json!({"features": {
            "x": {"dtype": "float16", "shape": [2]},
            "flag": {"dtype": "bool", "shape": []},
            "words": {"dtype": "string"},
            "image": {"raw": "uint8", "shape": [2, 2, 1]},
            "exact": {"raw": "float64", "shape": []},
            "image/shape": {"dtype": "int64", "shape": [3]},
        }});
        let parse = Parse::new(ParseSpec::from_json(&spec).unwrap());
        let read = run(&parse, &record.view(), &budget).unwrap();
        for field in 0..5 {
            let (a, b) = (element.view().tensor(field).unwrap(), read.view().tensor(field).unwrap());
            assert_eq!(a.shape(), b.shape());
            if a.dtype() == DType::String {
                assert!(element.view().strings(field).eq(read.view().strings(field)));
            } else {
                assert_eq!(a.bytes(), b.bytes());
            }
        }
        let shape: &[i64] = bytemuck::cast_slice(read.view().tensor(5).unwrap().bytes());
        assert_eq!(shape, [2, 2, 1]);
    }

    #[test]
    fn the_bytes_tensorflow_writes() {
        // tf.train.Example with x: float [0.5, -2], flag: int64 [1], words: bytes, image: int64, exact: float [0.1],
        // SerializeToString(deterministic=True).
        let budget = MemoryBudget::new(1 << 20);
        let record = run(&Serialize::new(), &element(&budget).view(), &budget).unwrap();
        let mut expected = Vec::new();
        tightfit_format::example::write_example(
            &mut expected,
            &[
                ("exact", Values::Float(&[0.1])),
                ("flag", Values::Int64(&[1])),
                ("image", Values::Int64(&[1, 2, 3, 255])),
                ("words", Values::Bytes(&[b"one", b"", b"three"])),
                ("x", Values::Float(&[0.5, -2.0])),
            ],
        );
        assert_eq!(record.view().string(0).unwrap(), expected);
    }

    #[test]
    fn what_an_example_cannot_hold_is_refused() {
        let schema = |dtype| Schema::new(vec![Field::fixed("a", dtype, &[])]).unwrap();
        let raw = |name: &str| Serialize { raw: Some(vec![name.to_string()]), has_shapes: false };
        assert!(Serialize::new().schema(&schema(DType::C64)).unwrap_err().contains("complex"));
        assert!(raw("a").schema(&schema(DType::C64)).is_ok());
        assert!(raw("b").schema(&schema(DType::F32)).unwrap_err().contains("no field \"b\""));
        assert!(raw("a").schema(&schema(DType::String)).unwrap_err().contains("bytes already"));
        let budget = MemoryBudget::new(1 << 20);
        let mut large = Element::new(Arc::new(schema(DType::U64)), "test", &budget);
        large.begin(Origin::default());
        large.add(Shape::SCALAR).unwrap().copy_from_slice(&u64::MAX.to_le_bytes());
        let fault = run(&Serialize::new(), &large.view(), &budget).unwrap_err().to_string();
        assert!(fault.contains("feature \"a\": 18446744073709551615 does not fit int64"), "{fault}");
    }
}
