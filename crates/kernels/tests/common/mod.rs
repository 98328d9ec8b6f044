//! What the tests of kernels share: values, memory with guarded ends, and naive references that sum in f64.
#![allow(dead_code, missing_docs)]

use tightfit_kernels::{
    Activation, Block, Epilogue, Isa, Residual, ThreadPool, WeightForm, WeightedProduct, Weights, Window,
};

/// Every instruction set of this processor.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Numbers between -1 and 1 that depend on `seed`.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Bytes of `values`, the first at an odd address.
pub struct Unaligned(Vec<u8>, usize);

impl Unaligned {
    pub fn new(values: &[f32]) -> Self {
        let mut bytes = vec![0u8; 4 * values.len() + 2];
        let skip = 1 + usize::from(bytes.as_ptr().addr() % 2 == 1);
        for (to, value) in bytes[skip..].chunks_exact_mut(4).zip(values) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        Self(bytes, skip)
    }

    pub fn bytes(&self) -> &[u8] {
        let end = self.1 + (self.0.len() - 2);
        &self.0[self.1..end]
    }
}

/// Memory with a pattern before and after it that must still be there when it is dropped.
pub struct Guarded<T: Copy + PartialEq + std::fmt::Debug>(Vec<T>, T);

const GUARD: usize = 65;

impl<T: Copy + PartialEq + std::fmt::Debug> Guarded<T> {
    pub fn new(guard: T, fill: &[T]) -> Self {
        let mut memory = vec![guard; fill.len() + 2 * GUARD];
        memory[GUARD..GUARD + fill.len()].copy_from_slice(fill);
        Self(memory, guard)
    }

    pub fn get(&mut self) -> &mut [T] {
        let end = self.0.len() - GUARD;
        &mut self.0[GUARD..end]
    }
}

impl<T: Copy + PartialEq + std::fmt::Debug> Drop for Guarded<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let end = self.0.len() - GUARD;
            assert!(self.0[..GUARD].iter().all(|x| *x == self.1), "memory before the slice was written");
            assert!(self.0[end..].iter().all(|x| *x == self.1), "memory past the slice was written");
        }
    }
}

/// An output whose first content is `residual`'s.
pub fn output(residual: &[f32]) -> Guarded<f32> {
    Guarded::new(12345.0, residual)
}

/// Scratch full of a pattern that makes NaNs when read as floats.
pub fn scratch(bytes: usize) -> Guarded<u8> {
    Guarded::new(0xFF, &vec![0xFF; bytes])
}

pub fn pools() -> [ThreadPool; 2] {
    [1, 3].map(|threads| ThreadPool::new(threads).unwrap())
}

/// The pieces of an epilogue, by the bits of `choice`.
pub struct EpilogueData {
    scale: Vec<f32>,
    shift: Vec<f32>,
    pub residual: Vec<f32>,
    choice: usize,
    pub activation: Activation,
}

impl EpilogueData {
    pub fn new(choice: usize, channels: usize, out_len: usize) -> Self {
        let activations = [
            Activation::None,
            Activation::Relu,
            Activation::Relu6,
            Activation::Swish,
            Activation::Clamp { min: -0.25, max: 0.5 },
        ];
        EpilogueData {
            scale: values(91, channels),
            shift: values(92, channels),
            residual: values(93, out_len),
            choice,
            activation: activations[choice / 12 % activations.len()],
        }
    }

    pub fn residual_in_output(&self) -> bool {
        self.choice / 4 % 3 == 2
    }

    pub fn epilogue(&self) -> Epilogue<'_> {
        Epilogue {
            scale: (self.choice & 1 != 0).then_some(&self.scale),
            shift: (self.choice & 2 != 0).then_some(&self.shift),
            residual: match self.choice / 4 % 3 {
                0 => Residual::None,
                1 => Residual::Tensor(&self.residual),
                _ => Residual::Output,
            },
            activation: self.activation,
        }
    }

    /// The epilogue with the residual from a tensor where it would come from the output.
    pub fn without_output(&self) -> Epilogue<'_> {
        let mut epilogue = self.epilogue();
        if self.residual_in_output() {
            epilogue.residual = Residual::Tensor(&self.residual);
        }
        epilogue
    }

    pub fn apply(&self, sum: f64, channel: usize, index: usize) -> f64 {
        let e = self.epilogue();
        let scaled = sum * e.scale.map_or(1.0, |s| f64::from(s[channel]));
        let shifted = scaled + e.shift.map_or(0.0, |s| f64::from(s[channel]));
        let x = match e.residual {
            Residual::None => shifted,
            _ => shifted + f64::from(self.residual[index]),
        };
        match e.activation {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Clamp { min, max } => x.clamp(f64::from(min), f64::from(max)),
            Activation::Swish => x / (1.0 + (-x).exp()),
            _ => x,
        }
    }
}

