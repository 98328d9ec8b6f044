//! Opens a model, lays it out in 64 MiB and scores an array of two rows; from the repository's top folder:
//! `cargo run --release -p tightfit --example score`

use tightfit::{Feed, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, TensorView};

/// Two grey pictures of 8 x 8 pixels, one of paper and one of ink.
fn pictures() -> Vec<f32> {
    [[0.0; 64], [1.0; 64]].concat()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pixels = pictures();
    let budget = MemoryBudget::new(64 << 20);
    let model = Model::open("examples/digits/digits.pb", &OpenOptions::default(), &budget)?;
    let options = FitOptions { batch: 2, ..FitOptions::default() };
    let mut runner = Runner::new(&model, &options, &budget)?;
    println!("planned {} bytes", runner.lines().total_bytes());

    let rows = TensorView::from_slice(Shape::new(&[2, 8, 8, 1])?, &pixels).ok_or("128 pixels are needed")?;
    let outputs = runner.run(&[Feed::Tensor(rows)])?;
    let scores = outputs.get("probabilities").ok_or("the model has no output")?;
    for row in scores.as_slice::<f32>().ok_or("the output is not float32")?.chunks(10) {
        println!("{row:.3?}");
    }
    Ok(())
}
