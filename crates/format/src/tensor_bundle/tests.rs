use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::table::tests::TableWriter;

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tightfit-bundle-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    put(out, field << 3);
    put(out, value);
}

fn message(out: &mut Vec<u8>, field: u64, body: &[u8]) {
    put(out, field << 3 | 2);
    put(out, body.len() as u64);
    out.extend(body);
}

fn shape_message(shape: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    for dim in shape {
        let mut body = Vec::new();
        number(&mut body, 1, *dim as u64);
        message(&mut out, 2, &body);
    }
    out
}

/// A checkpoint being written.
#[derive(Default)]
struct Bundle {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    shards: Vec<Vec<u8>>,
}

impl Bundle {
    fn new(shards: usize) -> Bundle {
        let mut header = Vec::new();
        number(&mut header, 1, shards as u64);
        Bundle { entries: [(Vec::new(), header)].into(), shards: vec![Vec::new(); shards] }
    }

    fn entry(
        dtype: i32,
        shape: &[i64],
        place: Option<(usize, u64, u64, u32)>,
        slices: &[SliceDef],
    ) -> Vec<u8> {
        let mut entry = Vec::new();
        number(&mut entry, 1, dtype as u64);
        message(&mut entry, 2, &shape_message(shape));
        if let Some((shard, offset, bytes, crc)) = place {
            number(&mut entry, 3, shard as u64);
            number(&mut entry, 4, offset);
            number(&mut entry, 5, bytes);
            put(&mut entry, 6 << 3 | 5);
            entry.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        }
        for slice in slices {
            let mut body = Vec::new();
            for (start, length) in &slice.0 {
                let mut extent = Vec::new();
                number(&mut extent, 1, *start as u64);
                if let Some(length) = length {
                    number(&mut extent, 2, *length as u64);
                }
                message(&mut body, 1, &extent);
            }
            message(&mut entry, 7, &body);
        }
        entry
    }

    fn add(&mut self, key: &[u8], dtype: i32, shape: &[i64], shard: usize, data: &[u8]) {
        let offset = self.shards[shard].len() as u64;
        self.shards[shard].extend(data);
        let place = Some((shard, offset, data.len() as u64, crc32c::crc32c(data)));
        self.entries.insert(key.to_vec(), Bundle::entry(dtype, shape, place, &[]));
    }

    fn strings(&mut self, key: &str, shape: &[i64], texts: &[&[u8]]) {
        let (mut data, mut crc) = (Vec::new(), 0);
        for text in texts {
            put(&mut data, text.len() as u64);
            crc = crc32c::crc32c_append(crc, &(text.len() as u32).to_le_bytes());
        }
        let stored = crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
        data.extend(stored);
        crc = crc32c::crc32c_append(crc, &stored);
        for text in texts {
            data.extend(*text);
            crc = crc32c::crc32c_append(crc, text);
        }
        let offset = self.shards[0].len() as u64;
        self.shards[0].extend(&data);
        let place = Some((0, offset, data.len() as u64, crc));
        self.entries.insert(key.into(), Bundle::entry(7, shape, place, &[]));
    }

    fn write(&self, folder: &Folder) -> PathBuf {
        let prefix = folder.0.join("model.ckpt");
        let mut table = TableWriter::new(200, false);
        self.entries.iter().for_each(|(key, value)| table.add(key, value));
        std::fs::write(with_ending(&prefix, ".index"), table.finish()).unwrap();
        for (number, shard) in self.shards.iter().enumerate() {
            let ending = format!(".data-{number:05}-of-{:05}", self.shards.len());
            std::fs::write(with_ending(&prefix, &ending), shard).unwrap();
        }
        prefix
    }
}

fn open(prefix: &Path) -> Result<TensorBundle> {
    TensorBundle::open(prefix, &MemoryBudget::new(1 << 20))
}

fn values(bundle: &TensorBundle, name: &str, spec: &str) -> Result<(Vec<i64>, Vec<u8>)> {
    let mut memory = MemoryBudget::new(1 << 20).try_reserve("test", 0).unwrap();
    let tensor = bundle.tensor(name, spec, &mut memory)?;
    let mut out = vec![0; tensor.bytes().unwrap() as usize];
    tensor.read_into(bundle.index(), &mut out)?;
    Ok((tensor.shape, out))
}

