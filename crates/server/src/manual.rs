//! Pages about the server: how to test a program with it, and what it is not.

pub mod limits;
pub mod testing;
