//! Random machines that run out of memory: what the guard keeps of their value,
//! beside what others keep and what can be kept at best.
//!
//! # The machine
//!
//! [`crate::machine`], in steps of 50 ms for 120 s. There is no page cache:
//! what processes and the kernel hold is used, and what exceeds 99 % of memory
//! is in swap, an equal share of each process. A process grows by its rate to
//! its limit; one that heeds SIGTERM ends 300 ms after it, and SIGKILL takes
//! 60 ms. Where memory and swap are full, nothing grows, and the kernel kills
//! the process of the greatest badness (memory, swap, `oom_score_adj`), one at
//! a time. The machine never stalls, and pausing is off: it loses nothing, and
//! would only postpone what is measured here.
//!
//! # The value kept
//!
//! Each job is worth what its entry says. What is not registered is worth 1 for
//! each session, shared by its jobs; a service of the machine, 10. What
//! grows without limit is worth nothing, whatever its entry says, because
//! it must be killed sooner or later. A job is lost when one of its processes
//! is killed, by whatever; one that ends by itself before is kept.
//!
//! The best is the greatest value of any set of jobs that, started as they
//! start and with all others gone from the beginning, at no time brings the
//! machine to the warn threshold ([`best`]). It is found by looking at all sets,
//! with full knowledge of the future. No policy that keeps its machine above
//! the threshold keeps more. One that lets a machine stay below it may, so
//! what it keeps counts up to the best.

#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    clippy::missing_panics_doc,
    reason = "for a test and an example, each of which uses a part of it"
)]

pub mod best;
pub mod contest;
pub mod figures;
pub mod scenario;
