use tightfit_core::{DType, Shape, StringRef, TensorView};

use crate::exec::{Context, Feed};
use crate::import::text_graph::{context, graph, node};

const TYPES: &str =
    "attr { key: 'key_dtype' value { type: DT_INT64 } } attr { key: 'value_dtype' value { type: DT_FLOAT } }";
const TEXTS: &str = "attr { key: 'key_dtype' value { type: DT_STRING } } attr { key: 'value_dtype' value { type: DT_INT64 } }";
const ACCESS: &str =
    "attr { key: 'Tin' value { type: DT_INT64 } } attr { key: 'Tout' value { type: DT_FLOAT } }";
const TEXT_ACCESS: &str =
    "attr { key: 'Tin' value { type: DT_STRING } } attr { key: 'Tout' value { type: DT_INT64 } }";

fn nodes(nodes: &[String]) -> String {
    nodes.iter().map(|node| format!("node {{ {node} }}\n")).collect()
}

fn constant(name: &str, dtype: &str, values: &str, count: Option<usize>) -> String {
    let dims = count.map_or(String::new(), |count| format!("dim {{ size: {count} }}"));
    node(
        name,
        "Const",
        "",
        &format!(
            "attr {{ key: 'dtype' value {{ type: {dtype} }} }} attr {{ key: 'value' value {{ tensor {{ dtype: {dtype} \
             tensor_shape {{ {dims} }} {values} }} }} }}"
        ),
    )
}

fn floats(context: &Context, output: usize) -> Vec<f32> {
    context.output(output).unwrap().as_slice().unwrap().to_vec()
}

fn ints(context: &Context, output: usize) -> Vec<i64> {
    context.output(output).unwrap().as_slice().unwrap().to_vec()
}

#[test]
fn a_table_that_is_filled_once_is_a_constant() {
    let text = nodes(&[
        node("table", "HashTableV2", "", TYPES),
        constant("keys", "DT_INT64", "int64_val: 7 int64_val: -1", Some(2)),
        constant("values", "DT_FLOAT", "float_val: 0.5 float_val: 2", Some(2)),
        node("init", "InitializeTableV2", "table keys values", ACCESS),
        constant("asked", "DT_INT64", "int64_val: -1 int64_val: 3 int64_val: 7", Some(3)),
        constant("default", "DT_FLOAT", "float_val: 9", None),
        node("found", "LookupTableFindV2", "table asked default", ACCESS),
        node("size", "LookupTableSizeV2", "table ^init", ""),
    ]);
    let mut context = context(graph(&text, &["found", "size"]).unwrap(), 1);
    context.run(&[]).unwrap();
    assert_eq!(floats(&context, 0), [2.0, 9.0, 0.5]);
    assert_eq!(ints(&context, 1), [2]);
}

#[test]
fn what_fills_a_table_wrongly_is_told() {
    let make = |keys: &str, init: bool| {
        let mut all = vec![
            node("table", "HashTableV2", "", TYPES),
            constant("keys", "DT_INT64", keys, Some(2)),
            constant("values", "DT_FLOAT", "float_val: 0.5 float_val: 2", Some(2)),
            constant("default", "DT_FLOAT", "float_val: 9", None),
            node("found", "LookupTableFindV2", "table keys default", ACCESS),
        ];
        if init {
            all.push(node("init", "InitializeTableV2", "table keys values", ACCESS));
        }
        graph(&nodes(&all), &["found"]).unwrap_err().to_string()
    };
    let twice = make("int64_val: 7 int64_val: 7", true);
    assert!(twice.contains("two values for one key"), "{twice}");
    let never = make("int64_val: 7 int64_val: 8", false);
    assert!(never.contains("table 'table' is never filled"), "{never}");
}

