//! Operations on single elements. TensorFlow 2.21 printed what is expected of `casts_as_tensorflow` and
//! `one_hot_as_tensorflow`; the rest was worked out by hand.

use bytemuck::Pod;
use half::{bf16, f16};
use tightfit_core::{DType, Element as Number, MemoryBudget, Shape};

use crate::Access;
use crate::error::DataError;
use crate::flow::tests::Folder;
use crate::flow::*;

/// An element with the fields `x: [n]` and `s`, a string.
fn element<T: Number>(values: &[T], text: &str) -> Element {
    let schema = Schema::new(vec![Field::new("x", T::DTYPE, &[None]), Field::fixed("s", DType::String, &[])]);
    let mut element =
        Element::new(std::sync::Arc::new(schema.unwrap()), "test", &MemoryBudget::new(u64::MAX));
    element.begin(Origin::default());
    element.add(Shape::new(&[values.len()]).unwrap()).unwrap().copy_from_slice(bytemuck::cast_slice(values));
    element.add_string(text.as_bytes()).unwrap();
    element
}

/// What `op` makes of `input`; `None` when it leaves it out.
fn done(op: &dyn MapOp, input: &Element) -> Result<Option<Element>, String> {
    let budget = MemoryBudget::new(u64::MAX);
    let schema = op.schema(input.schema())?;
    let mut worker = op.worker(input.schema(), &budget).map_err(|error: DataError| error.to_string())?;
    let mut out = Element::new(std::sync::Arc::new(schema), "test", &budget);
    out.begin(Origin::default());
    let verdict = worker.run(&input.view(), &mut out).map_err(|fault| fault.to_string())?;
    Ok((verdict == Verdict::Keep).then_some(out))
}

fn cast<S: Number, D: Number>(values: &[S], truncates: bool) -> Result<Vec<D>, String> {
    let op = Cast { fields: vec![("x".to_string(), D::DTYPE)], truncates };
    let made = done(&op, &element(values, "text"))?.unwrap();
    assert_eq!(made.view().string(1), Ok(&b"text"[..]));
    Ok(made.view().tensor(0).unwrap().as_slice().unwrap().to_vec())
}

#[test]
fn casts_as_tensorflow() {
    let whole = [0, 1, -1, 127, 128, 255, 256, -129, 65536, 1 << 31, i64::MIN, i64::MAX];
    assert_eq!(cast::<i64, i8>(&whole, true).unwrap(), [0, 1, -1, 127, -128, -1, 0, 127, 0, 0, 0, -1]);
    assert_eq!(cast::<i64, u8>(&whole, true).unwrap(), [0, 1, 255, 127, 128, 255, 0, 127, 0, 0, 0, 255]);
    let expected = [0, 1, 65535, 127, 128, 255, 256, 65407, 0, 0, 0, 65535];
    assert_eq!(cast::<i64, u16>(&whole, true).unwrap(), expected);
    let expected = [0, 1, -1, 127, 128, 255, 256, -129, 65536, i32::MIN, 0, -1];
    assert_eq!(cast::<i64, i32>(&whole, true).unwrap(), expected);
    let expected = [
        0.0,
        1.0,
        -1.0,
        127.0,
        128.0,
        255.0,
        256.0,
        -129.0,
        65536.0,
        2147483648.0,
        -9.223372e18,
        9.223372e18,
    ];
    assert_eq!(cast::<i64, f32>(&whole, true).unwrap(), expected);
    let halves = cast::<i64, f16>(&whole, false).unwrap();
    assert_eq!(
        halves[8..].iter().map(|v| v.to_f32()).collect::<Vec<_>>(),
        [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]
    );
    let floats = [1.9f32, -1.9, 300.5, -0.5, 65504.0, 70000.0];
    assert_eq!(cast::<f32, i32>(&floats, true).unwrap(), [1, -1, 300, 0, 65504, 70000]);
    assert_eq!(cast::<f32, i64>(&floats, true).unwrap(), [1, -1, 300, 0, 65504, 70000]);
    let expected = [1.900_390_6, -1.900_390_6, 300.5, -0.5, 65504.0, f32::INFINITY];
    let halves = cast::<f32, f16>(&floats, false).unwrap();
    assert_eq!(halves.iter().map(|v| v.to_f32()).collect::<Vec<_>>(), expected);
    let expected = [1.8984375, -1.8984375, 300.0, -0.5, 65536.0, 70144.0];
    let halves = cast::<f32, bf16>(&floats, false).unwrap();
    assert_eq!(halves.iter().map(|v| v.to_f32()).collect::<Vec<_>>(), expected);
    assert_eq!(cast::<f16, i32>(&[f16::from_f32(1.0), f16::from_f32(2.9)], true).unwrap(), [1, 2]);
    assert_eq!(cast::<f64, bf16>(&[0.1, 3.0], false).unwrap()[0].to_f32(), 0.100_097_656);
}

