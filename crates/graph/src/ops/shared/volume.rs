//! A window over `[batch, depth, height, width, channels]`: what [`super::window`] is for images.

use tightfit_core::Shape;
use tightfit_kernels::{Window, Window3};

use super::window::{Padding, WindowAttributes};
use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Memory, OpError, TensorInfo, reshape};

/// True where only a run knows how many groups a convolution's channels are, of a filter that is `depth` deep.
pub fn has_open_groups(input: &TensorInfo, depth: usize) -> bool {
    input.is_bound && input.shape.last().is_some_and(|channels| *channels > depth)
}

/// The memory of a convolution by a filter that is `depth` deep: where only a run knows the groups, what one alone needs too. `of`
/// tells what a shape of the input needs.
pub fn memory_at_most(input: &TensorInfo, depth: usize, of: impl Fn(&Shape) -> Option<Memory>) -> Memory {
    let most = agree_on_channels(input.shape, depth).and_then(|shape| of(&shape)).unwrap_or_default();
    let one = match (has_open_groups(input, depth), input.shape.split_last()) {
        (true, Some((_, others))) => reshape::shape(others.iter().copied().chain([depth])),
        _ => None,
    };
    let one = one.and_then(|shape| of(&shape)).unwrap_or_default();
    Memory {
        scratch_bytes: most.scratch_bytes.max(one.scratch_bytes),
        most_scratch_bytes: most.most_scratch_bytes.max(one.most_scratch_bytes),
        ..most
    }
}

/// The shape of an input of a convolution, channels last, with the channels of a filter that is `depth` deep where both are only known
/// at most: they need not go together then, as they do in each run.
fn agree_on_channels(input: Shape, depth: usize) -> Option<Shape> {
    let [others @ .., channels] = &input[..] else { return None };
    if depth == 0 || channels.is_multiple_of(depth) {
        return Some(input);
    }
    reshape::shape(others.iter().copied().chain([depth]))
}

/// How a window moves over a volume; an image is one of depth 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowAttributes3 {
    /// Steps along depth, height and width.
    pub strides: [usize; 3],
    /// Elements of the volume from one element of the window to the next.
    pub dilations: [usize; 3],
    /// What is around the volume.
    pub padding: Padding3,
}

/// What is around a volume.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Padding3 {
    /// As much as gives `ceil(size / stride)` outputs.
    Same,
    /// Nothing.
    Valid,
    /// Front, after, top, bottom, left, right.
    Explicit([usize; 6]),
}

impl From<WindowAttributes> for WindowAttributes3 {
    fn from(window: WindowAttributes) -> WindowAttributes3 {
        let three = |[height, width]: [usize; 2]| [1, height, width];
        let padding = match window.padding {
            Padding::Same => Padding3::Same,
            Padding::Valid => Padding3::Valid,
            Padding::Explicit([top, bottom, left, right]) => {
                Padding3::Explicit([0, 0, top, bottom, left, right])
            }
        };
        WindowAttributes3 { strides: three(window.strides), dilations: three(window.dilations), padding }
    }
}

impl WindowAttributes3 {
    /// From the attributes `strides`, `dilations` and `padding`, with `data_format` NDHWC.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for what is not supported: moves along batch or channels.
    pub fn import(attributes: &Attributes<'_>) -> Result<WindowAttributes3, OpError> {
        attributes.only("data_format", "NDHWC")?;
        let dilations = attributes.ints_or_empty("dilations")?;
        let dilations = if dilations.is_empty() { vec![1; 5] } else { dilations };
        let padding = match attributes.text("padding")? {
            "SAME" => Padding3::Same,
            "VALID" => Padding3::Valid,
            other => return Err(OpError::attribute("padding", format!("is {other}"))),
        };
        Ok(WindowAttributes3 {
            strides: three("strides", &attributes.ints("strides")?)?,
            dilations: three("dilations", &dilations)?,
            padding,
        })
    }

    /// The window of this size over a volume of that size.
    pub fn window(&self, size: [usize; 3], volume: [usize; 3]) -> Window3 {
        let window =
            Window3 { strides: self.strides, dilations: self.dilations, ..Window3::from(Window::new(1, 1)) };
        let window = Window3 { size, ..window };
        match self.padding {
            Padding3::Same => window.same(volume),
            Padding3::Valid => window,
            Padding3::Explicit(pads) => Window3 { pads, ..window },
        }
    }

