//! `mutt send`: one event or a file to the ingest API, for trying things out.
