//! Graphs as other runtimes have them.

pub mod tflite;
