//! Random parts of images: RandomCrop, SampleDistortedBoundingBox and its V2, StatelessSampleDistortedBoundingBox.
//!
//! RandomCrop: an image `[height, width, channels]` of numbers and the size (int64, `[2]`) of the part that is returned.
//! SampleDistortedBoundingBox: the size of an image, `[height, width, channels]` of integers, and boxes `[images, boxes, 4]` of
//! float32, from 0 to 1, one of which the part must cover enough; of V2 that is the third input, a scalar. Outputs: where the
//! part begins and its size, both for Slice, and the part as a box `[1, 1, 4]`. The parts are TensorFlow's for the same seeds.

use tightfit_core::DType;
use tightfit_kernels::{PhiloxStream, unit_f32};

use super::source::{Source, draws};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "RandomCrop", import: |a| Ok(Box::new(Crop { source: Source::of_node(a)? })) },
    Registration {
        name: "SampleDistortedBoundingBox",
        import: |a| {
            let covered = within("min_object_covered", a.float_or("min_object_covered", 0.1)?)?;
            sample("SampleDistortedBoundingBox", Source::of_node(a)?, Some(covered), a)
        },
    },
    Registration {
        name: "SampleDistortedBoundingBoxV2",
        import: |a| sample("SampleDistortedBoundingBoxV2", Source::of_node(a)?, None, a),
    },
    Registration {
        name: "StatelessSampleDistortedBoundingBox",
        import: |a| sample("StatelessSampleDistortedBoundingBox", Source::Seeds(3), None, a),
    },
];

/// Random numbers of one generator as TensorFlow's SimplePhilox gives them.
struct Numbers(PhiloxStream);

impl Numbers {
    fn below(&mut self, below: u32) -> u32 {
        self.0.below_u32(below)
    }

    fn unit(&mut self) -> f32 {
        unit_f32(self.0.next_u32())
    }
}

/// RandomCrop.
#[derive(Debug)]
struct Crop {
    source: Source,
}

/// Numbers that a part of an image is chosen by.
const CROP_NUMBERS: u64 = 2;

fn sides(index: usize, values: &[i64]) -> Result<[usize; 2], OpError> {
    let side = |value: i64| usize::try_from(value).ok().filter(|side| i32::try_from(*side).is_ok());
    match values {
        [height, width] => side(*height).zip(side(*width)).map(|(height, width)| [height, width]),
        _ => None,
    }
    .ok_or_else(|| OpError::input(index, format!("is {values:?}; a height and a width are needed")))
}

impl Operator for Crop {
    fn name(&self) -> &'static str {
        "RandomCrop"
    }

    draws!();

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (image, size) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, size, &[DType::I64])?;
        shared::dims_of_rank(1, size, 1)?;
        let Some(dims) = shared::dims_of_rank(0, image, 3)? else {
            return Ok(vec![Fact::new(image.dtype, Dims::new([Dim::Unknown; 3]))]);
        };
        match size.ints() {
            Some(values) => {
                let sides = sides(1, &values)?;
                for (own, side) in dims.iter().zip(sides) {
                    if own.size().is_some_and(|own| own < side) && !image.is_bound {
                        return Err(OpError::input(
                            1,
                            format!("is {sides:?}, more than the image, {}", image.dims),
                        ));
                    }
                }
                let dims = [Dim::Known(sides[0] as i64), Dim::Known(sides[1] as i64), dims[2]];
                Ok(vec![Fact::new(image.dtype, Dims::new(dims))])
            }
            None => Ok(vec![Fact::at_most_where(image.dtype, Dims::new(dims), |axis| axis < 2)]),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let image = run.shape(0);
        let [height, width] = sides(1, &run.ints::<2>(1).ok()?).ok()?;
        (image.rank() == 3 && height <= image[0] && width <= image[1]).then_some(())?;
        reshape::set(run, 0, [height, width, image[2]])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let image = run.input(0)?;
        let (shape, size) = (*image.shape(), sides(1, &run.ints::<2>(1)?)?);
        if size[0] > shape[0] || size[1] > shape[1] {
            return Err(OpError::input(1, format!("is {size:?}, more than the image, {shape}")));
        }
        reshape::set(run, 0, [size[0], size[1], shape[2]])
            .ok_or(OpError::Internal("a part of an image is larger than was planned"))?;
        let mut from = [0; 2];
        if size != [shape[0], shape[1]] {
            let philox = self.source.philox(run, CROP_NUMBERS.div_ceil(4))?;
            let mut numbers = Numbers(PhiloxStream::new(philox));
            // The column is drawn first.
            for axis in [1, 0] {
                if size[axis] < shape[axis] {
                    from[axis] = numbers.below((shape[axis] - size[axis]) as u32 + 1) as usize;
                }
            }
        }
        let pixel = shape[2] * image.dtype().bytes();
        let (bytes, output) = (image.bytes(), run.out_bytes(0)?);
        if output.is_empty() {
            return Ok(());
        }
        for (row, to) in output.chunks_exact_mut(size[1] * pixel).enumerate() {
            let begin = ((from[0] + row) * shape[1] + from[1]) * pixel;
            to.copy_from_slice(&bytes[begin..][..to.len()]);
        }
        Ok(())
    }
}

