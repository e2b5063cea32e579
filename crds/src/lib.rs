//! Custom resources of MUTT.
