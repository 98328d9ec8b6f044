//! Ragged tensors to others: RaggedTensorToTensor, RaggedTensorToSparse.
//!
//! RaggedTensorToTensor: a shape (-1 for an axis that is as long as the longest row, a scalar -1 for all), values, what
//! stands where there are none, and a tensor for each of `row_partition_types`: FIRST_DIM_SIZE, VALUE_ROWIDS, ROW_SPLITS.
//! RaggedTensorToSparse: splits of each level and values; coordinates, values and shape of a sparse tensor. Any type.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_format::{AttrValue, ListValue};
use tightfit_kernels::{RowPartition, Whole, broadcast_to, ragged_to_dense};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::sparse::common::give_dims;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "RaggedTensorToTensor", import: import_to_tensor },
    Registration { name: "RaggedTensorToSparse", import: import_to_sparse },
];

/// What a tensor says of the rows of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    FirstDimSize,
    ValueRowids,
    RowSplits,
}

fn import_to_tensor(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let refuse = |why: String| OpError::attribute("row_partition_types", why);
    let names = match attributes.node().attr("row_partition_types") {
        Some(AttrValue::List(ListValue::Strs(names))) => names,
        _ => return Err(refuse("is missing or no list of names".into())),
    };
    let kind = |name: &[u8]| match name {
        b"FIRST_DIM_SIZE" => Ok(Kind::FirstDimSize),
        b"VALUE_ROWIDS" => Ok(Kind::ValueRowids),
        b"ROW_SPLITS" => Ok(Kind::RowSplits),
        other => Err(refuse(format!("has {}", String::from_utf8_lossy(other)))),
    };
    let kinds = names.iter().map(|name| kind(name)).collect::<Result<Vec<_>, _>>()?;
    let (first, levels) = match kinds.split_first() {
        Some((Kind::FirstDimSize, levels)) => (true, levels),
        Some((Kind::RowSplits, _)) => (false, &kinds[..]),
        _ => return Err(refuse("begins with neither FIRST_DIM_SIZE nor ROW_SPLITS".into())),
    };
    if levels.contains(&Kind::FirstDimSize) || levels.is_empty() || levels.len() >= MAX_RANK {
        return Err(refuse(format!("is {kinds:?}")));
    }
    Ok(Box::new(ToTensor { has_first: first, levels: levels.to_vec() }))
}

/// RaggedTensorToTensor.
#[derive(Debug)]
struct ToTensor {
    /// The first partition says how many rows there are.
    has_first: bool,
    /// The other ones, from the outermost.
    levels: Vec<Kind>,
}

const VALUES: usize = 1;
const DEFAULT: usize = 2;
const PARTITIONS: usize = 3;

fn whole<'a>(run: &Run<'a>, input: usize) -> Result<Whole<'a>, OpError> {
    Ok(match run.dtype(input) {
        DType::I64 => Whole::I64(run.slice(input)?),
        _ => Whole::I32(run.slice(input)?),
    })
}

fn splits<'a>(run: &Run<'a>, level: usize) -> Result<RowPartition<'a>, OpError> {
    whole(run, level).map(RowPartition::Splits)
}

/// Refuses a default of as many axes as the values have, or of which an axis does not fit. TensorFlow compares its axes
/// with those of a value from the first on, and repeats it along the last.
fn check_default<D: std::fmt::Debug>(
    default: &[D],
    values: &[D],
    fits: impl Fn(&D, &D) -> bool,
) -> Result<(), OpError> {
    if default.len() < values.len() && default.iter().zip(&values[1..]).all(|(dim, own)| fits(dim, own)) {
        return Ok(());
    }
    Err(OpError::input(DEFAULT, format!("is of shape {default:?}, and values are of {values:?}")))
}

impl ToTensor {
    fn level_input(&self, level: usize) -> usize {
        PARTITIONS + self.has_first as usize + level
    }

