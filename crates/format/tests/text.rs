//! The text encoding: what may be written in several ways, and where errors are.

mod common;

use common::read_text;
use tightfit_format::{AttrValue, GraphDef, InlineBytes, ListValue, Place, TensorContent};

fn read(text: &str) -> GraphDef {
    read_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn attr(value: &str) -> AttrValue {
    let text = format!("node {{ name: 'n' attr {{ key: 'a' value {{ {value} }} }} }}");
    read(&text).nodes.remove(0).attrs.remove(0).1
}

#[test]
fn spellings_that_mean_the_same() {
    let graph = read(
        "# A comment\nnode: < name: 'a' ; op: \"Op\", input: ['x', \"y:1\"] input: '^z' >  # behind\n\
         node [ { name: 'b' }, { name: \"c\" \"d\" 'e' } ] node []\nversions { producer: 0x1F min_consumer: 017 }",
    );
    let names: Vec<_> = graph.nodes.iter().map(|n| &*n.name).collect();
    assert_eq!(names, ["a", "b", "cde"]);
    assert_eq!(graph.nodes[0].inputs, ["x", "y:1", "^z"].map(Box::<str>::from));
    assert_eq!((graph.producer, graph.min_consumer), (31, 15));
    assert!(read("").nodes.is_empty());
}

#[test]
fn strings_and_their_escapes() {
    let str = |bytes: &[u8]| AttrValue::Str(bytes.into());
    assert_eq!(
        attr(r#"s: "\a\b\f\n\r\t\v\?\\\'\"\0\1011\x41B\xff" '"'"#),
        str(b"\x07\x08\x0c\n\r\t\x0b?\\'\"\0A1AB\xff\"")
    );
    assert_eq!(attr(r#"s: "\u00e9\u2713\U0001F600\ud83d\ude00é""#), str("é✓😀😀é".as_bytes()));
    for wrong in [r"\q", r"\x", r"\xg", r"\400", r"\u12", r"\ud800", r"\ud800\u0041", r"\U00110000", "a\nb"] {
        let text = format!("node {{ name: \"{wrong}\" }}");
        assert!(matches!(read_text(&text).unwrap_err().place(), Place::Line { line: 1, .. }), "{wrong}");
    }
}

#[test]
fn numbers() {
    for (text, value) in [
        ("i: -9223372036854775808", AttrValue::Int(i64::MIN)),
        ("i: - 5", AttrValue::Int(-5)),
        ("i: 0xff", AttrValue::Int(255)),
        ("i: 010", AttrValue::Int(8)),
        ("i: 0", AttrValue::Int(0)),
        ("b: true", AttrValue::Bool(true)),
        ("b: 0", AttrValue::Bool(false)),
        ("type: DT_INT32", AttrValue::Type(3)),
        ("type: DT_FLOAT_REF", AttrValue::Type(101)),
        ("type: 7", AttrValue::Type(7)),
        ("f: 1.5f", AttrValue::Float(1.5)),
        ("f: 3", AttrValue::Float(3.0)),
        ("f: -inf", AttrValue::Float(f32::NEG_INFINITY)),
        ("f: Infinity", AttrValue::Float(f32::INFINITY)),
        ("f: 1e-5", AttrValue::Float(1e-5)),
        ("f: .5E+3F", AttrValue::Float(500.0)),
        ("f: 1e400", AttrValue::Float(f32::INFINITY)),
        ("list { i: [1, 2] i: 3 }", AttrValue::List(ListValue::Ints(vec![1, 2, 3]))),
        ("list { f: [inf, -1] b: [] }", AttrValue::List(ListValue::Floats(vec![f32::INFINITY, -1.0]))),
    ] {
        assert_eq!(attr(text), value, "{text}");
    }
    assert!(matches!(attr("f: nan"), AttrValue::Float(v) if v.is_nan()));
}

#[test]
fn tensor_values() {
    let content = |fields: &str| match attr(&format!("tensor {{ {fields} }}")) {
        AttrValue::Tensor(tensor) => tensor.content,
        other => panic!("{other:?}"),
    };
    let inline = |bytes: &[u8]| TensorContent::Inline(InlineBytes::Small(bytes.into()));
    let two = "tensor_shape { dim { size: 2 } }";
    assert_eq!(content(&format!("int_val: [-1, 2] dtype: DT_INT16 {two}")), inline(&[255, 255, 2, 0]));
    assert_eq!(content(&format!("dtype: DT_INT8 {two} tensor_content: '\\377' \"a\"")), inline(&[255, b'a']));
    assert_eq!(content(&format!("dtype: DT_BOOL {two} bool_val: true bool_val: f")), inline(&[1, 0]));
    assert_eq!(content(&format!("dtype: DT_FLOAT {two} float_val: -0.0")), inline(&[0, 0, 0, 128]));
    assert_eq!(content("dtype: DT_UINT64 uint64_val: 18446744073709551615"), inline(&[255; 8]));
    let strings = TensorContent::Strings(vec![(*b"a").into(), (*b"bc").into()]);
    assert_eq!(content(&format!("dtype: DT_STRING {two} string_val: ['a', 'b' 'c']")), strings);
}

#[test]
fn unknown_fields_are_skipped() {
    let graph = read(
        "future { a: 1 b { c: [ -1, { d: 'x' } , [ ] ] } [some.ext]: 5; e: -inf, f: IDENT g: 1e-5 \
         [type.googleapis.com/a.B] { h: \"}\" '{' } } node { name: 'n' experimental_type < type_id: TFT_PRODUCT > } \
         tail: 'end'",
    );
    assert_eq!(&*graph.nodes[0].name, "n");
}

#[test]
fn errors_name_line_and_column() {
    for (text, line, column, why) in [
        ("node {\n  name 'a'\n}", 2, 8, "':' after name"),
        ("node {\n  name: 'a'\n", 3, 1, "expected '}', found the end of the file"),
        ("node {\n  name: a\n}", 2, 9, "string in quotes"),
        ("node {\n  attr { key: 'k' value { type: DT_WHAT } }\n}", 2, 33, "'DT_WHAT'"),
        ("node { attr { value { i: 99999999999999999999 } } }", 1, 26, "64 bits"),
        ("node { attr { value { i: 08 } } }", 1, 26, "64 bits"),
        ("node { attr { value { b: maybe } } }", 1, 26, "'maybe'"),
        ("node { attr { value { f: 1.5.5 } } }", 1, 26, "'1.5.5'"),
        ("node { input: ['a' 'b' x] }", 1, 24, "',' or ']'"),
        ("node { name: 'a", 1, 16, "end of the string"),
        ("}", 1, 1, "'}'"),
        ("node >", 1, 6, "'{'"),
        ("node { > }", 1, 8, "'>'"),
        ("\n\n  \u{7f}", 3, 3, "'\\x7f'"),
        ("x { y [ 1 2 ] }", 1, 11, "',' or ']'"),
        ("[ext", 1, 5, "']'"),
    ] {
        let error = read_text(text).unwrap_err();
        assert_eq!(error.place(), Place::Line { line, column }, "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn depth_bombs_and_long_words_are_refused() {
    for bomb in ["node { attr { value { func { attr { value { func {", "x {", "x [", "node [ {", "x: [["] {
        let error = read_text(&bomb.repeat(10_000)).unwrap_err().to_string();
        assert!(error.contains("levels") || error.contains("expected"), "{error}");
    }
    assert!(read_text(&"x { ".repeat(10_000)).unwrap_err().to_string().contains("levels"));
    assert!(read_text(&"x".repeat(10_000)).unwrap_err().to_string().contains("a longer"));
}
