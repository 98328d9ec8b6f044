//! Real files: what is read, that text and binary mean the same, and that what is written means it too.

mod common;

use common::{TempFile, data};
use tightfit_core::{DType, MemoryBudget};
use tightfit_format::{
    AttrValue, DataType, FunctionDef, GraphDef, InlineBytes, ListValue, NameAttrList, NodeDef, SourceFile,
    TensorContent, TensorDef, TensorShapeDef,
};

fn read(name: &str) -> GraphDef {
    let source = SourceFile::open(data(name)).unwrap();
    let budget = MemoryBudget::new(4 << 20);
    if name.ends_with(".pb") { GraphDef::read(source, &budget) } else { GraphDef::read_text(source, &budget) }
        .unwrap()
}

fn value<'a>(graph: &'a GraphDef, node: &str) -> &'a TensorDef {
    match graph.node(node).unwrap().attr("value") {
        Some(AttrValue::Tensor(tensor)) => tensor,
        other => panic!("{node}: {other:?}"),
    }
}

fn bytes(graph: &GraphDef, node: &str) -> Vec<u8> {
    let tensor = value(graph, node);
    let mut out = vec![0xee; tensor.bytes().unwrap() as usize];
    tensor.read_into(&graph.source, &mut out).unwrap();
    out
}

/// Every tensor with all its values, attributes by name, no offsets: what can be compared across encodings.
struct Comparable<'a>(&'a SourceFile);

impl Comparable<'_> {
    fn tensor(&self, tensor: &mut TensorDef) {
        if let Some(bytes) = tensor.bytes() {
            let mut out = vec![0; bytes as usize].into_boxed_slice();
            tensor.read_into(self.0, &mut out).unwrap();
            tensor.content = TensorContent::Inline(InlineBytes::Small(out));
        }
    }

    fn attrs(&self, attrs: &mut Vec<(Box<str>, AttrValue)>) {
        attrs.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, value) in attrs {
            match value {
                AttrValue::Tensor(tensor) => self.tensor(tensor),
                AttrValue::Func(func) => self.attrs(&mut func.attrs),
                AttrValue::List(ListValue::Tensors(list)) => list.iter_mut().for_each(|t| self.tensor(t)),
                AttrValue::List(ListValue::Funcs(list)) => {
                    list.iter_mut().for_each(|f| self.attrs(&mut f.attrs))
                }
                _ => {}
            }
        }
    }

    fn nodes(&self, nodes: &mut [NodeDef]) {
        for node in nodes {
            node.offset = 0;
            self.attrs(&mut node.attrs);
        }
    }
}

fn comparable(mut graph: GraphDef) -> (Vec<NodeDef>, Vec<FunctionDef>, i32, i32) {
    let source = graph.source.clone();
    let comparable = Comparable(&source);
    comparable.nodes(&mut graph.nodes);
    for function in &mut graph.functions {
        function.ret.sort();
        comparable.attrs(&mut function.attrs);
        comparable.nodes(&mut function.nodes);
    }
    (graph.nodes, graph.functions, graph.producer, graph.min_consumer)
}

#[test]
fn reads_a_frozen_graph() {
    let graph = read("goog_tf_rnn.pb");
    assert_eq!((graph.nodes.len(), graph.functions.len()), (98, 0));
    assert!(graph.reservation.bytes() < 100 << 10);
    let consts = graph.nodes.iter().filter(|n| &*n.op == "Const").count();
    assert!(consts > 10, "{consts}");
    let kernel_bytes: u64 = graph
        .nodes
        .iter()
        .filter_map(|n| match n.attr("value") {
            Some(AttrValue::Tensor(t)) => t.bytes(),
            _ => None,
        })
        .sum();
    assert!((40_000..56_577).contains(&kernel_bytes), "{kernel_bytes}");
}

