//! `mutt bench`: figures beside the limit measured in the same run.
