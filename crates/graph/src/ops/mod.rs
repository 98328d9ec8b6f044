//! The operators, one file per family, grouped as TensorFlow groups its own. Each file is in the same order: meaning,
//! attributes and import, inference, memory, run, cases.

/// The methods of an operator whose first output is of its first input's type and shape, and may take its memory.
macro_rules! takes_over_its_input {
    () => {
        fn memory(&self, _: &$crate::operator::Call<'_>) -> $crate::operator::Memory {
            $crate::operator::Memory::overwrites(&[0])
        }

        fn reshape(&self, run: &mut $crate::operator::Run<'_>) -> Option<()> {
            $crate::operator::reshape::same(run, 0)
        }
    };
}

/// The methods of an operator whose one output is its first input under another shape or type: the memory is shared, and
/// there is nothing to run.
macro_rules! shares_memory {
    () => {
        fn memory(&self, _: &$crate::operator::Call<'_>) -> $crate::operator::Memory {
            $crate::operator::Memory::alias(0)
        }

        fn run(&self, _: &mut $crate::operator::Run<'_>) -> Result<(), $crate::operator::OpError> {
            Err($crate::operator::OpError::Internal(
                "an operator that only shares its input's memory was run",
            ))
        }
    };
}

pub mod shared;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::operator::Registration;

/// The families of each group, each a file that registers its operators as `OPS`; after the semicolon, files without
/// any of their own: what passes make, and what families of the group share.
macro_rules! families {
    ($($(#[$doc:meta])* $group:ident { $($family:ident),* $(; $($helper:ident),*)? })*) => {
        $(
            $(#[$doc])*
            pub(crate) mod $group {
                $(pub(crate) mod $family;)*
                $($(pub(crate) mod $helper;)*)?
            }
        )*

        /// Every family of operators, by the path of its file, with what it registers.
        pub static FAMILIES: &[(&str, &[Registration])] =
            &[$($((concat!(stringify!($group), "/", stringify!($family)), $group::$family::OPS)),*),*];
    };
}

families! {
    /// Shapes, copies, gathers and new tensors.
    array { concat, diagonal, distinct, fake_quant, fill, gather, identity, inplace, one_hot, pack, pad, patches, repeat, reshape, reverse, scatter, search_sorted, shape, slice, slice_update, space, strided_slice, transpose, unravel; reshape_tail }
    /// Sound.
    audio { spectrogram, wav }
    /// Tensors taken apart and put together by indices, lists of them, and tables.
    data_flow { list_sizes, partition, tensor_array, tensor_list, truth; list_parts, list_reads, list_split, table }
    /// Images.
    image { colour, contrast, decode, draw_boxes, encode, glimpse, projective, resize, resize_gradient, scale_and_translate, suppression }
    /// Checks, messages and figures at run time.
    logging { assert, memory, print }
    /// Equations and decompositions of matrices.
    linalg { cross, decompose }
    /// TensorFlow's math and linear algebra.
    math { arg, batch_matmul, betainc, binary, bincount, bits, bucketize, cast, complex, einsum, gradient, matmul, nearest_neighbors, reduce, scan, segment, segment_gradient, select, unary; channel_scale, contraction }
    /// Layers of neural networks.
    nn { batch_norm, batch_norm_gradient, bias_add, conv2d, conv2d_transpose, conv3d, conv3d_transpose, cross_entropy, ctc, data_format, depthwise, depthwise_transpose, dilation2d, filter_gradient, fractional_pool, isotonic_regression, l2_loss, lrn, max_pool_with_argmax, pool, pool3d, pool_gradient, recurrent, softmax, top_k; conv2d_f64, expanded_depthwise, layer_norm }
    /// Records and raw bytes taken apart.
    parsing { compressed, csv, example, json, raw, sequence, tensor; features, version }
    /// Integers that stand for the numbers of a range.
    quantized { arithmetic, channels, concat, convert, fused_conv, fused_matmul, layers, resize, simulate, uniform; fused }
    /// Tensors whose rows are of different lengths.
    ragged { gather, range, tensor }
    /// Random numbers.
    random { candidates, choose, crop, fill, key, sample, stateful; source }
    /// Fourier transforms.
    signal { fourier }
    /// Tensors of which few elements are there.
    sparse { arithmetic, counts, cross, dense, edit_distance, fill, layout, serialize, sets; common }
    /// What changes variables.
    state { count, optimizer, scatter, slice; variables }
    /// Strings.
    string { elementwise, format, hash_bucket, join, number, regex, script, split, template, unicode; pattern, scripts, text }
    /// TFLite's operators on integers that stand for numbers by a scale and a zero point.
    tfl { arithmetic, convert, convolution, densify, fully_connected, layout, pool, recurrent, reduce, softmax, svdf, table; affine, byte_function, product, sparse_product }
}

/// The registration of an operator.
pub fn find(name: &str) -> Option<&'static Registration> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Registration>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|r| (r.name, r)).collect()).get(name).copied()
}

/// True when nodes of this kind can be imported.
pub fn is_supported(name: &str) -> bool {
    matches!(name, "Const" | "Placeholder") || find(name).is_some()
}

/// Every registration, in the order of the registry.
pub fn all() -> impl Iterator<Item = &'static Registration> {
    FAMILIES.iter().flat_map(|(_, operators)| *operators)
}
