//! What every operator promises, checked on every call of every golden graph and on random calls of every
//! registration: what is inferred is what comes out, memory that was not asked for is not touched, and the result
//! depends neither on the threads, nor on the place of a weight, nor on computing in place, nor on what was in the
//! memory before.

mod build;
mod call;
mod context;
mod dags;
mod damages;
mod golden;
mod interpret;
mod mutations;
mod random;
mod rules;
mod sequence;
mod sharing;
