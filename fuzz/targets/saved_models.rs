#![no_main]

tightfit_fuzz::target!(saved_models);
