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

/// The models of TensorFlow's converter among the golden files.
fn golden() -> Vec<std::path::PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tflite");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("model.tflite"));
    files.filter(|path| path.is_file()).collect()
}

fn bytes_of(model: &Model, place: Place) -> Vec<u8> {
    let mut bytes = vec![0; place.bytes as usize];
    model.source.read_exact_at(place.offset, &mut bytes).unwrap();
    bytes
}

/// A model with its places replaced by a number of what is there, so that two files can be compared.
fn without_places(model: &Model) -> Vec<SubGraph> {
    let mut subgraphs = model.subgraphs.clone();
    for operator in subgraphs.iter_mut().flat_map(|graph| &mut graph.operators) {
        let bytes = bytes_of(model, operator.custom_options);
        operator.custom_options = Place { offset: crc32c::crc32c(&bytes).into(), bytes: bytes.len() as u64 };
    }
    for tensor in subgraphs.iter_mut().flat_map(|graph| &mut graph.tensors) {
        let bytes = bytes_of(model, tensor.values);
        tensor.values = Place { offset: crc32c::crc32c(&bytes).into(), bytes: bytes.len() as u64 };
    }
    subgraphs
}

fn read(path: &std::path::Path) -> Model {
    let source = SourceFile::open(path).unwrap();
    Model::read(source, &MemoryBudget::new(64 << 20)).unwrap()
}

#[test]
fn what_is_written_is_what_was_read() {
    let files = golden();
    assert!(files.len() > 8);
    for path in files {
        let model = read(&path);
        let draft = Draft {
            description: &model.description,
            subgraphs: &model.subgraphs,
            signatures: &model.signatures,
            metadata: &model.metadata,
        };
        let mut out = Vec::new();
        let mut values = |place: Place, out: &mut dyn std::io::Write| out.write_all(&bytes_of(&model, place));
        let written = draft.write(&mut values, &mut out, &MemoryBudget::new(16 << 20)).unwrap();
        assert_eq!(written, out.len() as u64);
        let place = std::env::temp_dir().join(format!("tightfit-copy-{}.tflite", std::process::id()));
        std::fs::write(&place, &out).unwrap();
        let copy = read(&place);
        std::fs::remove_file(&place).unwrap();
        assert_eq!(without_places(&copy), without_places(&model), "{}", path.display());
        assert_eq!((&copy.description, &copy.signatures), (&model.description, &model.signatures));
        let metadata = |model: &Model| -> Vec<_> {
            model.metadata.iter().map(|(name, place)| (name.clone(), bytes_of(model, *place))).collect()
        };
        assert_eq!(metadata(&copy), metadata(&model));
        let aligned = copy.subgraphs.iter().flat_map(|graph| &graph.tensors).map(|tensor| tensor.values);
        assert!(aligned.filter(|place| place.bytes > 0).all(|place| place.offset % 16 == 0));
    }
}

#[test]
fn values_of_another_size_are_refused() {
    let tensor = Tensor {
        name: "t".into(),
        kind: TensorKind(0),
        shape: vec![2],
        signature: Vec::new(),
        values: Place { offset: 0, bytes: 8 },
        external: None,
        quantization: None,
        blockwise: None,
        is_variable: false,
        sparsity: None,
    };
    let graph = SubGraph {
        name: "main".into(),
        tensors: vec![tensor],
        inputs: Vec::new(),
        outputs: vec![0],
        operators: Vec::new(),
    };
    let draft = Draft { description: "", subgraphs: &[graph], signatures: &[], metadata: &[] };
    let mut out = Vec::new();
    let mut values = |_: Place, out: &mut dyn std::io::Write| out.write_all(&[0; 7]);
    let error = draft.write(&mut values, &mut out, &MemoryBudget::new(1 << 20)).unwrap_err();
    assert_eq!(error.to_string(), "7 bytes of values where there are to be 8");
    let mut values = |_: Place, out: &mut dyn std::io::Write| out.write_all(&[0; 8]);
    let error = draft.write(&mut values, &mut out, &MemoryBudget::new(64)).unwrap_err();
    assert!(tightfit_core::BudgetError::is_in(&error), "{error}");
}
