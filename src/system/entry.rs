//! The shim's first instructions.

use super::{descriptors, signals};

/// Runs before `main` and before Rust's runtime, which would change SIGPIPE's disposition unseen.
///
/// From here on every signal waits until the supervisor reads it: a blocked signal is kept even for
/// PID 1, which otherwise loses each one that it has no handler for (signal(7), pid_namespaces(7)).
#[used]
// SAFETY: the C runtime calls the functions of this section once, on the main thread.
#[unsafe(link_section = ".init_array")]
static ON_ENTRY: extern "C" fn() = {
    extern "C" fn on_entry() {
        if !cfg!(test) {
            signals::take_over();
            descriptors::occupy_closed_standard_streams();
        }
    }
    on_entry
};
