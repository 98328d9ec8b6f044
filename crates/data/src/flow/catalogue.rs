//! Every source and stage that a description in JSON may name: its reader, and what docs/pipelines.md says of it, which a
//! test holds against the document.

use super::json::{Entry, ReadSource, ReadStage};
use super::{maps, sources, stages};

/// Every source.
pub(super) const SOURCES: &[Entry<ReadSource>] = &[
    Entry {
        name: "arrow",
        read: sources::read_arrow,
        example: r#"{"arrow": ["part-*.arrow"], "columns": ["age", "name"], "defaults": {"age": 0, "name": ""}, "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Rows of Arrow IPC files and streams. `columns` [all]; `defaults` [a missing value is an error]: what a missing value is. In builds with the cargo feature `arrow`",
    },
    Entry {
        name: "concatenate",
        read: sources::combine::read_concatenate,
        example: r#"{"concatenate": [{"source": {"range": 3}}, {"source": {"range": [3, 9, 2]}, "stages": [{"take": 2}]}]}"#,
        about: "The elements of one pipeline after the other",
    },
    Entry {
        name: "csv",
        read: sources::csv::read,
        example: r#"{"csv": ["part-*.csv"], "columns": {"age": "int64", "score": {"dtype": "float32", "default": 0.5}}, "select": ["age", "name"], "header": true, "names": ["age", "name", "score"], "delimiter": ";", "na": "NA", "quotes": true, "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Rows of CSV, each column a scalar. `columns` [found from the first 100 rows]: types and defaults; A missing number without a default is an error, and a blank line is one empty cell; `select` [all]; `header` [true unless there are `names`]; `delimiter` [a tab for `.tsv`, otherwise `,`]; `na` [empty]: what a missing cell is; `quotes` [true]",
    },
    Entry {
        name: "images",
        read: sources::images::read,
        example: r#"{"images": ["photos/"], "cycle": 1, "block": 1, "shuffle_files": 7}"#,
        about: "Image files as they are: the bytes `image`, and `path`",
    },
    Entry {
        name: "jsonl",
        read: sources::jsonl::read,
        example: r#"{"jsonl": ["part-*.jsonl"], "columns": {"age": "int64", "image": {"dtype": "float32", "shape": [28, 28], "default": 0}}, "select": ["age", "image"], "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Lines of JSON objects: numbers, strings (`{\"b64\": \"..\"}` for bytes) and nested lists of them by their keys; a line without keys is the field `value`. `columns` [found from the first 100 lines]: types, shapes and what is there where a key is missing, which is an error without; `select` [all that are tensors]",
    },
    Entry {
        name: "npy",
        read: sources::npy::read,
        example: r#"{"npy": ["x-*.npy"], "field": "x", "window": "16MiB", "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Rows of arrays as `field` [`array`], read through `window` [256KiB; in Fortran order 4MiB]",
    },
    Entry {
        name: "npz",
        read: sources::npz::read,
        example: r#"{"npz": ["part-*.npz"], "fields": ["x", "y"], "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Rows of archives; `fields` [all arrays]",
    },
    Entry {
        name: "parquet",
        read: sources::read_parquet,
        example: r#"{"parquet": ["part-*.parquet"], "columns": ["age", "name"], "defaults": {"age": 0, "name": ""}, "cycle": 2, "block": 8, "shuffle_files": 7}"#,
        about: "Rows of Parquet files. `columns` [all]; `defaults` [a missing value is an error]: what a missing value is. In builds with the cargo feature `arrow`",
    },
    Entry {
        name: "range",
        read: sources::range::read,
        example: r#"{"range": [10, 0, -3]}"#,
        about: "Whole numbers `value`: `[start, stop, step]`, `[start, stop]` or a stop",
    },
    Entry {
        name: "shuffled",
        read: sources::shuffled::read,
        example: r#"{"shuffled": ["train-*.tfrecord"], "seed": 7, "memory": "64MiB", "blocks": "1MiB", "mix": "32MiB", "index": "idx/", "shards": 4, "shard": 0}"#,
        about: "Records of whole data sets in one random order for each pass, read through `memory` [32MiB]. `seed` [0]; `blocks` [uniform]: neighbours stay together on disks that seek, and `mix` [as much as fits] of them are mixed; `index` [beside the data]: the folder for indexes; `shards` [1] and `shard` [0]: the part by position",
    },
    Entry {
        name: "text",
        read: sources::text::read,
        example: r#"{"text": ["*.txt"], "skip_empty": true, "cycle": 4, "block": 16, "shuffle_files": 7}"#,
        about: "Lines `line` of text; `skip_empty` [false]",
    },
    Entry {
        name: "tfrecord",
        read: sources::files::read_tfrecord,
        example: r#"{"tfrecord": ["train-*.tfrecord"], "cycle": 4, "block": 16, "shuffle_files": 7}"#,
        about: "Records `record` of TFRecord files",
    },
    Entry {
        name: "zip",
        read: sources::combine::read_zip,
        example: r#"{"zip": [{"source": {"range": 3}}, {"source": {"range": 9}}], "prefixes": ["a/", "b/"]}"#,
        about: "An element of each pipeline together, as long as all have one. `prefixes` [none]: put before the names of their fields",
    },
];