#[test]
fn reads_every_kind_of_attribute() {
    let graph = read("every_kind.pb");
    assert_eq!((graph.producer, graph.min_consumer), (1882, 12));
    let node = graph.node("attrs").unwrap();
    assert_eq!(&*node.op, "Everything");
    assert_eq!(node.inputs, ["strings".into(), "odd/float:1".into(), Box::<str>::from("^handle")]);
    assert_eq!(node.device.as_deref(), Some("/cpu:0"));
    assert_eq!(graph.nodes[0].device, None);
    let shape = |dims: Option<&[i64]>| TensorShapeDef { dims: dims.map(<[i64]>::to_vec) };
    let twice = NameAttrList { name: "Twice".into(), attrs: vec![("T".into(), AttrValue::Type(19))] };
    let list = |list| AttrValue::List(list);
    for (name, expected) in [
        ("s", AttrValue::Str((*b"text\x00\x80").into())),
        ("i", AttrValue::Int(i64::MIN)),
        ("zero", AttrValue::Int(0)),
        ("f", AttrValue::Float(-1.5e-30)),
        ("b", AttrValue::Bool(true)),
        ("no", AttrValue::Bool(false)),
        ("type", AttrValue::Type(101)),
        ("shape", AttrValue::Shape(shape(Some(&[-1, 224, 0])))),
        ("scalar", AttrValue::Shape(shape(Some(&[])))),
        ("any", AttrValue::Shape(shape(None))),
        ("placeholder", AttrValue::Placeholder("T".into())),
        ("empty", AttrValue::None),
        ("empty_list", list(ListValue::Empty)),
        ("func", AttrValue::Func(Box::new(twice))),
        ("list_s", list(ListValue::Strs(vec![(*b"a").into(), (*b"").into()]))),
        ("list_i", list(ListValue::Ints(vec![1, -1, 1 << 40]))),
        ("list_f", list(ListValue::Floats(vec![0.5, f32::INFINITY]))),
        ("list_b", list(ListValue::Bools(vec![true, false, true]))),
        ("list_type", list(ListValue::Types(vec![3, 20]))),
        ("list_shape", list(ListValue::Shapes(vec![shape(Some(&[1, -1])), shape(None)]))),
    ] {
        assert_eq!(node.attr(name), Some(&expected), "{name}");
    }
    let Some(AttrValue::List(ListValue::Tensors(tensors))) = node.attr("list_tensor") else { panic!() };
    assert_eq!((tensors[0].dtype, tensors[1].shape.as_slice()), (1, [2].as_slice()));
    assert!(node.attr("T").is_none());
}

