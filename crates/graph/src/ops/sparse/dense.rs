//! Sparse tensors and dense ones: SparseToDense, SparseTensorDenseAdd, SparseTensorDenseMatMul, SparseDenseCwiseAdd, Mul
//! and Div, SparseMatMul.
//!
//! A sparse tensor is coordinates `[elements, rank]`, values `[elements]` and a shape `[rank]`. SparseToDense puts values
//! (one for all, or one each) at coordinates (also `[elements]` of a vector, or one of it) of a tensor of the shape that its
//! second input holds; with `validate_indices` they must rise. SparseTensorDenseAdd adds elements to a dense tensor of the
//! same shape. SparseTensorDenseMatMul multiplies matrices of float32, float64 or int32 (float16 and bfloat16 are converted
//! around it), either adjoint. SparseDenseCwise* combines each element with the dense one at its place, which is broadcast.
//! SparseMatMul is a product of dense matrices, float32 or bfloat16, which becomes float32; the attributes that say which has
//! many zeros are not looked at.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{
    BadIndex, Combine, Coordinates, DenseCombine, scatter_nd, set_dense, sparse_dense_combine, sparse_matmul,
};

use super::common::{Parts, dims_in, room, room_bytes, sizes};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::product::Fused;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, WeightUse, reshape};
use crate::ops::math::matmul::MatMul;
use crate::ops::shared;
use crate::ops::shared::extent::agree;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "SparseToDense",
        import: |a| Ok(Box::new(SparseToDense { validate: a.bool_or("validate_indices", true)? })),
    },
    Registration { name: "SparseTensorDenseAdd", import: |_| Ok(Box::new(DenseAdd)) },
    Registration {
        name: "SparseTensorDenseMatMul",
        import: |a| {
            let adjoint = (a.bool_or("adjoint_a", false)?, a.bool_or("adjoint_b", false)?);
            Ok(Box::new(DenseMatMul { adjoint }))
        },
    },
    Registration {
        name: "SparseDenseCwiseAdd",
        import: |_| Ok(Box::new(Cwise { name: "SparseDenseCwiseAdd", how: DenseCombine::Add })),
    },
    Registration {
        name: "SparseDenseCwiseMul",
        import: |_| Ok(Box::new(Cwise { name: "SparseDenseCwiseMul", how: DenseCombine::Mul })),
    },
    Registration {
        name: "SparseDenseCwiseDiv",
        import: |_| Ok(Box::new(Cwise { name: "SparseDenseCwiseDiv", how: DenseCombine::Div })),
    },
    Registration { name: "SparseMatMul", import: import_matmul },
];

fn import_matmul(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SparseMatMul(MatMul {
        transpose_a: attributes.bool_or("transpose_a", false)?,
        transpose_b: attributes.bool_or("transpose_b", false)?,
        has_rows: false,
        fused: Fused::default(),
    })))
}

/// SparseMatMul: a product that is float32 whatever its operands are.
#[derive(Debug)]
struct SparseMatMul(MatMul);