/// A product whose weight comes in every form: packed, as it stands, and in blocks.
pub struct Forms<'a, P> {
    pub op: &'a P,
    pub input: &'a [f32],
    /// As it is stored.
    pub weight: &'a Unaligned,
    /// Whether its rows are columns of the product.
    pub by_columns: bool,
    /// Rows that are packed at once.
    pub piece: usize,
    /// Rows of a block.
    pub block: usize,
    pub data: &'a EpilogueData,
    /// Of whole weights; with blocks the residual is a tensor.
    pub epilogue: Epilogue<'a>,
}

impl<P: WeightedProduct> Forms<'_, P> {
    /// The output, which has the same bits in every form and on every pool.
    pub fn output(&self, pools: &[ThreadPool]) -> Vec<f32> {
        let (op, (rows, row_floats)) = (self.op, self.op.weight_size());
        let weight = self.weight.bytes();
        let piece = |first: usize, count: usize| {
            let count = count.min(rows - first);
            (count, &weight[first * row_floats * 4..(first + count) * row_floats * 4])
        };
        let mut packed = Guarded::new(0xAB, &vec![0xCD; op.layout().packed_bytes()]);
        for first in (0..rows).step_by(self.piece) {
            let (_, bytes) = piece(first, self.piece);
            if self.by_columns {
                op.layout().pack_columns(packed.get(), first, bytes).unwrap();
            } else {
                op.layout().pack_rows(packed.get(), first, bytes).unwrap();
            }
        }
        let mut same: Option<Vec<f32>> = None;
        let mut compare = |out: &mut Guarded<f32>| {
            let same = same.get_or_insert_with(|| out.get().to_vec());
            assert_eq!(bits(same), bits(out.get()));
        };
        for pool in pools {
            for form in [WeightForm::Packed, WeightForm::Unpacked] {
                let weights = match form {
                    WeightForm::Packed => Weights::Packed(packed.get()),
                    _ => Weights::Unpacked(weight),
                };
                let mut out = output(&self.data.residual);
                let mut room = scratch(op.scratch_bytes(pool.threads(), form));
                op.run(pool, self.input, weights, out.get(), self.epilogue, room.get()).unwrap();
                compare(&mut out);
            }
            let mut out = output(&self.data.residual);
            let form = WeightForm::Blocks { rows: self.block };
            let mut room = scratch(op.scratch_bytes(pool.threads(), form));
            for first in (0..rows).step_by(self.block) {
                let (count, bytes) = piece(first, self.block);
                let (block, epilogue) = (Block { first, count, bytes }, self.data.without_output());
                op.accumulate(pool, self.input, block, out.get(), epilogue, room.get()).unwrap();
            }
            compare(&mut out);
        }
        same.unwrap()
    }
}

/// The rows of a block of at most so many bytes, or of the least that there can be.
pub fn block_rows(op: &impl WeightedProduct, max_block_bytes: usize) -> usize {
    let row_bytes = 4 * op.weight_size().1;
    let block = op.block_rows(max_block_bytes.max(row_bytes)).unwrap();
    assert!(block * row_bytes <= max_block_bytes.max(row_bytes));
    block
}

/// Within what summing `k` products in f32 may lose.
pub fn assert_close(got: &[f32], expected: &[f64], k: usize) {
    assert_eq!(got.len(), expected.len());
    let tolerance = 1e-6 * (4.0 + k as f64);
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*g) - e).abs() <= tolerance, "element {i}: {g} instead of {e}");
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The input pixel that an output pixel's window element lies on, if it lies in the image.
pub fn source(window: &Window, axis: usize, position: usize, element: usize, size: usize) -> Option<usize> {
    let at = (position * window.strides[axis] + element * window.dilations[axis])
        .checked_sub(window.pads[2 * axis])?;
    (at < size).then_some(at)
}