#[test]
fn tensors_of_several_shards() {
    let folder = Folder::new();
    let mut bundle = Bundle::new(2);
    bundle.add(b"a", 1, &[2, 3], 1, &[7; 24]);
    bundle.add(b"b/c", 9, &[], 0, &5i64.to_le_bytes());
    bundle.strings("s", &[3], &[b"one", b"", b"three"]);
    let prefix = bundle.write(&folder);
    for path in [prefix.clone(), with_ending(&prefix, ".index"), with_ending(&prefix, ".data-00001-of-00002")]
    {
        let bundle = open(&path).unwrap();
        let names: Vec<_> = bundle.entries().map(|(name, entry)| (name, &entry.shape[..])).collect();
        assert_eq!(names, [("a", &[2, 3][..]), ("b/c", &[]), ("s", &[3])]);
        assert_eq!(values(&bundle, "a", "").unwrap(), (vec![2, 3], vec![7; 24]));
        assert_eq!(values(&bundle, "b/c", "").unwrap(), (vec![], 5i64.to_le_bytes().to_vec()));
        let mut memory = MemoryBudget::new(1 << 20).try_reserve("test", 0).unwrap();
        let strings = bundle.tensor("s", "", &mut memory).unwrap().content;
        let expected: [Box<[u8]>; 3] = [b"one"[..].into(), b""[..].into(), b"three"[..].into()];
        assert_eq!(strings, TensorContent::Strings(expected.into()));
        assert!(values(&bundle, "none", "").unwrap_err().to_string().contains("'none'"));
    }
}

/// Element `[i, j, ..]` of a tensor is its place in the whole.
fn counted(shape: &[usize]) -> Vec<i32> {
    (0..shape.iter().product::<usize>() as i32).collect()
}

fn block(shape: &[usize], slice: &[(usize, usize)]) -> Vec<i32> {
    let all = counted(shape);
    let mut out = Vec::new();
    for (element, value) in all.iter().enumerate() {
        let mut rest = element;
        let mut is_inside = true;
        for (size, (start, length)) in shape.iter().zip(slice).rev() {
            is_inside &= (*start..start + length).contains(&(rest % size));
            rest /= size;
        }
        if is_inside {
            out.push(*value);
        }
    }
    out
}

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

proptest! {
    /// A tensor cut along one axis, or not at all, is read whole, in pieces and in part.
    #[test]
    fn partitioned_variables(
        shape in prop::collection::vec(1..6usize, 1..4),
        axis: prop::sample::Index,
        cut: prop::sample::Index,
        window in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 4),
        is_cut: bool,
        pieces in 1..40usize,
    ) {
        let folder = Folder::new();
        let mut bundle = Bundle::new(2);
        let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
        let axis = axis.index(shape.len());
        let cut = cut.index(shape[axis] + 1);
        if is_cut && cut > 0 && cut < shape[axis] {
            let mut slices = Vec::new();
            for (shard, (start, length)) in [(0, cut), (cut, shape[axis] - cut)].into_iter().enumerate() {
                let mut slice: Vec<(usize, usize)> = shape.iter().map(|size| (0, *size)).collect();
                slice[axis] = (start, length);
                let extents = slice.iter().zip(&shape);
                let def = SliceDef(extents
                    .map(|((start, length), size)| (*start as i64, (length < size).then_some(*length as i64)))
                    .collect());
                let part: Vec<i64> = slice.iter().map(|(_, length)| *length as i64).collect();
                bundle.add(&def.key("v"), 3, &part, shard, &bytes(&block(&shape, &slice)));
                slices.push(def);
            }
            bundle.entries.insert(b"v".into(), Bundle::entry(3, &dims, None, &slices));
        } else {
            bundle.add(b"v", 3, &dims, 0, &bytes(&counted(&shape)));
        }
        let bundle = open(&bundle.write(&folder)).unwrap();
        prop_assert_eq!(values(&bundle, "v", "").unwrap(), (dims, bytes(&counted(&shape))));
        // In pieces of any size.
        let mut memory = MemoryBudget::new(1 << 20).try_reserve("test", 0).unwrap();
        let tensor = bundle.tensor("v", "", &mut memory).unwrap();
        let mut out = bytes(&counted(&shape));
        let expected = out.clone();
        out.fill(0);
        for (number, piece) in out.chunks_mut(pieces).enumerate() {
            tensor.read_at(bundle.index(), (number * pieces) as u64, piece).unwrap();
        }
        prop_assert_eq!(&out, &expected);
        // A window of it.
        let window: Vec<(usize, usize)> = shape.iter().zip(&window).map(|(size, (start, length))| {
            let start = start.index(*size);
            (start, 1 + length.index(size - start))
        }).collect();
        let texts: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
        let extents: Vec<String> = window.iter().map(|(start, length)| format!("{start},{length}")).collect();
        let spec = format!("{} {}", texts.join(" "), extents.join(":"));
        let part = window.iter().map(|(_, length)| *length as i64).collect();
        prop_assert_eq!(values(&bundle, "v", &spec).unwrap(), (part, bytes(&block(&shape, &window))));
    }
}