#[test]
fn reads_functions() {
    let graph = read("every_kind.pb");
    let function = graph.function("Twice").unwrap();
    let args = |args: &[tightfit_format::ArgDef]| {
        args.iter()
            .map(|a| format!("{}:{}{}{}{}", a.name, a.dtype, a.type_attr, a.number_attr, a.type_list_attr))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(args(&function.input_args), "x:0T many:9N");
    assert_eq!(args(&function.output_args), "y:0T all:0Ts");
    assert_eq!(function.ret, [("all", "id:output:0"), ("y", "add:z:0")].map(|(a, b)| (a.into(), b.into())));
    assert_eq!(function.control_ret, [("printed".into(), "print".into())]);
    assert_eq!(function.attr("_noinline"), Some(&AttrValue::Bool(true)));
    assert!(function.is_stateful && !graph.function("Empty").unwrap().is_stateful);
    assert_eq!(&*function.nodes[2].inputs[0], "^add");
}

/// 3 and 100 as elements of a type.
fn three_and_hundred(dtype: DType) -> [Vec<u8>; 2] {
    [3u8, 100].map(|v| match dtype {
        DType::F32 => f32::from(v).to_le_bytes().to_vec(),
        DType::F64 => f64::from(v).to_le_bytes().to_vec(),
        DType::F16 => [0x4200u16, 0x5640][usize::from(v / 100)].to_le_bytes().to_vec(),
        DType::BF16 => [0x4040u16, 0x42c8][usize::from(v / 100)].to_le_bytes().to_vec(),
        DType::Bool => vec![1],
        DType::C64 => [f32::from(v).to_le_bytes(), [0; 4]].concat(),
        DType::C128 => [f64::from(v).to_le_bytes(), [0; 8]].concat(),
        integer => {
            let mut bytes = vec![0; integer.bytes()];
            bytes[0] = v;
            bytes
        }
    })
}

#[test]
fn reads_values_of_every_type() {
    let graph = read("every_kind.pb");
    let mut seen = 0;
    for node in graph.nodes.iter().filter(|n| matches!(n.attr("value"), Some(AttrValue::Tensor(_)))) {
        let Some((group, _)) = node.name.split_once('/') else { continue };
        let Some(dtype) = DataType(value(&graph, &node.name).dtype).storage() else {
            panic!("{}", node.name)
        };
        let [three, hundred] = three_and_hundred(dtype);
        let found = || bytes(&graph, &node.name);
        match group {
            "content" | "values" => {
                assert_eq!(found().len(), 6 * dtype.bytes());
                assert!(found().starts_with(&three) && found().ends_with(&hundred), "{}", node.name);
            }
            "repeated" => assert_eq!(found(), three.repeat(4), "{}", node.name),
            "zeros" => assert_eq!(found(), vec![0; 3 * dtype.bytes()], "{}", node.name),
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, 15 * 3 + 5);
    assert_eq!(bytes(&graph, "negative/int32"), (-5i32).to_le_bytes());
    assert_eq!(bytes(&graph, "negative/int8"), (-5i8).to_le_bytes());
    assert_eq!(bytes(&graph, "negative/int64"), i64::MIN.to_le_bytes());
    assert_eq!(bytes(&graph, "large/uint64"), u64::MAX.to_le_bytes());
    let odd = [f32::INFINITY, f32::NEG_INFINITY, 1e-45, -0.0, 0.1].map(f32::to_le_bytes).concat();
    assert_eq!(bytes(&graph, "odd/float_val"), odd);
    let TensorContent::Strings(strings) = &value(&graph, "strings").content else { panic!() };
    let expected: [&[u8]; 3] = [b"", "Zürich \u{2713} \u{1f600}".as_bytes(), b"\x00\xff\"'\\\n\t"];
    assert!(strings.iter().map(|s| &**s).eq(expected));
    assert_eq!(value(&graph, "handle").content, TensorContent::Opaque);
}

#[test]
fn values_stay_in_the_file() {
    let graph = read("every_kind.pb");
    for node in ["content/float32", "repeated/float32", "odd/float_val", "repeated/complex128"] {
        assert!(matches!(value(&graph, node).content, TensorContent::File { .. }), "{node}");
    }
}

#[test]
fn text_means_the_same_as_binary() {
    for name in ["every_kind", "distributed_inference"] {
        let [binary, text] = ["pb", "pbtxt"].map(|ext| comparable(read(&format!("{name}.{ext}"))));
        assert_eq!(binary.0.len(), text.0.len());
        for (binary, text) in binary.0.iter().zip(&text.0) {
            assert_eq!(binary, text);
        }
        assert_eq!(binary, text);
    }
}

#[test]
fn what_is_written_means_the_same() {
    for name in ["every_kind.pb", "every_kind.pbtxt", "goog_tf_rnn.pb", "distributed_inference.pbtxt"] {
        let mut graph = read(name);
        graph.nodes.retain(|n| &*n.name != "handle");
        let mut written = Vec::new();
        graph.write(&mut written, &MemoryBudget::new(128 << 10)).unwrap();
        let file = TempFile::new(&written);
        let again = GraphDef::read(file.open(), &MemoryBudget::new(u64::MAX)).unwrap();
        assert_eq!(comparable(graph), comparable(again), "{name}");
    }
}

#[test]
fn values_only_named_are_not_written() {
    let error = read("every_kind.pb").write(Vec::new(), &MemoryBudget::new(u64::MAX)).unwrap_err();
    assert!(error.to_string().contains("DT_VARIANT"), "{error}");
}

#[test]
fn nothing_is_left_of_a_dropped_graph() {
    let budget = MemoryBudget::new(1 << 20);
    let graph = GraphDef::read(SourceFile::open(data("goog_tf_rnn.pb")).unwrap(), &budget).unwrap();
    assert_eq!(budget.used_bytes(), graph.reservation.bytes());
    drop(graph);
    assert_eq!(budget.used_bytes(), 0);
}
