//! What is spoken: `io.user-oom.Control`, and `org.varlink.service`, which
//! every Varlink service has.

use varlink::{Interface as _, ServiceInfo, VarlinkService};

/// The interface's name.
pub(crate) const NAME: &str = "io.user-oom.Control";

/// What it has, for people and programs.
const DESCRIPTION: &str = include_str!("../io.user-oom.Control.varlink");

/// The name of the one that describes others.
pub(crate) const SERVICE: &str = "org.varlink.service";

/// What a client learns first.
pub(crate) fn info() -> ServiceInfo {
    ServiceInfo {
        vendor: "user-oom".into(),
        product: "user-oom".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        url: env!("CARGO_PKG_REPOSITORY").into(),
        interfaces: vec![SERVICE.into(), NAME.into()],
    }
}

/// The description of one of [`info`]'s interfaces.
pub(crate) fn description(interface: &str) -> Option<&'static str> {
    match interface {
        NAME => Some(DESCRIPTION),
        SERVICE => Some(VarlinkService::new("", "", "", "", Vec::new()).get_description()),
        _ => None,
    }
}
