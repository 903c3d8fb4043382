//! `user-oomctl report`: one page of what a journal has, for a browser.

mod chart;
mod html;
mod incident;

use std::path::Path;

use crate::error::Error;

/// Where a daemon that root runs keeps its journal.
const JOURNAL: &str = "/var/lib/user-oom/journal";

/// So many incidents are shown, the last.
const MOST: usize = 20;

/// The page of all incidents in the file or directory `source`; `last`: of the last
/// in the system's journal.
///
/// # Errors
///
/// - [`Error::Journal`]: it cannot be read.
/// - [`Error::NothingDecided`]
pub(crate) fn page(source: &Path) -> Result<String, Error> {
    let is_last = source == Path::new("last");
    let path = if is_last { Path::new(JOURNAL) } else { source };
    let (incidents, damaged) = incident::read(path).map_err(Error::Journal)?;
    let most = if is_last { 1 } else { MOST };
    let earlier = incidents.len().saturating_sub(most);
    match &incidents[earlier..] {
        [] => Err(Error::NothingDecided {
            path: path.to_owned(),
        }),
        shown => Ok(html::page(shown, earlier, &damaged)),
    }
}
