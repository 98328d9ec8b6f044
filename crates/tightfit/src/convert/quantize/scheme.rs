//! What becomes of a model, as data.

use super::kinds::{INT8_WIDTH, INT16_WIDTH, Width};

/// What becomes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scheme {
    /// Weights of int8 with a scale for each output channel; activations are floats that each product rounds as it runs.
    #[default]
    Dynamic,
    /// Weights of int8 that are floats again before they are used.
    WeightOnly,
    /// Weights of float16 that are floats again before they are used.
    Half,
    /// Weights of bfloat16 that are floats again before they are used.
    Brain,
    /// Weights of int4 that are floats again before they are used.
    Int4,
    /// Weights and activations of int8, with ranges that are calibrated.
    Int8,
    /// Weights of int8 and activations of int16, with ranges that are calibrated.
    Int16,
}

/// What weights become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// Integers of so many bits.
    Integers(u8),
    Half,
    Brain,
}

/// What activations become.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activations {
    /// They stay floats, and so are weights again before they are used.
    Floats,
    /// They stay floats, which products round.
    Dynamic,
    /// Integers.
    Integers(&'static Width),
}

/// What a scheme does.
#[derive(Debug)]
pub(super) struct Meaning {
    pub weights: Weights,
    pub activations: Activations,
}

impl Meaning {
    pub fn is_dynamic(&self) -> bool {
        matches!(self.activations, Activations::Dynamic)
    }

    /// True where weights of integers are floats again before they are used.
    pub fn is_weight_only(&self) -> bool {
        matches!((self.weights, self.activations), (Weights::Integers(_), Activations::Floats))
    }
}

impl Scheme {
    /// All with their names.
    pub const ALL: [(&'static str, Scheme); 7] = [
        ("dynamic", Scheme::Dynamic),
        ("weight-only-int8", Scheme::WeightOnly),
        ("f16", Scheme::Half),
        ("bf16", Scheme::Brain),
        ("weight-only-int4", Scheme::Int4),
        ("int8", Scheme::Int8),
        ("int16x8", Scheme::Int16),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Scheme::ALL.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// True where activations are integers, whose ranges follow from data.
    pub fn has_ranges(self) -> bool {
        matches!(self.meaning().activations, Activations::Integers(_))
    }

    pub(super) fn meaning(self) -> Meaning {
        let (weights, activations) = match self {
            Scheme::Dynamic => (Weights::Integers(8), Activations::Dynamic),
            Scheme::WeightOnly => (Weights::Integers(8), Activations::Floats),
            Scheme::Half => (Weights::Half, Activations::Floats),
            Scheme::Brain => (Weights::Brain, Activations::Floats),
            Scheme::Int4 => (Weights::Integers(4), Activations::Floats),
            Scheme::Int8 => (Weights::Integers(8), Activations::Integers(&INT8_WIDTH)),
            Scheme::Int16 => (Weights::Integers(8), Activations::Integers(&INT16_WIDTH)),
        };
        Meaning { weights, activations }
    }
}
