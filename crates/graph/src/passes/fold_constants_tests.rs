use super::*;
use crate::infer::infer_node;
use crate::ir::NodeKind;
use crate::ir::Port;
use crate::testing::{int, operator};
use tightfit_format::{AttrValue, SourceFile};

/// A graph of one operator over these constants.
fn graph(op: &str, attributes: &[(&str, AttrValue)], constants: Vec<Constant>) -> (Graph, NodeId) {
    let mut graph = Graph::new("test", &tightfit_core::MemoryBudget::new(u64::MAX));
    let inputs: Vec<ValueRef> = constants.into_iter().map(|c| graph.add_constant("constant", c)).collect();
    let kind = NodeKind::Operator(operator(op, attributes).unwrap().into());
    let id = graph.add(Node { name: "node".into(), kind, inputs, control: vec![], facts: vec![] });
    graph.node_mut(id).facts = infer_node(&graph, id).unwrap();
    graph.outputs.push(Port { name: "node".into(), value: ValueRef::of(id) });
    (graph, id)
}

fn ints(values: &[i32]) -> Constant {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Constant::in_memory(DType::I32, Shape::new(&[values.len()]).unwrap(), bytes)
}

/// Numbers 0, 1, 2.. at byte 12 of a file.
fn file(name: &str, rows: usize, columns: usize) -> (Constant, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("tightfit-fold-{name}-{}", std::process::id()));
    let mut bytes = vec![0; 12];
    bytes.extend((0..rows * columns).flat_map(|i| (i as f32).to_le_bytes()));
    std::fs::write(&path, bytes).unwrap();
    let data = ConstantData::File { source: SourceFile::open(&path).unwrap(), offset: 12 };
    (Constant { dtype: DType::F32, shape: Shape::new(&[rows, columns]).unwrap(), data, held: None }, path)
}

#[test]
fn rows_of_a_file_stay_there() {
    let masks = [("begin_mask", int(2)), ("end_mask", int(2))];
    let strided = |begin, end| vec![ints(&[begin, 0]), ints(&[end, 0]), ints(&[1, 1])];
    let cases = [
        ("StridedSlice", &masks[..], strided(8, 16), Some((8, 8))),
        ("StridedSlice", &masks[..], strided(-4, 90), Some((60, 4))),
        ("StridedSlice", &[][..], vec![ints(&[8, 1]), ints(&[16, 90]), ints(&[1, 1])], None),
        ("StridedSlice", &masks[..], vec![ints(&[8, 0]), ints(&[16, 0]), ints(&[2, 1])], None),
        ("Slice", &[][..], vec![ints(&[3, 0]), ints(&[5, -1])], Some((3, 5))),
        ("Slice", &[][..], vec![ints(&[3, 1]), ints(&[5, 9])], None),
    ];
    for (case, (op, attributes, vectors, expected)) in cases.into_iter().enumerate() {
        let (table, path) = file(&format!("rows-{case}"), 64, 128);
        let constants = std::iter::once(table).chain(vectors).collect();
        let (graph, id) = graph(op, attributes, constants);
        let sliced = sliced_constant(&graph, id);
        match (sliced.as_ref().map(|c| (&c.data, c.shape)), expected) {
            (Some((ConstantData::File { offset, .. }, shape)), Some((first, rows))) => {
                assert_eq!((*offset, &*shape), (12 + first * 512, &[rows, 128][..]), "case {case}");
            }
            (None, None) => {}
            (other, expected) => panic!("case {case}: {other:?}, not {expected:?}"),
        }
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_follows_from_constants_is_computed_once() {
    let (table, path) = file("transpose", 64, 128);
    let (mut graph, id) = graph("Transpose", &[], vec![table, ints(&[1, 0])]);
    assert!(graph.node(id).facts[0].value.is_none(), "too large for inference");
    assert!(fold(&mut graph));
    std::fs::remove_file(path).unwrap();
    let constant = graph.node(id).constant().unwrap();
    let ConstantData::Memory(bytes) = &constant.data else { panic!("not in memory") };
    assert_eq!(&*constant.shape, [128, 64]);
    let second = f32::from_le_bytes(bytes[4..8].try_into().unwrap());
    assert_eq!(second, 128.0);
    assert!(!fold(&mut graph), "nothing is left to fold");
}

#[test]
fn large_results_are_left_to_the_run() {
    let (large, path) = file("large", 1024, 1025);
    let (mut graph, id) = graph("Transpose", &[], vec![large, ints(&[1, 0])]);
    assert!(!fold(&mut graph));
    assert!(graph.node(id).constant().is_none());
    std::fs::remove_file(path).unwrap();
    let (table, path) = file("full", 64, 128);
    let (graph, id) = self::graph("Transpose", &[], vec![table, ints(&[1, 0])]);
    assert!(computed_constant(&graph, id, 64 * 128 * 4 - 1).unwrap().is_none());
    assert!(computed_constant(&graph, id, 64 * 128 * 4).unwrap().is_some());
    std::fs::remove_file(path).unwrap();
    let growing = vec![Constant::in_memory(DType::F32, Shape::SCALAR, [0; 4]), ints(&[100, 100])];
    let (mut graph, id) = self::graph("BroadcastTo", &[], growing);
    assert!(!fold(&mut graph) && graph.node(id).constant().is_none());
}
