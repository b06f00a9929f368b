//! Memory: the program's own code, which lies idle most of the time.

use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of the pages of the program's own code: what is executed next comes from the page cache again, a
/// few pages in the place of the hundreds that a start has touched. madvise(2), MADV_DONTNEED.
///
/// For a process that is about to sleep for long.
pub fn let_code_go() {
    /// The largest pages that Linux is built with where this runs, in bytes; a part of one is left alone.
    const PAGE: usize = 64 * 1024;
    unsafe extern "C" {
        // The linker's: where the program begins in memory, and where its code ends. It is not relocated,
        // and so nothing between them was ever written.
        static __executable_start: u8;
        static etext: u8;
    }
    let first = (&raw const __executable_start).addr().next_multiple_of(PAGE);
    let end = (&raw const etext).addr() / PAGE * PAGE;
    let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(first)) else {
        return;
    };
    // SAFETY: mapped from the program's file, for reading and executing alone: the same bytes come again.
    let _ = unsafe { madvise(start, end.saturating_sub(first), MmapAdvise::MADV_DONTNEED) };
}
