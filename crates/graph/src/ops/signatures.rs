//! The signatures of the operators, as TensorFlow's registry has them: what types inputs and outputs are of, by the
//! attributes that say so. A node that does not keep to its signature is no graph of TensorFlow's.
//!
//! `Cast(SrcT)->DstT` has one input of the type that attribute `SrcT` says; `N*T` stands for as many as attribute `N`
//! says, `*T` for one of each type that the list `T` has; a type by its name is always that type.

use std::collections::HashMap;
use std::sync::OnceLock;

use tightfit_core::DType;
use tightfit_format::AttrValue;

use crate::attributes::Attributes;
use crate::operator::OpError;

const TABLE: &str = "
Abs(T)->T
AccumulateNV2(N*T)->T
Acos(T)->T
Acosh(T)->T
Add(T,T)->T
AddN(N*T)->T
AddV2(T,T)->T
All(bool,Tidx)->bool
Any(bool,Tidx)->bool
ArgMax(T,Tidx)->output_type
ArgMin(T,Tidx)->output_type
Asin(T)->T
Asinh(T)->T
Assert(bool,*T)->
Atan(T)->T
Atan2(T,T)->T
Atanh(T)->T
AvgPool(T)->T
BatchMatMul(T,T)->T
BatchMatMulV2(T,T)->T
BatchMatMulV3(Ta,Tb)->Tout
BatchNormWithGlobalNormalization(T,T,T,T,T)->T
BatchToSpace(T,Tidx)->T
BatchToSpaceND(T,Tblock_shape,Tcrops)->T
BiasAdd(T,T)->T
BiasAddV1(T,T)->T
Bincount(int32,int32,T)->T
Bitcast(T)->type
BitwiseAnd(T,T)->T
BitwiseOr(T,T)->T
BitwiseXor(T,T)->T
BroadcastArgs(T,T)->T
BroadcastTo(T,Tidx)->T
Cast(SrcT)->DstT
Ceil(T)->T
CheckNumerics(T)->T
CheckNumericsV2(T)->T
ClipByValue(T,T,T)->T
Concat(int32,N*T)->T
ConcatOffset(int32,N*shape_type)->N*shape_type
ConcatV2(N*T,Tidx)->T
ConjugateTranspose(T,Tperm)->T
Conv2D(T,T)->T
Conv2DBackpropInput(int32,T,T)->T
Cos(T)->T
Cosh(T)->T
CropAndResize(T,float32,int32,int32)->float32
Cumprod(T,Tidx)->T
Cumsum(T,Tidx)->T
DeepCopy(T)->T
DenseBincount(Tidx,Tidx,T)->T
DepthToSpace(T)->T
DepthwiseConv2dNative(T,T)->T
Diag(T)->T
DiagPart(T)->T
Digamma(T)->T
Div(T,T)->T
DivNoNan(T,T)->T
DynamicPartition(T,int32)->num_partitions*T
DynamicStitch(N*int32,N*T)->T
Einsum(N*T)->T
Elu(T)->T
Empty(int32)->dtype
EnsureShape(T)->T
Equal(T,T)->bool
Erf(T)->T
Erfc(T)->T
EuclideanNorm(T,Tidx)->T
Exp(T)->T
ExpandDims(T,Tdim)->T
Expm1(T)->T
ExtractImagePatches(T)->T
FakeQuantWithMinMaxArgs(float32)->float32
FakeQuantWithMinMaxVars(float32,float32,float32)->float32
FakeQuantWithMinMaxVarsPerChannel(float32,float32,float32)->float32
Fill(index_type,T)->T
Floor(T)->T
FloorDiv(T,T)->T
FloorMod(T,T)->T
FusedBatchNorm(T,T,T,T,T)->T,T,T,T,T
FusedBatchNormV2(T,U,U,U,U)->T,U,U,U,U
FusedBatchNormV3(T,U,U,U,U)->T,U,U,U,U,U
Gather(Tparams,Tindices)->Tparams
GatherNd(Tparams,Tindices)->Tparams
GatherV2(Tparams,Tindices,Taxis)->Tparams
Greater(T,T)->bool
GreaterEqual(T,T)->bool
HistogramFixedWidth(T,T,int32)->dtype
Identity(T)->T
IdentityN(*T)->*T
InTopK(float32,T)->bool
InTopKV2(float32,T,T)->bool
Inv(T)->T
Invert(T)->T
InvertPermutation(T)->T
IsFinite(T)->bool
IsInf(T)->bool
IsNan(T)->bool
L2Loss(T)->T
LRN(T)->T
LeakyRelu(T)->T
LeftShift(T,T)->T
Less(T,T)->bool
LessEqual(T,T)->bool
Lgamma(T)->T
LinSpace(T,T,Tidx)->T
ListDiff(T,T)->T,out_idx
Log(T)->T
Log1p(T)->T
LogSoftmax(T)->T
LogicalAnd(bool,bool)->bool
LogicalNot(bool)->bool
LogicalOr(bool,bool)->bool
MatMul(T,T)->T
MatrixBandPart(T,Tindex,Tindex)->T
MatrixDiag(T)->T
MatrixDiagPart(T)->T
MatrixDiagPartV2(T,int32,T)->T
MatrixDiagPartV3(T,int32,T)->T
MatrixDiagV2(T,int32,int32,int32,T)->T
MatrixDiagV3(T,int32,int32,int32,T)->T
MatrixSetDiag(T,T)->T
MatrixSetDiagV2(T,T,int32)->T
MatrixSetDiagV3(T,T,int32)->T
Max(T,Tidx)->T
MaxPool(T)->T
MaxPoolV2(T,int32,int32)->T
MaxPoolWithArgmax(T)->T,Targmax
Maximum(T,T)->T
Mean(T,Tidx)->T
Min(T,Tidx)->T
Minimum(T,T)->T
MirrorPad(T,Tpaddings)->T
Mod(T,T)->T
Mul(T,T)->T
MulNoNan(T,T)->T
Neg(T)->T
NoOp()->
NotEqual(T,T)->bool
NthElement(T,int32)->T
OneHot(TI,int32,T,T)->T
OnesLike(T)->T
Pack(N*T)->T
Pad(T,Tpaddings)->T
PadV2(T,Tpaddings,T)->T
ParallelConcat(N*T)->T
ParallelDynamicStitch(N*int32,N*T)->T
PlaceholderWithDefault(dtype)->dtype
Pow(T,T)->T
PreventGradient(T)->T
Prod(T,Tidx)->T
Range(Tidx,Tidx,Tidx)->Tidx
Rank(T)->int32
RealDiv(T,T)->T
Reciprocal(T)->T
Relu(T)->T
Relu6(T)->T
Reshape(T,Tshape)->T
ResizeArea(T,int32)->float32
ResizeBicubic(T,int32)->float32
ResizeBilinear(T,int32)->float32
ResizeNearestNeighbor(T,int32)->T
Reverse(T,bool)->T
ReverseSequence(T,Tlen)->T
ReverseV2(T,Tidx)->T
RightShift(T,T)->T
Rint(T)->T
Roll(T,Tshift,Taxis)->T
Round(T)->T
Rsqrt(T)->T
ScatterNd(Tindices,T,Tindices)->T
SegmentMax(T,Tindices)->T
SegmentMean(T,Tindices)->T
SegmentMin(T,Tindices)->T
SegmentProd(T,Tindices)->T
SegmentSum(T,Tindices)->T
Select(bool,T,T)->T
SelectV2(bool,T,T)->T
Selu(T)->T
Shape(T)->out_type
ShapeN(N*T)->N*out_type
Sigmoid(T)->T
Sign(T)->T
Sin(T)->T
Sinh(T)->T
Size(T)->out_type
Slice(T,Index,Index)->T
Snapshot(T)->T
Softmax(T)->T
SoftmaxCrossEntropyWithLogits(T,T)->T,T
Softplus(T)->T
Softsign(T)->T
SpaceToBatch(T,Tpaddings)->T
SpaceToBatchND(T,Tblock_shape,Tpaddings)->T
SpaceToDepth(T)->T
SparseSoftmaxCrossEntropyWithLogits(T,Tlabels)->T,T
Split(int32,T)->num_split*T
SplitV(T,Tlen,int32)->num_split*T
Sqrt(T)->T
Square(T)->T
SquaredDifference(T,T)->T
Squeeze(T)->T
StopGradient(T)->T
StridedSlice(T,Index,Index,Index)->T
Sub(T,T)->T
Sum(T,Tidx)->T
Tan(T)->T
Tanh(T)->T
TensorScatterAdd(T,Tindices,T)->T
TensorScatterMax(T,Tindices,T)->T
TensorScatterMin(T,Tindices,T)->T
TensorScatterSub(T,Tindices,T)->T
TensorScatterUpdate(T,Tindices,T)->T
Tile(T,Tmultiples)->T
TopK(T)->T,int32
TopKV2(T,Tk)->T,index_type
Transpose(T,Tperm)->T
TruncateDiv(T,T)->T
TruncateMod(T,T)->T
Unique(T)->T,out_idx
UniqueWithCounts(T)->T,out_idx,out_idx
Unpack(T)->num*T
UnsortedSegmentMax(T,Tindices,Tnumsegments)->T
UnsortedSegmentMin(T,Tindices,Tnumsegments)->T
UnsortedSegmentProd(T,Tindices,Tnumsegments)->T
UnsortedSegmentSum(T,Tindices,Tnumsegments)->T
Where(T)->int64
Xdivy(T,T)->T
Xlog1py(T,T)->T
Xlogy(T,T)->T
ZerosLike(T)->T
";

