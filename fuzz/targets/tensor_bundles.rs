#![no_main]

tightfit_fuzz::target!(tensor_bundles);
