use proptest::prelude::*;

use super::*;

fn walk(bytes: &[u8]) -> usize {
    let mut values = 0;
    for entry in Example::new(bytes).features().take(1000) {
        let Ok((_, feature)) = entry else { return values };
        values += feature.count().unwrap_or(0);
        values += feature.bytes().filter(Result::is_ok).count();
        values += feature.ints().filter(Result::is_ok).count();
        values += feature.read_floats(&mut [0.0; 3]).unwrap_or(0);
        values += feature.read_ints(&mut [0; 3]).unwrap_or(0);
    }
    values
}

#[test]
fn the_bytes_tensorflow_writes() {
    // tf.train.Example(features=tf.train.Features(feature={
    //   'a': tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 300])),
    //   'b': tf.train.Feature(bytes_list=tf.train.BytesList(value=[b'xy']))})).SerializeToString(deterministic=True)
    let mut out = Vec::new();
    write_example(&mut out, &[("a", Values::Int64(&[1, 300])), ("b", Values::Bytes(&[b"xy"]))]);
    let expected = b"\x0a\x1b\x0a\x0c\x0a\x01a\x12\x07\x1a\x05\x0a\x03\x01\xac\x02\
                     \x0a\x0b\x0a\x01b\x12\x06\x0a\x04\x0a\x02xy";
    assert_eq!(out, expected);
}

