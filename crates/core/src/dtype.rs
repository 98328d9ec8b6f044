//! Element types of tensors.

use std::fmt;

use bytemuck::Pod;

/// The element type of a tensor, with TensorFlow's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    String,
    C64,
    C128,
}

impl DType {
    /// Every type.
    pub const ALL: [DType; 16] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::String,
        DType::C64,
        DType::C128,
    ];

    /// Bytes of one element. A string's is that of its [`StringRef`].
    pub fn bytes(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 | DType::C64 => 8,
            DType::C128 | DType::String => 16,
        }
    }

    /// TensorFlow's name, as in `tf.float32.name`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::U8 => "uint8",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::Bool => "bool",
            DType::String => "string",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
        }
    }

    /// True for float16, bfloat16, float32 and float64.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// True for the signed and unsigned integers; not for bool.
    pub fn is_integer(self) -> bool {
        self.is_signed_integer() || matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64)
    }

    /// True for int8 to int64.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// True for complex64 and complex128.
    pub fn is_complex(self) -> bool {
        matches!(self, DType::C64 | DType::C128)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One element of a string tensor: where its bytes lie in the pool of strings of the run it belongs to. A tensor
/// of strings is thus as fixed in size as any other, and moving strings about copies no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StringRef {
    /// Where the bytes start in the pool.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A Rust type that elements of a [`DType`] are read as. A bool is a `u8` of 0 or 1 in memory and has no type of
/// its own here: see [`crate::TensorView::as_bytes_of_bool`].
pub trait Element: Pod + Send + Sync + PartialEq + fmt::Debug {
    /// The type it is the element of.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),* $(,)?) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}

element! {
    f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    StringRef => String,
}
