//! Writes a GraphDef's structure: every float constant but the smallest holds one value, repeated. What can be planned
//! for the model can be planned for its structure, with the same result, and it is a hundredth of the size.
//!
//!     structure MODEL.pb OUT.pb
//!
//! The value follows from the constant's bytes, so that constants that are the same stay so, and others do not become
//! so. One that already repeats one value keeps it: zeros and ones mean something.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, GraphDef, InlineBytes, SourceFile, TensorContent, TensorDef};

/// Smaller constants are left as they are.
const KEPT_BYTES: u64 = 64;
/// TensorFlow's number of float32.
const FLOAT: i32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &paths[..] else { return Err("usage: structure MODEL.pb OUT.pb".into()) };
    let budget = MemoryBudget::new(1 << 30);
    let source = SourceFile::open(from)?;
    let mut graph = GraphDef::read(source.clone(), &budget)?;
    for (_, value) in graph.nodes.iter_mut().filter(|n| &*n.op == "Const").flat_map(|n| &mut n.attrs) {
        if let AttrValue::Tensor(tensor) = value {
            flatten(tensor, &source)?;
        }
    }
    graph.write(BufWriter::new(File::create(to)?), &budget)?;
    Ok(())
}

fn flatten(tensor: &mut TensorDef, source: &SourceFile) -> Result<(), Box<dyn Error>> {
    let bytes = tensor.bytes().unwrap_or(0);
    if tensor.dtype != FLOAT || bytes < KEPT_BYTES || tensor.present_bytes() < bytes {
        return Ok(());
    }
    let mut values = vec![0; usize::try_from(bytes)?];
    tensor.read_into(source, &mut values)?;
    let value = if values.chunks_exact(4).all(|v| v == &values[..4]) {
        values[..4].into()
    } else {
        // FNV-1a, as a number between 0.5 and 1.
        let hash = values
            .iter()
            .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ *b as u64).wrapping_mul(0x100_0000_01B3));
        (0.5f32 + (hash >> 42) as f32 / (1u32 << 23) as f32).to_le_bytes().to_vec()
    };
    tensor.content = TensorContent::Inline(InlineBytes::Small(value.into()));
    Ok(())
}
