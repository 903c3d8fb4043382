//! The registry on real directories. Processes are a table, or real children.

mod directory;
mod entries;
mod hostile;
mod take_over;
mod town;
