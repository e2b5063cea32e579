//! `mutt dlq`: list, show, replay and purge dead letters.