/// What an operator takes and gives.
struct Signature {
    inputs: Vec<&'static str>,
    outputs: Vec<&'static str>,
}

fn find(op: &str) -> Option<&'static Signature> {
    static BY_NAME: OnceLock<HashMap<&'static str, Signature>> = OnceLock::new();
    let parse = |line: &'static str| {
        let (name, rest) = line.split_once('(')?;
        let (inputs, outputs) = rest.split_once(")->")?;
        let list = |text: &'static str| text.split(',').filter(|part| !part.is_empty()).collect();
        Some((name, Signature { inputs: list(inputs), outputs: list(outputs) }))
    };
    BY_NAME.get_or_init(|| TABLE.lines().filter_map(parse).collect()).get(op)
}

/// The type that a part of a signature means, where the node says.
fn dtype(part: &str, attributes: &Attributes<'_>) -> Result<Option<DType>, OpError> {
    let is_fixed =
        part.starts_with(|c: char| c.is_ascii_lowercase()) && attributes.node().attr(part).is_none();
    if is_fixed {
        return Ok(DType::ALL.into_iter().find(|dtype| dtype.name() == part));
    }
    if attributes.node().attr(part).is_some() { attributes.dtype(part).map(Some) } else { Ok(None) }
}

/// How many inputs a part stands for, and the type of each where the node says.
fn expand(part: &str, attributes: &Attributes<'_>) -> Result<Option<Vec<Option<DType>>>, OpError> {
    let types = match part.split_once('*') {
        None => vec![dtype(part, attributes)?],
        Some(("", list)) => {
            if !matches!(attributes.node().attr(list), Some(AttrValue::List(_))) {
                return Ok(None);
            }
            attributes.dtypes(list)?.into_iter().map(Some).collect()
        }
        Some((count, of)) => {
            if attributes.node().attr(count).is_none() {
                return Ok(None);
            }
            let count = attributes.count(count)?.min(attributes.node().inputs.len() + 1);
            vec![dtype(of, attributes)?; count]
        }
    };
    Ok(Some(types))
}

