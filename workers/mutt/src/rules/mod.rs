//! `mutt rules`: apply, export, test and lint AlertRule files.