#[test]
fn a_wrong_checksum_is_found_by_whoever_reads_all() {
    let folder = Folder::new();
    let mut bundle = Bundle::new(1);
    bundle.add(b"a", 4, &[1000], 0, &[3; 1000]);
    bundle.strings("s", &[1], &[b"text"]);
    let prefix = bundle.write(&folder);
    bundle.shards[0][500] ^= 1;
    let last = bundle.shards[0].len() - 1;
    bundle.shards[0][last] ^= 1;
    std::fs::write(with_ending(&prefix, ".data-00000-of-00001"), &bundle.shards[0]).unwrap();
    let bundle = open(&prefix).unwrap();
    let error = values(&bundle, "a", "").unwrap_err().to_string();
    assert!(error.contains("'a'") && error.contains("checksum"), "{error}");
    let mut memory = MemoryBudget::new(1 << 20).try_reserve("test", 0).unwrap();
    let error = bundle.tensor("s", "", &mut memory).unwrap_err().to_string();
    assert!(error.contains("'s'") && error.contains("checksum"), "{error}");
    // In pieces it shows with the last of them, each time; pieces out of order are not held against it.
    let tensor = bundle.tensor("a", "", &mut memory).unwrap();
    let mut out = [0; 300];
    for _ in 0..2 {
        for at in [700, 0, 300] {
            tensor.read_at(bundle.index(), at, &mut out).unwrap();
        }
        tensor.read_at(bundle.index(), 600, &mut out).unwrap();
        assert!(tensor.read_at(bundle.index(), 900, &mut out[..100]).is_err());
    }
}

#[test]
fn what_does_not_add_up_is_refused() {
    let refused = |change: &dyn Fn(&mut Bundle), why: &str| {
        let folder = Folder::new();
        let mut bundle = Bundle::new(1);
        bundle.add(b"a", 1, &[4], 0, &[0; 16]);
        change(&mut bundle);
        let error = open(&bundle.write(&folder)).and_then(|b| values(&b, "a", "")).unwrap_err().to_string();
        assert!(error.contains(why), "no '{why}': {error}");
    };
    let replace = |dtype, shape: &'static [i64], place| {
        move |bundle: &mut Bundle| {
            bundle.entries.insert(b"a".into(), Bundle::entry(dtype, shape, place, &[]));
        }
    };
    refused(&replace(1, &[4], Some((0, 0, 12, 0))), "12 bytes");
    refused(&replace(1, &[4], Some((0, 8, 16, 0))), "needs 16 bytes");
    refused(&replace(1, &[4], Some((7, 0, 16, 0))), "shard 7");
    refused(&replace(1, &[-1], Some((0, 0, 16, 0))), "what a checkpoint says");
    refused(&replace(1, &[i64::MAX, i64::MAX], Some((0, 0, 16, 0))), "what a checkpoint says");
    refused(&replace(1, &[4], Some((0, u64::MAX, 16, 0))), "what a checkpoint says");
    refused(&|bundle| drop(bundle.entries.remove(&b""[..])), "without its header");
    refused(
        &|bundle| {
            let mut header = Vec::new();
            number(&mut header, 1, 1);
            number(&mut header, 2, 1);
            bundle.entries.insert(Vec::new(), header);
        },
        "high byte first",
    );
    refused(
        &|bundle| {
            let mut header = Vec::new();
            number(&mut header, 1, u64::MAX);
            bundle.entries.insert(Vec::new(), header);
        },
        "shards of a checkpoint",
    );
    // Parts that overlap, that leave a gap, and that are not there.
    for slices in [vec![(0, 2), (1, 3)], vec![(0, 1), (2, 2)], vec![(0, 4)]] {
        refused(
            &move |bundle: &mut Bundle| {
                let defs: Vec<_> = slices.iter().map(|(s, n)| SliceDef(vec![(*s, Some(*n))])).collect();
                for ((_, length), def) in
                    slices.iter().zip(&defs).filter(|((start, length), _)| start + length < 4 || *start > 0)
                {
                    bundle.add(&def.key("a"), 1, &[*length], 0, &vec![0; 4 * *length as usize]);
                }
                bundle.entries.insert(b"a".into(), Bundle::entry(1, &[4], None, &defs));
            },
            "parts",
        );
    }
}

#[test]
fn an_index_larger_than_the_budget_is_refused() {
    let folder = Folder::new();
    let mut bundle = Bundle::new(1);
    (0..2000).for_each(|i| bundle.add(format!("variable/{i:05}").as_bytes(), 1, &[1], 0, &[0; 4]));
    let prefix = bundle.write(&folder);
    let budget = MemoryBudget::new(100 << 10);
    let error = TensorBundle::open(&prefix, &budget).unwrap_err();
    assert!(error.as_budget().is_some(), "{error}");
    assert_eq!(budget.used_bytes(), 0);
    assert_eq!(open(&prefix).unwrap().entries().count(), 2000);
}