/// A part of an image in pixels: its upper left corner, and the one after its lower right one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from: [i32; 2],
    to: [i32; 2],
}

impl Part {
    fn area(&self) -> f32 {
        let side = |axis: usize| self.to[axis].wrapping_sub(self.from[axis]);
        side(0).wrapping_mul(side(1)) as f32
    }

    /// What is in both; nothing where they are apart.
    fn common(&self, other: &Part) -> Part {
        let from = [0, 1].map(|axis| self.from[axis].max(other.from[axis]));
        let to = [0, 1].map(|axis| self.to[axis].min(other.to[axis]));
        if from[0] > to[0] || from[1] > to[1] { Part { from: [0; 2], to: [0; 2] } } else { Part { from, to } }
    }
}

/// What parts are looked for.
#[derive(Debug)]
struct Sample {
    name: &'static str,
    source: Source,
    /// How much of a box must be covered; `None` where an input says it.
    covered: Option<f32>,
    ratios: [f32; 2],
    areas: [f32; 2],
    attempts: u64,
    takes_whole: bool,
}

/// TensorFlow takes more than the whole of an object, which no part covers.
fn within(name: &'static str, value: f32) -> Result<f32, OpError> {
    match value >= 0.0 {
        true => Ok(value),
        false => Err(OpError::attribute(name, format!("is {value}; 0 or more is needed"))),
    }
}

fn range(
    attributes: &Attributes<'_>,
    name: &'static str,
    default: [f32; 2],
    most: f32,
) -> Result<[f32; 2], OpError> {
    let values = match attributes.node().attr(name) {
        None => default.to_vec(),
        Some(_) => attributes.floats(name)?,
    };
    match values[..] {
        [low, high] if low > 0.0 && high > 0.0 && low <= high && high <= most => Ok([low, high]),
        _ => Err(OpError::attribute(name, format!("is {values:?}; two rising numbers above 0 are needed"))),
    }
}

fn sample(
    name: &'static str,
    source: Source,
    covered: Option<f32>,
    attributes: &Attributes<'_>,
) -> Result<Box<dyn Operator>, OpError> {
    let attempts = attributes.int_or("max_attempts", 100)?;
    Ok(Box::new(Sample {
        name,
        source,
        covered,
        ratios: range(attributes, "aspect_ratio_range", [0.75, 1.33], f32::MAX)?,
        areas: range(attributes, "area_range", [0.05, 1.0], 1.0)?,
        attempts: u64::try_from(attempts).ok().filter(|n| *n > 0).ok_or_else(|| {
            OpError::attribute("max_attempts", format!("is {attempts}; more than 0 are needed"))
        })?,
        takes_whole: attributes.bool_or("use_image_if_no_bounding_boxes", false)?,
    }))
}

/// The types of an image's size.
const SIZES: &[DType] =
    &[DType::U8, DType::I8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64];

/// A number as C rounds it to an int.
fn rounded(x: f32) -> i32 {
    x.round_ties_even() as i32
}

impl Sample {
    /// A part of an image `[height, width]` of this ratio, of an area that is allowed; `None` where there is none.
    fn crop(&self, [height, width]: [i32; 2], ratio: f32, numbers: &mut Numbers) -> Option<Part> {
        let [least, most] = self.areas.map(|area| area * width as f32 * height as f32);
        let side = |area: f32| rounded((area / ratio).sqrt());
        let (mut rows, mut most_rows) = (side(least), side(most));
        let columns_of = |rows: i32| rounded(rows as f32 * ratio);
        if columns_of(most_rows) > width {
            const BESIDE: f32 = 0.000_000_1;
            most_rows = ((width as f64 + 0.5 - BESIDE as f64) / ratio as f64) as i32;
            if columns_of(most_rows) > width {
                most_rows -= 1;
            }
        }
        most_rows = most_rows.min(height);
        rows = rows.min(most_rows);
        if rows < most_rows {
            rows = rows.wrapping_add(numbers.below((most_rows - rows) as u32 + 1) as i32);
        }
        let mut columns = columns_of(rows);
        let area = |rows: i32, columns: i32| columns.wrapping_mul(rows) as f32;
        // What rounding has put beside the range is put back.
        if area(rows, columns) < least {
            rows = rows.saturating_add(1);
            columns = columns_of(rows);
        }
        if area(rows, columns) > most {
            rows = rows.saturating_sub(1);
            columns = columns_of(rows);
        }
        let size = area(rows, columns);
        if size < least || size > most || columns > width || rows > height || columns <= 0 || rows <= 0 {
            return None;
        }
        let y = if rows < height { numbers.below((height - rows) as u32) as i32 } else { 0 };
        let x = if columns < width { numbers.below((width - columns) as u32) as i32 } else { 0 };
        Some(Part { from: [y, x], to: [y + rows, x + columns] })
    }

