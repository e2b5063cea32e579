//! `mutt dev`: private servers, all roles, sample rules and traffic on one machine.