    fn partition<'a>(&self, run: &Run<'a>, level: usize) -> Result<RowPartition<'a>, OpError> {
        let of = whole(run, self.level_input(level))?;
        Ok(match self.levels[level] {
            Kind::RowSplits => RowPartition::Splits(of),
            _ => RowPartition::RowIds(of),
        })
    }

    /// How many rows there are.
    fn rows(&self, run: &Run<'_>) -> Result<usize, OpError> {
        let first = whole(run, PARTITIONS)?;
        if !self.has_first {
            return first.len().checked_sub(1).ok_or_else(|| OpError::input(PARTITIONS, "has no splits"));
        }
        match first.len() {
            1 => usize::try_from(first.get(0))
                .map_err(|_| OpError::input(PARTITIONS, format!("is {}", first.get(0)))),
            n => Err(OpError::input(PARTITIONS, format!("has {n} elements; a scalar is needed"))),
        }
    }

    /// The output's dimensions.
    fn dims(&self, run: &Run<'_>) -> Result<Shape, OpError> {
        let asked = run.ints::<MAX_RANK>(0)?;
        let values = run.shape(VALUES);
        let (_, inner) = values.split_first().ok_or_else(|| OpError::input(VALUES, "is a scalar"))?;
        let rank = self.levels.len() + 1 + inner.len();
        let is_open = run.shape(0).rank() == 0;
        if !is_open && asked.len() != rank || rank > MAX_RANK {
            return Err(OpError::input(0, format!("is of {} axes; {rank} are needed", asked.len())));
        }
        let mut dims = [0; MAX_RANK];
        for (axis, dim) in dims[..rank].iter_mut().enumerate() {
            let asked = if is_open { -1 } else { asked[axis] };
            let own = axis.checked_sub(self.levels.len() + 1).map(|n| inner[n]);
            *dim = match (usize::try_from(asked).ok(), own) {
                (Some(asked), Some(own)) if asked != own => {
                    return Err(OpError::input(0, format!("asks for {asked} where values have {own}")));
                }
                (_, Some(own)) => own,
                (Some(asked), None) => asked,
                (None, None) if axis == 0 => self.rows(run)?,
                (None, None) => self.partition(run, axis - 1)?.widest(),
            };
        }
        Ok(Shape::new(&dims[..rank])?)
    }
}

