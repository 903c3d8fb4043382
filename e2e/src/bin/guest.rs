//! `/init` of the guest, and under other words its helper programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    match e2e::guest::run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            e2e::guest::report(&err);
            ExitCode::FAILURE
        }
    }
}
