//! Parquet and Arrow IPC files that pyarrow wrote (see `golden_parquet.py`): every value, every place to go on from,
//! and what becomes of broken ones.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::Access;
use tightfit_data::flow::{ElementView, Pipeline, PipelineSpec};

const BUDGET_BYTES: u64 = 64 << 20;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/columns").join(name)
}

fn temp(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tightfit-columns-{}-{name}", std::process::id()))
}

fn open(path: &Path, options: &str, budget_bytes: u64) -> Result<Pipeline, String> {
    let is_parquet = path.extension().is_some_and(|e| e == "parquet");
    let kind = if is_parquet { "parquet" } else { "arrow" };
    let spec = PipelineSpec::from_json(
        &format!(r#"{{"source": {{"{kind}": [{path:?}]{options}}}}}"#),
        &Access::everything(),
        &|_| None,
    );
    let spec = spec.map_err(|error| error.to_string())?;
    Pipeline::open(&spec, &MemoryBudget::new(budget_bytes), 1).map_err(|error| error.to_string())
}

/// The shape and the values of each field, as `rows.jsonl` has them.
fn row(view: &ElementView<'_>) -> Value {
    let field = |(index, field): (usize, &tightfit_data::flow::Field)| {
        let tensor = view.tensor(index).unwrap();
        let values: Vec<Value> = match tensor.dtype() {
            DType::String => view
                .strings(index)
                .map(Result::unwrap)
                .map(|text| text.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
                .collect(),
            dtype => tensor.bytes().chunks_exact(dtype.bytes()).map(|bytes| number(dtype, bytes)).collect(),
        };
        (field.name.clone(), Value::from(vec![Value::from(tensor.shape().to_vec()), Value::from(values)]))
    };
    Value::Object(view.schema().fields().iter().enumerate().map(field).collect())
}

fn number(dtype: DType, bytes: &[u8]) -> Value {
    macro_rules! read {
        ($rust:ty) => {
            <$rust>::from_le_bytes(bytes.try_into().unwrap())
        };
    }
    match dtype {
        DType::I8 => read!(i8).into(),
        DType::I16 => read!(i16).into(),
        DType::I32 => read!(i32).into(),
        DType::I64 => read!(i64).into(),
        DType::U8 | DType::Bool => read!(u8).into(),
        DType::U16 => read!(u16).into(),
        DType::U32 => read!(u32).into(),
        DType::U64 => read!(u64).into(),
        DType::F16 => {
            half::f16::from_le_bytes(bytes.try_into().unwrap()).to_f64().to_bits().cast_signed().into()
        }
        DType::F32 => f64::from(read!(f32)).to_bits().cast_signed().into(),
        DType::F64 => read!(f64).to_bits().cast_signed().into(),
        other => panic!("{other}"),
    }
}

fn all(pipeline: &mut Pipeline) -> Vec<Result<Value, String>> {
    let mut all = Vec::new();
    loop {
        match pipeline.advance() {
            Ok(true) => all.push(Ok(row(&pipeline.current()))),
            Ok(false) => return all,
            Err(error) => all.push(Err(error.to_string())),
        }
        assert!(all.len() < 10_000, "{:?}", all.last());
    }
}

fn expected() -> Vec<Value> {
    let text = fs::read_to_string(golden("rows.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FILES: [&str; 13] = [
    "plain.parquet",
    "snappy.parquet",
    "gzip.parquet",
    "lz4.parquet",
    "zstd.parquet",
    "v2.parquet",
    "delta1.parquet",
    "delta2.parquet",
    "bare.parquet",
    "file.arrow",
    "stream.arrows",
    "lz4.arrow",
    "views.arrows",
];

#[test]
fn every_value_is_what_pyarrow_wrote() {
    let expected = expected();
    for name in FILES {
        let rows = all(&mut open(&golden(name), "", BUDGET_BYTES).unwrap());
        assert_eq!(rows.len(), expected.len(), "{name}: {:?}", rows.first());
        for (at, (row, expected)) in rows.iter().zip(&expected).enumerate() {
            let row = row.as_ref().unwrap_or_else(|error| panic!("{name}: {error}")).as_object().unwrap();
            assert!(row.len() >= 25, "{name}");
            for (field, value) in row {
                assert_eq!(value, &expected[field], "{name}, row {at}, {field}");
            }
        }
    }
}

#[test]
fn columns_come_in_the_order_they_are_asked_for() {
    let expected = expected();
    for name in FILES {
        let rows =
            all(&mut open(&golden(name), r#", "columns": ["words", "i64", "dict"]"#, BUDGET_BYTES).unwrap());
        for (row, expected) in rows.iter().zip(&expected) {
            let row = row.as_ref().unwrap().as_object().unwrap();
            assert_eq!(row.keys().collect::<Vec<_>>(), ["words", "i64", "dict"]);
            assert!(row.iter().all(|(field, value)| value == &expected[field]), "{name}");
        }
    }
    let error = open(&golden("plain.parquet"), r#", "columns": ["word"]"#, BUDGET_BYTES).err().unwrap();
    assert!(error.contains("there is no column \"word\", but i8, u8, "), "{error}");
}

#[test]
fn goes_on_at_every_row() {
    for name in ["snappy.parquet", "delta1.parquet", "v2.parquet", "file.arrow", "stream.arrows"] {
        let open = || open(&golden(name), "", BUDGET_BYTES).unwrap();
        let whole = all(&mut open());
        let state = temp(&format!("{name}.state"));
        for at in 0..=whole.len() {
            let mut pipeline = open();
            (0..at).for_each(|_| assert!(pipeline.advance().unwrap()));
            pipeline.save_state(&state).unwrap();
            let mut resumed = open();
            resumed.resume(&state).unwrap();
            assert!(all(&mut resumed) == whole[at..], "{name}, row {at}");
        }
        fs::remove_file(state).unwrap();
    }
}

#[test]
fn nulls_are_errors_with_their_place_or_become_the_default() {
    for name in ["nulls.parquet", "nulls.arrow"] {
        let rows = all(&mut open(&golden(name), "", BUDGET_BYTES).unwrap());
        let error = |row: usize| rows[row].as_ref().unwrap_err();
        assert_eq!(rows.len(), 5);
        for (row, column) in [(0, "l"), (1, "x"), (2, "s"), (3, "x")] {
            let why = format!("{name}, record {row} at byte");
            assert!(error(row).contains(&why), "{}", error(row));
            let why = format!("column {column:?} is null here, and has no default");
            assert!(error(row).contains(&why), "{}", error(row));
        }
        assert!(rows[4].is_ok());
        let defaults = r#", "defaults": {"x": -7, "s": "none", "l": 0.5, "d": "w"}"#;
        let rows = all(&mut open(&golden(name), defaults, BUDGET_BYTES).unwrap());
        let rows: Vec<String> = rows.into_iter().map(|row| row.unwrap().to_string()).collect();
        let expected = [
            r#"{"x":[[],[1]],"s":[[],["61"]],"l":[[2],[ONE,HALF]],"d":[[],["75"]]}"#,
            r#"{"x":[[],[-7]],"s":[[],["62"]],"l":[[1],[TWO]],"d":[[],["77"]]}"#,
            r#"{"x":[[],[3]],"s":[[],["6e6f6e65"]],"l":[[0],[]],"d":[[],["75"]]}"#,
            r#"{"x":[[],[-7]],"s":[[],["64"]],"l":[[0],[]],"d":[[],["76"]]}"#,
            r#"{"x":[[],[5]],"s":[[],["65"]],"l":[[1],[FIVE]],"d":[[],["76"]]}"#,
        ];
        let bits = [("HALF", 0.5f64), ("ONE", 1.0), ("TWO", 2.0), ("FIVE", 5.0)];
        let expected = expected.map(|row| {
            bits.iter()
                .fold(row.to_string(), |row, (name, value)| row.replace(name, &value.to_bits().to_string()))
        });
        assert_eq!(rows, expected);
        let error = open(&golden(name), r#", "defaults": {"x": "one"}"#, BUDGET_BYTES).err().unwrap();
        assert!(error.contains("column \"x\""), "{error}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let error = open(&golden("nested.parquet"), "", BUDGET_BYTES).err().unwrap();
    assert!(
        error.contains("nested.parquet: column \"s\": no field can be made of the type Struct"),
        "{error}"
    );
    assert_eq!(
        all(&mut open(&golden("nested.parquet"), r#", "columns": ["x"]"#, BUDGET_BYTES).unwrap()).len(),
        2
    );
    for (name, why) in [("brotli.parquet", "BROTLI"), ("zstd.arrow", "Zstandard")] {
        let rows = all(&mut open(&golden(name), "", BUDGET_BYTES).unwrap());
        assert!(rows.iter().all(|row| row.as_ref().unwrap_err().contains(why)), "{rows:?}");
    }
    let other = temp("other.parquet");
    fs::write(&other, b"PAR1 and then something else").unwrap();
    let error = open(&other, "", BUDGET_BYTES).err().unwrap();
    assert!(error.contains("does not end as Parquet does"), "{error}");
    fs::remove_file(other).unwrap();
}

#[test]
fn a_file_of_other_columns_is_an_error() {
    let json = format!(
        r#"{{"source": {{"parquet": [{:?}, {:?}]}}}}"#,
        golden("nested.parquet"),
        golden("nulls.parquet")
    );
    let json = json.replace("]}}", r#"], "columns": ["x"]}}"#);
    let spec = PipelineSpec::from_json(&json, &Access::everything(), &|_| None).unwrap();
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(BUDGET_BYTES), 1).unwrap();
    let rows = all(&mut pipeline);
    assert_eq!(rows.len(), 3);
    assert!(rows[2].as_ref().unwrap_err().contains("the first file's"), "{rows:?}");
}

/// A small generator, so that the damage is the same each time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn broken_files_are_errors_within_the_budget() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut refused = 0;
    for name in FILES {
        let whole = fs::read(golden(name)).unwrap();
        let path = temp(&format!("broken-{name}"));
        for case in 0..60 {
            let mut bytes = whole.clone();
            if case % 3 == 0 {
                bytes.truncate(random(&mut state) as usize % whole.len());
            } else {
                // Most of the damage where the sizes and counts are.
                for _ in 0..1 + case % 4 {
                    let from = if case % 2 == 0 { 0 } else { whole.len() / 2 };
                    let at = from + random(&mut state) as usize % (whole.len() - from);
                    bytes[at] ^= 1 << (random(&mut state) % 8);
                }
            }
            fs::write(&path, &bytes).unwrap();
            match open(&path, "", 8 << 20) {
                Ok(mut pipeline) => refused += usize::from(all(&mut pipeline).iter().any(Result::is_err)),
                Err(_) => refused += 1,
            }
        }
        fs::remove_file(path).unwrap();
    }
    assert!(refused > 13 * 20, "{refused}");
}