/// Checks a node's inputs, of these types, against its operator's signature. Attributes that are left out say nothing.
///
/// # Errors
/// [`OpError::Unsupported`] for another number of inputs, [`OpError::Input`] for another type.
pub(crate) fn check(attributes: &Attributes<'_>, inputs: &[DType]) -> Result<(), OpError> {
    let op = &*attributes.node().op;
    let Some(signature) = find(op) else { return Ok(()) };
    let mut expected = Vec::new();
    for part in &signature.inputs {
        let Some(types) = expand(part, attributes)? else { return Ok(()) };
        expected.extend(types.into_iter().map(|dtype| (part, dtype)));
    }
    if expected.len() != inputs.len() {
        let (takes, has) = (expected.len(), inputs.len());
        return Err(OpError::Unsupported(format!("takes {takes} inputs, and the node has {has}")));
    }
    for (index, ((part, expected), dtype)) in expected.into_iter().zip(inputs).enumerate() {
        if let Some(expected) = expected.filter(|expected| expected != dtype) {
            let says = part.split_once('*').map_or(*part, |(_, of)| of);
            let why = match says == expected.name() {
                true => format!("is of type {dtype}; {op} takes {expected}"),
                false => format!("is of type {dtype}, and attribute {says} says {expected}"),
            };
            return Err(OpError::input(index, why));
        }
    }
    Ok(())
}

