//! The binary encoding byte by byte: what protobuf says, and what is refused.

mod common;

use common::{field, int, read, shape, varint, with_attr, with_tensor};
use tightfit_core::MemoryBudget;
use tightfit_format::{
    AttrValue, FormatError, GraphDef, InlineBytes, ListValue, Place, Problem, TensorContent, TensorDef,
};

fn attr(value: &[u8]) -> AttrValue {
    read(&with_attr(value)).unwrap().nodes.remove(0).attrs.remove(0).1
}

fn tensor(fields: &[Vec<u8>]) -> Result<(TensorDef, GraphDef), FormatError> {
    let mut graph = read(&with_tensor(fields))?;
    match graph.nodes.remove(0).attrs.remove(0).1 {
        AttrValue::Tensor(tensor) => Ok((*tensor, graph)),
        other => panic!("{other:?}"),
    }
}

/// A packed or other field with a length, of a TensorProto.
fn packed(number: u64, values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    field(number, &values.into_iter().flat_map(varint).collect::<Vec<_>>())
}

#[test]
fn an_empty_file_is_an_empty_graph() {
    let graph = read(b"").unwrap();
    assert_eq!((graph.nodes.len(), graph.producer), (0, 0));
}

#[test]
fn the_last_scalar_holds_and_unknown_fields_are_skipped() {
    let node = [
        field(1, b"first"),
        int(99, 7),
        field(1, b"last"),
        [varint(98 << 3 | 1), vec![0; 8]].concat(),
        [varint(97 << 3 | 5), vec![0; 4]].concat(),
        // A group that holds a group and a string.
        [varint(20 << 3 | 3), varint(21 << 3 | 3), field(1, b"x"), varint(21 << 3 | 4), varint(20 << 3 | 4)]
            .concat(),
        // The op as a number is another field than the op as a string.
        int(2, 5),
        field(2, b"Op"),
    ];
    let graph = read(&[field(1, &node.concat()), int(3, 21)].concat()).unwrap();
    assert_eq!((&*graph.nodes[0].name, &*graph.nodes[0].op), ("last", "Op"));
    assert_eq!(graph.producer, 21);
    assert_eq!(attr(&[int(3, 5), int(5, 1)].concat()), AttrValue::Bool(true));
    assert_eq!(attr(&[int(3, 5), int(3, 6)].concat()), AttrValue::Int(6));
}

#[test]
fn a_later_attribute_of_the_same_name_replaces() {
    let entry = |value| field(5, &[field(1, b"a"), field(2, &int(3, value))].concat());
    let graph = read(&field(1, &[entry(1), entry(2)].concat())).unwrap();
    assert_eq!(graph.nodes[0].attrs, [("a".into(), AttrValue::Int(2))]);
}

#[test]
fn packed_unpacked_and_mixed_lists_are_the_same() {
    let ints = |fields: &[Vec<u8>]| attr(&field(1, &fields.concat()));
    let expected = AttrValue::List(ListValue::Ints(vec![1, -1, 300]));
    assert_eq!(ints(&[packed(3, [1, u64::MAX, 300])]), expected);
    assert_eq!(ints(&[int(3, 1), int(3, u64::MAX), int(3, 300)]), expected);
    assert_eq!(ints(&[int(3, 1), packed(3, [u64::MAX, 300])]), expected);
}

#[test]
fn offsets_are_behind_the_tags_of_nodes() {
    let first = field(1, &field(1, b"a"));
    let graph = read(&[first.clone(), field(1, &field(1, b"b"))].concat()).unwrap();
    assert_eq!(graph.nodes[0].offset, 1);
    assert_eq!(graph.nodes[1].offset, first.len() as u64 + 1);
}

#[test]
fn the_type_may_stand_behind_the_values() {
    let (tensor, _) = tensor(&[packed(7, [1, 2, 300]), shape(&[3]), int(1, 5)]).unwrap();
    assert_eq!(tensor.content, TensorContent::Inline(InlineBytes::Small([1, 0, 2, 0, 44, 1].into())));
}