#[test]
fn casts_refuse_what_does_not_fit() {
    assert_eq!(cast::<i64, u8>(&[3, 256], false).unwrap_err(), "256 does not fit uint8");
    assert!(
        cast::<f32, i32>(&[1.0], false).unwrap_err().contains("does not become int32 unless it truncates")
    );
    for value in [f32::NAN, 2147483648.0, f32::NEG_INFINITY] {
        assert!(cast::<f32, i32>(&[1.0, value], true).unwrap_err().contains("does not fit int32"));
    }
    assert_eq!(cast::<f32, i32>(&[-2147483648.0, 2147483520.0], true).unwrap(), [i32::MIN, 2147483520]);
    assert_eq!(cast::<f64, u8>(&[255.9, -0.9], true).unwrap(), [255, 0]);
    assert!(cast::<f64, u64>(&[18446744073709551616.0], true).is_err());
    assert_eq!(cast::<f64, u64>(&[18446744073709549568.0], true).unwrap(), [18446744073709549568]);
    assert!(cast::<f64, i64>(&[9223372036854775808.0], true).is_err());
}

#[test]
fn fields_are_chosen_and_named() {
    let input = element(&[1i32, 2], "a");
    let names = |op: Fields| Ok::<_, String>(done(&op, &input)?.unwrap().schema().to_string());
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(Fields::Select(list(&["s", "x"]))).unwrap(), "s: string []; x: int32 [?]");
    assert_eq!(names(Fields::Drop(list(&["x"]))).unwrap(), "s: string []");
    let swap = vec![("x".to_string(), "s".to_string()), ("s".to_string(), "x".to_string())];
    assert_eq!(names(Fields::Rename(swap)).unwrap(), "s: int32 [?]; x: string []");
    assert!(names(Fields::Rename(vec![("x".to_string(), "s".to_string())])).is_err());
    assert!(names(Fields::Select(list(&["y"]))).unwrap_err().contains("there is no field \"y\" here"));
    let selected = done(&Fields::Select(list(&["s"])), &input).unwrap().unwrap();
    assert_eq!(selected.view().string(0), Ok(&b"a"[..]));
}

#[test]
fn normalises_by_the_last_dimension() {
    let op = Normalise { field: "x".to_string(), mean: vec![1.0, 10.0], std: vec![2.0, 0.5] };
    let made = done(&op, &element(&[3u8, 11], "a")).unwrap().unwrap();
    assert_eq!(made.view().tensor(0).unwrap().as_slice::<f32>().unwrap(), [1.0, 2.0]);
    let made = done(&op, &element(&[3.0f64, 11.0], "a")).unwrap().unwrap();
    assert_eq!(made.view().tensor(0).unwrap().as_slice::<f64>().unwrap(), [1.0, 2.0]);
    let made = done(&op, &element(&[f16::from_f32(3.0), f16::from_f32(11.0)], "a")).unwrap().unwrap();
    assert_eq!(made.view().tensor(0).unwrap().as_slice::<f16>().unwrap().map_to_f32(), [1.0, 2.0]);
    assert!(done(&op, &element(&[1u8; 3], "a")).unwrap_err().contains("normalised by 2 numbers"));
    let op = Normalise { field: "x".to_string(), mean: vec![127.5], std: vec![127.5] };
    let made = done(&op, &element(&[0u8, 255, 51], "a")).unwrap().unwrap();
    assert_eq!(
        made.view().tensor(0).unwrap().as_slice::<f32>().unwrap(),
        [-1.0, 1.0, (51.0 - 127.5) / 127.5]
    );
    let op = Normalise { field: "s".to_string(), ..op };
    assert!(done(&op, &element(&[0u8], "a")).is_err());
}

trait ToF32 {
    fn map_to_f32(&self) -> Vec<f32>;
}

