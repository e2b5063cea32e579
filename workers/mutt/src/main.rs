//! mutt
fn main() {}
