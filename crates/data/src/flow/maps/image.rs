//! Images: `tf.io.decode_image` of a field of coded images, and the operations of [`crate::image`] on a field of pixels.
//!
//! ```json
//! {"decode_image": "image/encoded", "channels": 3}
//! {"image": "resize", "field": "image/encoded", "size": [224, 224], "method": "area"}
//! ```
//!
//! Pixels are `[height, width, channels]`, or `[frames, height, width, channels]`, all frames alike. What is random
//! depends on the seed and on the file and record an image comes from: it is the same in every epoch, as it is in every
//! run.

use std::io::Cursor;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{DType, MemoryBudget, Reservation, Shape, TensorView};

use super::{MapOp, MapWorker, Verdict};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::growing::Growing;
use crate::flow::identity;
use crate::flow::json::{Args, Read, read_dtype};
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;
use crate::image::{Argument, DecodeOptions, ImageError, ImageHeader, ImageOp, ImageType, OPS, op_by_name};
use crate::meant::unknown;

/// What memory for these is for.
const PURPOSE: &str = "image";

impl From<ImageError> for RowFault {
    fn from(error: ImageError) -> Self {
        RowFault::ImageOp(error)
    }
}

/// Adds to `out` what `view` has, but for the field `index`, which `make` adds.
fn with_field(
    view: &ElementView<'_>,
    index: usize,
    out: &mut Element,
    mut make: impl FnMut(&mut Element) -> Result<(), RowFault>,
) -> Result<Verdict, RowFault> {
    for i in 0..view.places().len() {
        if i == index {
            make(out)?;
        } else if let Some(tensor) = view.tensor(i) {
            out.add_copy(tensor, view.text())?;
        }
    }
    Ok(Verdict::Keep)
}

fn shape_of(dims: &[usize]) -> Result<Shape, RowFault> {
    Shape::new(dims).map_err(|error| RowFault::Image(error.to_string()))
}

/// Decodes the images of a field of strings, one in each element.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DecodeImage {
    /// The field.
    pub field: String,
    /// What is asked for.
    pub options: DecodeOptions,
}

impl MapOp for DecodeImage {
    fn identity(&self) -> serde_json::Value {
        identity::of("decode_image", self)
    }

    fn name(&self) -> String {
        format!("decode_image {:?} {:?}", self.field, self.options)
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let index = input.index(&self.field)?;
        let DecodeOptions { channels, dtype, expand_animations } = self.options;
        if input.fields().get(index).is_some_and(|field| field.dtype != DType::String) {
            return Err(format!("the field {:?} holds numbers, not an encoded image", self.field));
        }
        if !matches!(channels, 0 | 1 | 3 | 4) || !matches!(dtype, DType::U8 | DType::U16 | DType::F32) {
            return Err(
                "an image is decoded to 0, 1, 3 or 4 channels of uint8, uint16 or float32".to_string()
            );
        }
        let frames = expand_animations.then_some(None);
        let dims = frames.into_iter().chain([None, None, (channels > 0).then_some(channels)]).collect();
        Ok(input.with(index, |field| (field.dtype, field.dims) = (dtype, dims)))
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        Ok(Box::new(Decoder {
            index: input.index(&self.field).map_err(DataError::Spec)?,
            options: self.options,
            scratch: Growing::new(PURPOSE, budget),
            heap: budget.try_reserve(PURPOSE, 0).map_err(DataError::Budget)?,
        }))
    }
}

struct Decoder {
    index: usize,
    options: DecodeOptions,
    scratch: Growing,
    /// What the decoders allocate by themselves: the most that an image has asked for.
    heap: Reservation,
}

impl MapWorker for Decoder {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        let Decoder { index, options, scratch, heap } = self;
        let bytes = input.string(*index)?;
        let header = ImageHeader::read(&mut Cursor::new(bytes), bytes.len() as u64);
        let header = header.map_err(|error| RowFault::Image(error.to_string()))?;
        heap.try_grow(header.heap_bytes.saturating_sub(heap.bytes()))?;
        let decoded = options.output(bytes, &header)?;
        scratch.set_used(0);
        scratch.grow_to(decoded.scratch_bytes)?;
        let [height, width, channels] = decoded.image.shape;
        let dims = [decoded.frames, height, width, channels];
        let shape = shape_of(if options.expand_animations { &dims } else { &dims[1..] })?;
        with_field(input, *index, out, |out| {
            let room = out.add(shape)?;
            options.decode(bytes, &header, room, scratch.range_mut(0, decoded.scratch_bytes)?)?;
            Ok(())
        })
    }
}

/// Does an operation to the images of a field.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ImageFieldOp {
    /// The field.
    pub field: String,
    /// The operation.
    pub op: ImageOp,
}

impl MapOp for ImageFieldOp {
    fn identity(&self) -> serde_json::Value {
        identity::of("image", self)
    }