impl Operator for SparseMatMul {
    fn name(&self) -> &'static str {
        "SparseMatMul"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.0.infer(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        self.0.memory(call)
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        self.0.weight(call)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        self.0.reshape(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self.0.run(run)
    }

    fn narrows_again(&self) -> bool {
        false
    }
}

/// SparseToDense.
#[derive(Debug)]
struct SparseToDense {
    validate: bool,
}

/// How many elements coordinates are of, and of how many axes.
fn coordinate_dims<T: Copy>(dims: &[T], one: T) -> Option<[T; 2]> {
    match *dims {
        [] => Some([one, one]),
        [count] => Some([count, one]),
        [count, rank] => Some([count, rank]),
        _ => None,
    }
}

impl Operator for SparseToDense {
    fn name(&self) -> &'static str {
        "SparseToDense"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (indices, values) = (shared::input(inputs, 0)?, shared::input(inputs, 2)?);
        shared::need_type(0, indices, &[DType::I32, DType::I64])?;
        shared::need_type(1, shared::input(inputs, 1)?, &[indices.dtype])?;
        let default = shared::input(inputs, 3)?;
        shared::need_type(3, default, &[values.dtype])?;
        shared::dims_of_rank(3, default, 0)?;
        if let Some(dims) = indices.dims.get() {
            let [count, _] = coordinate_dims(dims, Dim::Known(1)).ok_or_else(|| {
                OpError::input(0, format!("is of shape {}; at most rank 2 is needed", indices.dims))
            })?;
            match values.dims.get() {
                None | Some([]) => {}
                Some([n]) if agree(count, *n, indices.is_bound || values.is_bound).is_some() => {}
                _ => {
                    return Err(OpError::input(
                        2,
                        format!("is of shape {} for {count} elements", values.dims),
                    ));
                }
            }
        }
        let dims = dims_in(inputs, 1)?;
        let axes = indices.dims.get().and_then(|dims| coordinate_dims(dims, Dim::Known(1))?[1].size());
        if axes.zip(dims.rank()).is_some_and(|(a, b)| a != b) && !indices.is_bound {
            return Err(OpError::input(
                1,
                format!("asks for {dims} where elements have coordinates {}", indices.dims),
            ));
        }
        Ok(vec![Fact::new(values.dtype, dims)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let numbers = call.inputs.first().filter(|i| i.dtype == DType::I32).map_or(0, |i| i.shape.elements());
        Memory::scratch(room_bytes::<i64>(numbers))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 1)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dims = sizes(run, 1)?;
        let shape = run.shape(0);
        let [count, rank] = coordinate_dims(&shape, 1)
            .ok_or_else(|| OpError::input(0, format!("is of shape {shape}; at most rank 2 is needed")))?;
        if rank != dims.len() {
            return Err(OpError::input(1, format!("asks for {} dimensions; {rank} are needed", dims.len())));
        }
        let (values, default) = (run.input(2)?, run.input(3)?);
        if values.shape().rank() > 0 && values.shape()[..] != [count] {
            return Err(OpError::input(2, format!("is of shape {} for {count} elements", values.shape())));
        }
        // One value that is no scalar is that of the one element.
        let wide = match run.dtype(0) {
            DType::I64 => run.slice::<i64>(0)?,
            _ => {
                let (wide, _) = room::<i64>(run.scratch()?, shape.elements())?;
                wide.iter_mut().zip(run.slice::<i32>(0)?).for_each(|(to, from)| *to = *from as i64);
                wide
            }
        };
        let coordinates = Coordinates::new(wide, count, rank)?;
        let elements = (values.bytes(), default.bytes());
        Ok(set_dense(&coordinates, &dims, elements, self.validate, run.out_bytes(0)?)?)
    }
}

/// SparseTensorDenseAdd.
#[derive(Debug)]
struct DenseAdd;

impl Operator for DenseAdd {
    fn name(&self) -> &'static str {
        "SparseTensorDenseAdd"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, rank) = Parts::from(0).infer(inputs)?;
        let (values, dense) = (shared::input(inputs, 1)?, shared::input(inputs, 3)?);
        shared::need_type(3, dense, &[values.dtype])?;
        if !(dense.dtype.is_float() || dense.dtype.is_integer()) {
            return Err(OpError::input(3, format!("is of type {}, which is not supported", dense.dtype)));
        }
        let dims = dims_in(inputs, 2)?;
        let is_other = |(a, b): (&Dim, &Dim)| a.size().zip(b.size()).is_some_and(|(a, b)| a != b);
        let ranks = rank.size().zip(dense.dims.rank()).is_some_and(|(a, b)| a != b);
        let sizes = dims.get().zip(dense.dims.get()).is_some_and(|(a, b)| a.iter().zip(b).any(is_other));
        if (ranks || sizes) && !dense.is_bound {
            return Err(OpError::input(
                3,
                format!("is of shape {}, not that of the sparse tensor, {dims}", dense.dims),
            ));
        }
        Ok(vec![Fact::new(dense.dtype, dense.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[3])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 3)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dims = run.ints::<MAX_RANK>(2)?;
        let shape = run.shape(3);
        if dims.len() != shape.rank() || dims.iter().zip(shape.iter()).any(|(a, b)| *a != *b as i64) {
            return Err(OpError::input(
                3,
                format!("is of shape {shape}, not that of the sparse tensor, {:?}", &dims[..]),
            ));
        }
        let (indices, values) = (run.input(0)?, run.input(1)?);
        let dense = if run.is_in_place(3) { None } else { Some(run.input(3)?) };
        let mut output = run.output(0)?;
        if let Some(dense) = dense {
            output.bytes().copy_from_slice(dense.bytes());
        }
        if dims.is_empty() {
            return Err(OpError::input(2, "is of no axes"));
        }
        Ok(scatter_nd(Combine::Add, BadIndex::Refused, indices, values, &mut output)?)
    }
}

