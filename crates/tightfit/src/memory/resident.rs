//! What is resident of a process, and what its loader took.

/// What the loader reads and writes before a program begins, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tables {
    /// Lists of what to write: read once.
    pub relocations_bytes: u64,
    /// Tables that were written to, and variables: they stay.
    pub written_bytes: u64,
}

/// Resident memory of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages of files: code, and tables of constants.
    pub code_bytes: u64,
    /// All else.
    pub data_bytes: u64,
}

impl Resident {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.code_bytes + self.data_bytes
    }
}