/// The type of one of a node's outputs, where its signature and attributes say.
///
/// # Errors
/// [`OpError::Attribute`] for an attribute that is no type.
pub(crate) fn output_type(attributes: &Attributes<'_>, output: usize) -> Result<Option<DType>, OpError> {
    let Some(signature) = find(&attributes.node().op) else { return Ok(None) };
    let mut types = Vec::new();
    for part in &signature.outputs {
        let Some(expanded) = expand(part, attributes)? else { return Ok(None) };
        types.extend(expanded);
    }
    Ok(types.get(output).copied().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::testing::dtype as type_attribute;
    use tightfit_format::NodeDef;

    fn node(op: &str, attributes: &[(&str, DType)]) -> NodeDef {
        let attrs = attributes.iter().map(|(name, dtype)| ((*name).into(), type_attribute(*dtype))).collect();
        NodeDef { name: "n".into(), op: op.into(), attrs, ..NodeDef::default() }
    }

    #[test]
    fn every_operator_has_a_signature() {
        let missing: Vec<_> = ops::all().map(|op| op.name).filter(|name| find(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn inputs_are_as_many_and_of_the_types_that_the_signature_says() {
        let neg = node("Neg", &[("T", DType::F32)]);
        assert!(check(&Attributes::new(&neg), &[DType::F32]).is_ok());
        let error = check(&Attributes::new(&neg), &[DType::F32; 2]).unwrap_err().to_string();
        assert!(error.contains("takes 1 inputs, and the node has 2"), "{error}");
        let error = check(&Attributes::new(&neg), &[DType::I32]).unwrap_err().to_string();
        assert!(error.contains("int32, and attribute T says float32"), "{error}");
        assert!(check(&Attributes::new(&node("Neg", &[])), &[DType::I32]).is_ok());
    }

    #[test]
    fn outputs_have_the_type_that_their_attribute_says() {
        let cast = node("Cast", &[("SrcT", DType::I32), ("DstT", DType::F16)]);
        assert_eq!(output_type(&Attributes::new(&cast), 0).unwrap(), Some(DType::F16));
        let equal = node("Equal", &[("T", DType::F32)]);
        assert_eq!(output_type(&Attributes::new(&equal), 0).unwrap(), Some(DType::Bool));
        let top = node("TopKV2", &[("T", DType::F32), ("index_type", DType::I64)]);
        assert_eq!(output_type(&Attributes::new(&top), 1).unwrap(), Some(DType::I64));
    }
}
