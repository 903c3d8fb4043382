//! What is reported, where and when: the loop hands over records, and threads
//! write lines, run hooks and answer.
//!
//! [`record`] has the values; [`narrator`], [`episode`] and [`fates`] make them
//! of what happened; a [`lane`] takes each to the [`scribe`]'s thread, which
//! writes a [`page`] of it; [`hook`] runs the commands of `-N` and `-P`.

pub(crate) mod accounts;
pub(crate) mod bell;
pub(crate) mod episode;
pub(crate) mod fates;
pub(crate) mod feed;
pub(crate) mod hook;
pub(crate) mod hook_file;
pub(crate) mod lane;
pub(crate) mod main_log;
pub(crate) mod narrator;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod scribe;
pub(crate) mod syslog;
