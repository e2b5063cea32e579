//! `mutt relay`: rsyslog's omprog lines to the ingest API, confirmed once accepted.
