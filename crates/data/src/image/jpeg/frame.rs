//! What a frame header says, and the sizes that follow from it. Source: ITU-T T.81, A.1, A.2 and B.2.2.

use super::Stop;

/// The longest side that libjpeg takes.
const MAX_SIDE: usize = 65_500;

/// Samples of all components from which on TensorFlow refuses a picture.
const MAX_SAMPLES: u64 = 1 << 29;

/// Coefficients across a block, and down.
const BLOCK: usize = 8;

/// Bytes of a frame header of four components, without marker and length.
pub(super) const FRAME_BYTES: usize = 6 + 3 * 4;

/// One component of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    /// What scans call it.
    pub id: u8,
    /// Sampling factor across, 1 to 4.
    pub h: usize,
    /// Sampling factor down, 1 to 4.
    pub v: usize,
    /// Which quantisation table it takes.
    pub quant: u8,
    /// Samples across that a block becomes, and down: 8, 4, 2 or 1.
    pub size: usize,
    /// Samples across, of blocks of that size.
    pub width: usize,
    /// Lines of samples.
    pub height: usize,
    /// Blocks that cover it, across and down.
    pub blocks: [usize; 2],
    /// Blocks of whole MCUs, across and down.
    pub padded: [usize; 2],
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub is_progressive: bool,
    /// Pixels across that are made of it.
    pub width: usize,
    /// Lines of pixels.
    pub height: usize,
    /// Pixels across that a block of the finest component becomes, and down: 8, 4, 2 or 1.
    pub unit: usize,
    components: [Component; 4],
    count: usize,
    /// The largest sampling factors, across and down.
    pub h_max: usize,
    pub v_max: usize,
    /// MCUs of an interleaved scan, across and down.
    pub mcus: [usize; 2],
}

impl Frame {
    /// Reads the header that follows `marker`.
    pub fn new(marker: u8, content: &[u8]) -> Result<Frame, Stop> {
        let [precision, h1, h0, w1, w0, count, listed @ ..] = content else {
            return Err(Stop::Broken("a JPEG with a frame header that is too short"));
        };
        let is_progressive = match marker {
            0xc0 | 0xc1 => false,
            0xc2 => true,
            _ => {
                return Err(Stop::Broken(
                    "a JPEG of a lossless, hierarchical or arithmetic process, which is not decoded",
                ));
            }
        };
        let [height, width] = [[*h1, *h0], [*w1, *w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        if *precision != 8 {
            return Err(Stop::Broken("a JPEG of other than 8 bits a sample, which is not decoded"));
        }
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(Stop::Broken("a JPEG of a size that is not decoded"));
        }
        let count = usize::from(*count);
        if !matches!(count, 1 | 3 | 4) || listed.len() != 3 * count {
            return Err(Stop::Broken("a JPEG of a number of components that is not decoded"));
        }
        if (width * height) as u64 * count as u64 >= MAX_SAMPLES {
            return Err(Stop::Broken("a JPEG of more samples than are decoded"));
        }
        let listed = listed.as_chunks::<3>().0;
        let factors = |listed: &[u8; 3]| [usize::from(listed[1] >> 4), usize::from(listed[1] & 15)];
        if listed.iter().flat_map(factors).any(|factor| !(1..=4).contains(&factor)) {
            return Err(Stop::Broken("a JPEG with a sampling factor that is none"));
        }
        let largest = |axis: usize| listed.iter().map(|one| factors(one)[axis]).fold(1, usize::max);
        let (h_max, v_max) = (largest(0), largest(1));
        let mcus = [width.div_ceil(8 * h_max), height.div_ceil(8 * v_max)];
        let component = |listed: &[u8; 3]| {
            let [h, v] = factors(listed);
            let blocks = [(width * h).div_ceil(8 * h_max), (height * v).div_ceil(8 * v_max)];
            let (width, height) = ((width * h).div_ceil(h_max), (height * v).div_ceil(v_max));
            let padded = [mcus[0] * h, mcus[1] * v];
            Component { id: listed[0], h, v, quant: listed[2], size: BLOCK, width, height, blocks, padded }
        };
        let mut components = [component(&listed[0]); 4];
        for (to, listed) in components.iter_mut().zip(listed) {
            *to = component(listed);
        }
        let unit = BLOCK;
        Ok(Frame { is_progressive, width, height, unit, components, count, h_max, v_max, mcus })
    }

    /// The frame of whose blocks pictures are made that are smaller by `ratio`, 1, 2, 4 or 8, each way: components that
    /// are coarser than others are reduced less where that brings them to the picture's size, as in libjpeg.
    pub fn reduced(self, ratio: usize) -> Frame {
        let unit = BLOCK / ratio.clamp(1, BLOCK);
        let (h_max, v_max) = (self.h_max, self.v_max);
        let component = |component: Component| {
            let Component { h, v, .. } = component;
            let mut size = unit;
            while size < BLOCK
                && (h_max * unit).is_multiple_of(2 * h * size)
                && (v_max * unit).is_multiple_of(2 * v * size)
            {
                size *= 2;
            }
            let width = (self.width * h * size).div_ceil(h_max * BLOCK);
            let height = (self.height * v * size).div_ceil(v_max * BLOCK);
            Component { size, width, height, ..component }
        };
        let [width, height] = [self.width, self.height].map(|side| (side * unit).div_ceil(BLOCK));
        Frame { width, height, unit, components: self.components.map(component), ..self }
    }

    /// How many samples of a component, across and down, are as many pixels as [`Frame::h_max`] and [`Frame::v_max`] say.
    pub fn group(&self, component: &Component) -> [usize; 2] {
        [component.h, component.v].map(|factor| factor * component.size / self.unit)
    }

    /// Its components.
    pub fn components(&self) -> &[Component] {
        &self.components[..self.count]
    }

    /// Whether its samples come in more than one scan, `first` of its components in the first.
    pub fn has_many_scans(&self, first: usize) -> bool {
        self.is_progressive || first < self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarser_components_are_reduced_less() {
        let content = [8, 0, 33, 0, 50, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x12, 1];
        let frame = Frame::new(0xc0, &content).ok().unwrap();
        let sizes = |ratio| {
            let reduced = frame.reduced(ratio);
            let of = |component: &Component| {
                (component.size, component.width, component.height, reduced.group(component))
            };
            (reduced.width, reduced.height, reduced.components().iter().map(of).collect::<Vec<_>>())
        };
        assert_eq!(frame.reduced(1), frame);
        let half = vec![(4, 25, 17, [2, 2]), (8, 25, 17, [2, 2]), (4, 13, 17, [1, 2])];
        assert_eq!(sizes(2), (25, 17, half));
        let eighth = vec![(1, 7, 5, [2, 2]), (2, 7, 5, [2, 2]), (1, 4, 5, [1, 2])];
        assert_eq!(sizes(8), (7, 5, eighth));
    }
}