    /// Depth, height and width of the output, where they follow.
    ///
    /// # Errors
    /// [`OpError::Input`] when the window passes the volume by a step or more; by less, there is no output.
    pub fn output(&self, size: [usize; 3], volume: &[Dim]) -> Result<[Dim; 3], OpError> {
        let mut output = [Dim::Unknown; 3];
        for axis in 0..3 {
            output[axis] = match volume[axis].size() {
                Some(elements) => Dim::Known(self.output_size(axis, size[axis], elements)? as i64),
                None if self.strides[axis] == 1 && self.padding == Padding3::Same => volume[axis],
                None => Dim::Unknown,
            };
        }
        Ok(output)
    }

    /// [`WindowAttributes3::output`] of a convolution by this filter of five axes; of one that may be smaller than is known, the
    /// largest, that of the smallest filter.
    ///
    /// # Errors
    /// As there.
    pub fn output_by(&self, filter: &Fact, volume: &[Dim]) -> Result<[Dim; 3], OpError> {
        match window_of(filter) {
            _ if filter.is_bound => self.output([1; 3], volume),
            Some(size) => self.output(size, volume),
            None => Ok([Dim::Unknown; 3]),
        }
    }

    /// Refuses a volume that is smaller than the window, which a run of the model would make no output of.
    ///
    /// # Errors
    /// [`OpError::Input`] naming the axis.
    pub fn check(&self, size: [usize; 3], volume: &[Dim]) -> Result<(), OpError> {
        if self.padding == Padding3::Same {
            return Ok(());
        }
        for (axis, size) in size.into_iter().enumerate() {
            let reach = self.reach(axis, size);
            if let Some(elements) = volume.get(axis + 1).and_then(|dim| dim.size())
                && (elements.saturating_add(self.added(axis)) as i128) < reach
            {
                return Err(too_small(axis, elements, reach));
            }
        }
        Ok(())
    }

    fn added(&self, axis: usize) -> usize {
        match self.padding {
            Padding3::Same | Padding3::Valid => 0,
            Padding3::Explicit(pads) => pads[2 * axis].saturating_add(pads[2 * axis + 1]),
        }
    }

    fn reach(&self, axis: usize, size: usize) -> i128 {
        (size as i128 - 1) * self.dilations[axis] as i128 + 1
    }

    fn output_size(&self, axis: usize, size: usize, elements: usize) -> Result<usize, OpError> {
        if self.padding == Padding3::Same {
            return Ok(elements.div_ceil(self.strides[axis]));
        }
        let (reach, stride) = (self.reach(axis, size), self.strides[axis] as i128);
        let padded = elements.saturating_add(self.added(axis));
        // TensorFlow divides what is missing by the stride too, rounding towards zero.
        usize::try_from((padded as i128 - reach + stride) / stride)
            .map_err(|_| too_small(axis, padded, reach))
    }
}

fn too_small(axis: usize, elements: usize, reach: i128) -> OpError {
    let why = format!("has {elements} elements along axis {}, fewer than the window's {reach}", axis + 1);
    OpError::input(0, why)
}

/// The window of a filter of five axes, where it is known.
pub fn window_of(filter: &Fact) -> Option<[usize; 3]> {
    let sizes = filter.dims.get()?;
    let size = |axis: usize| sizes.get(axis).and_then(|dim| dim.size());
    Some([size(0)?, size(1)?, size(2)?])
}

/// The three middle ones of five, for `[batch, depth, height, width, channels]`; the others must be 1.
///
/// # Errors
/// [`OpError::Attribute`] when there are not five, or they are not so.
pub fn three(attribute: &str, values: &[i64]) -> Result<[usize; 3], OpError> {
    match *values {
        [1, depth, height, width, 1] if depth >= 1 && height >= 1 && width >= 1 => {
            Ok([depth as usize, height as usize, width as usize])
        }
        _ => {
            let why = format!("is {values:?}; [1, depth, height, width, 1] is supported");
            Err(OpError::attribute(attribute, why))
        }
    }
}
