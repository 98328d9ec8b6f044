//! `tightfit records`: what it says of whole, broken and hostile files.

mod common;

use std::path::Path;

use common::{Folder, command, digits, repository, tightfit, tightfit_in};
use serde_json::{Value, json};
use tightfit_format::compress::Compressor;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::{Compression, RecordWriter, masked_crc};

/// A TFRecord file.
fn records(compression: Compression, records: &[Vec<u8>]) -> Vec<u8> {
    let mut writer =
        RecordWriter::new(Compressor::new(compression, Vec::new()).expect("a compression that is written"));
    records.iter().for_each(|record| writer.write(record).expect("memory"));
    writer.into_inner().finish().expect("memory")
}

/// Records of 10 bytes, 26 in the file.
fn tens(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|i| vec![i; 10]).collect()
}

fn example(features: &[(&str, Values<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_example(&mut bytes, features);
    bytes
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn commands_of_the_group() {
    tightfit(["records"]).assert_fails(2, "records needs a command: records inspect");
    tightfit(["records", "fly"]).assert_fails(2, "no command 'records fly'");
    tightfit(["records", "verify"]).assert_fails(2, "needs a FILE");
    tightfit(["records", "inspect", "a", "b"]).assert_fails(2, "does not take 'b'");
    tightfit(["records", "inspect", "a", "-n", "3"]).assert_fails(2, "does not take '-n'");
    tightfit(["records", "head", "a", "-n", "0"]).assert_fails(2, "--records 0");
    tightfit(["records", "verify", "absent.tfrecord"]).assert_fails(1, "absent.tfrecord");
    let help = tightfit(["records", "head", "--help"]);
    assert!(help.stdout.contains("Usage: tightfit records head FILE"), "{help:?}");
    let digits = digits().1;
    tightfit(["records", "verify", text(&digits), "--memory", "1MiB"]).assert_fails(3, "the program itself");
}

#[test]
fn verify_counts_what_is_whole() {
    let folder = Folder::new();
    folder.write("a.tfrecord", records(Compression::None, &tens(3)));
    folder.write("b.tfrecord.gz", records(Compression::Gzip, &tens(4)));
    folder.write("c.zlib", records(Compression::Zlib, &tens(5)));
    folder.write("empty.tfrecord", b"");
    folder.write("picture.png", b"\x89PNG\r\n\x1a\n");
    let glob = folder.path("*");
    let all =
        tightfit(["records", "verify", text(&folder.path("*.*l*")), text(&folder.path("")), "--json"]).json();
    // The glob is of c.zlib alone; the folder has the others, and the picture is left out.
    assert_eq!((&all["files"], &all["records"]), (&json!(4), &json!(12)));
    assert_eq!((&all["bad"], &all["bad_records"]), (&json!([]), &json!(0)));
    assert!(all["seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert_eq!(all["bytes"].as_u64().map(|b| b > 78), Some(true));
    let globbed =
        tightfit(["records", "verify", text(&glob), "--threads", "1", "--memory", "10MiB", "--json"]).json();
    assert_eq!((&globbed["files"], &globbed["records"]), (&json!(4), &json!(12)));
    let quiet = tightfit(["records", "verify", text(&glob), "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    // What is named itself is checked whatever it is.
    let picture = tightfit(["records", "verify", text(&folder.path("picture.png"))]);
    assert_eq!(picture.code, 1, "{picture:?}");
}

#[test]
fn verify_names_every_bad_record() {
    let folder = Folder::new();
    let mut bytes = records(Compression::None, &tens(6));
    bytes[26 + 15] ^= 1;
    bytes[3 * 26 + 25] ^= 1;
    bytes[4 * 26 + 2] ^= 1;
    let path = folder.write("bad.tfrecord", bytes);
    let answer = tightfit(["records", "verify", text(&path), "--json"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("bad.tfrecord: record 1 at byte 26: the CRC of its data is wrong (and 2 more)")
    );
    let found: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!((&found["records"], &found["bad_records"]), (&json!(2), &json!(3)));
    let places: Vec<_> =
        found["bad"].as_array().expect("a list").iter().map(|b| (&b["record"], &b["offset"])).collect();
    assert_eq!(places, [(&json!(1), &json!(26)), (&json!(3), &json!(78)), (&json!(4), &json!(104))]);
    let why = found["bad"][2]["why"].as_str().expect("a text");
    assert!(why.contains("length") && why.contains("the rest of the file cannot be read"), "{why}");
    assert_eq!(found["bad"][0]["file"], json!(text(&path)));
}

#[test]
fn hostile_lengths_cost_nothing() {
    let folder = Folder::new();
    for length in [1u64 << 63, u64::MAX, 1 << 40] {
        let mut bytes = records(Compression::None, &tens(1));
        bytes.extend(length.to_le_bytes());
        bytes.extend(masked_crc(&length.to_le_bytes()).to_le_bytes());
        bytes.extend([0; 100]);
        let path = folder.write("hostile.tfrecord", &bytes);
        let verify = tightfit(["records", "verify", text(&path), "--memory", "10MiB"]);
        assert_eq!(verify.code, 1, "{verify:?}");
        assert!(verify.stderr.contains("record 1 at byte 26: the file ends inside it"), "{verify:?}");
        let inspect = tightfit(["records", "inspect", text(&path), "--json"]).json();
        assert_eq!((&inspect["records"], &inspect["first_bad"]["offset"]), (&json!(1), &json!(26)));
        // What a compressed file holds is not known, so there the budget is what stops it.
        let mut gzip = Compressor::new(Compression::Gzip, Vec::new()).expect("a compression that is written");
        std::io::Write::write_all(&mut gzip, &bytes).expect("memory");
        let path = folder.write("hostile.gz", gzip.finish().expect("memory"));
        let inspect = tightfit(["records", "inspect", text(&path), "--memory", "16MiB"]);
        inspect.assert_fails(3, "hostile.gz, byte 26: record window needs");
    }
}

#[test]
fn inspect_sums_up_examples() {
    let folder = Folder::new();
    let list = [
        example(&[("id", Values::Int64(&[1])), ("x", Values::Float(&[0.5, 1.5]))]),
        example(&[("id", Values::Int64(&[2])), ("name", Values::Bytes(&[b"abc"]))]),
        example(&[("id", Values::Int64(&[3])), ("x", Values::Float(&[2.5]))]),
        // The last one of a name counts.
        example(&[("id", Values::Int64(&[3; 9])), ("id", Values::Int64(&[4]))]),
    ];
    let path = folder.write("e.gz", records(Compression::Gzip, &list));
    let found = tightfit(["records", "inspect", text(&path), "--json"]).json();
    assert_eq!((&found["records"], &found["compression"]), (&json!(4), &json!("GZIP")));
    assert_eq!(found["messages"], json!({"Example": 4}));
    let plain_bytes: usize = list.iter().map(|r| r.len() + 16).sum();
    assert_eq!(found["uncompressed_bytes"], json!(plain_bytes));
    let (min, max) = (list.iter().map(Vec::len).min(), list.iter().map(Vec::len).max());
    assert_eq!((&found["sizes"]["min"], &found["sizes"]["max"]), (&json!(min), &json!(max)));
    let feature = |name: &str| {
        let schema = found["schema"].as_array().expect("a list");
        schema.iter().find(|f| f["name"] == name).expect("the feature").clone()
    };
    assert_eq!((&feature("id")["count"], &feature("id")["share"]), (&json!([1, 1]), &json!(1.0)));
    assert_eq!((&feature("x")["count"], &feature("x")["share"]), (&json!([1, 2]), &json!(0.5)));
    let name = feature("name");
    assert_eq!(
        (&name["kind"], &name["value_bytes"], &name["records"]),
        (&json!("bytes"), &json!([3, 3]), &json!(1))
    );
    let screen = tightfit(["records", "inspect", text(&path)]);
    assert!(screen.stdout.contains("4 records") && screen.stdout.contains("1 to 2 values"), "{screen:?}");
}

#[test]
fn inspect_of_a_million_features_stays_in_memory() {
    let folder = Folder::new();
    let names: Vec<String> = (0..100_000).map(|i| i.to_string()).collect();
    let features: Vec<_> = names.iter().map(|name| (name.as_str(), Values::Int64(&[]))).collect();
    let path = folder.write("many.tfrecord", records(Compression::None, &[vec![], example(&features)]));
    tightfit(["records", "inspect", text(&path)]).assert_fails(1, "record 1 at byte 16: more than 65536");
    tightfit(["records", "inspect", text(&path), "--memory", "16MiB"])
        .assert_fails(3, "byte 16: schema needs");
}

#[test]
fn head_shows_records() {
    let folder = Folder::new();
    let mut bytes =
        records(Compression::None, &[example(&[("id", Values::Int64(&[7]))]), b"plain".to_vec(), vec![0xff]]);
    let path = folder.write("h.tfrecord", &bytes);
    let two = tightfit(["records", "head", text(&path), "-n", "2", "--json"]).json();
    let list = two["records"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["features"], json!({"id": {"kind": "int64", "count": 1, "values": [7]}}));
    assert_eq!((&list[1]["message"], &list[1]["data"]), (&json!("other"), &json!("plain")));
    let lines = tightfit(["records", "head", text(&path)]);
    assert_eq!((lines.code, lines.stdout.lines().count()), (0, 3));
    let empty = folder.write("empty.tfrecord", b"");
    assert_eq!(tightfit(["records", "head", text(&empty), "--json"]).json(), json!({"records": []}));
    // What stands before a bad record is shown.
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let path = folder.write("h.tfrecord", &bytes);
    let answer = tightfit(["records", "head", text(&path), "--json"]);
    let shown: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!((answer.code, shown["records"].as_array().map(Vec::len)), (1, Some(2)));
    assert!(answer.stderr.contains("record 2 at byte"), "{answer:?}");
}

#[test]
fn csv_becomes_examples_and_comes_back() {
    let folder = Folder::new();
    let csv =
        folder.write("a.csv", "name,id,score,zip\r\n\"a,b\",1,0.5,007\n,2,3,10\n\"x \"\"y\"\"\",-3,1e-3,\n");
    let (gzip, back) = (folder.path("a.tfrecord.gz"), folder.path("b.csv"));
    let answer = tightfit(["records", "convert", text(&csv), "--output", text(&gzip), "--json"]).json();
    assert_eq!(answer["records"], json!(3));
    let head = tightfit(["records", "head", text(&gzip), "-n", "1", "--json"]).json();
    let features = head["records"][0]["features"].as_object().expect("an object");
    let found: Vec<_> = features.iter().map(|(n, f)| (n.as_str(), &f["kind"], &f["values"][0])).collect();
    let (int64, float, bytes) = (json!("int64"), json!("float"), json!("bytes"));
    let values = [json!(1), json!("a,b"), json!(0.5), json!("007")];
    let expected = [
        ("id", &int64, &values[0]),
        ("name", &bytes, &values[1]),
        ("score", &float, &values[2]),
        ("zip", &bytes, &values[3]),
    ];
    assert_eq!(found, expected);
    assert_eq!(tightfit(["records", "convert", text(&gzip), "--output", text(&back)]).code, 0);
    let expected = "id,name,score,zip\n1,\"a,b\",0.5,007\n2,,3.0,10\n-3,\"x \"\"y\"\"\",0.001,\n";
    assert_eq!(std::fs::read_to_string(&back).expect("the file"), expected);
    assert_eq!(folder.names(), ["a.csv", "a.tfrecord.gz", "b.csv"]);
}

#[test]
fn arrays_become_examples_and_come_back() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..3000).map(|i| i as f32 / 7.0).collect();
    let array = common::npy("<f4", "(1000, 3)", &common::floats(&values));
    let (npy, records, back) =
        (folder.write("x.npy", &array), folder.path("x.tfrecord"), folder.path("y.npy"));
    for (from, to) in [(&npy, &records), (&records, &back)] {
        let answer = tightfit(["records", "convert", text(from), "--output", text(to), "--memory", "10MiB"]);
        assert_eq!((answer.code, answer.stderr.contains("1000 records")), (0, true), "{answer:?}");
    }
    let bytes = std::fs::read(&back).expect("the file");
    assert!(bytes.ends_with(&common::floats(&values)) && bytes.starts_with(b"\x93NUMPY"));
    let npz = folder.path("z.npz");
    let again = folder.path("again.tfrecord");
    for (from, to) in [(&records, &npz), (&npz, &again)] {
        assert_eq!(tightfit(["records", "convert", text(from), "--output", text(to), "--quiet"]).code, 0);
    }
    let read = |path: &Path| std::fs::read(path).expect("the file");
    assert_eq!(read(&again), read(&records));
    // 1/7 is 0x3092 as float16, 2/7 is 0x3492; records can be made of what was rounded.
    let (halved, rounded) = (folder.path("h.npy"), folder.path("h.tfrecord"));
    let convert = |from: &Path, to: &Path, dtype: &str| {
        tightfit(["records", "convert", text(from), "--output", text(to), "--dtype", dtype, "--quiet"])
    };
    assert_eq!(convert(&records, &halved, "float16").code, 0);
    let bytes = read(&halved);
    assert!(bytes.windows(5).any(|w| w == b"'<f2'") && bytes.len() == 128 + 2 * 3000, "{}", bytes.len());
    assert_eq!(bytes[128..134], [0, 0, 0x92, 0x30, 0x92, 0x34]);
    assert_eq!(
        tightfit(["records", "convert", text(&halved), "--output", text(&rounded), "--quiet"]).code,
        0
    );
    convert(&records, &rounded, "float16").assert_fails(2, "only .npy and .npz made from records");
    convert(&records, &halved, "bfloat16").assert_fails(2, "float16, float32 or float64");
    let ints = folder.write("u.npy", common::npy("<u8", "(1,)", &u64::MAX.to_le_bytes()));
    tightfit(["records", "convert", text(&ints), "--output", text(&folder.path("u.tfrecord"))])
        .assert_fails(1, "'u', row 0");
}

#[test]
fn images_become_examples_and_come_back() {
    let folder = Folder::new();
    // A BMP of two by one pixels; only its header is looked at.
    let mut bmp = b"BM\x3e\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(62, 0);
    let source = folder.path("in");
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(source.join(class)).expect("a folder");
        bmp[60] = class.len() as u8 + class.as_bytes()[0];
        std::fs::write(source.join(class).join("1.bmp"), &bmp).expect("a file");
    }
    let (records, back) = (folder.path("i.tfrecord"), folder.path("out"));
    assert_eq!(tightfit(["records", "convert", text(&source), "--output", text(&records)]).code, 0);
    let head = tightfit(["records", "head", text(&records), "--json"]).json();
    let dog = &head["records"][1]["features"];
    for (name, value) in [
        ("image/class/label", json!([1])),
        ("image/class/text", json!(["dog"])),
        ("image/format", json!(["bmp"])),
        ("image/height", json!([1])),
        ("image/width", json!([2])),
        ("image/filename", json!(["1.bmp"])),
    ] {
        assert_eq!(dog[name]["values"], value, "{name}");
    }
    let slash = format!("{}/", text(&back));
    assert_eq!(tightfit(["records", "convert", text(&records), "--output", &slash]).code, 0);
    assert_eq!(std::fs::read(back.join("dog/00000001.bmp")).expect("the image"), bmp);
    tightfit(["records", "convert", text(&records), "--output", &slash]).assert_fails(2, "exists already");
    // A class that would lead out of the folder is refused, and nothing stays behind.
    let evil = example(&[
        ("image/class/text", Values::Bytes(&[b"../x"])),
        ("image/encoded", Values::Bytes(&[&bmp])),
    ]);
    let evil = folder.write("evil.tfrecord", self::records(Compression::None, &[evil]));
    let evil_out = format!("{}/", text(&folder.path("evil")));
    tightfit(["records", "convert", text(&evil), "--output", &evil_out])
        .assert_fails(1, "cannot name a folder");
    assert_eq!(folder.names(), ["evil.tfrecord", "i.tfrecord", "in", "out"]);
}

#[test]
fn convert_refuses_with_a_reason() {
    let folder = Folder::new();
    let ragged = [example(&[("x", Values::Int64(&[1]))]), example(&[("x", Values::Int64(&[1, 2]))])];
    let ragged = folder.write("r.tfrecord", records(Compression::None, &ragged));
    let zero = folder
        .write("z.tfrecord", records(Compression::None, &[example(&[("b", Values::Bytes(&[b"a\0"]))])]));
    let plain = folder.write("p.tfrecord", records(Compression::None, &[b"plain".to_vec()]));
    let mut bytes = records(Compression::None, &[example(&[("x", Values::Int64(&[1]))]), vec![1; 50]]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let bad = folder.write("bad.tfrecord", bytes);
    let csv = folder.write("c.csv", "a,b\n1,2\n3\n");
    let twice = folder.write("d.csv", "a,a\n1,2\n");
    let before = folder.names();
    let cases: &[(&Path, &str, i32, &str)] = &[
        (&ragged, "o.csv", 2, "feature 'x' has 1 to 2 values"),
        (&ragged, "o.npz", 2, "equally long"),
        (&zero, "o.npz", 1, "ends with a zero byte"),
        (&plain, "o.csv", 1, "record 0 at byte 0: expected a tf.train.Example, found other"),
        (&bad, "o.tfrecord", 1, "record 1 at byte"),
        (&csv, "o.tfrecord", 1, "line 3: 1 fields, but there are 2 columns"),
        (&twice, "o.tfrecord", 1, "two columns are called 'a'"),
        (&csv, "o.npz", 2, "one side of a conversion has to be TFRecord"),
        (&ragged, "o.txt", 2, "what it is to be is told by"),
        (&ragged, "r.tfrecord", 2, "would be read and written"),
    ];
    for (from, to, code, why) in cases {
        let to = folder.path(to);
        tightfit(["records", "convert", text(from), "--output", text(&to)]).assert_fails(*code, why);
        assert_eq!(folder.names(), before, "{why}");
    }
    tightfit(["records", "convert", text(&csv)]).assert_fails(2, "needs --output");
}

#[test]
fn a_dash_is_records_on_standard_output() {
    let folder = Folder::new();
    let (_, digits) = digits();
    let there = std::fs::read(&digits).expect("the digits");
    let whole = text(&digits);
    let pipeline = repository("examples/digits/pipeline.json");
    for (args, is_copy) in [
        (vec!["records", "convert", whole, "-o", "-"], true),
        (vec!["records", "shuffle", whole, "-o", "-"], false),
        (vec!["records", "preprocess", text(&pipeline), "-o", "-"], false),
    ] {
        let output = command(&args).current_dir(repository("")).output().expect("a program");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.starts_with("-: "), "{args:?}: {stderr}");
        let file = folder.write("out.tfrecord", &output.stdout);
        let verified = tightfit(["records", "verify", text(&file), "--json"]).json();
        assert!(verified["records"].as_u64() >= Some(360), "{args:?} gave {verified}");
        assert!(!is_copy || output.stdout == there, "{args:?}");
    }
    // What stands there already stays in front.
    let file = folder.write("two.tfrecord", &there);
    let appended = std::fs::File::options().append(true).open(&file).expect("a file");
    let both = ["records", "convert", whole, "-o", "-"];
    assert!(command(both).stdout(appended).status().expect("a program").success());
    assert_eq!(std::fs::metadata(&file).expect("a file").len(), 2 * there.len() as u64);
    let both = ["records", "convert", whole, "-o", "-", "--json"];
    let refused = tightfit(both);
    assert!(refused.code == 2 && refused.stderr.contains("--output - and --json both write"), "{refused:?}");
    for of_shards in [
        vec!["records", "preprocess", text(&pipeline), "--shards", "2", "-o", "-"],
        vec!["records", "shard", "2", whole, "-o", "/dev/null"],
    ] {
        tightfit_in(&repository(""), of_shards).assert_fails(2, "shards are files of their own");
    }
}

#[test]
fn shards_are_disjoint_and_complete() {
    let folder = Folder::new();
    let list: Vec<Vec<u8>> = (0..103u32).map(|i| i.to_le_bytes().repeat(1 + i as usize % 5)).collect();
    let first = folder.write("a.tfrecord", records(Compression::None, &list[..60]));
    let second = folder.write("b.tfrecord.gz", records(Compression::Gzip, &list[60..]));
    for (name, ranges) in [("robin.tfrecord", false), ("range.tfrecord.gz", true)] {
        let output = folder.path(name);
        let mut args =
            vec!["records", "shard", "4", text(&first), text(&second), "--output", text(&output), "--json"];
        args.extend(ranges.then_some("--ranges"));
        assert_eq!(tightfit(&args).json()["shards"], json!([26, 26, 26, 25]));
        let mut dealt = Vec::new();
        for shard in 0..4usize {
            let path = match ranges {
                false => folder.path(&format!("robin.tfrecord-{shard:05}-of-00004")),
                true => folder.path(&format!("range.tfrecord-{shard:05}-of-00004.gz")),
            };
            let head = tightfit(["records", "head", text(&path), "-n", "1000", "--json"]).json();
            let expected = list.iter().enumerate().filter(|(i, _)| match ranges {
                false => i % 4 == shard,
                true => i / 26 == shard,
            });
            let expected: Vec<_> = expected.map(|(_, r)| json!(r.len())).collect();
            let sizes: Vec<_> =
                head["records"].as_array().expect("a list").iter().map(|r| r["bytes"].clone()).collect();
            assert_eq!(sizes, expected, "{path:?}");
            dealt.push(path);
        }
        if ranges {
            // One after the other they are the whole again.
            let whole = folder.path("whole.tfrecord");
            let mut args = vec!["records", "convert", "--output", text(&whole)];
            args.extend(dealt.iter().map(|path| text(path)));
            assert_eq!(tightfit(&args).code, 0);
            assert_eq!(std::fs::read(&whole).expect("the file"), records(Compression::None, &list));
        }
    }
    tightfit(["records", "shard", "0", text(&first), "--output", "x"]).assert_fails(2, "how many shards");
    tightfit(["records", "shard", "3", "--output", "x"]).assert_fails(2, "needs a FILE");
    let names = folder.names();
    let output = folder.path("many.tfrecord");
    tightfit(["records", "shard", "1000", text(&first), "--output", text(&output), "--memory", "16MiB"])
        .assert_fails(3, "output needs");
    assert_eq!(folder.names(), names);
}

#[cfg(not(feature = "arrow"))]
#[test]
fn columns_name_the_feature_that_is_missing() {
    let folder = Folder::new();
    let parquet = folder.write("a.parquet", b"PAR1 and more PAR1");
    let records = folder.write("a.tfrecord", records(Compression::None, &tens(2)));
    let (out, columns) = (folder.path("b.tfrecord"), folder.path("b.parquet"));
    let why = "cargo build --release --features arrow";
    tightfit(["records", "convert", text(&parquet), "--output", text(&out)]).assert_fails(2, why);
    tightfit(["records", "convert", text(&records), "--output", text(&columns)]).assert_fails(2, why);
}
