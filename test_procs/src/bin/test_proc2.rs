//! test_proc

fn main() {}
