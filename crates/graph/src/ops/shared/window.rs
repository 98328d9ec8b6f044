//! What convolutions and pools share: strides, dilations and padding of a window over `[batch, height, width,
//! channels]`.

use tightfit_kernels::Window;

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::OpError;
use crate::operator::attributes::Attributes;

/// How a window moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowAttributes {
    /// Steps down and to the right.
    pub strides: [usize; 2],
    /// Pixels from one element of the window to the next.
    pub dilations: [usize; 2],
    /// What is around the image.
    pub padding: Padding,
}

/// What is around the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Padding {
    /// As much as gives `ceil(size / stride)` outputs; an odd amount has its larger part at the bottom and right.
    Same,
    /// Nothing.
    Valid,
    /// Rows and columns: top, bottom, left, right.
    Explicit([usize; 4]),
}

impl WindowAttributes {
    /// One step at a time over what there is.
    pub const NONE: WindowAttributes =
        WindowAttributes { strides: [1, 1], dilations: [1, 1], padding: Padding::Valid };

    /// From the attributes `strides`, `dilations`, `padding`, `explicit_paddings` and `data_format`.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for what is not supported: formats other than NHWC, and moves along batch or channels.
    pub fn import(attributes: &Attributes<'_>) -> Result<WindowAttributes, OpError> {
        let strides = pair("strides", &attributes.ints("strides")?);
        WindowAttributes::import_with(attributes, strides, attributes.ints_or_empty("dilations")?)
    }

    /// [`WindowAttributes::import`] where TensorFlow does not look at `dilations`.
    ///
    /// # Errors
    /// As there.
    pub fn import_undilated(attributes: &Attributes<'_>) -> Result<WindowAttributes, OpError> {
        let strides = pair("strides", &attributes.ints("strides")?);
        WindowAttributes::import_with(attributes, strides, Vec::new())
    }

    /// [`WindowAttributes::import`] of a pool over pixels.
    ///
    /// # Errors
    /// As there.
    pub fn import_pool(attributes: &Attributes<'_>) -> Result<WindowAttributes, OpError> {
        let strides = pool_strides("strides", &attributes.ints("strides")?);
        WindowAttributes::import_with(attributes, strides, attributes.ints_or_empty("dilations")?)
    }

    fn import_with(
        attributes: &Attributes<'_>,
        strides: Result<[usize; 2], OpError>,
        dilations: Vec<i64>,
    ) -> Result<WindowAttributes, OpError> {
        attributes.only("data_format", "NHWC")?;
        let padding = padding(attributes)?;
        let dilations = if dilations.is_empty() { vec![1; 4] } else { dilations };
        Ok(WindowAttributes { strides: strides?, dilations: pair("dilations", &dilations)?, padding })
    }

    /// The same with so many zeros more around the image; `None` where how many there are depends on its size.
    pub fn padded(&self, zeros: [usize; 4]) -> Option<WindowAttributes> {
        let own = match self.padding {
            Padding::Valid => [0; 4],
            Padding::Explicit(own) => own,
            Padding::Same => return None,
        };
        let padding = Padding::Explicit(std::array::from_fn(|side| own[side] + zeros[side]));
        Some(WindowAttributes { padding, ..*self })
    }

    /// The same of which only every so many-th pixel is computed, for a window of this size over an image of that size.
    pub fn thinned(&self, size: [usize; 2], image: [usize; 2], steps: [usize; 2]) -> WindowAttributes {
        WindowAttributes {
            strides: [0, 1].map(|axis| self.strides[axis] * steps[axis]),
            padding: Padding::Explicit(self.window(size, image).pads),
            ..*self
        }
    }

    /// The window of this size over an image of that size.
    pub fn window(&self, size: [usize; 2], image: [usize; 2]) -> Window {
        let window =
            Window { strides: self.strides, dilations: self.dilations, ..Window::new(size[0], size[1]) };
        match self.padding {
            Padding::Same => window.same(image[0], image[1]),
            Padding::Valid => window,
            Padding::Explicit(padding) => Window { pads: padding, ..window },
        }
    }