#[test]
fn a_dense_table_begins_with_a_power_of_two_of_buckets() {
    let size = |buckets: &str| {
        let attributes = format!("{TYPES} attr {{ key: 'initial_num_buckets' value {{ i: {buckets} }} }}");
        let all = [
            constant("none", "DT_INT64", "int64_val: -1", None),
            constant("gone", "DT_INT64", "int64_val: -2", None),
            node("table", "AnonymousMutableDenseHashTable", "none gone", &attributes),
            node("size", "LookupTableSizeV2", "table", ""),
        ];
        graph(&nodes(&all), &["size"]).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!((size("4"), size("131072")), (Ok(()), Ok(())));
    for buckets in ["131073", "2", "0", "-4"] {
        let why = size(buckets).unwrap_err();
        assert!(why.contains(&format!("is {buckets}, not a power of two of at least 4")), "{why}");
    }
}

#[test]
fn a_vocabulary_file_has_keys_in_lines_columns_and_numbers() {
    let path = std::env::temp_dir().join(format!("vocabulary-{}.txt", std::process::id()));
    std::fs::write(&path, "the,3\r\nof,1\nand,4").unwrap();
    let find = |attributes: &str| {
        let (key, value) =
            ("attr { key: 'key_index' value { i: 0 } }", "attr { key: 'value_index' value { i: 1 } }");
        let (key, value) = if attributes.contains("key_index") { ("", "") } else { (key, value) };
        let text = nodes(&[
            node("table", "HashTableV2", "", TEXTS),
            constant("file", "DT_STRING", &format!("string_val: '{}'", path.display()), None),
            node(
                "init",
                "InitializeTableFromTextFileV2",
                "table file",
                &format!("{key} {value} {attributes} attr {{ key: 'delimiter' value {{ s: ',' }} }}"),
            ),
            constant("asked", "DT_STRING", "string_val: 'of' string_val: 'and' string_val: 'and,4'", Some(3)),
            constant("default", "DT_INT64", "int64_val: -1", None),
            node("found", "LookupTableFindV2", "table asked default", TEXT_ACCESS),
        ]);
        graph(&text, &["found"]).map(|graph| {
            let mut context = context(graph, 1);
            context.run(&[]).unwrap();
            ints(&context, 0)
        })
    };
    let attribute = |name: &str, value: i64| format!("attr {{ key: '{name}' value {{ i: {value} }} }} ");
    assert_eq!(find("").unwrap(), [1, 4, -1]);
    assert_eq!(find(&attribute("vocab_size", 2)).unwrap(), [1, -1, -1]);
    let whole = attribute("key_index", -2) + &attribute("value_index", -1) + &attribute("offset", 10);
    assert_eq!(find(&whole).unwrap(), [-1, -1, 12]);
    let short = find(&attribute("vocab_size", 9)).unwrap_err().to_string();
    assert!(short.contains("has 3 entries, not vocab_size 9"), "{short}");
    let column = attribute("key_index", 0) + &attribute("value_index", 2);
    let column = find(&column).unwrap_err().to_string();
    assert!(column.contains("line 1 has no column 2"), "{column}");
    let number = attribute("key_index", 0) + &attribute("value_index", 0);
    let number = find(&number).unwrap_err().to_string();
    assert!(number.contains("field the in line 1 is not a valid int64"), "{number}");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_run_finds_what_the_one_before_has_put_in() {
    let text = nodes(&[
        node("table", "MutableHashTableV2", "", TYPES),
        constant("one", "DT_INT64", "int64_val: 1", Some(1)),
        constant("two", "DT_INT64", "int64_val: 2", Some(1)),
        constant("half", "DT_FLOAT", "float_val: 0.5", Some(1)),
        constant("none", "DT_FLOAT", "float_val: 0", None),
        node("before", "LookupTableFindV2", "table one none", ACCESS),
        node("sum", "AddV2", "before half", "attr { key: 'T' value { type: DT_FLOAT } }"),
        node("put", "LookupTableInsertV2", "table one sum", ACCESS),
        node("put2", "LookupTableInsertV2", "table two half ^put", ACCESS),
        node(
            "gone",
            "LookupTableRemoveV2",
            "table two ^put2",
            "attr { key: 'Tin' value { type: DT_INT64 } }",
        ),
        node("after", "LookupTableFindV2", "table one none ^gone", ACCESS),
        node("size", "LookupTableSizeV2", "table ^gone", ""),
    ]);
    let mut context = context(graph(&text, &["after", "size"]).unwrap(), 1);
    for expected in [0.5, 1.0, 1.5] {
        context.run(&[]).unwrap();
        assert_eq!(floats(&context, 0), [expected]);
        assert_eq!(ints(&context, 1), [1]);
    }
    let mut other = context.try_clone().unwrap();
    other.run(&[]).unwrap();
    assert_eq!(floats(&other, 0), [0.5]);
    context.reset().unwrap();
    context.run(&[]).unwrap();
    assert_eq!(floats(&context, 0), [0.5]);
}

#[test]
fn a_table_of_strings_gives_copies_that_outlive_it() {
    let types = "attr { key: 'key_dtype' value { type: DT_INT64 } } attr { key: 'value_dtype' value { type: DT_STRING } }";
    let access =
        "attr { key: 'Tin' value { type: DT_INT64 } } attr { key: 'Tout' value { type: DT_STRING } }";
    let text = nodes(&[
        node("table", "HashTable", "", types),
        constant("keys", "DT_INT64", "int64_val: 1 int64_val: 2", Some(2)),
        constant("values", "DT_STRING", "string_val: 'one' string_val: 'two'", Some(2)),
        node("init", "InitializeTable", "table keys values", access),
        constant("asked", "DT_INT64", "int64_val: 2 int64_val: 5", Some(2)),
        constant("none", "DT_STRING", "string_val: '?'", None),
        node("found", "LookupTableFind", "table asked none", access),
    ]);
    let mut context = context(graph(&text, &["found"]).unwrap(), 1);
    context.run(&[]).unwrap();
    let found: Vec<StringRef> = context.output(0).unwrap().as_slice().unwrap().to_vec();
    let texts: Vec<&[u8]> = found.iter().map(|text| context.string(*text)).collect();
    assert_eq!(texts, [&b"two"[..], b"?"]);
}

#[test]
fn a_table_is_filled_with_what_is_fed_and_stands_one_value_for_all_keys_that_it_lacks() {
    let fed = |name: &str, dtype: &str| {
        let what = format!(
            "attr {{ key: 'dtype' value {{ type: {dtype} }} }} attr {{ key: 'shape' value {{ shape {{ dim {{ size: 2 }} }} }} }}"
        );
        node(name, "Placeholder", "", &what)
    };
    let text = nodes(&[
        node("table", "HashTableV2", "", TYPES),
        fed("keys", "DT_INT64"),
        fed("values", "DT_FLOAT"),
        node("init", "InitializeTableV2", "table keys values", ACCESS),
        constant("asked", "DT_INT64", "int64_val: -1 int64_val: 3 int64_val: 7", Some(3)),
        constant("defaults", "DT_FLOAT", "float_val: 9 float_val: 8 float_val: 7", Some(3)),
        node("found", "LookupTableFindV2", "table asked defaults ^init", ACCESS),
        node("size", "LookupTableSizeV2", "table ^found", ""),
    ]);
    let mut context = context(graph(&text, &["found", "size"]).unwrap(), 1);
    let shape = Shape::new(&[2]).unwrap();
    let mut run = |keys: &[i64; 2], values: &[f32; 2]| {
        let keys = TensorView::new(DType::I64, shape, bytemuck::cast_slice(keys)).unwrap();
        let values = TensorView::new(DType::F32, shape, bytemuck::cast_slice(values)).unwrap();
        context.run(&[Feed::Tensor(keys), Feed::Tensor(values)]).map_err(|error| error.to_string())?;
        Ok::<_, String>((floats(&context, 0), ints(&context, 1)))
    };
    assert_eq!(run(&[7, -1], &[0.5, 2.0]).unwrap(), (vec![2.0, 9.0, 0.5], vec![2]));
    assert_eq!(run(&[3, 3], &[1.0, 1.0]).unwrap(), (vec![9.0, 1.0, 9.0], vec![1]));
    assert!(run(&[3, 3], &[1.0, 2.0]).unwrap_err().contains("two values for one key"));
}
