//! A feature of an example, read into tensors.

use tightfit_core::{DType, StringRef};
use tightfit_format::example::{Feature, FeatureKind};

use crate::operator::{OpError, Run};

/// The type that a feature's values have; `None` for one without a list.
pub fn dtype_of(feature: &Feature<'_>) -> Option<DType> {
    match feature.kind() {
        FeatureKind::Empty => None,
        FeatureKind::Bytes => Some(DType::String),
        FeatureKind::Float => Some(DType::F32),
        FeatureKind::Int64 => Some(DType::I64),
    }
}

/// The feature, where it has a list, which must be of the type that is wanted.
///
/// # Errors
/// [`OpError::Invalid`] for one of another type.
pub fn of_type<'a>(
    feature: Option<Feature<'a>>,
    key: &[u8],
    wanted: DType,
) -> Result<Option<Feature<'a>>, OpError> {
    let Some(feature) = feature else { return Ok(None) };
    match dtype_of(&feature) {
        None => Ok(None),
        Some(dtype) if dtype == wanted => Ok(Some(feature)),
        Some(dtype) => Err(OpError::Invalid(format!(
            "key: {}. Data types don't match. Data type: {dtype} but expected type: {wanted}",
            String::from_utf8_lossy(key)
        ))),
    }
}

/// What a dense feature is that is there and has no list of values of any type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutList {
    /// The default, as if it were not there.
    Default,
    /// No values.
    Empty,
    /// An error.
    Error,
}

impl WithoutList {
    /// The feature as it is taken, `None` where it is the default.
    ///
    /// # Errors
    /// [`OpError::Invalid`] for one of another type.
    pub fn taken<'a>(
        self,
        feature: Option<Feature<'a>>,
        key: &[u8],
        dtype: DType,
    ) -> Result<Option<Feature<'a>>, OpError> {
        match (of_type(feature, key, dtype)?, self) {
            (None, WithoutList::Error) if feature.is_some() => Err(OpError::Invalid(format!(
                "feature: {} has no values of any type, and {dtype} is expected",
                String::from_utf8_lossy(key)
            ))),
            (None, WithoutList::Empty) => Ok(feature),
            (typed, _) => Ok(typed),
        }
    }
}

/// How many values a feature has.
///
/// # Errors
/// [`OpError::Invalid`] for bytes that are no example.
pub fn count(feature: &Feature<'_>) -> Result<usize, OpError> {
    feature.count().map_err(broken)
}

/// The error of bytes that are no example.
pub fn broken(error: tightfit_format::example::ExampleError) -> OpError {
    OpError::Invalid(format!("could not parse example input: {error}"))
}

/// Writes a feature's values to the front of `out`, texts as parts of `record`.
///
/// # Errors
/// [`OpError::Invalid`] for bytes that are no example.
pub fn write(run: &Run<'_>, record: StringRef, feature: &Feature<'_>, out: &mut [u8]) -> Result<(), OpError> {
    match feature.kind() {
        FeatureKind::Empty => {}
        FeatureKind::Float => {
            let mut places = out.chunks_exact_mut(4);
            for values in feature.float_runs() {
                for (value, to) in values.map_err(broken)?.iter().zip(places.by_ref()) {
                    to.copy_from_slice(value);
                }
            }
        }
        FeatureKind::Int64 => {
            let mut places = out.chunks_exact_mut(8);
            for value in feature.ints() {
                let value = value.map_err(broken)?;
                if let Some(to) = places.next() {
                    to.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        FeatureKind::Bytes => {
            let mut places = out.chunks_exact_mut(size_of::<StringRef>());
            for value in feature.bytes() {
                let text = run.part_of_string(record, value.map_err(broken)?)?;
                if let Some(to) = places.next() {
                    to.copy_from_slice(bytemuck::bytes_of(&text));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tightfit_format::example::Example;

    use super::*;
    use crate::testing::{check, int, refuses, refuses_as_it_runs, tensor};
    use tightfit_format::{AttrValue, ListValue, TensorShapeDef};

    /// A dense float32 of two elements under the empty key.
    fn attributes() -> Vec<(&'static str, AttrValue)> {
        vec![
            ("Nsparse", int(0)),
            ("Ndense", int(1)),
            ("sparse_types", AttrValue::List(ListValue::Types(Vec::new()))),
            ("Tdense", AttrValue::List(ListValue::Types(vec![1]))),
            (
                "dense_shapes",
                AttrValue::List(ListValue::Shapes(vec![TensorShapeDef { dims: Some(vec![2]) }])),
            ),
        ]
    }

    #[test]
    fn names_are_none_or_one_for_each_record() {
        let texts = |count: usize| tensor(&[count], &vec![StringRef::default(); count]);
        let inputs = |names: usize, default: &[f32]| {
            [texts(2), texts(names), tensor(&[], &[StringRef::default()]), tensor(&[default.len()], default)]
        };
        let twice = tensor(&[2, 2], &[1f32, 2.0, 1.0, 2.0]);
        for names in [0, 2] {
            check("ParseExample", &attributes(), &inputs(names, &[1.0, 2.0]), std::slice::from_ref(&twice));
        }
        for names in [1, 3] {
            let inputs = inputs(names, &[1.0, 2.0]);
            refuses("ParseExample", &attributes(), &inputs, "has not as many names as there are records");
        }
        // An error names the record, which here has no name but the empty one.
        refuses_as_it_runs("ParseExample", &attributes(), &inputs(2, &[]), "Name: , example 0: ");
        refuses_as_it_runs("ParseExample", &attributes(), &inputs(0, &[]), "Name: <unknown>, example 0: ");
    }

    #[test]
    fn features_without_a_list_of_values() {
        // `{"c": {}}`, and `{}`.
        let bytes = b"\n\x07\n\x05\n\x01c\x12\0";
        let there = || Example::new(bytes).find("c").unwrap();
        assert!(there().is_some() && Example::new(b"").find("c").unwrap().is_none());
        let taken = |of: WithoutList, feature| of.taken(feature, b"c", DType::F32);
        assert!(taken(WithoutList::Default, there()).unwrap().is_none());
        let none = taken(WithoutList::Empty, there()).unwrap().map(|feature| count(&feature).unwrap());
        assert_eq!(none, Some(0));
        assert!(
            taken(WithoutList::Error, there()).unwrap_err().to_string().contains("no values of any type")
        );
        for of in [WithoutList::Default, WithoutList::Empty, WithoutList::Error] {
            assert!(taken(of, None).unwrap().is_none());
        }
    }
}
