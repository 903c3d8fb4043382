//! `user-oom`: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match user_oom::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            user_oom::report(&err);
            err.exit_code()
        }
    }
}