impl Operator for ToTensor {
    fn name(&self) -> &'static str {
        "RaggedTensorToTensor"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (shape, values) = (shared::input(inputs, 0)?, shared::input(inputs, VALUES)?);
        shared::need_type(0, shape, &[DType::I32, DType::I64])?;
        if shape.dims.rank().is_some_and(|rank| rank > 1) {
            return Err(OpError::input(0, format!("is of shape {}; a vector is needed", shape.dims)));
        }
        shared::extent::check_open_shape(0, shape)?;
        let default = shared::input(inputs, DEFAULT)?;
        shared::need_type(DEFAULT, default, &[values.dtype])?;
        if let (Some(default), Some(values)) = (default.dims.get(), values.dims.get()) {
            check_default(default, values, |dim, own| match (dim.size(), own.size()) {
                (Some(dim), Some(own)) => dim == 1 || dim == own || inputs.iter().any(|fact| fact.is_bound),
                _ => true,
            })?;
        }
        for (index, input) in inputs.iter().enumerate().skip(PARTITIONS) {
            shared::need_type(index, input, &[DType::I32, DType::I64])?;
        }
        let partitions = self.has_first as usize + self.levels.len();
        if inputs.len() != PARTITIONS + partitions {
            return Err(OpError::input(PARTITIONS, format!("and those after are not {partitions}")));
        }
        let Some(value_dims) = values.dims.get() else {
            return Ok(vec![Fact::new(values.dtype, Dims::UNKNOWN)]);
        };
        let Some((_, inner)) = value_dims.split_first() else {
            return Err(OpError::input(VALUES, "is a scalar"));
        };
        let outer = self.levels.len() + 1;
        let asked = shape.dims_value().filter(|_| shape.dims.rank() == Some(1));
        let first = shared::input(inputs, PARTITIONS)?;
        let rows = match self.has_first {
            true => first.dims_value().and_then(|dims| dims.first().copied()).unwrap_or(Dim::Unknown),
            false => first
                .dims
                .get()
                .and_then(|dims| dims.first())
                .map_or(Dim::Unknown, |n| shared::extent::minus(*n, Dim::Known(1))),
        };
        let mut dims = vec![Dim::Unknown; outer];
        for (axis, dim) in dims.iter_mut().enumerate() {
            *dim = match asked.as_ref().and_then(|asked| asked.get(axis)) {
                Some(Dim::Known(..0)) | None
                    if axis == 0 && (asked.is_some() || shape.dims.rank() == Some(0)) =>
                {
                    rows
                }
                Some(Dim::Known(n @ 0..)) => Dim::Known(*n),
                Some(Dim::Known(_)) | None => Dim::Unknown,
                Some(dim) => *dim,
            };
        }
        dims.extend_from_slice(inner);
        if let Some(asked) = &asked
            && asked.len() != dims.len()
        {
            return Err(OpError::input(0, format!("is of {} axes; {} are needed", asked.len(), dims.len())));
        }
        Ok(vec![Fact::new(values.dtype, Dims::new(dims))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let shape = shared::input(inputs, 0)?;
        if shape.dims.rank() == Some(0) && shape.int() != Some(-1) {
            return Err(OpError::input(0, "is a scalar other than the constant -1; a vector is needed"));
        }
        if self.has_first && shared::input(inputs, PARTITIONS)?.dims.rank().is_some_and(|rank| rank > 0) {
            return Err(OpError::input(PARTITIONS, "is the number of rows, and no scalar"));
        }
        (0..self.levels.len())
            .map(|level| self.level_input(level))
            .try_for_each(|input| shared::dims_of_rank(input, shared::input(inputs, input)?, 1).map(|_| ()))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let dims = self.dims(run).ok()?;
        run.set_output_shape(0, dims).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dims = self.dims(run)?;
        run.set_output_shape(0, dims)?;
        let (values, default) = (run.input(VALUES)?, run.input(DEFAULT)?);
        check_default(default.shape(), values.shape(), |dim, own| *dim == 1 || dim == own)?;
        // Of nothing TensorFlow does not look at the partitions.
        if dims.contains(&0) {
            return Ok(());
        }
        let outer = self.levels.len() + 1;
        let mut rows = self.rows(run)?;
        for (level, kind) in self.levels.iter().enumerate() {
            let partition = self.partition(run, level)?;
            // The last rows, and the last values, may be left out.
            let named = partition.values();
            if *kind == Kind::RowSplits {
                rows = rows.min(run.shape(self.level_input(level)).elements().saturating_sub(1));
            }
            let of_values = (level + 1 == self.levels.len()).then(|| values.shape()[0].min(named));
            partition.check(Some(rows), of_values)?;
            rows = named;
        }
        let mut output = run.output(0)?;
        broadcast_to(run.pool, default, &mut output)?;
        let inner = dims[outer..].iter().product::<usize>() * values.dtype().bytes();
        // The inputs were read above.
        let place = |level: usize, value: usize| {
            self.partition(run, level).map_or((usize::MAX, usize::MAX), |partition| partition.place(value))
        };
        let named = values.bytes().get(..rows * inner).unwrap_or(values.bytes());
        Ok(ragged_to_dense(&dims[..outer], &place, (named, inner), output.bytes())?)
    }
}

fn import_to_sparse(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.count("RAGGED_RANK")? {
        0 => Err(OpError::attribute("RAGGED_RANK", "is 0; at least 1 is needed")),
        levels => Ok(Box::new(ToSparse { levels })),
    }
}

/// RaggedTensorToSparse.
#[derive(Debug)]
struct ToSparse {
    levels: usize,
}

impl Operator for ToSparse {
    fn name(&self) -> &'static str {
        "RaggedTensorToSparse"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        for index in 0..self.levels {
            let splits = shared::input(inputs, index)?;
            shared::need_type(index, splits, &[DType::I32, DType::I64])?;
            shared::dims_of_rank(index, splits, 1)?;
        }
        let values = shared::input(inputs, self.levels)?;
        if values.dims.rank() == Some(0) {
            return Err(OpError::input(self.levels, "is a scalar"));
        }
        let rank = values.dims.rank().map_or(Dim::Unknown, |rank| Dim::Known((self.levels + rank) as i64));
        let count = values.dims.elements();
        Ok(vec![
            Fact::new(DType::I64, Dims::new([count, rank])),
            Fact::new(values.dtype, Dims::new([count])),
            Fact::new(DType::I64, Dims::new([rank])),
        ])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let values = run.shape(self.levels);
        reshape::set(run, 0, [values.elements(), self.levels + values.rank()])?;
        reshape::set(run, 1, [values.elements()])?;
        reshape::set(run, 2, [self.levels + values.rank()])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let values = run.input(self.levels)?;
        let shape = *values.shape();
        if shape.rank() == 0 || self.levels + shape.rank() > MAX_RANK {
            return Err(OpError::input(self.levels, format!("is of shape {shape}")));
        }
        let mut dims = [0i64; MAX_RANK];
        let rank = self.levels + shape.rank();
        let mut rows = None;
        for level in 0..self.levels {
            let partition = splits(run, level)?;
            partition.check(rows, (level + 1 == self.levels).then_some(shape[0]))?;
            rows = Some(partition.values());
            if level == 0 {
                dims[0] = whole(run, 0)?.len() as i64 - 1;
            }
            dims[level + 1] = partition.widest() as i64;
        }
        for (axis, dim) in shape.iter().enumerate().skip(1) {
            dims[self.levels + axis] = *dim as i64;
        }
        let (to, to_values) = (run.out::<i64>(0)?, run.out_bytes(1)?);
        to_values.copy_from_slice(values.bytes());
        for (n, to) in to.chunks_exact_mut(rank).enumerate() {
            let mut rest = n;
            for axis in (1..shape.rank()).rev() {
                to[self.levels + axis] = (rest % shape[axis]) as i64;
                rest /= shape[axis];
            }
            for level in (0..self.levels).rev() {
                let (row, position) = splits(run, level)?.place(rest);
                to[level + 1] = position as i64;
                rest = row;
            }
            to[0] = rest as i64;
        }
        give_dims(run, 2, rank, dims.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, operator, refuses, scalar, tensor};
    use tightfit_format::{AttrValue, ListValue};

