//! Tells the program which build it is, and has the linker lay out a release for a quick start: what a start
//! touches side by side, in one mapping, and without what a release does not unwind by.
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
        println!("cargo::rustc-link-arg-bins=-Wl,{}", one_mapping(&variable("TARGET")));
    }
}

/// What makes one mapping of code and constants, of which each costs a start and an end, in the options of the
/// linker: LLVM's, where Rust takes it on itself or is told to, and else GNU's. At this address neither a huge
/// page fits into it nor the largest folio of a file that was written at once: the kernel would map all of it at
/// one fault, which takes longer and counts as the shim's memory.
fn one_mapping(target: &str) -> &'static str {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if target == "x86_64-unknown-linux-gnu" || flags.contains("-fuse-ld=lld") {
        "--no-rosegment,--image-base=0x580000"
    } else {
        "-z,noseparate-code,-Ttext-segment=0x580000"
    }
}
