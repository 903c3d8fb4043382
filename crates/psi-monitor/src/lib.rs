//! psi-monitor
