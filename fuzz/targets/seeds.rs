//! Writes the seeds of a target: seeds FOLDER, whose last part is the target's name.

use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    let target = folder.file_name().and_then(|name| name.to_str()).expect("a target").to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (number, seed) in tightfit_fuzz::seeds::seeds(&target, &root).iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
    }
    Ok(())
}
