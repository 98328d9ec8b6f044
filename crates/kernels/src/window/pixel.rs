//! An element of an image as the float that it is weighted as.

use half::{bf16, f16};

/// An element of an image of any type.
pub(super) trait Pixel: Copy + Send + Sync {
    fn value(self) -> f32;
}

macro_rules! pixel {
    ($($T:ty, $x:ident $value:expr;)*) => { $(
        impl Pixel for $T {
            #[inline(always)]
            fn value(self) -> f32 {
                let $x = self;
                $value
            }
        }
    )* };
}

pixel! {
    f32, x x; f64, x x as f32; f16, x x.to_f32(); bf16, x x.to_f32();
    i8, x x as f32; i16, x x as f32; i32, x x as f32; i64, x x as f32;
    u8, x x as f32; u16, x x as f32; u32, x x as f32; u64, x x as f32;
}
