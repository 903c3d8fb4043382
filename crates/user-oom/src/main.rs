//! user-oom

fn main() {}
