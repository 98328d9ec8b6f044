use super::*;
use tightfit_core::{Element, Shape};

type Case = (Interpolation, Alignment, [usize; 2], &'static [f32]);

/// The first channel of TensorFlow 2.21's results for the image of [`image`].
#[rustfmt::skip]
const RESIZED: &[Case] = &[
    (Interpolation::Bilinear, Alignment::Legacy, [3, 7], &[0.0, 110.85715, 185.85715, 153.2857, 120.71428, 88.14285, 80.0, 38.333332, 149.19048, 224.19048, 191.61903, 159.0476, 126.47618, 118.33333, 76.666664, 44.095234, 47.38096, 158.23813, 197.38095, 164.80952, 156.66667]),
    (Interpolation::Bilinear, Alignment::Legacy, [8, 2], &[0.0, 137.0, 14.375, 151.375, 28.75, 165.75, 43.125, 180.125, 57.5, 194.5, 71.875, 208.875, 86.25, 223.25, 92.0, 229.0]),
    (Interpolation::Bilinear, Alignment::Corners, [3, 7], &[0.0, 97.0, 194.0, 165.5, 137.0, 108.5, 80.0, 46.0, 143.0, 240.0, 211.5, 183.0, 154.5, 126.0, 92.0, 63.5, 35.0, 132.0, 229.0, 200.5, 172.0]),
    (Interpolation::Bilinear, Alignment::Corners, [8, 2], &[0.0, 80.0, 13.142858, 93.14286, 26.285715, 106.28571, 39.428574, 119.42857, 52.57143, 132.57143, 65.71429, 145.7143, 78.85715, 158.85715, 92.0, 172.0]),
    (Interpolation::Bilinear, Alignment::HalfPixel, [3, 7], &[7.666666, 76.95239, 187.80954, 173.16667, 140.59523, 108.023796, 87.666664, 46.0, 115.28573, 226.14287, 211.5, 178.92856, 146.35713, 126.0, 84.33333, 63.97618, 31.404757, 124.33333, 217.26189, 184.69046, 164.33333]),
    (Interpolation::Bilinear, Alignment::HalfPixel, [8, 2], &[97.0, 108.5, 107.0625, 118.5625, 121.4375, 132.9375, 135.8125, 147.3125, 110.96875, 161.6875, 46.90625, 176.0625, 53.4375, 190.4375, 63.5, 200.5]),
    (Interpolation::Nearest, Alignment::Legacy, [3, 7], &[0.0, 0.0, 194.0, 194.0, 137.0, 137.0, 80.0, 23.0, 23.0, 217.0, 217.0, 160.0, 160.0, 103.0, 69.0, 69.0, 12.0, 12.0, 206.0, 206.0, 149.0]),
    (Interpolation::Nearest, Alignment::Legacy, [8, 2], &[0.0, 137.0, 0.0, 137.0, 23.0, 160.0, 23.0, 160.0, 46.0, 183.0, 69.0, 206.0, 69.0, 206.0, 92.0, 229.0]),
    (Interpolation::Nearest, Alignment::Corners, [3, 7], &[0.0, 194.0, 194.0, 137.0, 137.0, 80.0, 80.0, 46.0, 240.0, 240.0, 183.0, 183.0, 126.0, 126.0, 92.0, 35.0, 35.0, 229.0, 229.0, 172.0, 172.0]),
    (Interpolation::Nearest, Alignment::Corners, [8, 2], &[0.0, 80.0, 23.0, 103.0, 23.0, 103.0, 46.0, 126.0, 46.0, 126.0, 69.0, 149.0, 69.0, 149.0, 92.0, 172.0]),
    (Interpolation::Nearest, Alignment::HalfPixel, [3, 7], &[0.0, 0.0, 194.0, 137.0, 137.0, 80.0, 80.0, 46.0, 46.0, 240.0, 183.0, 183.0, 126.0, 126.0, 92.0, 92.0, 35.0, 229.0, 229.0, 172.0, 172.0]),
    (Interpolation::Nearest, Alignment::HalfPixel, [8, 2], &[194.0, 80.0, 194.0, 80.0, 217.0, 103.0, 240.0, 126.0, 240.0, 126.0, 12.0, 149.0, 35.0, 172.0, 35.0, 172.0]),
    (Interpolation::Bicubic, Alignment::Legacy, [3, 7], &[0.0, 118.50523, 203.11472, 166.802, 115.70184, 86.13652, 74.01846, 37.487724, 175.09566, 267.31674, 212.88298, 150.13962, 123.25966, 111.5062, 78.78819, 6.2661877, 14.759764, 159.65764, 224.9897, 168.5705, 152.80666]),
    (Interpolation::Bicubic, Alignment::Legacy, [8, 2], &[0.0, 137.0, 12.185059, 149.18506, 29.828125, 166.82812, 42.18164, 179.18164, 57.5, 194.5, 73.0542, 210.0542, 87.59766, 224.59766, 94.526855, 231.52686]),
    (Interpolation::Bicubic, Alignment::Corners, [3, 7], &[0.0, 102.34375, 194.0, 189.03125, 137.0, 103.15625, 80.0, 46.0, 148.34375, 240.0, 235.03125, 183.0, 149.15625, 126.0, 92.0, 45.3125, 35.0, 132.0, 229.0, 218.6875, 172.0]),
    (Interpolation::Bicubic, Alignment::Corners, [8, 2], &[0.0, 80.0, 10.926836, 90.926834, 27.284275, 107.28427, 38.414196, 118.41419, 53.5858, 133.5858, 64.71573, 144.71571, 81.073166, 161.07318, 92.0, 172.0]),
    (Interpolation::Bicubic, Alignment::HalfPixel, [3, 7], &[-9.823227, 66.38216, 192.53224, 186.73227, 138.22244, 100.60074, 81.02942, 30.632015, 106.8374, 232.98746, 227.1875, 178.67767, 141.05597, 121.484665, 91.655205, 58.86147, 17.561804, 121.593864, 227.09647, 191.43585, 161.9399]),
    (Interpolation::Bicubic, Alignment::HalfPixel, [8, 2], &[92.99207, 101.81561, 102.56932, 111.392845, 119.32788, 127.881065, 143.27325, 141.19269, 111.66176, 160.6773, 34.225945, 185.25351, 39.152065, 203.05643, 55.419685, 211.89027]),
    (Interpolation::Area, Alignment::Legacy, [3, 7], &[9.2, 57.700016, 203.19998, 174.69995, 146.2, 103.45002, 89.19995, 46.0, 81.950005, 189.80002, 186.39998, 182.99998, 140.25005, 125.99993, 82.8, 68.55, 25.800001, 122.80003, 219.8, 177.05006, 162.79991]),
    (Interpolation::Area, Alignment::Legacy, [8, 2], &[97.0, 108.5, 106.200005, 117.700005, 120.0, 131.5, 138.40001, 149.90001, 122.5, 159.1, 40.5, 177.5, 54.3, 191.3, 63.5, 200.5]),
    (Interpolation::Area, Alignment::Corners, [3, 7], &[11.5, 11.5, 205.5, 205.5, 148.5, 148.5, 91.5, 57.5, 57.5, 126.0, 126.0, 194.5, 194.5, 137.5, 92.0, 92.0, 35.0, 35.0, 229.0, 229.0, 172.0]),
    (Interpolation::Area, Alignment::Corners, [8, 2], &[110.333336, 80.0, 116.08333, 85.75001, 133.33334, 103.00001, 144.83333, 114.49999, 156.33333, 126.00001, 110.83336, 143.25005, 95.66662, 148.99992, 118.66671, 172.00005]),
];

/// Likewise for the boxes `[0.1, 0.2, 0.9, 1.3]` and `[0.8, 0.7, 0.0, 0.1]`, `[3, 4]` pixels each.
#[rustfmt::skip]
const CROPPED: [(Interpolation, &[f32]); 2] = [
    (Interpolation::Bilinear, &[125.6, 163.3, 100.60001, -7.0, 162.4, 200.1, 137.40002, -7.0, 48.6, 161.59999, 174.20003, -7.0, 204.90001, 113.6, 22.300003, 56.500004, 168.1, 202.3, 211.4, 94.99999, 131.3, 165.5, 174.59999, 58.19999]),
    (Interpolation::Nearest, &[194.0, 137.0, 80.0, -7.0, 240.0, 183.0, 126.0, -7.0, 35.0, 229.0, 172.0, -7.0, 206.0, 206.0, 12.0, 69.0, 183.0, 183.0, 240.0, 46.0, 137.0, 137.0, 194.0, 0.0]),
];

/// `[1, 5, 4, 2]`, of which the second channel is never looked at.
fn image() -> Vec<u8> {
    (0..40u32).map(|i| (i * 97 % 251) as u8).collect()
}

fn first_channel<T: Element>(
    to: [usize; 4],
    kernel: impl Fn(&ThreadPool, TensorView<'_>, &mut TensorViewMut<'_>) -> Result<()>,
) -> Result<Vec<T>> {
    let src = image();
    let shape = Shape::new(&to).unwrap();
    let mut dst = vec![T::zeroed(); shape.elements()];
    let mut out = TensorViewMut::new(T::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
    let view = TensorView::from_slice(Shape::new(&[1, 5, 4, 2]).unwrap(), &src).unwrap();
    kernel(&ThreadPool::new(1).unwrap(), view, &mut out)?;
    Ok(dst.into_iter().step_by(2).collect())
}

fn assert_close(result: &[f32], expected: &[f32], what: &str) {
    assert_eq!(result.len(), expected.len());
    for (a, b) in result.iter().zip(expected) {
        // TensorFlow's own build fuses some multiplications with additions: a few units in the last place.
        assert!((a - b).abs() <= 6e-5, "{what}: {a} {b}");
    }
}

#[test]
fn resizes_as_tensorflow() {
    for (how, alignment, [height, width], expected) in RESIZED {
        let to = [1, *height, *width, 2];
        let what = format!("{how:?} {alignment:?}");
        if *how == Interpolation::Nearest {
            let result = first_channel::<u8>(to, |p, s, d| resize(p, *how, *alignment, s, d)).unwrap();
            assert!(result.iter().zip(*expected).all(|(a, b)| *a as f32 == *b), "{what}");
        } else {
            let result = first_channel::<f32>(to, |p, s, d| resize(p, *how, *alignment, s, d)).unwrap();
            assert_close(&result, expected, &what);
        }
    }
    let area = first_channel::<f32>([1, 2, 2, 2], |p, s, d| {
        resize(p, Interpolation::Area, Alignment::HalfPixel, s, d)
    });
    assert!(area.is_err());
}

#[test]
fn crops_as_tensorflow() {
    let boxes = [0.1f32, 0.2, 0.9, 1.3, 0.8, 0.7, 0.0, 0.1];
    let boxes = TensorView::from_slice(Shape::new(&[2, 4]).unwrap(), &boxes).unwrap();
    for (how, expected) in CROPPED {
        let run = |indices: &[i32; 2]| {
            let indices = TensorView::from_slice(Shape::new(&[2]).unwrap(), indices).unwrap();
            first_channel::<f32>([2, 3, 4, 2], |p, s, d| {
                crop_and_resize(p, (how, -7.0), s, boxes, indices, d)
            })
        };
        assert_close(&run(&[0, 0]).unwrap(), expected, "crop");
        assert!(matches!(run(&[0, 1]), Err(KernelError::Index { position: 1, .. })));
    }
}