    fn name(&self) -> String {
        format!("image {:?} {:?}", self.field, self.op)
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let index = input.index(&self.field)?;
        let Some(field) = input.fields().get(index) else { return Ok(input.clone()) };
        let made = self.made(field)?;
        Ok(input.with(index, |field| *field = made))
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let index = input.index(&self.field).map_err(DataError::Spec)?;
        Ok(Box::new(Images { index, op: self.op, scratch: Growing::new(PURPOSE, budget), epoch: 0 }))
    }
}

impl ImageFieldOp {
    /// What becomes of the field.
    fn made(&self, field: &Field) -> Result<Field, String> {
        let (frames, image) = match field.dims.as_slice() {
            [height, width, channels] => (None, [*height, *width, *channels]),
            [frames, height, width, channels] => (Some(*frames), [*height, *width, *channels]),
            _ => return Err(format!("the field {field} is not an image [height, width, channels]")),
        };
        let dtype = self.op.output_dtype(field.dtype);
        let dims = match image {
            [Some(height), Some(width), Some(channels)] => {
                let input = ImageType::new([height, width, channels], field.dtype);
                self.op.output(input).map_err(|error| error.to_string())?.shape.map(Some)
            }
            _ => self.open_dims(image)?,
        };
        Ok(Field { name: field.name.clone(), dtype, dims: frames.into_iter().chain(dims).collect() })
    }

    /// Dimensions that come out where not all that go in are known: those that are the same for images of very
    /// different sides.
    fn open_dims(&self, image: [Option<usize>; 3]) -> Result<[Option<usize>; 3], String> {
        const SIDES: [[usize; 3]; 3] = [[1 << 20, 1, 1], [1, 1 << 20, 3], [1000, 1400, 4]];
        let output = |sides: [usize; 3]| {
            let shape = [0, 1, 2].map(|i| image[i].unwrap_or(sides[i]));
            self.op.output_shape(shape).map_err(|error| error.to_string())
        };
        let mut common = output(SIDES[0])?.map(Some);
        for sides in &SIDES[1..] {
            let found = output(*sides)?;
            common = [0, 1, 2].map(|i| common[i].filter(|dim| *dim == found[i]));
        }
        Ok(common)
    }
}

struct Images {
    index: usize,
    op: ImageOp,
    scratch: Growing,
    epoch: u64,
}

/// Positions of one pass differ in their low bits; those of two passes lie this far apart: 2^64 over the golden ratio.
const PASS_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl MapWorker for Images {
    fn begin_pass(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        let Images { index, op, scratch, epoch } = self;
        let Some(tensor) = input.tensor(*index) else { return Ok(Verdict::Keep) };
        let (frames, image) = frames_of(&tensor)?;
        let made = op.output(image)?;
        let ([height, width, channels], is_animation) = (made.shape, tensor.shape().rank() == 4);
        let dims = [frames, height, width, channels];
        let shape = shape_of(if is_animation { &dims } else { &dims[1..] })?;
        let scratch_bytes = op.scratch_bytes(image)?;
        scratch.set_used(0);
        scratch.grow_to(scratch_bytes)?;
        let origin = input.origin();
        // Files have fewer than 2^40 records.
        let place = (u64::from(origin.file) << 40) ^ origin.record;
        let position = place.wrapping_add(epoch.wrapping_mul(PASS_STEP));
        let (in_bytes, out_bytes) = (image.bytes()?, made.bytes()?);
        with_field(input, *index, out, |out| {
            let room = out.add(shape)?;
            let frames = tensor.bytes().chunks_exact(in_bytes).zip(room.chunks_exact_mut(out_bytes));
            for (pixels, room) in frames {
                op.run(image, pixels, room, scratch.range_mut(0, scratch_bytes)?, position)?;
            }
            Ok(())
        })
    }
}

/// How many images a field holds, and what they are.
fn frames_of(tensor: &TensorView<'_>) -> Result<(usize, ImageType), RowFault> {
    match tensor.shape()[..] {
        [height, width, channels] => Ok((1, ImageType::new([height, width, channels], tensor.dtype()))),
        [frames, height, width, channels] => {
            Ok((frames, ImageType::new([height, width, channels], tensor.dtype())))
        }
        _ => Err(RowFault::Image("it is not [height, width, channels]".to_string())),
    }
}

/// `{"decode_image": FIELD, "channels": 0, "dtype": "uint8", "expand_animations": false}`
pub(crate) fn read_decode_image(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let channels = args.number_option("channels")?.unwrap_or(0) as usize;
    let dtype = args.option("dtype").map_or(Ok(DType::U8), read_dtype)?;
    let options = DecodeOptions { channels, dtype, expand_animations: args.flag("expand_animations")? };
    read_each(DecodeImage { field: args.text()?.to_string(), options }, args)
}

