//! user-oom