#[test]
fn floats_in_one_run_stay_in_the_file_and_others_are_decoded() {
    let run = field(5, &[1f32, 2.0].map(f32::to_le_bytes).concat());
    let (in_file, graph) = tensor(&[int(1, 1), shape(&[4]), run]).unwrap();
    assert!(matches!(in_file.content, TensorContent::File { bytes: 8, .. }), "{in_file:?}");
    let one = |v: f32| [varint(5 << 3 | 5), v.to_le_bytes().to_vec()].concat();
    let (inline, _) = tensor(&[int(1, 1), shape(&[4]), one(1.0), one(2.0)]).unwrap();
    assert!(matches!(inline.content, TensorContent::Inline(_)), "{inline:?}");
    // Few values are decoded at once; `values_in_pieces_are_read_from_where_they_stand` has many.
    let file = common::TempFile::new(&with_tensor(&[
        int(1, 1),
        shape(&[4]),
        field(5, &[1f32, 2.0].map(f32::to_le_bytes).concat()),
    ]));
    drop(graph);
    let mut values = [[0u8; 16]; 2];
    in_file.read_into(&file.open(), &mut values[0]).unwrap();
    inline.read_into(&file.open(), &mut values[1]).unwrap();
    let expected = [1f32, 2.0, 2.0, 2.0].map(f32::to_le_bytes).concat();
    assert!(values.iter().all(|v| v[..] == expected), "{values:?}");
    assert!(in_file.read_into(&file.open(), &mut [0; 15]).is_err());
}

#[test]
fn values_past_the_shape_are_ignored() {
    let (tensor, _) = tensor(&[int(1, 3), shape(&[2]), packed(7, [1, 2, 3, 4])]).unwrap();
    assert_eq!(tensor.content, TensorContent::Inline(InlineBytes::Small([1, 0, 0, 0, 2, 0, 0, 0].into())));
}

#[test]
fn many_packed_integers_stay_in_the_file() {
    const COUNT: u64 = 1_000_000;
    let graph = with_tensor(&[int(1, 9), shape(&[COUNT]), packed(10, 0..COUNT)]);
    let file = common::TempFile::new(&graph);
    let budget = MemoryBudget::new(128 << 10);
    let graph = GraphDef::read(file.open(), &budget).unwrap();
    let Some(AttrValue::Tensor(tensor)) = graph.nodes[0].attr("a") else { panic!() };
    assert!(matches!(tensor.content, TensorContent::Segments(_)), "{tensor:?}");
    let mut values = vec![0; 8 * COUNT as usize];
    tensor.read_into(&file.open(), &mut values).unwrap();
    assert!(values.chunks_exact(8).zip(0..).all(|(bytes, i): (_, u64)| bytes == i.to_le_bytes()));
    let error = GraphDef::read(file.open(), &MemoryBudget::new(64 << 10)).unwrap_err();
    assert!(error.as_budget().is_some(), "{error}");
}

#[test]
fn many_integers_of_a_tensor_with_more_go_into_a_buffer_of_the_budget() {
    const COUNT: u64 = 1_000_000;
    let graph = with_tensor(&[int(1, 9), shape(&[COUNT + 1]), packed(10, 0..COUNT)]);
    let file = common::TempFile::new(&graph);
    let budget = MemoryBudget::new(9 << 20);
    let graph = GraphDef::read(file.open(), &budget).unwrap();
    let Some(AttrValue::Tensor(tensor)) = graph.nodes[0].attr("a") else { panic!() };
    let TensorContent::Inline(values) = &tensor.content else { panic!("{tensor:?}") };
    assert!(values.chunks_exact(8).zip(0..).all(|(bytes, i): (_, u64)| bytes == i.to_le_bytes()));
    assert!(budget.peak_bytes() < 8 * COUNT + (80 << 10), "{}", budget.peak_bytes());
    let error = GraphDef::read(file.open(), &MemoryBudget::new(7 << 20)).unwrap_err();
    assert!(error.as_budget().is_some(), "{error}");
}

