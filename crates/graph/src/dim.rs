//! Dimensions and shapes that may not be numbers yet.

use std::fmt;

use tightfit_core::{Shape, ShapeError};

/// The most dimensions that a shape may have here: TensorFlow's own bound, `TensorShape::MaxDimensions`.
pub(crate) const MOST_DIMS: usize = 254;

/// One dimension of a tensor before its inputs are bound, or one element of a small integer tensor that is
/// computed from dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number.
    Known(i64),
    /// A multiple of a dimension of some input, for example of the batch.
    Symbol {
        /// Which input dimension.
        symbol: Symbol,
        /// How many times it is taken; at least 1.
        times: i64,
    },
    /// Not expressible; a number once the inputs are bound.
    Unknown,
}

/// A dimension of an input that the model leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub u32);

impl Symbol {
    /// The first dimension of every input that leaves it open.
    pub const BATCH: Symbol = Symbol(0);
}

impl Dim {
    /// The dimension an open input dimension has.
    pub fn of(symbol: Symbol) -> Dim {
        Dim::Symbol { symbol, times: 1 }
    }

    /// The number, when it is one.
    pub fn known(self) -> Option<i64> {
        match self {
            Dim::Known(n) => Some(n),
            _ => None,
        }
    }

    /// The number as a size, when it is one and not negative.
    pub fn size(self) -> Option<usize> {
        self.known().and_then(|n| usize::try_from(n).ok())
    }

    /// The product, or `Unknown` when it is no multiple of one symbol.
    pub fn times(self, other: Dim) -> Dim {
        match (self, other) {
            (Dim::Known(0), _) | (_, Dim::Known(0)) => Dim::Known(0),
            (Dim::Known(1), d) | (d, Dim::Known(1)) => d,
            (Dim::Known(a), Dim::Known(b)) => a.checked_mul(b).map_or(Dim::Unknown, Dim::Known),
            (Dim::Known(k), Dim::Symbol { symbol, times })
            | (Dim::Symbol { symbol, times }, Dim::Known(k))
                if k > 0 =>
            {
                times.checked_mul(k).map_or(Dim::Unknown, |times| Dim::Symbol { symbol, times })
            }
            _ => Dim::Unknown,
        }
    }

    /// The quotient where it is exact and expressible, else `Unknown`.
    pub fn divided_by(self, other: Dim) -> Dim {
        match (self, other) {
            (d, Dim::Known(1)) => d,
            (Dim::Known(a), Dim::Known(b)) if a.checked_rem(b) == Some(0) => Dim::Known(a / b),
            (Dim::Symbol { symbol, times }, Dim::Known(k)) if k > 0 && times % k == 0 => {
                Dim::Symbol { symbol, times: times / k }
            }
            (Dim::Symbol { symbol: a, times: s }, Dim::Symbol { symbol: b, times: t })
                if a == b && s % t == 0 =>
            {
                Dim::Known(s / t)
            }
            _ => Dim::Unknown,
        }
    }

