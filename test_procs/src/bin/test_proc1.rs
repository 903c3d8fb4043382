//! `test_proc1`: see the library beside it.

use std::process::ExitCode;

use test_procs::TEST_PROC1;

fn main() -> ExitCode {
    match test_procs::run(&TEST_PROC1, std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            test_procs::report(&TEST_PROC1, &err);
            err.exit_code()
        }
    }
}
