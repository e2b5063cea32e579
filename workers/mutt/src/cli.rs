//! The command line: `mutt <role>` and the tools round the roles.
