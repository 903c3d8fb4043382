//! The configuration file and its drop-ins, as text: which keys they set, to
//! what, and where each stands.
//!
//! What a key means is its user's business: this crate is told which keys there
//! are and what kind of value each takes. All that is wrong with a file is found
//! in one go, and each [`Mistake`] shows its line.
//!
//! ```
//! use config::{Grammar, Keyword, Kind, Value};
//!
//! let keys = [Keyword { name: "grace".into(), kind: Kind::Text }];
//! let grammar = Grammar { keys: &keys, labels: &[], arguments: &[], scope_keys: &[] };
//! let path = "config.toml".as_ref();
//! let found = config::parse(path, "grace = \"5 s\"\n", grammar, |_| None).unwrap();
//! assert_eq!(found.settings[0].value, Value::Text("5 s".to_owned()));
//! assert_eq!(found.settings[0].mark.to_string(), "config.toml:1");
//!
//! let wrong = config::parse(path, "graze = 5\n", grammar, |_| None).unwrap_err();
//! assert_eq!(
//!     wrong.to_string(),
//!     "config.toml:1:1: `graze` is not a key: did you mean `grace`?\n\
//!      1 | graze = 5\n  \
//!        | ^^^^^"
//! );
//! ```

mod document;
mod expressions;
mod file;
mod mistake;
mod rules;

pub use crate::document::{
    CommandText, Document, Grammar, Keyword, Kind, RuleText, ScopeText, Setting, TextSetting,
    Value, nearest, parse,
};
pub use crate::file::{DEFAULT_PATH, FileError, Found, Origin, read};
pub use crate::mistake::{Mistake, Mistakes, Position};
pub use crate::rules::{CGROUP, Field, Rules, Subject};
