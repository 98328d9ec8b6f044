//! What a tensor's shape says: Shape, ShapeN, Size, Rank.
//!
//! Inputs of any type, outputs of int32 or int64 (attribute `out_type`; Rank is int32): a vector with the dimensions,
//! the number of elements, the number of dimensions. Open dimensions are passed on as such, so that a shape computed
//! from them is known as soon as the inputs are bound.

use tightfit_core::{DType, Shape as ConcreteShape};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Shape", import: |a| import(a, Question::Shape) },
    Registration { name: "ShapeN", import: |a| import(a, Question::Shape) },
    Registration { name: "Size", import: |a| import(a, Question::Size) },
    Registration {
        name: "Rank",
        import: |_| Ok(Box::new(Ask { question: Question::Rank, dtype: DType::I32 })),
    },
];

fn import(attributes: &Attributes<'_>, question: Question) -> Result<Box<dyn Operator>, OpError> {
    let dtype = attributes.dtype_or("out_type", DType::I32)?;
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(OpError::attribute("out_type", format!("is {dtype}; int32 or int64 is needed")));
    }
    Ok(Box::new(Ask { question, dtype }))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Question {
    Shape,
    Size,
    Rank,
}

/// A question about the shape of each input.
#[derive(Debug)]
struct Ask {
    question: Question,
    dtype: DType,
}

impl Operator for Ask {
    fn name(&self) -> &'static str {
        match self.question {
            Question::Shape => "Shape",
            Question::Size => "Size",
            Question::Rank => "Rank",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::input(inputs, 0)?;
        Ok(inputs.iter().map(|input| self.answer(input)).collect())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (0..run.outputs()).try_for_each(|i| match self.question {
            Question::Shape => reshape::set(run, i, [run.shape(i).rank()]),
            Question::Size | Question::Rank => reshape::set(run, i, []),
        })
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        for i in 0..run.inputs() {
            let shape = run.shape(i);
            let dims = match self.question {
                Question::Shape => shape,
                Question::Size => ConcreteShape::new(&[shape.elements()])?,
                Question::Rank => ConcreteShape::new(&[shape.rank()])?,
            };
            match self.dtype {
                DType::I32 => write::<i32>(run.out(i)?, &dims)?,
                _ => write::<i64>(run.out(i)?, &dims)?,
            }
        }
        Ok(())
    }
}

fn write<T: TryFrom<usize>>(out: &mut [T], dims: &[usize]) -> Result<(), OpError> {
    for (out, dim) in out.iter_mut().zip(dims) {
        *out = T::try_from(*dim).map_err(|_| {
            OpError::Invalid(format!("a dimension of {dim} does not fit the type of the result"))
        })?;
    }
    Ok(())
}

impl Ask {
    fn answer(&self, input: &Fact) -> Fact {
        let Some(dims) = input.dims.get() else {
            let is_vector = self.question == Question::Shape;
            return Fact::new(self.dtype, if is_vector { Dims::of_rank(1) } else { Dims::scalar() });
        };
        let shape = match self.question {
            Question::Shape => Dims::new([Dim::Known(dims.len() as i64)]),
            _ => Dims::scalar(),
        };
        let rank = [Dim::Known(dims.len() as i64)];
        let size = [input.dims.elements()];
        let values = match self.question {
            Question::Rank => &rank[..],
            Question::Shape => dims,
            Question::Size => &size,
        };
        let fits = |d: &Dim| self.dtype == DType::I64 || d.known().is_none_or(|n| i32::try_from(n).is_ok());
        if values.iter().all(fits) {
            Fact::of_dims(self.dtype, shape, values)
        } else {
            Fact::new(self.dtype, shape)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::*;

    #[test]
    fn answers() {
        let x = tensor(&[2, 3], &[0f32; 6]);
        check("Shape", &[], &[x.clone()], &[tensor(&[2], &[2i32, 3])]);
        let long = [("out_type", dtype(DType::I64))];
        check(
            "ShapeN",
            &long,
            &[x.clone(), scalar(1f32)],
            &[tensor(&[2], &[2i64, 3]), tensor::<i64>(&[0], &[])],
        );
        check("Size", &long, &[x.clone()], &[scalar(6i64)]);
        check("Rank", &[], &[x.clone()], &[scalar(2i32)]);
        check("Size", &[], &[bools(&[0, 7], &[])], &[scalar(0i32)]);
        refuses("Shape", &[("out_type", dtype(DType::F32))], &[x], "out_type");
    }

    #[test]
    fn open_dimensions_are_passed_on() {
        let dims = [Dim::of(Symbol::BATCH), Dim::Known(128)];
        let input = Fact::new(DType::F32, Dims::new(dims));
        let facts = operator("Shape", &[]).unwrap().infer(&[&input]).unwrap();
        assert_eq!(facts[0].dims_value(), Some(dims.to_vec()));
        let bound = Fact::at_most(DType::F32, ConcreteShape::new(&[4, 5]).unwrap());
        let facts = operator("Shape", &[]).unwrap().infer(&[&bound]).unwrap();
        assert_eq!((facts[0].dims.concrete().unwrap()[0], facts[0].dims_value()), (2, None));
    }
}
