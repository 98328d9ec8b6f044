//! Pooling of volumes `[batch, depth, height, width, channels]`: MaxPool3D and AvgPool3D.
//!
//! float32 (bfloat16 is converted around it); data format NDHWC, and NCDHW as a change of layout around it. Padding SAME or
//! VALID. An average is over those elements of the window that lie in the volume.

use tightfit_core::DType;
use tightfit_kernels::{Isa, Pool2d, PoolKind};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::volume::{WindowAttributes3, three};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "MaxPool3D", import: |attributes| import(attributes, PoolKind::Max) },
    Registration { name: "AvgPool3D", import: |attributes| import(attributes, PoolKind::Average) },
];

fn import(attributes: &Attributes<'_>, kind: PoolKind) -> Result<Box<dyn Operator>, OpError> {
    let size = three("ksize", &attributes.ints("ksize")?)?;
    Ok(Box::new(Pool3d { kind, size, window: WindowAttributes3::import(attributes)? }))
}

/// The operator.
#[derive(Debug)]
struct Pool3d {
    kind: PoolKind,
    size: [usize; 3],
    window: WindowAttributes3,
}

impl Pool3d {
    fn kernel(&self, isa: Isa, input: &[usize]) -> Result<Pool2d, OpError> {
        let shape = <[usize; 5]>::try_from(input)
            .map_err(|_| OpError::Internal("pooling of volumes of other than five axes"))?;
        let window = self.window.window(self.size, [shape[1], shape[2], shape[3]]);
        Ok(Pool2d::of_volumes(isa, self.kind, shape, window)?)
    }
}

impl Operator for Pool3d {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "MaxPool3D",
            PoolKind::Average => "AvgPool3D",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32])?;
        let Some(volume) = shared::dims_of_rank(0, input, 5)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(5))]);
        };
        let [depth, height, width] = self.window.output(self.size, &volume[1..4])?;
        if let Some(shape) = input.dims.concrete() {
            self.kernel(Isa::Portable, &shape)?;
        }
        Ok(vec![Fact::new(DType::F32, Dims::new([volume[0], depth, height, width, volume[4]]))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let Some(volume) = shared::input(inputs, 0)?.dims.get() else { return Ok(()) };
        self.window.check(self.size, volume)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let kernel = self.kernel(run.pool.isa(), &run.shape(0))?;
        let input = run.slice::<f32>(0)?;
        Ok(kernel.run(run.pool, input, run.out(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, ints, refuses, tensor, text};

    #[test]
    fn windows_at_the_edge_are_smaller() {
        let x = tensor(&[1, 2, 3, 2, 1], &(1..=12).map(|v| v as f32).collect::<Vec<_>>());
        let pool = |padding| {
            [
                ("ksize", ints(&[1, 2, 2, 2, 1])),
                ("strides", ints(&[1, 2, 2, 2, 1])),
                ("padding", text(padding)),
            ]
        };
        let two = |values: [f32; 2]| tensor(&[1, 1, 2, 1, 1], &values);
        check("MaxPool3D", &pool("SAME"), &[x.clone()], &[two([10.0, 12.0])]);
        check("AvgPool3D", &pool("SAME"), &[x.clone()], &[two([5.5, 8.5])]);
        check("AvgPool3D", &pool("VALID"), &[x.clone()], &[tensor(&[1, 1, 1, 1, 1], &[5.5f32])]);
        let mut wrong = pool("SAME");
        wrong[0].1 = ints(&[1, 2, 2, 2, 2]);
        refuses("MaxPool3D", &wrong, &[x.clone()], "ksize");
        wrong = pool("SAME");
        wrong[1].1 = ints(&[1, 2, 2, 1]);
        refuses("AvgPool3D", &wrong, &[x], "strides");
    }
}