    /// The boxes of an image in pixels.
    fn parts(boxes: &[f32], [height, width]: [i32; 2]) -> impl Iterator<Item = Part> {
        let at = |x: f32, side: i32| (x * side as f32) as i32;
        boxes.chunks_exact(4).map(move |one| Part {
            from: [at(one[0], height), at(one[1], width)],
            to: [at(one[2], height), at(one[3], width)],
        })
    }

    fn covered(&self, run: &Run<'_>) -> Result<f32, OpError> {
        match self.covered {
            Some(covered) => Ok(covered),
            None => {
                let covered = run.slice::<f32>(2)?.first().copied().unwrap_or_default();
                (covered >= 0.0)
                    .then_some(covered)
                    .ok_or_else(|| OpError::input(2, format!("is {covered}; 0 or more is needed")))
            }
        }
    }

    /// The part that the generator leads to, or the whole image.
    fn find(&self, run: &Run<'_>, image: [i32; 2]) -> Result<Part, OpError> {
        let covered = self.covered(run)?;
        let boxes = run.slice::<f32>(1)?;
        if let Some(outside) = boxes.iter().find(|x| !(0.0..=1.0).contains(*x)) {
            return Err(OpError::input(1, format!("has a coordinate {outside}, not from 0 to 1")));
        }
        let whole = Part { from: [0; 2], to: image };
        if boxes.is_empty() && !self.takes_whole {
            return Err(OpError::input(1, "has no box, and use_image_if_no_bounding_boxes is false"));
        }
        if image.contains(&0) {
            return Ok(whole);
        }
        let philox = self.source.philox(run, self.attempts)?;
        let mut numbers = Numbers(PhiloxStream::new(philox));
        let is_covered = |part: &Part, object: &Part| {
            object.area() >= 1.0 && object.common(part).area() / object.area() >= covered
        };
        for _ in 0..self.attempts {
            let ratio = numbers.unit() * (self.ratios[1] - self.ratios[0]) + self.ratios[0];
            let Some(part) = self.crop(image, ratio, &mut numbers) else { continue };
            let is_enough = match boxes.is_empty() {
                true => is_covered(&part, &whole),
                false => Self::parts(boxes, image).any(|object| is_covered(&part, &object)),
            };
            if part.area() >= 1.0 && is_enough {
                return Ok(part);
            }
        }
        Ok(whole)
    }
}

/// Writes integers to an output of any integer type.
fn give(run: &mut Run<'_>, output: usize, values: [i32; 3]) -> Result<(), OpError> {
    let dtype = run.output_dtype(output);
    let bytes = run.out_bytes(output)?;
    for (to, value) in bytes.chunks_exact_mut(dtype.bytes()).zip(values) {
        let own = i64::from(value).to_le_bytes();
        to.copy_from_slice(&own[..dtype.bytes()]);
    }
    Ok(())
}