    /// Height and width of the output, where they follow.
    ///
    /// # Errors
    /// [`OpError::Input`] when the window passes the image by two steps or more; by less, there is no output.
    pub fn output(&self, size: [usize; 2], image: &[Dim]) -> Result<[Dim; 2], OpError> {
        let mut output = [Dim::Unknown; 2];
        for axis in 0..2 {
            output[axis] = match image[axis].size() {
                Some(pixels) => Dim::Known(self.output_size(axis, size[axis], pixels)? as i64),
                // Without steps and with as many pixels added as the window takes away, the size stays.
                None if self.strides[axis] == 1 && self.padding == Padding::Same => image[axis],
                None => Dim::Unknown,
            };
        }
        Ok(output)
    }

    /// [`WindowAttributes::output`] of a convolution by this filter of four axes. Of a filter that may be smaller than is known the
    /// output may be larger: it is the largest then, that of the smallest filter.
    ///
    /// # Errors
    /// As there.
    pub fn output_by(&self, filter: &Fact, image: &[Dim]) -> Result<[Dim; 2], OpError> {
        let sizes = filter.dims.get().unwrap_or_default();
        match (sizes.first().and_then(|d| d.size()), sizes.get(1).and_then(|d| d.size())) {
            _ if filter.is_bound => self.output([1, 1], image),
            (Some(height), Some(width)) => self.output([height, width], image),
            _ => Ok([Dim::Unknown; 2]),
        }
    }

    /// Refuses an image that is smaller than the filter of a convolution, which is its second input.
    ///
    /// # Errors
    /// As [`WindowAttributes::check`].
    pub fn check_filter(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let (Some(image), Some(filter)) =
            (super::input(inputs, 0)?.dims.get(), super::input(inputs, 1)?.dims.get())
        else {
            return Ok(());
        };
        if let Some(axis) = (0..2).find(|axis| {
            self.dilations[*axis] > 1 && filter.get(*axis).is_some_and(|size| *size == Dim::Known(0))
        }) {
            return Err(OpError::input(
                1,
                format!("has no taps along axis {axis} to be {} apart", self.dilations[axis]),
            ));
        }
        // Of a size that is open nothing is asked.
        let size = |axis: usize| filter.get(axis).and_then(|d| d.size()).unwrap_or(0);
        self.check([size(0), size(1)], image)
    }

    /// Refuses an image, `[batch, height, width, channels]`, that is smaller than the window, which a run of the model would make no output of.
    ///
    /// # Errors
    /// [`OpError::Input`] naming the axis.
    pub fn check(&self, size: [usize; 2], image: &[Dim]) -> Result<(), OpError> {
        for axis in 0..2 {
            let added = match self.padding {
                Padding::Same => continue,
                Padding::Valid => 0,
                Padding::Explicit(p) => p[2 * axis].saturating_add(p[2 * axis + 1]),
            };
            let reach = self.reach(axis, size[axis]);
            if let Some(pixels) = image.get(axis + 1).and_then(|dim| dim.size())
                && (pixels.saturating_add(added) as i128) < reach
            {
                let why =
                    format!("has {pixels} pixels along axis {}, fewer than the window's {reach}", axis + 1);
                return Err(OpError::input(0, why));
            }
        }
        Ok(())
    }

    /// Refuses an image of no channels for a MaxPool without SAME padding, which takes its window's one channel for more.
    ///
    /// # Errors
    /// [`OpError::Input`] for such an image.
    pub fn check_channels(&self, image: &[Dim]) -> Result<(), OpError> {
        if self.padding != Padding::Same && image.get(3) == Some(&Dim::Known(0)) {
            return Err(OpError::input(0, "has no channels, fewer than the window's 1"));
        }
        Ok(())
    }

    /// Pixels from the first to the last of a window; of one without any it is 0 or less, as TensorFlow counts them.
    fn reach(&self, axis: usize, size: usize) -> i128 {
        (size as i128 - 1) * self.dilations[axis] as i128 + 1
    }

    fn output_size(&self, axis: usize, size: usize, pixels: usize) -> Result<usize, OpError> {
        let added = match self.padding {
            Padding::Same => return Ok(pixels.div_ceil(self.strides[axis])),
            Padding::Valid => 0,
            Padding::Explicit(p) => p[2 * axis].saturating_add(p[2 * axis + 1]),
        };
        let (reach, stride) = (self.reach(axis, size), self.strides[axis] as i128);
        let padded = pixels.saturating_add(added);
        // TensorFlow divides what is missing by the stride too, rounding towards zero.
        usize::try_from((padded as i128 - reach + stride) / stride).map_err(|_| {
            OpError::input(
                0,
                format!("has {padded} pixels along axis {}, fewer than the window's {reach}", axis + 1),
            )
        })
    }
}

