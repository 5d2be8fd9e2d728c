//! The Prometheus of the world: it scrapes the proxies of the traffic model and answers from that.
//!
//! It answers what counting needs (selectors, ranges, and the few functions that add up increases) and refuses the rest
//! as `bad_data`: a function it evaluated wrongly would be worse than none.

mod answer;
mod evaluation;
mod exposition;
mod expression;
mod fault;
mod storage;

pub(crate) use answer::Question;
pub(crate) use exposition::exposition;
pub use fault::PrometheusFault;
pub(crate) use storage::Storage;

#[cfg(test)]
mod agreement_tests;