    fn names(names: &[&str]) -> AttrValue {
        AttrValue::List(ListValue::Strs(names.iter().map(|name| name.as_bytes().into()).collect()))
    }

    #[test]
    fn rows_are_filled_and_cut() {
        let types = [("row_partition_types", names(&["ROW_SPLITS"]))];
        let inputs = |shape: &[i64]| {
            [
                tensor(&[2], shape),
                tensor(&[4], &[1f32, 2.0, 3.0, 4.0]),
                scalar(0f32),
                tensor(&[4], &[0i64, 3, 3, 4]),
            ]
        };
        let full = tensor(&[3, 3], &[1f32, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
        let outputs = crate::testing::run("RaggedTensorToTensor", &types, &inputs(&[2, 2])).unwrap();
        assert_eq!(outputs, [tensor(&[2, 2], &[1f32, 2.0, 0.0, 0.0])]);
        let wide = crate::testing::run("RaggedTensorToTensor", &types, &inputs(&[3, 3])).unwrap();
        assert_eq!(wide, [full]);
        assert!(
            operator("RaggedTensorToTensor", &[("row_partition_types", names(&["VALUE_ROWIDS"]))]).is_err()
        );
        let mut bad = inputs(&[2, 2]);
        bad[3] = tensor(&[4], &[0i64, 3, 2, 4]);
        refuses("RaggedTensorToTensor", &types, &bad, "never fall");
        let mut bad = inputs(&[2, 2]);
        bad[2] = tensor(&[1], &[0f32]);
        refuses("RaggedTensorToTensor", &types, &bad, "input 2");
        refuses("RaggedTensorToTensor", &types, &inputs(&[-1, -2]), "at least -1");
        bad = inputs(&[2, 2]);
        bad[0] = tensor(&[1, 2], &[2i64, 2]);
        refuses("RaggedTensorToTensor", &types, &bad, "a vector is needed");
    }

    #[test]
    fn what_partitions_leave_out() {
        let types = [("row_partition_types", names(&["ROW_SPLITS"; 2]))];
        let inputs = |first: &[i64], second: &[i64], values: &[f32]| {
            [
                scalar(-1i32),
                tensor(&[values.len()], values),
                scalar(9f32),
                tensor(&[first.len()], first),
                tensor(&[second.len()], second),
            ]
        };
        let run = |inputs: &[_]| crate::testing::run("RaggedTensorToTensor", &types, inputs);
        // Rows and values at the end that no split names, and of nothing all partitions.
        let cut = run(&inputs(&[0, 2], &[0, 1], &[1.0, 2.0])).unwrap();
        assert_eq!(cut, [tensor(&[1, 2, 1], &[1f32, 9.0])]);
        assert_eq!(run(&inputs(&[0, 0], &[], &[])).unwrap(), [tensor(&[1, 0, 0], &[0f32; 0])]);
        assert!(run(&inputs(&[0, 1], &[0, 1, 2], &[1.0, 2.0])).is_err());
    }

    #[test]
    fn values_get_coordinates() {
        let inputs = [tensor(&[4], &[0i64, 1, 1, 3]), tensor(&[3, 1], &[7i32, 8, 9])];
        let sparse = [
            tensor(&[3, 3], &[0i64, 0, 0, 2, 0, 0, 2, 1, 0]),
            tensor(&[3], &[7i32, 8, 9]),
            tensor(&[3], &[3i64, 2, 1]),
        ];
        check("RaggedTensorToSparse", &[("RAGGED_RANK", int(1))], &inputs, &sparse);
    }

    #[test]
    fn a_scalar_shape_is_any() {
        use crate::dim::Dims;
        use crate::fact::Fact;
        use tightfit_core::DType;
        let types = [("row_partition_types", names(&["FIRST_DIM_SIZE", "VALUE_ROWIDS"]))];
        let made = operator("RaggedTensorToTensor", &types).unwrap();
        let inputs = [DType::I32, DType::F32, DType::F32, DType::I64, DType::I64]
            .map(|dtype| Fact::new(dtype, Dims::scalar()));
        let why = made.check(&inputs.each_ref()).unwrap_err().to_string();
        assert!(why.contains("scalar other than the constant -1"), "{why}");
        let mut vector = inputs;
        vector[0] = Fact::new(DType::I32, Dims::of_rank(1));
        assert!(made.check(&vector.each_ref()).unwrap_err().to_string().contains("rank 1 is needed"));
        vector[4] = Fact::new(DType::I64, Dims::of_rank(1));
        assert!(made.check(&vector.each_ref()).is_ok());
        vector[3] = Fact::new(DType::I64, Dims::of_rank(1));
        assert!(made.check(&vector.each_ref()).unwrap_err().to_string().contains("number of rows"));
    }
}