/// SparseTensorDenseMatMul.
#[derive(Debug)]
struct DenseMatMul {
    adjoint: (bool, bool),
}

fn turned<T: Copy>(dims: &[T], is_adjoint: bool) -> [T; 2] {
    if is_adjoint { [dims[1], dims[0]] } else { [dims[0], dims[1]] }
}

impl Operator for DenseMatMul {
    fn name(&self) -> &'static str {
        "SparseTensorDenseMatMul"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, rank) = Parts::from(0).infer(inputs)?;
        if rank.size().is_some_and(|n| n != 2) {
            return Err(OpError::input(2, format!("is of {rank} axes; a matrix is needed")));
        }
        let (values, dense) = (shared::input(inputs, 1)?, shared::input(inputs, 3)?);
        shared::need_type(1, values, &[DType::F32, DType::F64, DType::I32])?;
        shared::need_type(3, dense, &[values.dtype])?;
        let open = || vec![Dim::Unknown; 2];
        let left = dims_in(inputs, 2)?.get().map_or_else(open, <[Dim]>::to_vec);
        let [m, k] = turned(&left, self.adjoint.0);
        let [depth, n] = turned(&shared::dims_of_rank(3, dense, 2)?.unwrap_or_else(open), self.adjoint.1);
        if k.size().zip(depth.size()).is_some_and(|(a, b)| a != b) && !dense.is_bound {
            return Err(OpError::input(
                3,
                format!("has {depth} rows where the sparse matrix has {k} columns"),
            ));
        }
        Ok(vec![Fact::new(values.dtype, Dims::new([m, n]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let sparse = run.ints::<2>(2).ok()?;
        let [m, _] = turned(sparse.get(..2)?, self.adjoint.0);
        let [_, n] = turned(run.shape(3).get(..2)?, self.adjoint.1);
        reshape::set(run, 0, [usize::try_from(m).ok()?, n])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dims = sizes(run, 2)?;
        let [rows, columns] = dims[..] else { return Err(OpError::input(2, "is of no matrix")) };
        let [m, k] = turned(&[rows as usize, columns as usize], self.adjoint.0);
        let dense = run.input(3)?;
        let [depth, _] = turned(dense.shape(), self.adjoint.1);
        if depth != k {
            return Err(OpError::input(
                3,
                format!("has {depth} rows where the sparse matrix has {k} columns"),
            ));
        }
        let sparse = (run.input(0)?, run.input(1)?);
        if run.output_shape(0).elements() == 0 || dense.shape().elements() == 0 {
            // Where the elements are nobody asks.
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        Ok(sparse_matmul(sparse, self.adjoint, (m, k), dense, &mut run.output(0)?)?)
    }
}

/// SparseDenseCwiseAdd and its like.
#[derive(Debug)]
struct Cwise {
    name: &'static str,
    how: DenseCombine,
}

impl Operator for Cwise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, _) = Parts::from(0).infer(inputs)?;
        let (values, dense) = (shared::input(inputs, 1)?, shared::input(inputs, 3)?);
        shared::need_type(3, dense, &[values.dtype])?;
        if !(values.dtype.is_float() || values.dtype.is_integer()) {
            return Err(OpError::input(1, format!("is of type {}, which is not supported", values.dtype)));
        }
        Ok(vec![Fact::new(values.dtype, Dims::new([count]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 1)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (coordinates, dims) = (Parts::from(0).coordinates(run)?, Parts::from(0).dims(run)?);
        let (values, dense) = (run.input(1)?, run.input(3)?);
        Ok(sparse_dense_combine(self.how, &coordinates, values, &dims, dense, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn elements_go_to_their_places() {
        let (indices, shape) = (tensor(&[2, 2], &[0i64, 1, 1, 0]), tensor(&[2], &[2i64, 2]));
        let inputs = [indices, shape, tensor(&[2], &[5f32, 7.0]), scalar(-1f32)];
        check("SparseToDense", &[], &inputs, &[tensor(&[2, 2], &[-1f32, 5.0, 7.0, -1.0])]);
        let vector = [tensor(&[2], &[3i32, 1]), tensor(&[1], &[4i32]), scalar(9u8), scalar(0u8)];
        refuses("SparseToDense", &[], &vector, "in order");
        let lax = [("validate_indices", flag(false))];
        check("SparseToDense", &lax, &vector, &[tensor(&[4], &[0u8, 9, 0, 9])]);
        let mut outside = inputs.to_vec();
        outside[0] = tensor(&[2, 2], &[0i64, 1, 1, 2]);
        refuses_as_it_runs("SparseToDense", &[], &vector, "in order");
        refuses("SparseToDense", &[], &outside, "indices[3]");
    }

    #[test]
    fn sums_and_products_with_dense_ones() {
        let sparse = |values: &[f32; 2]| {
            [tensor(&[2, 2], &[0i64, 1, 1, 0]), tensor(&[2], values), tensor(&[2], &[2i64, 3])]
        };
        let with = |dense| [sparse(&[5.0, 7.0]).to_vec(), vec![dense]].concat();
        let dense = tensor(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let sum = tensor(&[2, 3], &[1f32, 7.0, 3.0, 11.0, 5.0, 6.0]);
        check("SparseTensorDenseAdd", &[], &with(dense.clone()), &[sum]);
        check("SparseDenseCwiseMul", &[], &with(dense.clone()), &[tensor(&[2], &[10f32, 28.0])]);
        check(
            "SparseDenseCwiseAdd",
            &[],
            &with(tensor(&[2, 1], &[1f32, 2.0])),
            &[tensor(&[2], &[6f32, 9.0])],
        );
        refuses("SparseTensorDenseAdd", &[], &with(tensor(&[3, 2], &[0f32; 6])), "not that of");
        let product = tensor(&[2, 2], &[15f32, 20.0, 7.0, 14.0]);
        let right = tensor(&[3, 2], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check("SparseTensorDenseMatMul", &[], &with(right), &[product.clone()]);
        let turned = tensor(&[2, 3], &[1f32, 3.0, 5.0, 2.0, 4.0, 6.0]);
        check("SparseTensorDenseMatMul", &[("adjoint_b", flag(true))], &with(turned), &[product]);
        refuses("SparseTensorDenseMatMul", &[], &with(dense), "columns");
        // Of nothing, wherever elements are.
        let (outside, one) = (tensor(&[1, 2], &[3i64, 0]), tensor(&[1, 2], &[1f32, 2.0]));
        let none = [outside, tensor(&[1], &[1f32]), tensor(&[2], &[0i64, 1]), one];
        check("SparseTensorDenseMatMul", &[], &none, &[tensor::<f32>(&[0, 2], &[])]);
    }
}
