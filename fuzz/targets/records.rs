#![no_main]

tightfit_fuzz::target!(records);
