//! `cargo run -- [--kernel 6.1|6.12|7.2|all | --debug-kernel] [--full] [--at-a-time N] [--second-try] [--list] [SCENARIO…]`

use std::process::ExitCode;

fn main() -> ExitCode {
    match e2e::host::run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            e2e::host::report(&err);
            ExitCode::from(2)
        }
    }
}