    /// The sum, or `Unknown` when it is no multiple of one symbol.
    pub fn plus(self, other: Dim) -> Dim {
        match (self, other) {
            (Dim::Known(0), d) | (d, Dim::Known(0)) => d,
            (Dim::Known(a), Dim::Known(b)) => a.checked_add(b).map_or(Dim::Unknown, Dim::Known),
            (Dim::Symbol { symbol: a, times: s }, Dim::Symbol { symbol: b, times: t }) if a == b => {
                s.checked_add(t).map_or(Dim::Unknown, |times| Dim::Symbol { symbol: a, times })
            }
            _ => Dim::Unknown,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol { symbol: Symbol::BATCH, times: 1 } => f.write_str("batch"),
            Dim::Symbol { symbol: Symbol::BATCH, times } => write!(f, "{times}*batch"),
            Dim::Symbol { symbol: Symbol(s), times: 1 } => write!(f, "d{s}"),
            Dim::Symbol { symbol: Symbol(s), times } => write!(f, "{times}*d{s}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// A shape whose rank or dimensions may be open.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dims(Option<Vec<Dim>>);

impl Dims {
    /// The shape of which nothing is known.
    pub const UNKNOWN: Dims = Dims(None);

    /// The shape with these dimensions.
    pub fn new(dims: impl Into<Vec<Dim>>) -> Dims {
        Dims(Some(dims.into()))
    }

    /// A scalar's shape.
    pub fn scalar() -> Dims {
        Dims(Some(Vec::new()))
    }

    /// A shape of a rank of which no dimension is known; of more than any tensor has, which is what a graph's data may ask
    /// for, nothing is known at all.
    pub fn of_rank(rank: usize) -> Dims {
        Dims((rank <= MOST_DIMS).then(|| vec![Dim::Unknown; rank]))
    }

    /// The dimensions, when the rank is known.
    pub fn get(&self) -> Option<&[Dim]> {
        self.0.as_deref()
    }

    /// The number of dimensions, when it is known.
    pub fn rank(&self) -> Option<usize> {
        self.get().map(<[Dim]>::len)
    }

    /// The concrete shape, when every dimension is a number.
    pub fn concrete(&self) -> Option<Shape> {
        let dims: Option<Vec<usize>> = self.get()?.iter().map(|d| d.size()).collect();
        Shape::new(&dims?).ok()
    }

    /// The number of elements.
    pub fn elements(&self) -> Dim {
        self.get().map_or(Dim::Unknown, |dims| dims.iter().fold(Dim::Known(1), |n, d| n.times(*d)))
    }
}

impl Dims {
    /// The shape of an elementwise result of two tensors, by numpy's rules; `None` when they do not broadcast.
    pub fn broadcast(&self, other: &Dims) -> Option<Dims> {
        let (Some(a), Some(b)) = (self.get(), other.get()) else { return Some(Dims::UNKNOWN) };
        let rank = a.len().max(b.len());
        let dim = |dims: &[Dim], axis: usize| {
            (axis + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |i| dims[i])
        };
        let dims = (0..rank).map(|axis| match (dim(a, axis), dim(b, axis)) {
            (Dim::Known(1), d) | (d, Dim::Known(1)) => Some(d),
            (x, y) if x == y => Some(x),
            (Dim::Known(_), Dim::Known(_)) => None,
            // Either an open dimension is 1 or it is the known one; the result is the known one.
            (Dim::Known(n), _) | (_, Dim::Known(n)) => Some(Dim::Known(n)),
            _ => Some(Dim::Unknown),
        });
        dims.collect::<Option<Vec<_>>>().map(Dims::new)
    }

    /// True when both are known to be the same at run time.
    pub fn is_surely(&self, other: &Dims) -> bool {
        matches!((self.get(), other.get()), (Some(a), Some(b)) if a == b && !a.contains(&Dim::Unknown))
    }
}

impl From<Shape> for Dims {
    fn from(shape: Shape) -> Dims {
        Dims::new(shape.iter().map(|d| Dim::Known(*d as i64)).collect::<Vec<_>>())
    }
}

impl TryFrom<&Dims> for Shape {
    type Error = Option<ShapeError>;

    /// The concrete shape; the error is `None` where a dimension is open.
    fn try_from(dims: &Dims) -> Result<Shape, Option<ShapeError>> {
        let sizes: Option<Vec<usize>> = dims.get().ok_or(None)?.iter().map(|d| d.size()).collect();
        Shape::new(&sizes.ok_or(None)?).map_err(Some)
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(dims) = self.get() else { return f.write_str("[..]") };
        f.write_str("[")?;
        for (i, dim) in dims.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_no_tensor_has_takes_no_memory() {
        assert_eq!(Dims::of_rank(MOST_DIMS).rank(), Some(MOST_DIMS));
        assert_eq!(Dims::of_rank(i64::MAX as usize), Dims::UNKNOWN);
    }

    #[test]
    fn arithmetic_keeps_the_batch() {
        let batch = Dim::of(Symbol::BATCH);
        let rows = batch.times(Dim::Known(128));
        assert_eq!(rows.to_string(), "128*batch");
        assert_eq!(rows.times(Dim::Known(768)).divided_by(Dim::Known(128 * 768)), batch);
        assert_eq!(rows.divided_by(batch), Dim::Known(128));
        assert_eq!(rows.plus(batch).to_string(), "129*batch");
        assert_eq!(batch.plus(Dim::Known(1)), Dim::Unknown);
        assert_eq!(batch.times(batch), Dim::Unknown);
        assert_eq!(Dim::Known(7).divided_by(Dim::Known(2)), Dim::Unknown);
    }
}
