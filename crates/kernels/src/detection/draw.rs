//! Boxes drawn into images.

use half::f16;
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{Result, check_exact, ensure};

const KERNEL: &str = "DrawBoundingBoxes";

/// The colours of boxes where none are given, as red, green, blue and alpha.
const COLORS: [[f32; 4]; 10] = [
    [1.0, 1.0, 0.0, 1.0],
    [0.0, 0.0, 1.0, 1.0],
    [1.0, 0.0, 0.0, 1.0],
    [0.0, 1.0, 0.0, 1.0],
    [0.5, 0.0, 0.5, 1.0],
    [0.5, 0.5, 0.0, 1.0],
    [0.5, 0.0, 0.0, 1.0],
    [0.0, 0.0, 0.5, 1.0],
    [0.0, 1.0, 1.0, 1.0],
    [1.0, 0.0, 1.0, 1.0],
];

/// A channel of a pixel.
trait Channel: bytemuck::Pod {
    fn of(x: f32) -> Self;
}

impl Channel for f32 {
    fn of(x: f32) -> f32 {
        x
    }
}

impl Channel for f16 {
    fn of(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

/// Draws boxes `[batch, count, 4]` (corners y, x, y, x in parts of the image) into `canvas`, images `[batch, height, width,
/// channels]` of float32 or float16 with 1, 3 or 4 channels. `colors` are `[count, channels or more]`; none stand for ten of
/// the kernel's own.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for shapes that do not go together,
/// [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn draw_boxes(
    boxes: TensorView<'_>,
    colors: Option<TensorView<'_>>,
    canvas: &mut TensorViewMut<'_>,
) -> Result<()> {
    let shape = *canvas.shape();
    ensure(shape.rank() == 4 && boxes.shape().rank() == 3, KERNEL, "images have 4 axes, boxes 3")?;
    let (batch, height, width, depth) = (shape[0], shape[1], shape[2], shape[3]);
    ensure(matches!(depth, 1 | 3 | 4), KERNEL, "images have 1, 3 or 4 channels")?;
    let boxes_shape = *boxes.shape();
    ensure(boxes_shape[0] == batch && boxes_shape[2] == 4, KERNEL, "each image has boxes of 4 corners")?;
    let boxes = values::<f32>(boxes.bytes(), KERNEL)?;
    let given = match &colors {
        Some(colors) => {
            ensure(colors.shape().rank() == 2 && colors.shape()[1] >= depth, KERNEL, "colors have channels")?;
            Some((values::<f32>(colors.bytes(), KERNEL)?, colors.shape()[1]))
        }
        None => None,
    };
    let color = |n: usize| -> [f32; 4] {
        match given {
            Some((colors, row)) if !colors.is_empty() => {
                let row = &colors[n % (colors.len() / row) * row..][..depth];
                [0, 1, 2, 3].map(|c| row.get(c).copied().unwrap_or(0.0))
            }
            _ => {
                let [first, rest @ ..] = COLORS[n % COLORS.len()];
                [if depth == 1 { 1.0 } else { first }, rest[0], rest[1], rest[2]]
            }
        }
    };
    for_dtype!(canvas.dtype(), KERNEL, [F32, F16], T => {
        let pixels = values_mut::<T>(canvas.bytes(), KERNEL)?;
        check_exact("images", shape.elements(), pixels.len())?;
        let image = height * width * depth;
        for (n, corners) in boxes.chunks_exact(4).enumerate() {
            let (image_index, box_index) = (n / boxes_shape[1], n % boxes_shape[1]);
            let Some(edges) = Edges::new(corners, height, width) else { continue };
            let color = color(box_index).map(<T as Channel>::of);
            edges.draw(&mut pixels[image_index * image..][..image], width, &color[..depth]);
        }
        Ok(())
    })
}

/// The rows and columns of a box that is inside of the image at least in part.
struct Edges {
    rows: [i64; 2],
    columns: [i64; 2],
    height: i64,
    width: i64,
}

/// A place along a side, as C++ converts it: what is out of range is the least number there is.
fn place(part: f32, size: usize) -> i64 {
    let place = part * (size as i64 - 1) as f32;
    if place >= -(2f32.powi(63)) && place < 2f32.powi(63) { place as i64 } else { i64::MIN }
}

impl Edges {
    /// `None` for a box that is not drawn.
    fn new(corners: &[f32], height: usize, width: usize) -> Option<Edges> {
        let rows = [place(corners[0], height), place(corners[2], height)];
        let columns = [place(corners[1], width), place(corners[3], width)];
        let (height, width) = (height as i64, width as i64);
        let is_inside = |[low, high]: [i64; 2], size: i64| low <= high && low < size && high >= 0;
        (is_inside(rows, height) && is_inside(columns, width)).then_some(Edges {
            rows,
            columns,
            height,
            width,
        })
    }

    fn draw<T: Copy>(&self, image: &mut [T], width: usize, color: &[T]) {
        let clamped = |[low, high]: [i64; 2], size: i64| low.max(0) as usize..=high.min(size - 1) as usize;
        let (rows, columns) = (clamped(self.rows, self.height), clamped(self.columns, self.width));
        let mut dot = |row: usize, column: usize| {
            image[(row * width + column) * color.len()..][..color.len()].copy_from_slice(color);
        };
        for row in self.rows.into_iter().filter(|row| (0..self.height).contains(row)) {
            columns.clone().for_each(|column| dot(row as usize, column));
        }
        for column in self.columns.into_iter().filter(|column| (0..self.width).contains(column)) {
            rows.clone().for_each(|row| dot(row, column as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{DType, Shape};

    #[test]
    fn draws_what_is_inside() {
        let mut image = [0f32; 20];
        let boxes = [0.0f32, 0.25, 1.0, 0.8, f32::NAN, 0.0, 1.0, 1.0, 0.5, 0.0, 0.2, 1.0];
        let boxes = TensorView::from_slice(Shape::new(&[1, 3, 4]).unwrap(), &boxes).unwrap();
        let shape = Shape::new(&[1, 4, 5, 1]).unwrap();
        let colors = [0.5f32, 0.25, 0.75];
        let colors = TensorView::from_slice(Shape::new(&[3, 1]).unwrap(), &colors).unwrap();
        let bytes = bytemuck::cast_slice_mut(&mut image);
        let mut canvas = TensorViewMut::new(DType::F32, shape, bytes).unwrap();
        draw_boxes(boxes, Some(colors), &mut canvas).unwrap();
        // NaN is the least row, from which the box goes on, and is not drawn itself.
        let expected = [
            [0.25, 0.5, 0.5, 0.5, 0.25],
            [0.25, 0.5, 0.0, 0.5, 0.25],
            [0.25, 0.5, 0.0, 0.5, 0.25],
            [0.25; 5],
        ];
        assert_eq!(image, *expected.as_flattened());
    }
}
