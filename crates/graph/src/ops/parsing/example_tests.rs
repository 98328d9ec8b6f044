//! What ParseExample and its like take and refuse.

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
        ("dense_shapes", AttrValue::List(ListValue::Shapes(vec![TensorShapeDef { dims: Some(vec![2]) }]))),
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
    assert!(taken(WithoutList::Error, there()).unwrap_err().to_string().contains("no values of any type"));
    for of in [WithoutList::Default, WithoutList::Empty, WithoutList::Error] {
        assert!(taken(of, None).unwrap().is_none());
    }
}