/// Every stage.
pub(super) const STAGES: &[Entry<ReadStage>] = &[
    Entry {
        name: "batch",
        read: stages::batch::read,
        example: r#"{"batch": 32, "drop_remainder": true}"#,
        about: "So many elements as one, along a new first dimension. `drop_remainder` [false]: without a last batch of fewer",
    },
    Entry {
        name: "bucket_by_length",
        read: stages::bucket::read,
        example: r#"{"bucket_by_length": "tokens", "boundaries": [32, 64], "batch_sizes": [64, 32, 16], "padded_shapes": {"tokens": [null]}, "padding_values": {"tokens": -1}, "pad_to_bucket_boundary": false, "drop_remainder": false}"#,
        about: "Padded batches of elements of about one length: the field's first dimension, or its value. Bucket i is of lengths up to, but without, boundary i",
    },
    Entry {
        name: "cache",
        read: stages::cache::read,
        example: r#"{"cache": "cached/", "memory": "64MiB"}"#,
        about: "Its input is made once: kept in `memory` [64MiB with a folder, all that is free without] while it fits there, and in the folder, whole or not at all. `null` in place of the folder: memory only",
    },
    Entry {
        name: "cast",
        read: maps::cast::read,
        example: r#"{"cast": {"image": "float16"}, "truncate": false}"#,
        about: "Fields of other types. A number that does not fit is an error; with `truncate` [false] the result is that of `tf.cast`",
    },
    Entry {
        name: "decode_image",
        read: maps::image::read_decode_image,
        example: r#"{"decode_image": "image", "channels": 3, "dtype": "uint8", "expand_animations": false}"#,
        about: "Decodes JPEG, PNG, BMP (of 8, 24 and 32 bits) and GIF (as large as its largest frame) to `[height, width, channels]`. `channels` [0]: 0 as in the file, 1, 3 or 4; `dtype` [uint8], uint16 or float32; with `expand_animations` [false] `[frames, height, width, channels]`",
    },
    Entry {
        name: "drop",
        read: maps::fields::read_drop,
        example: r#"{"drop": ["path"]}"#,
        about: "All fields but these",
    },
    Entry {
        name: "filter",
        read: maps::filter::read,
        example: r#"{"filter": "label", "equals": 3, "not_equals": 4, "less": 9, "greater": 0, "at_least": 1, "at_most": 8, "min_length": 1, "max_length": 100}"#,
        about: "Leaves out elements whose field is not all of that: compared as a number or text, or by the length of its first dimension",
    },
    Entry {
        name: "image",
        read: maps::image::read_image,
        example: r#"{"image": "flip_up_down", "field": "image"}"#,
        about: "An operation on images, see below",
    },
    Entry {
        name: "normalise",
        read: maps::normalise::read,
        example: r#"{"normalise": "image", "mean": [123.7, 116.8, 103.9], "std": [58.4, 57.1, 57.4]}"#,
        about: "`(x - mean) / std`, one number or one for each of the last dimension. `mean` [0]; `std` [1]. Integers become float32",
    },
    Entry {
        name: "one_hot",
        read: maps::one_hot::read,
        example: r#"{"one_hot": "label", "depth": 10, "dtype": "float32", "on_value": 1, "off_value": 0}"#,
        about: "Class numbers as vectors. `dtype` [float32]; `on_value` [1]; `off_value` [0]",
    },
    Entry {
        name: "padded_batch",
        read: stages::padded::read_padded,
        example: r#"{"padded_batch": 32, "padded_shapes": {"tokens": [128]}, "padding_values": {"tokens": -1}, "drop_remainder": false}"#,
        about: "Elements padded to one shape, then as `batch`. `padded_shapes` [the largest of the batch, as `null` in a shape]; `padding_values` [0 or empty]",
    },
    Entry {
        name: "parse",
        read: maps::parse::read,
        example: r#"{"parse": {"features": {"label": {"dtype": "int32", "shape": []}}}, "field": "record"}"#,
        about: "Records into fields, see below",
    },
    Entry {
        name: "prefetch",
        read: stages::parallel::read_prefetch,
        example: r#"{"prefetch": 2}"#,
        about: "A thread works ahead by so many elements; `null`: as many as are worth it",
    },
    Entry {
        name: "ragged_batch",
        read: stages::padded::read_ragged,
        example: r#"{"ragged_batch": 32, "fields": ["tokens"], "drop_remainder": false}"#,
        about: "Rows one after the other, and where each begins in `NAME/row_splits`. `fields` [all whose first dimension is open]",
    },
    Entry {
        name: "rename",
        read: maps::fields::read_rename,
        example: r#"{"rename": {"image/encoded": "image"}}"#,
        about: "Other names: from the old to the new",
    },
    Entry {
        name: "repeat",
        read: stages::repeat::read,
        example: r#"{"repeat": 3}"#,
        about: "So many passes; `null` without end",
    },
    Entry {
        name: "select",
        read: maps::fields::read_select,
        example: r#"{"select": ["image", "label"]}"#,
        about: "These fields in this order, and no others",
    },
    Entry {
        name: "serialize",
        read: maps::serialize::read,
        example: r#"{"serialize": null, "raw": ["image"], "shapes": true}"#,
        about: "Each element as a tf.train.Example in `record`: floats as floats, whole numbers as int64. `raw` [none]; `true` for all: numbers as the bytes they are in memory; `shapes` [false]: `NAME/shape` beside fields of two dimensions and more",
    },
    Entry {
        name: "shard",
        read: stages::choose::read_shard,
        example: r#"{"shard": 4, "index": 0}"#,
        about: "Of so many parts the one of this number: every 4th element",
    },
    Entry {
        name: "shuffle",
        read: stages::shuffle::read,
        example: r#"{"shuffle": "64MiB", "seed": 7, "reshuffle": true}"#,
        about: "Random order as far as a buffer of so many bytes reaches. `seed` [0]; `reshuffle` [true]: each pass in another order",
    },
    Entry {
        name: "skip",
        read: stages::choose::read_skip,
        example: r#"{"skip": 100}"#,
        about: "Without the first",
    },
    Entry {
        name: "skip_bad",
        read: stages::skip_bad::read,
        example: r#"{"skip_bad": 10}"#,
        about: "Leaves out and counts elements that are in error, at most so many; `null` for any number",
    },
    Entry {
        name: "take",
        read: stages::choose::read_take,
        example: r#"{"take": 100}"#,
        about: "Only the first",
    },
    Entry {
        name: "unbatch",
        read: stages::unbatch::read,
        example: r#"{"unbatch": null}"#,
        about: "The rows of each element as elements",
    },
    Entry {
        name: "window",
        read: stages::window::read,
        example: r#"{"window": 8, "shift": 1, "stride": 2, "drop_remainder": true}"#,
        about: "So many elements as one, every `stride`th [1] from the beginning; the next window begins `shift` [its size] after. `drop_remainder` [false]",
    },
];
