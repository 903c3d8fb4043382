//! test_procs
