//! The budget, line by line.

/// The budget, line by line, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    /// The process itself.
    pub runtime_bytes: u64,
    /// Weights in memory.
    pub weights_bytes: u64,
    /// The window that streamed weights pass through.
    pub window_bytes: u64,
    /// Values and scratch.
    pub arena_bytes: u64,
    /// Input: decoders, queues, fed tensors.
    pub pipeline_bytes: u64,
    /// Output.
    pub sink_bytes: u64,
}

impl Lines {
    /// All lines together.
    pub fn total_bytes(&self) -> u64 {
        self.named().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The lines with their names, in the order they are shown.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("runtime", self.runtime_bytes),
            ("weights", self.weights_bytes),
            ("window", self.window_bytes),
            ("arena", self.arena_bytes),
            ("pipeline", self.pipeline_bytes),
            ("sink", self.sink_bytes),
        ]
    }
}
