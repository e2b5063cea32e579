//! Settings: environment and flags, validated completely before a port opens.
