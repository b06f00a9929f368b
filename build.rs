//! Has the linker put the functions of a start side by side, in the builds where that pays.
#![allow(clippy::expect_used)]

use std::env;

fn main() {
    let variable = |name| env::var(name).expect("cargo sets it");
    println!("cargo::rerun-if-changed=.cargo/start.ld");
    if variable("PROFILE") == "release" {
        let folder = variable("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/start.ld");
    }
}
