//! How the elements of a row are compared where some of them are chosen.

use std::cmp::Ordering;

use half::{bf16, f16};

/// A number as TensorFlow compares it. A bfloat16 is compared as the float32 that it is, of which the processor takes one that has
/// no full digits for 0 where its mode says so; the type's own order looks at bits.
pub(super) trait Ordered: Copy {
    /// How this stands to another; nothing where one is no number.
    fn order(self, other: Self) -> Option<Ordering>;
}

macro_rules! ordered {
    ($($T:ident)*) => { $(
        impl Ordered for $T {
            #[inline]
            fn order(self, other: Self) -> Option<Ordering> {
                self.partial_cmp(&other)
            }
        }
    )* };
}

ordered!(f32 f64 f16 i8 i16 i32 i64 u8 u16 u32 u64);

impl Ordered for bf16 {
    #[inline]
    fn order(self, other: Self) -> Option<Ordering> {
        self.to_f32().partial_cmp(&other.to_f32())
    }
}
