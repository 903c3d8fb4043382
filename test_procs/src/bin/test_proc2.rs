//! `test_proc2`: see the library beside it.

use std::process::ExitCode;

use test_procs::TEST_PROC2;

fn main() -> ExitCode {
    match test_procs::run(&TEST_PROC2, std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            test_procs::report(&TEST_PROC2, &err);
            err.exit_code()
        }
    }
}
