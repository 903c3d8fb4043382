//! value-registry