/// Values in every way a repeated field may be written; any part of them reads as the part of the whole.
#[test]
fn values_in_pieces_are_read_from_where_they_stand() {
    const COUNT: usize = 9_000;
    let floats: Vec<f32> = (0..COUNT).map(|i| i as f32 * 0.25 - 7.0).collect();
    let run = |values: &[f32]| field(5, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    let one = |v: &f32| [varint(5 << 3 | 5), v.to_le_bytes().to_vec()].concat();
    let floats_in_runs: Vec<u8> = floats.chunks(4_000).flat_map(run).collect();
    let floats_one_by_one: Vec<u8> = floats.iter().flat_map(one).collect();
    let floats_mixed = [run(&floats[..4_000]), floats[4_000..].iter().flat_map(one).collect()].concat();
    let float_bytes: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();

    // Halves of one, two and three bytes in the file.
    let halves: Vec<u16> = (0..COUNT).map(|i| (i * 7919 % 65_536) as u16 >> (i % 3 * 5)).collect();
    let numbers = |values: &[u16]| packed(13, values.iter().map(|v| u64::from(*v)));
    let halves_in_runs: Vec<u8> = halves.chunks(5_000).flat_map(numbers).collect();
    let halves_one_by_one: Vec<u8> = halves.iter().flat_map(|v| int(13, u64::from(*v))).collect();
    let half_bytes: Vec<u8> = halves.iter().flat_map(|v| v.to_le_bytes()).collect();

    const FLOAT: u64 = 1;
    const HALF: u64 = 19;
    for (dtype, values, expected) in [
        (FLOAT, floats_in_runs, &float_bytes),
        (FLOAT, floats_one_by_one, &float_bytes),
        (FLOAT, floats_mixed, &float_bytes),
        (HALF, numbers(&halves), &half_bytes),
        (HALF, halves_in_runs, &half_bytes),
        (HALF, halves_one_by_one, &half_bytes),
    ] {
        let file = common::TempFile::new(&with_tensor(&[int(1, dtype), shape(&[COUNT as u64]), values]));
        let graph = GraphDef::read(file.open(), &MemoryBudget::new(72 << 10)).unwrap();
        let Some(AttrValue::Tensor(tensor)) = graph.nodes[0].attr("a") else { panic!() };
        assert!(matches!(tensor.content, TensorContent::Segments(_)), "{tensor:?}");
        let source = file.open();
        for (from, to) in
            [(0, expected.len()), (0, 1), (3, 9), (4_001, 4_002), (15_999, 16_007), (9_999, 17_000)]
        {
            let mut part = vec![0; to - from];
            tensor.read_at(&source, from as u64, &mut part).unwrap();
            assert!(part == expected[from..to], "{tensor:?} from {from} to {to}");
        }
        assert!(tensor.read_at(&source, expected.len() as u64 - 3, &mut [0; 4]).is_err());
    }
}

#[test]
fn strings_in_tensor_content() {
    let strings = |fields: &[Vec<u8>]| tensor(fields).map(|(t, _)| t.content);
    let expected = TensorContent::Strings(vec![(*b"ab").into(), (*b"").into(), (*b"c").into()]);
    assert_eq!(strings(&[int(1, 7), shape(&[3]), field(4, b"\x02\x00\x01abc")]).unwrap(), expected);
    assert_eq!(
        strings(&[int(1, 7), shape(&[3]), field(8, b"ab"), field(8, b""), field(8, b"c"), field(8, b"d")])
            .unwrap(),
        expected
    );
    for damaged in [
        &b"\x02\x00\x01ab"[..],
        b"\x02\x00\x01abcd",
        b"\x02\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00",
    ] {
        strings(&[int(1, 7), shape(&[3]), field(4, damaged)]).unwrap_err();
    }
    strings(&[int(1, 7), shape(&[1 << 50]), field(4, b"\x00\x00")]).unwrap_err();
}

#[test]
fn types_without_plain_elements_are_kept_by_name() {
    for dtype in [0, 20, 21, 26, 77] {
        let (tensor, _) = tensor(&[int(1, dtype), shape(&[2]), field(4, b"ab")]).unwrap();
        assert_eq!((tensor.content, tensor.dtype), (TensorContent::Opaque, dtype as i32));
    }
}

fn refused(content: &[u8]) -> FormatError {
    read(content).unwrap_err()
}

#[test]
fn a_length_past_the_message_around_it_is_refused() {
    // The node has 2 bytes, its name claims 5, and the file has them.
    let error = refused(b"\x0a\x02\x0a\x05abcdefgh");
    assert_eq!(error.place(), Place::Offset(4));
    assert!(
        matches!(error.problem(), Problem::Truncated { needed_bytes: 5, present_bytes: 0, .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("byte 4") && message.contains("5 bytes") && !message.contains('\n'),
        "{message}"
    );
    let huge = [&b"\x0a"[..], &varint(u64::MAX), b"abc"].concat();
    assert!(matches!(refused(&huge).problem(), Problem::Truncated { needed_bytes: u64::MAX, .. }));
}

#[test]
fn what_is_no_field_is_refused() {
    for (content, why) in [
        (&b"\x00\x00"[..], "field number 0"),
        (b"\x0f\x00", "wire type 7"),
        (b"\x0c", "wire type 4"),
        (b"\x0a", "variable length"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a longer one"),
        (b"\xa3\x01\xa4\x02", "end of group"),
        (b"\xa3\x01", "group"),
        (b"\x95\x03\x00\x00", "a number needs 4 bytes"),
    ] {
        let message = refused(content).to_string();
        assert!(message.contains(why), "{message}: {why}");
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let refused = |fields: &[Vec<u8>], why: &str| {
        let message = tensor(fields).map(|(t, _)| t).unwrap_err().to_string();
        assert!(message.contains(why), "{message}: {why}");
    };
    refused(&[int(1, 1), shape(&[2]), field(4, b"1234567")], "8 bytes of values of DT_FLOAT [2]");
    refused(&[int(1, 1), shape(&[2]), field(5, b"12345")], "multiple of 4");
    refused(&[int(1, 8), shape(&[2]), field(9, b"12341234abcd")], "two numbers");
    refused(&[int(1, 1), shape(&[u64::MAX])], "fixed shape");
    refused(&[int(1, 1), shape(&[1 << 40, 1 << 40])], "2^63");
    refused(&[int(1, 1), shape(&[1 << 61])], "2^63");
    refused(&[int(1, 1), field(2, &int(3, 1))], "fixed shape");
    refused(&[int(1, 1), shape(&[1; 255])], "dimensions of a shape");
    refused(&[int(1, 1), shape(&[2]), shape(&[2])], "one shape");
    // However large a shape of zeros or with a zero: it has no values.
    tensor(&[int(1, 1), shape(&[0, 1 << 62])]).unwrap();
}

#[test]
fn ambiguous_messages_are_refused() {
    let list = field(1, &int(3, 1));
    assert!(refused(&with_attr(&[list.clone(), list].concat())).to_string().contains("second"));
    let mixed = field(1, &[int(3, 1), field(2, b"s")].concat());
    assert!(refused(&with_attr(&mixed)).to_string().contains("several kinds"));
    assert!(refused(&field(1, &field(1, b"\xff\xfe"))).to_string().contains("UTF-8"));
    assert!(refused(&with_attr(&field(7, &field(2, &int(1, -2i64 as u64))))).to_string().contains("-2"));
}

#[test]
fn limits_are_named() {
    let long_name = refused(&field(1, &field(1, &[b'a'; 70_000])));
    assert!(long_name.to_string().contains("70000 bytes of a name; at most 65536"), "{long_name}");
    let entry = |i: u32| field(5, &field(1, &i.to_le_bytes()));
    let attrs =
        refused(&field(1, &(0..4097).flat_map(|i| entry(i & 0x7f | (i >> 7) << 8)).collect::<Vec<_>>()));
    assert!(attrs.to_string().contains("attributes of a node; at most 4096"), "{attrs}");
}

#[test]
fn depth_bombs_are_refused() {
    let mut value = field(9, b"T");
    for _ in 0..2000 {
        // A function's attribute that is a function.
        value = field(10, &field(2, &field(2, &value)));
    }
    assert!(refused(&with_attr(&value)).to_string().contains("levels of nested messages; at most 100"));
    let groups = [[0x9b, 0x06].repeat(100_000), vec![0]].concat();
    assert!(refused(&groups).to_string().contains("levels"));
    let deep = (0..20).fold(field(9, b"T"), |value, _| field(10, &field(2, &field(2, &value))));
    let graph = read(&with_attr(&deep)).unwrap();
    let mut written = Vec::new();
    graph.write(&mut written, &MemoryBudget::new(u64::MAX)).unwrap();
    let again = read(&written).unwrap();
    assert_eq!(graph.nodes[0].attrs, again.nodes[0].attrs);
}

/// A part of a tensor is that part of the whole, wherever it begins, whether its elements are written out or repeat.
#[test]
fn parts_of_tensors_are_parts_of_the_whole() {
    let file = common::TempFile::new(&[9u8, 1, 0, 0, 0, 2, 0, 0, 0]);
    let source = file.open();
    let content = |offset, bytes| TensorContent::File { offset, bytes };
    let empty = TensorContent::Inline(InlineBytes::Small(Box::default()));
    for (content, whole) in [
        (content(1, 8), [1u8, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]),
        (content(5, 4), [2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]),
        (empty, [0; 16]),
    ] {
        let tensor = TensorDef { dtype: 3, shape: vec![2, 2], content };
        for start in 0..16usize {
            for end in start..=16 {
                let mut part = vec![7; end - start];
                tensor.read_at(&source, start as u64, &mut part).unwrap();
                assert_eq!(part, whole[start..end], "{tensor:?} {start}..{end}");
            }
        }
        assert!(tensor.read_at(&source, 1, &mut [0; 16]).is_err());
        assert!(tensor.read_at(&source, u64::MAX, &mut [0; 1]).is_err());
    }
}
