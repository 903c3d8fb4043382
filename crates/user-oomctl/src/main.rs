//! `user-oomctl`: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match user_oomctl::run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            user_oomctl::report(&err);
            err.exit_code()
        }
    }
}
