use super::*;

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("tightfit-tfjs-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

const MODEL: &str = r#"{"format": "graph-model", "modelTopology": {"node": [
    {"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"},
      "shape": {"shape": {"dim": [{"size": "-1"}, {"size": "2"}]}}}},
    {"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"},
      "value": {"tensor": {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}}}}},
    {"name": "n", "op": "Const", "attr": {"dtype": {"type": "DT_INT32"}}},
    {"name": "y", "op": "Mul", "input": ["x", "w"], "attr": {"T": {"type": "DT_FLOAT"},
      "s": {"s": "U0FNRQ=="}, "l": {"list": {"i": ["1", "-2"]}}, "e": {"list": {}}, "f": {"f": 0.5}}}],
    "versions": {"producer": 561}},
    "weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": [
      {"name": "w", "shape": [2], "dtype": "float32", "quantization": QUANTIZATION},
      {"name": "n", "shape": [], "dtype": "int32"}]}],
    "signature": {"inputs": {"in": {"name": "x:0", "dtype": "DT_FLOAT"}},
      "outputs": {"out": {"name": "y:0", "dtype": "DT_FLOAT"}}}}"#;

fn read_with(name: &str, quantization: &str, first: &[u8], second: &[u8]) -> Result<MetaGraphDef> {
    let folder = folder(name);
    std::fs::write(folder.join("a.bin"), first).unwrap();
    std::fs::write(folder.join("b.bin"), second).unwrap();
    std::fs::write(folder.join("model.json"), MODEL.replace("QUANTIZATION", quantization)).unwrap();
    let source = SourceFile::open(folder.join("model.json")).unwrap();
    let read = read(source, &MemoryBudget::new(8 << 20));
    std::fs::remove_dir_all(&folder).unwrap();
    read
}

fn floats(graph: &GraphDef, name: &str) -> Vec<f32> {
    let Some(AttrValue::Tensor(tensor)) = graph.node(name).unwrap().attr("value") else { panic!() };
    let mut bytes = vec![0; tensor.bytes().unwrap() as usize];
    tensor.read_into(&graph.source, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn a_graph_with_its_weights() {
    // The last byte of the first shard and the first of the second are one half.
    let halves = [0x00, 0x3c, 0x00];
    let rest = [0xc0, 7, 0, 0, 0];
    let MetaGraphDef { graph, info } = read_with("half", r#"{"dtype": "float16"}"#, &halves, &rest).unwrap();
    assert_eq!(floats(&graph, "w"), [1.0, -2.0]);
    assert_eq!((graph.producer, graph.nodes.len()), (561, 4));
    let mul = graph.node("y").unwrap();
    assert_eq!(mul.attr("s"), Some(&AttrValue::Str(b"SAME".as_slice().into())));
    assert_eq!(mul.attr("l"), Some(&AttrValue::List(ListValue::Ints(vec![1, -2]))));
    assert_eq!(mul.attr("e"), Some(&AttrValue::List(ListValue::Empty)));
    assert_eq!(mul.attr("f"), Some(&AttrValue::Float(0.5)));
    let signature = info.signature("serving_default").unwrap();
    assert_eq!((&*signature.inputs[0].0, &*signature.outputs[0].1.name), ("in", "y:0"));
    let steps = r#"{"dtype": "uint8", "scale": 0.5, "min": -1.0}"#;
    assert_eq!(
        floats(&read_with("steps", steps, &[0, 255], &[7, 0, 0, 0]).unwrap().graph, "w"),
        [-1.0, 126.5]
    );
    let steps = r#"{"dtype": "uint16", "scale": 2.0, "min": 1.0}"#;
    let two = read_with("two", steps, &[0, 1, 2, 0], &[7, 0, 0, 0]).unwrap();
    assert_eq!(floats(&two.graph, "w"), [513.0, 5.0]);
}

#[test]
fn weights_that_are_not_there_are_errors() {
    let half = r#"{"dtype": "float16"}"#;
    let error = read_with("short", half, &[0, 0], &[0, 0, 7]).unwrap_err().to_string();
    assert!(error.contains("model.json"), "{error}");
    for bad in [r#"{"dtype": "uint4"}"#, r#"{"dtype": "uint8"}"#, "3", "{}"] {
        assert!(read_with("bad", bad, &[0; 8], &[0; 8]).is_err(), "{bad}");
    }
}

#[test]
fn halves_and_base_64() {
    assert_eq!([0x7bff, 0x0001, 0x8400].map(half_to_f32), [65504.0, 5.960_464_5e-8, -6.103_515_6e-5]);
    assert!(half_to_f32(0x7e00).is_nan() && half_to_f32(0xfc00) == f32::NEG_INFINITY);
    assert_eq!(base64::decode_either("aGVsbG8="), Some(b"hello".to_vec()));
    assert_eq!((base64::decode_either(""), base64::decode_either("a b")), (Some(Vec::new()), None));
}
