//! `--signature`, `--tags` and `--checkpoint`: which graph and which values of a model are meant.

use tightfit::ModelSource;

use crate::args::Args;
use crate::failure::Failure;

/// The flags.
pub const SOURCE_FLAGS: &[&str] = &["signature", "tags", "checkpoint"];

/// What the flags say.
///
/// # Errors
/// [`Failure::Usage`] for a value that is no UTF-8.
pub fn read(args: &Args) -> Result<ModelSource, Failure> {
    let tags = args.text("tags")?;
    Ok(ModelSource {
        signature: args.text("signature")?,
        tags: tags.map(|tags| tags.split(',').map(str::to_string).collect()),
        checkpoint: args.path("checkpoint"),
    })
}