impl ToF32 for [f16] {
    fn map_to_f32(&self) -> Vec<f32> {
        self.iter().map(|value| value.to_f32()).collect()
    }
}

#[test]
fn one_hot_as_tensorflow() {
    fn values<T: Pod>(op: &OneHot, classes: &[i64]) -> Vec<T> {
        let made = done(op, &element(classes, "a")).unwrap().unwrap();
        let view = made.view();
        assert_eq!(view.tensor(0).unwrap().shape()[..], [classes.len(), 3]);
        assert_eq!(view.string(1), Ok(&b"a"[..]));
        bytemuck::pod_collect_to_vec(view.tensor(0).unwrap().bytes())
    }
    let op = OneHot::new("x", 3);
    let expected = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0f32];
    assert_eq!(values::<f32>(&op, &[0, 2, 5, -1]), expected);
    let op = OneHot { dtype: DType::I32, on: Scalar::Int(5), off: Scalar::Int(2), ..op };
    assert_eq!(values::<i32>(&op, &[1]), [2, 5, 2]);
}

#[test]
fn filters_by_comparison() {
    let keeps = |values: &[f32], text: &str, field: &str, condition: Condition| {
        let op = Filter { field: field.to_string(), conditions: vec![condition] };
        Ok::<_, String>(done(&op, &element(values, text))?.is_some())
    };
    let of_length = |condition| keeps(&[1.0, 2.0], "abc", "x", condition).unwrap();
    assert!(of_length(Condition::MinLength(2)) && !of_length(Condition::MinLength(3)));
    assert!(of_length(Condition::MaxLength(2)) && !of_length(Condition::MaxLength(1)));
    let of_text = |condition| keeps(&[], "abc", "s", condition).unwrap();
    let text = |text: &str| Scalar::Text(text.to_string());
    assert!(of_text(Condition::Equals(text("abc"))) && !of_text(Condition::NotEquals(text("abc"))));
    assert!(of_text(Condition::Less(text("abd"))) && of_text(Condition::MinLength(3)));
    assert!(keeps(&[1.0], "a", "x", Condition::Equals(Scalar::Int(1))).unwrap_err().contains("not a scalar"));
    assert!(keeps(&[1.0], "a", "s", Condition::Equals(Scalar::Int(1))).is_err());
}

#[test]
fn filters_numbers_from_files() {
    let folder = Folder::new("filter");
    let path = folder.records("data.tfrecord", (0..10).map(|n| n.to_string().into_bytes()));
    let numbers = |dtype: &'static str| {
        let typing = move |_: &Schema| {
            let dtype = if dtype == "f32" { DType::F32 } else { DType::I64 };
            Schema::new(vec![Field::fixed("label", dtype, &[])])
        };
        let op = FunctionOp::new(dtype, typing, move |input, out| {
            let number = i64::from(input.string(0).unwrap()[0] - b'0');
            match dtype {
                "f32" => out.add(Shape::SCALAR)?.copy_from_slice(&(number as f32 / 10.0).to_le_bytes()),
                _ => out.add(Shape::SCALAR)?.copy_from_slice(&number.to_le_bytes()),
            }
            Ok(Verdict::Keep)
        });
        PipelineSpec::new(TfRecord { paths: vec![path.clone()], interleave: Interleave::default() })
            .then(Map::new(op))
    };
    let kept = |dtype, condition: &str| {
        let text =
            format!(r#"{{"source": {{"tfrecord": "x"}}, "stages": [{{"filter": "label", {condition}}}]}}"#);
        let mut spec = numbers(dtype);
        spec.stages.extend(PipelineSpec::from_json(&text, &Access::everything(), &|_| None).unwrap().stages);
        let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 2).unwrap();
        let mut kept = Vec::new();
        while pipeline.advance().unwrap() {
            kept.push(pipeline.current().origin().record);
        }
        kept
    };
    assert_eq!(kept("i64", r#""equals": 3"#), [3]);
    assert_eq!(kept("i64", r#""at_least": 3, "less": 5.5"#), [3, 4, 5]);
    assert_eq!(kept("i64", r#""greater": 7, "not_equals": 8, "threads": 0"#), [9]);
    // 0.3 is that of float32.
    assert_eq!(kept("f32", r#""equals": 0.3"#), [3]);
    assert_eq!(kept("f32", r#""at_most": 0.1"#), [0, 1]);
}