impl Operator for Sample {
    fn name(&self) -> &'static str {
        self.name
    }

    draws!();

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (size, boxes) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, size, SIZES)?;
        if let Some([Dim::Known(n)]) = shared::dims_of_rank(0, size, 1)?.as_deref()
            && *n != 3
        {
            return Err(OpError::input(
                0,
                format!("is of shape {}; a height, a width and channels are needed", size.dims),
            ));
        }
        shared::need_type(1, boxes, &[DType::F32])?;
        if let Some([.., Dim::Known(n)]) = shared::dims_of_rank(1, boxes, 3)?.as_deref()
            && *n != 4
        {
            return Err(OpError::input(1, format!("is of shape {}; a box has 4 coordinates", boxes.dims)));
        }
        if self.covered.is_none() {
            let covered = shared::input(inputs, 2)?;
            shared::need_type(2, covered, &[DType::F32])?;
            shared::dims_of_rank(2, covered, 0)?;
        }
        self.source.check(inputs)?;
        let three = || Fact::new(size.dtype, Dims::new([Dim::Known(3)]));
        Ok(vec![three(), three(), Fact::new(DType::F32, Dims::new([1, 1, 4].map(Dim::Known)))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 0, [3])?;
        reshape::set(run, 1, [3])?;
        reshape::set(run, 2, [1, 1, 4])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let size = run.ints::<3>(0)?;
        let side = |n: usize| {
            let value = size.get(n).copied().unwrap_or_default();
            i32::try_from(value).ok().filter(|side| (0..i32::MAX).contains(side)).ok_or_else(|| {
                OpError::input(0, format!("is {:?}; a height and a width of 0 or more are needed", &size[..]))
            })
        };
        let image = [side(0)?, side(1)?];
        let part = self.find(run, image)?;
        give(run, 0, [part.from[0], part.from[1], 0])?;
        give(run, 1, [part.to[0] - part.from[0], part.to[1] - part.from[1], -1])?;
        let corners = [part.from[0], part.from[1], part.to[0], part.to[1]];
        for (n, to) in run.out::<f32>(2)?.iter_mut().enumerate() {
            *to = corners[n % 4] as f32 / image[n % 2] as f32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, float, int, refuses, run, tensor};

    /// What TensorFlow 2.21 gives.
    #[test]
    fn parts_are_tensorflows() {
        let boxes = tensor(&[1, 2, 4], &[0.1f32, 0.2, 0.7, 0.9, 0.5, 0.5, 0.6, 0.6]);
        let inputs = [tensor(&[3], &[37i32, 51, 3]), boxes.clone()];
        let attributes = [("seed", int(7)), ("seed2", int(9)), ("min_object_covered", float(0.3))];
        let part = [6.0f32 / 37.0, 13.0 / 51.0, 26.0 / 37.0, 34.0 / 51.0];
        let expected =
            [tensor(&[3], &[6i32, 13, 0]), tensor(&[3], &[20i32, 21, -1]), tensor(&[1, 1, 4], &part)];
        check("SampleDistortedBoundingBox", &attributes, &inputs, &expected);
        let inputs = [
            tensor(&[3], &[37i64, 51, 3]),
            boxes.clone(),
            crate::testing::scalar(0.5f32),
            tensor(&[2], &[1i32, 2]),
        ];
        let found = run("StatelessSampleDistortedBoundingBox", &[], &inputs).unwrap();
        assert_eq!(found[0].values::<i64>(), [0, 3, 0]);
        assert_eq!(found[1].values::<i64>(), [34, 42, -1]);
        let none = [tensor(&[3], &[37i32, 51, 3]), tensor(&[1, 0, 4], &[0f32; 0])];
        refuses("SampleDistortedBoundingBox", &attributes, &none, "has no box");
    }

    #[test]
    fn a_part_of_an_image_is_one() {
        let pixels: Vec<i32> = (0..5 * 4 * 2).collect();
        let image = tensor(&[5, 4, 2], &pixels);
        let seeds = [("seed", int(7)), ("seed2", int(9))];
        let found = run("RandomCrop", &seeds, &[image.clone(), tensor(&[2], &[2i64, 3])]).unwrap();
        assert_eq!(found[0].shape[..], [2, 3, 2]);
        let first = found[0].values::<i32>()[0];
        let expected: Vec<i32> = (0..12).map(|i| first + i / 6 * 8 + i % 6).collect();
        assert_eq!(found[0].values::<i32>(), expected);
        check("RandomCrop", &seeds, &[image.clone(), tensor(&[2], &[5i64, 4])], &[image.clone()]);
        refuses("RandomCrop", &seeds, &[image, tensor(&[2], &[6i64, 4])], "more than the image");
    }

    /// What TensorFlow 2.21 gives.
    #[test]
    fn the_column_of_a_part_is_drawn_before_its_row() {
        let pixels: Vec<i32> = (0..1024 * 1024).collect();
        let image = tensor(&[1024, 1024, 1], &pixels);
        let seeds = [("seed", int(1)), ("seed2", int(5))];
        let found = run("RandomCrop", &seeds, &[image, tensor(&[2], &[513i64, 513])]).unwrap();
        assert_eq!(found[0].values::<i32>()[0], 123 * 1024 + 414);
    }

    #[test]
    fn sizes_are_integers_of_any_type() {
        let boxes = tensor(&[1, 1, 4], &[0.1f32, 0.2, 0.7, 0.9]);
        let attributes = [("seed", int(7)), ("seed2", int(9)), ("min_object_covered", float(0.3))];
        let found = |size| run("SampleDistortedBoundingBox", &attributes, &[size, boxes.clone()]).unwrap();
        let wide = found(tensor(&[3], &[37i64, 51, 3]));
        let (begin, size) = (wide[0].values::<i64>(), wide[1].values::<i64>());
        let bytes = found(tensor(&[3], &[37u8, 51, 3]));
        assert_eq!(bytes[0].values::<u8>(), begin.iter().map(|n| *n as u8).collect::<Vec<_>>());
        assert_eq!(bytes[1].values::<u8>(), size.iter().map(|n| *n as u8).collect::<Vec<_>>());
        assert_eq!(found(tensor(&[3], &[37i8, 51, 3]))[2], wide[2]);
    }
}
