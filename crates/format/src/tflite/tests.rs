use super::*;

#[test]
fn types_have_tensorflow_s_numbers() {
    let names = TYPES.map(|number| DataType(number).to_string());
    assert_eq!(names[0], "DT_FLOAT");
    assert_eq!(names[9], "DT_INT8");
    assert_eq!(names[20], "DT_UINT4");
    assert_eq!(
        (TensorKind(17).bits(), TensorKind(19).bits(), TensorKind(0).bits()),
        (Some(4), Some(2), Some(32))
    );
    assert_eq!((TensorKind(5).bits(), TensorKind(21).bits(), TensorKind(-1).data_type()), (None, None, None));
}
