//! psi-monitor

fn main() {}
