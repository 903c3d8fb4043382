//! `psi-monitor`: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match psi_monitor::run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            psi_monitor::report(&err);
            err.exit_code()
        }
    }
}
