//! Faults of the machine around the shim: no room, no files, no calls.

use std::path::Path;
use std::sync::Arc;

use super::Stage;
use super::cases::{Case, Cases};
use super::trial::{Outcome, Trial};
use super::wire::url;
use crate::common::{Folder, Redis, Sandbox, Shim, binary, fixture, net};

/// A shim before a Redis that is all right.
fn healthy(redis: &Arc<Redis>) -> Trial {
    Trial::at(&url("redis", redis.port), redis)
}

/// At most so many open files, until the limit is raised.
fn files(redis: &Arc<Redis>, limit: u32) -> Trial {
    healthy(redis)
        .with(|shim| shim.behind(["prlimit", &format!("--nofile={limit}:1024")]))
        .outcome(Outcome::AsRoomAllows)
        .lifted_for_pid_by(|shim| {
            let pid = format!("--pid={shim}");
            net::run(Path::new("/"), &["prlimit", &pid, "--nofile=1024"]);
        })
}

/// Places of the machine that are empty in the shim's mount namespace.
fn without(redis: &Arc<Redis>, places: &[&str]) -> Trial {
    let empty = |sandbox: Sandbox, place| sandbox.with(&format!("mount -t tmpfs tmpfs {place}"));
    let sandbox = places.iter().copied().fold(Sandbox::new(), empty);
    healthy(redis).with(|shim| shim.inside(sandbox)).outcome(Outcome::NoFault)
}

/// A root with the shim and its worker in it and nothing else.
fn empty_root(redis: &Arc<Redis>) -> Trial {
    let folder = Folder::new();
    folder.program("shim", &binary(), "755");
    folder.program("worker", &fixture("worker"), "755");
    let shim = Shim::of("/shim".into(), ["run"]).worker(["/worker", "orphans", "0"]);
    let root = folder.path("").into_os_string();
    Trial::of(shim, &url("redis", redis.port), redis)
        .with(|shim| shim.behind(["/usr/sbin/chroot".into(), root]))
        .outcome(Outcome::NoFault)
        .keeping(folder)
}

/// A log on a disk with no room left.
fn full_disk(redis: &Arc<Redis>) -> Trial {
    let folder = Folder::new();
    let disk = folder.path("");
    let sandbox = Sandbox::new().with(&format!(
        "cd '{0}'; mount -t tmpfs -o size=4k tmpfs .; cd '{0}'; touch log; ! cat /dev/zero >rest 2>&-",
        disk.display()
    ));
    healthy(redis)
        .with(|shim| {
            shim.inside(sandbox).redirected(&format!("2>'{}'", disk.join("log").display()))
        })
        .outcome(Outcome::Unheard)
        .keeping(folder)
}

/// A log file that may not grow.
fn files_that_may_not_grow(redis: &Arc<Redis>) -> Trial {
    let folder = Folder::new();
    let log = folder.path("log").display().to_string();
    healthy(redis)
        .with(|shim| shim.redirected(&format!("2>'{log}'")).behind(["prlimit", "--fsize=0"]))
        .outcome(Outcome::Unheard)
        .keeping(folder)
}

/// A user who may have one more process, which is to be the worker.
fn no_room_for_a_thread(redis: &Arc<Redis>) -> Trial {
    healthy(redis)
        .with(|shim| {
            shim.behind(["setpriv", "--reuid=54700", "--clear-groups", "--"])
                .behind(["prlimit", "--nproc=2"])
        })
        .outcome(Outcome::Unregistered)
}

pub fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases = Cases::of("machine", &stage.plain);
    for limit in 5..=12 {
        cases.add(format!("{limit} open files"), move |redis| files(redis, limit));
    }
    cases.add("no room for a thread", no_room_for_a_thread);
    cases.add("a full disk under the log", full_disk);
    cases.add("no file may grow", files_that_may_not_grow);
    cases.add("no /proc", |redis| without(redis, &["/proc"]));
    cases.add("no /dev", |redis| without(redis, &["/dev"]));
    cases.add("no /etc", |redis| without(redis, &["/etc"]));
    cases.add("none of the three", |redis| without(redis, &["/etc", "/dev", "/proc"]));
    cases.add("an empty root", empty_root);
    for call in ["epoll_create1", "eventfd2", "socket", "socketpair"] {
        cases.add(format!("the call {call} is refused"), move |redis| {
            let denied = format!("deny:{call}");
            healthy(redis).with(|shim| shim.under([denied])).outcome(Outcome::AsRoomAllows)
        });
    }
    cases.all()
}
