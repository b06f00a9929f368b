//! Tells the program which build it is, and has the linker put the functions of a start side by side and leave
//! out what a release does not unwind by, in the builds where that pays.
#![allow(clippy::expect_used)]

use std::env;

fn main() {
    let variable = |name| env::var(name).expect("cargo sets it");
    println!("cargo::rerun-if-changed=.cargo");
    println!("cargo::rerun-if-env-changed=GIT_SHA");
    // Of a build that is no release nobody has said which commit it is of.
    let commit = env::var("GIT_SHA").unwrap_or_default();
    let build = format!("{commit} {}", variable("TARGET"));
    println!("cargo::rustc-env=VERSION_GUARD_BUILD={}", build.trim_start());
    if variable("PROFILE") == "release" {
        let folder = variable("CARGO_MANIFEST_DIR");
        for script in ["start.ld", "unwinding.ld"] {
            println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/{script}");
        }
    }
}
