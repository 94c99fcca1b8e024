//! The `rewarm` command.
fn main() {}
