//! `mutt db`: schema migrations, partitions, retention, status.
