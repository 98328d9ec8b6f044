//! Reads every tensor of a checkpoint, its checksum too, and prints name, type, shape, bytes and CRC-32 of the values:
//! checkpoint PREFIX.

use std::error::Error;

use tightfit_core::MemoryBudget;
use tightfit_format::{DataType, TensorBundle, TensorContent};

fn main() -> Result<(), Box<dyn Error>> {
    let prefix = std::env::args().nth(1).ok_or("which checkpoint?")?;
    let budget = MemoryBudget::new(1 << 30);
    let bundle = TensorBundle::open(prefix.as_ref(), &budget)?;
    let mut memory = budget.try_reserve("tensors", 0)?;
    for (name, entry) in bundle.entries() {
        let tensor = bundle.tensor(name, "", &mut memory)?;
        let mut crc = crc32fast::Hasher::new();
        match (&tensor.content, tensor.bytes()) {
            (TensorContent::Strings(texts), _) => texts.iter().for_each(|text| crc.update(text)),
            (_, Some(bytes)) => {
                let mut values = vec![0; bytes as usize];
                tensor.read_into(bundle.index(), &mut values)?;
                crc.update(&values);
            }
            _ => continue,
        }
        let (dtype, shape) = (DataType(entry.dtype), &entry.shape);
        println!("{name} {dtype} {shape:?} {} {:08x}", entry.bytes, crc.finalize());
    }
    Ok(())
}
