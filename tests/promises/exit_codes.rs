//! The exit table: how the worker ended is how the shim ends.

use crate::common::Shim;

#[test]
fn every_exit_code_of_the_worker_is_the_shims_as_pid_1() {
    for code in 0..=255 {
        let ended = Shim::run(["exit", &code.to_string()]).pid1().output();
        assert_eq!(ended.code, code, "{ended:?}");
    }
}

/// signal(7): those whose default action is to ignore, to continue or to stop kill nobody.
#[test]
fn a_death_by_any_signal_that_kills_is_128_and_the_signal_as_pid_1() {
    let kill_nobody = [17, 18, 19, 20, 21, 22, 23, 28];
    for signal in (1..=64).filter(|signal| !kill_nobody.contains(signal)) {
        let ended = Shim::run(["die", &signal.to_string()]).pid1().output();
        assert_eq!(ended.code, 128 + signal, "{ended:?}");
    }
}
