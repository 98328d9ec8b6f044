//! What happens to a sum before it is stored.

use crate::Activation;
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::simd::Simd;

/// What is added to each output element before the activation.
#[derive(Debug, Clone, Copy, Default)]
pub enum Residual<'a> {
    /// Nothing.
    #[default]
    None,
    /// A tensor of the output's layout.
    Tensor(&'a [f32]),
    /// What the output memory holds before the call. Not possible for a product summed up block by block unless the
    /// first block is also the last, because the output memory then holds the sums.
    Output,
}

/// out = activation(scale · sum + shift + residual), done in registers as a tile is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A factor per output column (channel); 1 if absent.
    pub scale: Option<&'a [f32]>,
    /// A summand per output column (channel), as a bias; 0 if absent.
    pub shift: Option<&'a [f32]>,
    /// A summand per output element.
    pub residual: Residual<'a>,
    /// The function applied last.
    pub activation: Activation,
}

impl<'a> Epilogue<'a> {
    /// Nothing but a bias.
    pub fn bias(shift: &'a [f32]) -> Self {
        Epilogue { shift: Some(shift), ..Epilogue::default() }
    }

    /// Checked and as addresses. `out` is the whole output, `channels` its columns. The output is passed as the one
    /// address that it will be written through, because a residual may be read through it too.
    pub(crate) fn to_raw(
        self,
        channels: usize,
        out: *mut f32,
        out_len: usize,
    ) -> Result<RawEpilogue, KernelError> {
        for (what, values) in [("the scale", self.scale), ("the shift", self.shift)] {
            if let Some(values) = values {
                check_exact(what, channels, values.len())?;
            }
        }
        let residual = match self.residual {
            Residual::None => std::ptr::null(),
            Residual::Tensor(values) => {
                check_exact("the residual", out_len, values.len())?;
                values.as_ptr()
            }
            Residual::Output => out.cast_const(),
        };
        let pointer = |values: Option<&[f32]>| values.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let (min, max) = self.activation.clamp_range().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        Ok(RawEpilogue {
            scale: pointer(self.scale),
            shift: pointer(self.shift),
            residual,
            min,
            max,
            after: self.activation.clamp_range().is_none().then_some(self.activation),
        })
    }
}

/// An [`Epilogue`] as tiles use it: null for what is absent.
#[derive(Clone, Copy)]
pub(crate) struct RawEpilogue {
    pub scale: *const f32,
    pub shift: *const f32,
    /// Same layout as the output.
    pub residual: *const f32,
    pub min: f32,
    pub max: f32,
    /// An activation that is more than a clamp: applied to what was stored, while it is in the cache.
    pub after: Option<Activation>,
}

impl RawEpilogue {
    /// Stores the sums as they are.
    pub(crate) const NONE: RawEpilogue = RawEpilogue {
        scale: std::ptr::null(),
        shift: std::ptr::null(),
        residual: std::ptr::null(),
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
        after: None,
    };

    /// The same for a part of the output: from this channel on, and from this element on.
    #[inline(always)]
    pub(crate) fn starting_at(self, channel: usize, element: usize) -> Self {
        let at = |p: *const f32, offset| if p.is_null() { p } else { p.wrapping_add(offset) };
        RawEpilogue {
            scale: at(self.scale, channel),
            shift: at(self.shift, channel),
            residual: at(self.residual, element),
            ..self
        }
    }

    /// Scales, shifts, adds, clamps and stores `count` sums: those of the channels from `channel` on, and of the elements from
    /// `element` on of the output at `out`.
    ///
    /// # Safety
    /// There are so many channels and elements, and nothing else uses these.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(
        &self,
        s: S,
        sum: S::V,
        [channel, element]: [usize; 2],
        count: usize,
        out: *mut f32,
    ) {
        // SAFETY: the caller vouches for the channels and elements.
        unsafe {
            let load = |from: *const f32, at: usize, absent: f32| {
                if from.is_null() { s.splat(absent) } else { s.load_partial(from.add(at), count) }
            };
            let mut x = s.mul_add(sum, load(self.scale, channel, 1.0), load(self.shift, channel, 0.0));
            if !self.residual.is_null() {
                x = s.add(x, load(self.residual, element, 0.0));
            }
            s.store_partial(out.add(element), s.min(s.splat(self.max), s.max(s.splat(self.min), x)), count);
        }
    }

    /// Applies what is more than a clamp to `len` elements that have been stored.
    ///
    /// # Safety
    /// They can be read and written, nothing else uses them, and the processor has the instructions.
    pub(crate) unsafe fn finish(&self, isa: Isa, to: *mut f32, len: usize) {
        if let Some(activation) = self.after {
            // SAFETY: as the caller vouches.
            unsafe { activation.apply_raw(isa, to, to, len) };
        }
    }

    /// Itself at the end of a sum, otherwise nothing.
    pub(crate) fn only_if(self, last: bool) -> Self {
        if last { self } else { RawEpilogue::NONE }
    }
}