/// `{"image": OPERATION, "field": FIELD, ARGUMENT: VALUE...}`, with the arguments of [`OPS`].
pub(crate) fn read_image(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let name = args.text()?;
    let field = args.text_option("field")?.ok_or("image: which field? Give its name")?.to_string();
    let names = || OPS.iter().map(|op| op.name).collect::<Vec<_>>();
    let unknown = || unknown("image operation", name, &names());
    let spec = OPS.iter().find(|op| op.name == name).ok_or_else(unknown)?;
    for key in OPS.iter().flat_map(|op| op.arguments) {
        args.mention(key.trim_matches(['[', ']']));
    }
    let mut given = Vec::new();
    for key in spec.arguments.iter().map(|key| key.trim_matches(['[', ']'])) {
        if let Some(value) = args.option(key) {
            let numbers = numbers_of(value).ok_or_else(|| args.wrong(key, "numbers"))?;
            given.push((key, value, numbers));
        }
    }
    let mut arguments = Vec::with_capacity(given.len());
    for (key, value, numbers) in &given {
        let argument = match value {
            Value::Bool(flag) => Argument::Flag(*flag),
            Value::String(text) => Argument::Text(text),
            Value::Array(_) => Argument::Numbers(numbers),
            Value::Number(number) => {
                Argument::Number(number.as_f64().ok_or_else(|| args.wrong(key, "a number"))?)
            }
            _ => return Err(args.wrong(key, "a number, text, true or false, or numbers")),
        };
        arguments.push((*key, argument));
    }
    let op = op_by_name(name, &arguments).ok_or_else(unknown)?;
    read_each(ImageFieldOp { field, op: op.map_err(|error| error.to_string())? }, args)
}

/// The numbers of a list; of what is none, no numbers. `None` for a list of something else.
fn numbers_of(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Array(values) => values.iter().map(Value::as_f64).collect(),
        _ => Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;
    use crate::flow::tests::Folder;
    use crate::flow::{Pipeline, PipelineSpec};
    use crate::image::encode_png;

    fn pipeline(folder: &Folder, stages: &str) -> Result<Pipeline, DataError> {
        let images = (0..3u8).map(|i| {
            let image = ImageType::new([4 + usize::from(i), 6, 3], DType::U8);
            let mut file = Vec::new();
            encode_png(image, &vec![10 * i; image.bytes().unwrap()], &mut file).unwrap();
            file
        });
        let path = folder.records("images.tfrecord", images);
        let text = format!(r#"{{"source": {{"tfrecord": {path:?}}}, "stages": [{stages}]}}"#);
        let spec = PipelineSpec::from_json(&text, &Access::everything(), &|_| None)?;
        Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 2)
    }

    #[test]
    fn decodes_and_resizes() {
        let folder = Folder::new("image-resize");
        let mut pipeline = pipeline(
            &folder,
            r#"{"decode_image": "record", "channels": 1},
               {"image": "resize", "field": "record", "size": [2, 3], "method": "area"},
               {"image": "cast", "field": "record", "dtype": "int32"}"#,
        )
        .unwrap();
        assert_eq!(pipeline.schema().fields(), [Field::fixed("record", DType::I32, &[2, 3, 1])]);
        for i in 0..3i32 {
            assert!(pipeline.advance().unwrap());
            let tensor = pipeline.current().tensor(0).unwrap();
            assert_eq!(tensor.bytes(), [10 * i; 6].map(i32::to_le_bytes).as_flattened());
        }
        assert!(!pipeline.advance().unwrap());
    }

    #[test]
    fn sides_that_differ_stay_open() {
        let folder = Folder::new("image-open");
        let dims = |stages: &str| {
            let stages = format!(r#"{{"decode_image": "record"}}, {stages}"#);
            pipeline(&folder, &stages).unwrap().schema().fields()[0].dims.clone()
        };
        let op = |op: &str| dims(&format!(r#"{{"image": {op}, "field": "record"}}"#));
        assert_eq!(op(r#""central_crop", "fraction": 0.5"#), [None; 3]);
        assert_eq!(op(r#""rgb_to_grayscale""#), [None, None, Some(1)]);
        assert_eq!(op(r#""resize_with_pad", "size": [7, 9]"#), [Some(7), Some(9), None]);
        assert_eq!(op(r#""resize", "size": [7, 9], "preserve_aspect_ratio": true"#), [None; 3]);
    }

    #[test]
    fn what_cannot_be_done_is_said_with_its_place() {
        let folder = Folder::new("image-bad");
        for (stages, why) in [
            (r#"{"image": "resize", "field": "record", "size": [2, 3]}"#, "is not an image"),
            (r#"{"decode_image": "picture"}"#, "picture"),
            (r#"{"decode_image": "record", "channels": 2}"#, "channels"),
            (
                r#"{"decode_image": "record"}, {"image": "resise", "field": "record"}"#,
                "did you mean \"resize\"",
            ),
            (r#"{"decode_image": "record"}, {"image": "resize", "field": "record"}"#, "missing"),
            (r#"{"decode_image": "record"}, {"image": "rot90", "field": "record", "q": 1}"#, "\"q\""),
        ] {
            let error = pipeline(&folder, stages).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(why), "{stages}: {error}");
        }
        let stages = r#"{"decode_image": "record"}, {"image": "random_crop", "field": "record", "size": [5, 5], "seed": 1}"#;
        let error = pipeline(&folder, stages).unwrap().advance().unwrap_err().to_string();
        assert!(error.contains("record 0") && error.contains("smaller than the crop"), "{error}");
    }
}
