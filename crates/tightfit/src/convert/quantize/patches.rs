//! What a product multiplies its weight by: for each place of its output the elements that lie under the weight.

use tightfit_format::tflite::{Operator, Tensor};

/// How a weight goes over a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    is_same: bool,
    /// Elements of a place under the weight: channels, or a row.
    pub channels: usize,
    /// True where each channel has weights of its own.
    pub is_depthwise: bool,
    /// Output channels.
    pub outputs: usize,
}

impl Window {
    /// That of an operator; `None` for one that is no product, or one of groups.
    pub fn of(operator: &Operator, value: &Tensor, weight: &Tensor) -> Option<Window> {
        let dims = weight.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<Vec<_>>>()?;
        let int = |name: &str| usize::try_from(operator.options.int(name)).ok().map(|value| value.max(1));
        let window = |kernel, channels, is_depthwise, outputs| {
            Some(Window {
                kernel,
                strides: [int("stride_h")?, int("stride_w")?],
                dilations: [int("dilation_h_factor")?, int("dilation_w_factor")?],
                is_same: operator.options.int("padding") == 0,
                channels,
                is_depthwise,
                outputs,
            })
        };
        let depth = value.shape.last().and_then(|dim| usize::try_from(*dim).ok());
        match (operator.name(), &dims[..]) {
            ("FULLY_CONNECTED", [outputs, inputs]) => window([1, 1], *inputs, false, *outputs),
            ("CONV_2D", [outputs, height, width, channels]) if depth == Some(*channels) => {
                window([*height, *width], *channels, false, *outputs)
            }
            ("DEPTHWISE_CONV_2D", [1, height, width, outputs]) => {
                let channels = depth.filter(|depth| *depth > 0 && outputs.is_multiple_of(*depth))?;
                window([*height, *width], channels, true, *outputs)
            }
            _ => None,
        }
    }

    /// Elements of a patch.
    pub fn len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// The output channel of an element of the weight, and the element of a patch that it is multiplied by.
    pub fn places(&self, element: usize) -> (usize, usize) {
        if !self.is_depthwise {
            return (element / self.len().max(1), element % self.len().max(1));
        }
        let (tap, output) = (element / self.outputs.max(1), element % self.outputs.max(1));
        (output, tap * self.channels + output * self.channels / self.outputs.max(1))
    }

    /// Calls `visit` with patches of a value, at most about `most` of them in equal distances; elements outside are 0.
    pub fn each(&self, dims: &[usize], values: &[f32], most: usize, visit: &mut dyn FnMut(&[f32])) {
        let [batch, height, width, channels] = match *dims {
            [batch, height, width, channels] if channels == self.channels => [batch, height, width, channels],
            _ if self.kernel == [1, 1] => [values.len() / self.channels.max(1), 1, 1, self.channels],
            _ => return,
        };
        let sizes = [height, width];
        let places: [(usize, isize); 2] = std::array::from_fn(|axis| self.places_of(axis, sizes[axis]));
        let [(rows, first_row), (columns, first_column)] = places;
        let all = batch * rows * columns;
        let step = all.div_ceil(most.max(1)).max(1);
        let mut patch = vec![0f32; self.len()];
        for place in (0..all).step_by(step) {
            let (image, row, column) = (place / (rows * columns), place / columns % rows, place % columns);
            for (tap, to) in patch.chunks_exact_mut(channels).enumerate() {
                let at = |index: usize, axis: usize, first: isize, tap: usize| {
                    let at = first + (index * self.strides[axis] + tap * self.dilations[axis]) as isize;
                    usize::try_from(at).ok().filter(|at| *at < sizes[axis])
                };
                let y = at(row, 0, first_row, tap / self.kernel[1]);
                let x = at(column, 1, first_column, tap % self.kernel[1]);
                let from = y.zip(x).map(|(y, x)| ((image * height + y) * width + x) * channels);
                match from.and_then(|from| values.get(from..from + channels)) {
                    Some(from) => to.copy_from_slice(from),
                    None => to.fill(0.0),
                }
            }
            visit(&patch);
        }
    }

    /// How many places the output has along an axis, and where the first begins.
    fn places_of(&self, axis: usize, size: usize) -> (usize, isize) {
        let extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
        let stride = self.strides[axis];
        if !self.is_same {
            return ((size + stride).saturating_sub(extent) / stride, 0);
        }
        let places = size.div_ceil(stride);
        let padding = ((places.max(1) - 1) * stride + extent).saturating_sub(size);
        (places, -((padding / 2) as isize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(is_same: bool, stride: usize) -> Window {
        Window {
            kernel: [2, 2],
            strides: [stride, stride],
            dilations: [1, 1],
            is_same,
            channels: 1,
            is_depthwise: false,
            outputs: 1,
        }
    }

    fn patches(window: &Window, most: usize) -> Vec<Vec<f32>> {
        let values: Vec<f32> = (1..10).map(|value| value as f32).collect();
        let mut found = Vec::new();
        window.each(&[1, 3, 3, 1], &values, most, &mut |patch| found.push(patch.to_vec()));
        found
    }

    #[test]
    fn patches_lie_where_the_window_does() {
        let valid = patches(&window(false, 1), 100);
        assert_eq!(valid, [[1., 2., 4., 5.], [2., 3., 5., 6.], [4., 5., 7., 8.], [5., 6., 8., 9.]]);
        let same = patches(&window(true, 2), 100);
        assert_eq!(same, [[1., 2., 4., 5.], [3., 0., 6., 0.], [7., 8., 0., 0.], [9., 0., 0., 0.]]);
        assert_eq!(patches(&window(false, 1), 2), [[1., 2., 4., 5.], [4., 5., 7., 8.]]);
    }

    #[test]
    fn each_channel_has_its_own_where_the_product_is_depthwise() {
        let own = Window { channels: 2, outputs: 4, is_depthwise: true, ..window(true, 1) };
        assert_eq!(own.places(0), (0, 0));
        assert_eq!(own.places(3), (3, 1));
        assert_eq!(own.places(6), (2, 3));
        let dense = Window { channels: 2, outputs: 3, ..window(true, 1) };
        assert_eq!(dense.places(9), (1, 1));
    }
}