/// The two middle ones of four, for `[batch, height, width, channels]`; the others must be 1.
///
/// # Errors
/// [`OpError::Attribute`] when there are not four, or they are not so.
pub fn pair(attribute: &str, values: &[i64]) -> Result<[usize; 2], OpError> {
    match *values {
        [1, height, width, 1] if height >= 1 && width >= 1 => Ok([height as usize, width as usize]),
        _ => Err(OpError::attribute(attribute, format!("is {values:?}; [1, height, width, 1] is supported"))),
    }
}

/// The steps of a pool down and to the right; TensorFlow does not look at the step over channels of a window that covers
/// one.
///
/// # Errors
/// As [`pair`].
pub fn pool_strides(attribute: &str, values: &[i64]) -> Result<[usize; 2], OpError> {
    match *values {
        [batch, height, width, _] => pair(attribute, &[batch, height, width, 1]),
        _ => pair(attribute, values),
    }
}

/// How many channels a window covers, where it is more than one.
///
/// # Errors
/// [`OpError::Attribute`] for what TensorFlow refuses: windows that overlap, and those that also cover other pixels.
pub fn channel_window(ksize: &[i64], strides: &[i64]) -> Result<Option<usize>, OpError> {
    let &[_, _, _, channels] = ksize else { return Ok(None) };
    if channels <= 1 {
        return Ok(None);
    }
    if ksize[..3] != [1; 3] {
        let why = format!("is {ksize:?}; a window covers either channels or pixels");
        return Err(OpError::attribute("ksize", why));
    }
    if strides != ksize {
        let why = format!("is {strides:?}; over channels it must be the window's {ksize:?}");
        return Err(OpError::attribute("strides", why));
    }
    Ok(Some(channels as usize))
}

/// From the attributes `padding` and `explicit_paddings`.
///
/// # Errors
/// [`OpError::Attribute`] for what TensorFlow refuses, and for a batch or channels that are padded.
pub fn padding(attributes: &Attributes<'_>) -> Result<Padding, OpError> {
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        "EXPLICIT" => Padding::Explicit(explicit(attributes, "explicit_paddings")?),
        other => return Err(OpError::attribute("padding", format!("is {other}"))),
    };
    if !matches!(padding, Padding::Explicit(_)) && !attributes.ints_or_empty("explicit_paddings")?.is_empty()
    {
        return Err(OpError::attribute("explicit_paddings", "is set, but padding is not EXPLICIT"));
    }
    Ok(padding)
}

/// Pixels above, below, to the left and to the right, from an attribute that lists them for all four axes.
///
/// # Errors
/// [`OpError::Attribute`] for another count, negative ones, and a batch or channels that are padded.
pub fn explicit(attributes: &Attributes<'_>, name: &'static str) -> Result<[usize; 4], OpError> {
    let paddings = attributes.ints_or_empty(name)?;
    match paddings[..] {
        [0, 0, top, bottom, left, right, 0, 0] if paddings.iter().all(|p| *p >= 0) => {
            Ok([top as usize, bottom as usize, left as usize, right as usize])
        }
        _ => {
            let why = format!("is {paddings:?}; eight numbers are needed, of batch and channels 0");
            Err(OpError::attribute(name, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dims;
    use tightfit_core::DType;

    #[test]
    fn the_output_of_a_filter_that_may_be_smaller_is_that_of_the_smallest() {
        let window = WindowAttributes { strides: [1, 2], ..WindowAttributes::NONE };
        let dims = Dims::new([3, 4, 1, 1].map(Dim::Known));
        let image = [7, 7].map(Dim::Known);
        let filter = Fact::new(DType::F32, dims);
        assert_eq!(window.output_by(&filter, &image).unwrap(), [5, 2].map(Dim::Known));
        let filter = Fact { is_bound: true, ..filter };
        assert_eq!(window.output_by(&filter, &image).unwrap(), [7, 4].map(Dim::Known));
    }
}