#[test]
fn last_entry_last_kind_and_unpacked_values() {
    let mut bytes = Vec::new();
    write_example(&mut bytes, &[("x", Values::Float(&[1.0])), ("x", Values::Float(&[2.0, 3.0]))]);
    let mut out = [0.0; 4];
    assert_eq!(Example::new(&bytes).find("x").unwrap().unwrap().read_floats(&mut out).unwrap(), 2);
    assert_eq!(out[..2], [2.0, 3.0]);
    // A Feature with a bytes list, then an unpacked int64 list, then a packed one.
    let value = b"\x0a\x03\x0a\x01z\x1a\x04\x08\x05\x08\x06\x1a\x03\x0a\x01\x07";
    let feature = Feature::new(value).unwrap();
    assert_eq!(feature.kind(), FeatureKind::Int64);
    assert_eq!(feature.ints().map(Result::unwrap).collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(feature.bytes().count(), 0);
    let unpacked = b"\x12\x0a\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40";
    assert_eq!(Feature::new(unpacked).unwrap().read_floats(&mut out).unwrap(), 2);
    assert_eq!(out[..2], [1.0, 2.0]);
}

#[test]
fn groups_are_passed_over_as_deep_as_protobuf_does() {
    let mut x = Vec::new();
    write_example(&mut x, &[("x", Values::Int64(&[7]))]);
    let behind = |groups: &[u8]| Example::new(&[groups, &x].concat()).find("x").map(|f| f.unwrap().count());
    let nested = |depth| [[0x3b].repeat(depth), [0x3c].repeat(depth)].concat();
    // Fields of every kind in a group, and a group of another number.
    let full = b"\x3b\x08\x05\x11\0\0\0\0\0\0\0\0\x1a\x01z\x25\0\0\0\0\x43\x44\x3c";
    for groups in [&full[..], &nested(1), &nested(2).repeat(1000), &nested(100)] {
        assert_eq!(behind(groups), Ok(Ok(1)));
    }
    assert_eq!(behind(&nested(101)), Err(ExampleError::Depth));
    for (broken, why) in [
        (&b"\x3b\x44"[..], ExampleError::Tag),
        (b"\x3c", ExampleError::Tag),
        (b"\x3b\x3e", ExampleError::Tag),
        (b"\x3b\x00", ExampleError::Tag),
    ] {
        assert_eq!(behind(broken), Err(why), "{broken:?}");
    }
    assert_eq!(Example::new(b"\x3b\x08\x01").find("x").unwrap_err(), ExampleError::Truncated);
}

#[test]
fn an_entry_has_one_value() {
    let twice = b"\x0a\x0b\x0a\x09\x0a\x01x\x12\x00\x12\x02\x1a\x00";
    assert_eq!(Example::new(twice).find("x").unwrap_err(), ExampleError::TwoValues);
}

#[test]
fn entries_are_a_key_and_a_value() {
    let (key, value) = (&b"\x0a\x01s"[..], &b"\x12\x06\x1a\x04\x0a\x02\x05\x06"[..]);
    let of = |parts: &[&[u8]]| {
        let entry = parts.concat();
        [&[0x0a, entry.len() as u8 + 2, 0x0a, entry.len() as u8][..], &entry].concat()
    };
    for (parts, is_right, has_order) in [
        (&[key, value][..], true, true),
        (&[value, key], true, false),
        (&[key, key], true, false),
        (&[key], false, false),
        (&[value], false, false),
        (&[], false, false),
        (&[key, key, value], false, false),
        (&[key, b"\x18\x01"], false, false),
        (&[key, value, b"\x1a\x00"], false, false),
    ] {
        let example = of(parts);
        assert_eq!(Example::new(&example).check_entries().is_ok(), is_right, "{parts:?}");
        let sequence = sequence::SequenceExample::new(&example);
        assert_eq!(sequence.check_entries().is_ok(), has_order, "{parts:?}");
    }
    // Beside the features others may stand, and none among them.
    let beside = [&of(&[key, value])[..], b"\x2a\x01x"].concat();
    assert_eq!(Example::new(&beside).check_entries(), Ok(()));
    assert_eq!(Example::new(b"\x0a\x03\x12\x01x").check_entries(), Err(ExampleError::Entry));
}

#[test]
fn errors_end_the_walk() {
    assert_eq!(Example::new(b"\x0a\x05\x0a").find("x").unwrap_err(), ExampleError::Truncated);
    assert_eq!(Example::new(&[0xff; 11]).find("x").unwrap_err(), ExampleError::Varint);
    assert_eq!(Example::new(b"\x0b").find("x").unwrap_err(), ExampleError::Truncated);
    for tag in [&b"\x00\x01"[..], b"\x0e", b"\x0f", b"\x0c", b"\x8a\x80\x80\x80\x20\x00"] {
        assert_eq!(Example::new(tag).find("x").unwrap_err(), ExampleError::Tag, "{tag:?}");
    }
    let feature = Feature::new(b"\x12\x05\x0a\x03abc").unwrap();
    assert_eq!(feature.read_floats(&mut []).unwrap_err(), ExampleError::PackedFloats);
}

proptest! {
    #[test]
    fn reads_back_what_was_written(
        floats in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..20),
        ints in proptest::collection::vec(any::<i64>(), 0..20),
        strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5),
    ) {
        let slices: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        write_example(&mut bytes, &[
            ("floats", Values::Float(&floats)),
            ("ints", Values::Int64(&ints)),
            ("a name", Values::Bytes(&slices)),
        ]);
        let example = Example::new(&bytes);
        let mut out = vec![0.0; floats.len()];
        let feature = example.find("floats").unwrap().unwrap();
        prop_assert_eq!(feature.read_floats(&mut out).unwrap(), floats.len());
        prop_assert!(out.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()));
        let feature = example.find("ints").unwrap().unwrap();
        prop_assert_eq!(feature.ints().collect::<Result<Vec<_>>>().unwrap(), ints);
        let feature = example.find("a name").unwrap().unwrap();
        prop_assert_eq!(feature.bytes().collect::<Result<Vec<_>>>().unwrap(), slices);
        prop_assert!(example.find("absent").unwrap().is_none());
    }

    #[test]
    fn random_and_damaged_bytes_never_panic(
        random in proptest::collection::vec(any::<u8>(), 0..100),
        ints in proptest::collection::vec(any::<i64>(), 0..10),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        walk(&random);
        let mut bytes = Vec::new();
        write_example(&mut bytes, &[("i", Values::Int64(&ints)), ("f", Values::Float(&[0.5; 5]))]);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        walk(&bytes[..cut.index(bytes.len() + 1)]);
        prop_assert!(walk(&bytes) < 10_000);
    }
}
