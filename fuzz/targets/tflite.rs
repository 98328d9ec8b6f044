#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tightfit_fuzz::bodies::tflite(data));
