//! The elements of tensors as the numbers that they stand for.

use tightfit_core::{DType, MemoryBudget, Quantization, TensorView};
use tightfit_graph::exec::Feed;

use super::Difference;
use crate::compare::noise::Noise;
use crate::error::Error;
use crate::tensor::Tensor;

/// A tensor whose elements are looked at as numbers.
pub(super) struct Numbers<'t> {
    view: TensorView<'t>,
    scale: f64,
    zero_point: f64,
    /// Whether the file says what its elements stand for.
    is_told: bool,
}

impl<'t> Numbers<'t> {
    /// # Errors
    /// [`Error::Usage`] for elements that are no real numbers.
    pub fn new(view: TensorView<'t>, quantization: Option<&Quantization>) -> Result<Numbers<'t>, Error> {
        if matches!(view.dtype(), DType::String | DType::C64 | DType::C128) {
            return Err(Error::Usage(format!("elements of type {} are not compared", view.dtype())));
        }
        let one = quantization.filter(|own| own.scales.len() == 1 && own.axis.is_none());
        let (scale, zero_point) = one.map_or((1.0, 0.0), |own| {
            let zero = own.zero_points.first().copied().unwrap_or(0);
            (own.scales.first().copied().unwrap_or(1.0).into(), zero as f64)
        });
        Ok(Numbers { view, scale, zero_point, is_told: one.is_some() })
    }

    pub fn len(&self) -> usize {
        self.view.shape().elements()
    }

    /// An element.
    pub fn get(&self, index: usize) -> f64 {
        let size = self.view.dtype().bytes();
        let bytes = self.view.bytes().get(index * size..(index + 1) * size).unwrap_or_default();
        (number(self.view.dtype(), bytes) - self.zero_point) * self.scale
    }

    /// How many elements a row has, where there are so many rows.
    fn row(&self, rows: usize) -> usize {
        self.len().checked_div(rows).unwrap_or(0)
    }

    fn top(&self, row: usize, elements: usize) -> usize {
        let of_row = |index: usize| self.get(row * elements + index);
        (1..elements).fold(0, |best, index| if of_row(index) > of_row(best) { index } else { best })
    }

    /// Rows whose largest element is the label.
    pub fn right_rows(&self, labels: &[i64]) -> u64 {
        let elements = self.row(labels.len());
        let is_right = |(row, label): &(usize, &i64)| self.top(*row, elements) as i64 == **label;
        labels.iter().enumerate().filter(is_right).count() as u64
    }
}

fn number(dtype: DType, bytes: &[u8]) -> f64 {
    match (dtype, bytes) {
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).into(),
        (DType::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).into(),
        (DType::BF16, &[a, b]) => half::bf16::from_le_bytes([a, b]).into(),
        (DType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        (DType::I8, &[a]) => f64::from(a as i8),
        (DType::U8 | DType::Bool, &[a]) => a.into(),
        (DType::I16, &[a, b]) => i16::from_le_bytes([a, b]).into(),
        (DType::U16, &[a, b]) => u16::from_le_bytes([a, b]).into(),
        (DType::I32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]).into(),
        (DType::U32, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]).into(),
        (DType::I64, &[a, b, c, d, e, f, g, h]) => i64::from_le_bytes([a, b, c, d, e, f, g, h]) as f64,
        (DType::U64, &[a, b, c, d, e, f, g, h]) => u64::from_le_bytes([a, b, c, d, e, f, g, h]) as f64,
        _ => f64::NAN,
    }
}

/// Floats as the integers that an input takes; `None` where it takes what there is.
///
/// # Errors
/// [`Error::Usage`] for an input of another type, and what the memory says.
pub(super) fn fed(
    feed: &Feed<'_>,
    (wanted, quantization): &(DType, Option<Quantization>),
    budget: &MemoryBudget,
) -> Result<Option<Tensor>, Error> {
    let Feed::Tensor(view) = feed else { return Ok(None) };
    if view.dtype() == *wanted {
        return Ok(None);
    }
    let one = quantization.as_ref().filter(|own| own.scales.len() == 1);
    let (Some(own), DType::F32, DType::I8 | DType::U8 | DType::I16) = (one, view.dtype(), *wanted) else {
        let found = view.dtype();
        return Err(Error::Usage(format!("one model takes {found} where the other takes {wanted}")));
    };
    let (scale, zero) = (own.scales[0], own.zero_points.first().copied().unwrap_or(0) as f32);
    let mut tensor = Tensor::zeros(budget, *wanted, *view.shape())?;
    if let Tensor::Dense { bytes, .. } = &mut tensor {
        for (to, from) in bytes.chunks_exact_mut(wanted.bytes()).zip(view.bytes().as_chunks::<4>().0) {
            let value = (f32::from_le_bytes(*from) / scale).round() + zero;
            // A conversion cuts off at the ends of the type.
            match wanted {
                DType::I8 => to.copy_from_slice(&(value as i8).to_le_bytes()),
                DType::U8 => to.copy_from_slice(&[value as u8]),
                _ => to.copy_from_slice(&(value as i16).to_le_bytes()),
            }
        }
    }
    Ok(Some(tensor))
}

/// The differences of an output, added up.
pub(super) struct Measure {
    names: [String; 2],
    elements: u64,
    max_error: f64,
    noise: Noise,
    rows: u64,
    same_rows: u64,
}

impl Measure {
    pub fn new(name: &str) -> Measure {
        Measure {
            names: [name.to_string(), String::new()],
            elements: 0,
            max_error: 0.0,
            noise: Noise::default(),
            rows: 0,
            same_rows: 0,
        }
    }

    /// Adds the elements of a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] for tensors of other sizes.
    pub fn add(
        &mut self,
        a: &Numbers<'_>,
        b: &Numbers<'_>,
        names: (&str, &str),
        rows: usize,
    ) -> Result<(), Error> {
        let is_integer = |own: &Numbers<'_>| {
            !matches!(own.view.dtype(), DType::F32 | DType::F16 | DType::BF16 | DType::F64)
        };
        if is_integer(a) != is_integer(b) && !a.is_told && !b.is_told {
            let why = format!("'{}' is of integers, and the file does not say what they stand for", names.1);
            return Err(Error::Usage(why));
        }
        // What is after the rows of a batch that was filled up is not looked at.
        if a.row(rows) != b.row(rows) && a.len() != b.len() {
            let (left, right) = (a.view.shape(), b.view.shape());
            return Err(Error::Usage(format!("'{}' is {left} and '{}' is {right}", names.0, names.1)));
        }
        self.names[1] = names.1.to_string();
        for index in 0..a.len().min(b.len()) {
            let (left, right) = (a.get(index), b.get(index));
            let error = if left == right { 0.0 } else { (left - right).abs() };
            // A NaN on one side alone is no agreement.
            let error = if left.is_nan() && right.is_nan() { 0.0 } else { error };
            self.max_error = if error.is_nan() { f64::NAN } else { self.max_error.max(error) };
            if left.is_finite() {
                self.noise.signal += left * left;
            }
            self.noise.noise += error * error;
            self.elements += 1;
        }
        let elements = a.row(rows);
        if elements > 1 {
            self.rows += rows as u64;
            self.same_rows +=
                (0..rows).filter(|row| a.top(*row, elements) == b.top(*row, elements)).count() as u64;
        }
        Ok(())
    }

    pub fn finish(self) -> Difference {
        Difference {
            names: self.names,
            elements: self.elements,
            max_error: self.max_error,
            snr_db: self.noise.snr_db(),
            top1_agreement: (self.rows > 0).then(|| 100.0 * self.same_rows as f64 / self.rows as f64),
        }
    }
}
