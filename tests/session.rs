//! A session keeps a model laid out from call to call, and to its memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tightfit::{
    Error, Feed, OpenOptions, Session, SessionOptions, Shape, StopFlag, TensorView, display_bytes,
};

/// More than any of the models here takes, whatever the process of the tests has taken.
const AMPLE_BYTES: u64 = 1 << 30;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.pb")
}

fn open(memory_bytes: u64) -> Result<Session, Error> {
    Session::open(digits(), &OpenOptions::default(), &SessionOptions { memory_bytes, threads: 2 })
}

fn pixels(rows: usize) -> Vec<f32> {
    (0..rows * 64).map(|i| ((i * 7919) % 97) as f32 / 96.0).collect()
}

fn run(session: &mut Session, pixels: &[f32]) -> Result<Vec<f32>, Error> {
    let shape = Shape::new(&[pixels.len() / 64, 8, 8, 1]).unwrap();
    let view = TensorView::from_slice(shape, pixels).unwrap();
    let outputs = session.run(&[Feed::Tensor(view)])?;
    Ok(outputs.tensor(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn rows_are_the_same_whatever_the_batch() {
    let mut session = open(AMPLE_BYTES).unwrap();
    assert!(session.runner().is_none() && session.outputs().is_none());
    let all = pixels(12);
    let expected = run(&mut session, &all).unwrap();
    let used = session.budget().used_bytes();
    for rows in [1, 5, 12, 3, 12] {
        let found = run(&mut session, &all[..rows * 64]).unwrap();
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6 && found.len() == rows * 10, "{rows} rows are off by {off}");
    }
    // Room for the largest is kept, and nothing more.
    assert!(session.budget().used_bytes() <= used + (64 << 10), "{}", display_bytes(used));
    session.unload();
    assert!(session.budget().used_bytes() < used);
    assert_eq!(run(&mut session, &all).unwrap(), expected);
    session.reset().unwrap();
}

#[test]
fn the_plan_is_what_runs_take() {
    let rows = 4096;
    let minimum = {
        let session = open(AMPLE_BYTES).unwrap();
        let (options, fit) = session.plan(rows, HashMap::new()).unwrap();
        assert_eq!(options.pipeline_bytes, rows as u64 * 64 * 4);
        assert_eq!(fit.lines.sink_bytes, rows as u64 * 10 * 4);
        fit.minimum_bytes
    };
    let mut session = open(minimum).unwrap();
    run(&mut session, &pixels(rows)).unwrap();
    assert!(session.budget().peak_bytes() <= minimum);
    drop(session);
    let mut session = open(minimum - 1).unwrap();
    match run(&mut session, &pixels(rows)) {
        Err(Error::NotFit(not_fit)) => {
            assert_eq!((not_fit.minimum_bytes, not_fit.batch), (minimum, rows));
        }
        other => panic!("{other:?}"),
    }
    // What was refused has left nothing, and fewer rows fit.
    assert_eq!(run(&mut session, &pixels(2)).unwrap().len(), 20);
    assert!(matches!(open(1 << 20), Err(Error::Floor { .. })));
}

#[test]
fn a_refused_change_leaves_a_session_that_runs() {
    let mut session = open(AMPLE_BYTES).unwrap();
    let two = run(&mut session, &pixels(2)).unwrap();
    let shape = Shape::new(&[2, 8, 9, 1]).unwrap();
    let wide = vec![0f32; 2 * 72];
    let view = TensorView::from_slice(shape, &wide).unwrap();
    assert!(matches!(session.run(&[Feed::Tensor(view)]), Err(Error::Graph(_))));
    let whole = TensorView::from_slice(Shape::new(&[128]).unwrap(), &[0i32; 128]).unwrap();
    let error = session.run(&[Feed::Tensor(whole)]).err().unwrap().to_string();
    assert!(error.contains("is of type float32, not int32"), "{error}");
    assert!(matches!(session.run(&[]), Err(Error::NotFed(_))));
    assert_eq!(run(&mut session, &pixels(2)).unwrap(), two);
}

#[test]
fn the_fastest_batch_is_at_most_what_is_asked() {
    let mut session = open(AMPLE_BYTES).unwrap();
    let shape = Shape::new(&[1, 8, 8, 1]).unwrap();
    let shapes = HashMap::from([("image".to_string(), shape)]);
    let batch = session.fastest_batch(5, &shapes).unwrap();
    assert!([1, 2, 4].contains(&batch));
    assert_eq!(session.runner().unwrap().batch(), batch);
    assert_eq!(run(&mut session, &pixels(7)).unwrap().len(), 70);
}

#[test]
fn who_is_asked_ends_a_run_between_two_steps() {
    let mut session = open(AMPLE_BYTES).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    session.stop_at(StopFlag::asking(move || count.fetch_add(1, Ordering::Relaxed) == 2));
    assert!(matches!(run(&mut session, &pixels(2)), Err(Error::Interrupted)));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(session.outputs().unwrap().tensor(0).is_none());
    assert_eq!(run(&mut session, &pixels(2)).unwrap().len(), 20);
}
