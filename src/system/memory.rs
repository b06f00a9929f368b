//! Memory: the program's own code, which lies idle most of the time.

use std::fs::File;
use std::io::Read;
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
    if is_of_a_file(first, end) == Some(true) {
        // SAFETY: mapped from a file, for reading and executing alone: the same bytes come again.
        let _ = unsafe { madvise(start, end - first, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Whether all that is mapped there comes from a file, and nothing from a packer or an emulator that has copied
/// it: of that, nothing would come again. /proc/PID/maps; proc_pid_maps(5).
fn is_of_a_file(first: usize, end: usize) -> Option<bool> {
    /// More than the lines of a program's own segments, which come first.
    const MAX_BYTES: u64 = 4096;
    let mut maps = String::new();
    File::open("/proc/self/maps").ok()?.take(MAX_BYTES).read_to_string(&mut maps).ok()?;
    let mut mapped = first;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let (from, to, inode) = (address(from)?, address(to)?, words.nth(3)?);
        if to <= first || from >= end {
            continue;
        }
        if inode == "0" || from > mapped {
            return Some(false);
        }
        mapped = to;
    }
    Some(mapped >= end)
}

#[cfg(test)]
mod tests {
    use super::is_of_a_file;

    const PAGE: usize = 4096;

    #[test]
    fn the_programs_own_code_is_of_a_file_and_what_it_has_allocated_is_not() {
        let code = (is_of_a_file as fn(usize, usize) -> Option<bool> as *const u8).addr();
        let code = code / PAGE * PAGE;
        assert_eq!(is_of_a_file(code, code + PAGE), Some(true));
        let allocated = vec![1_u8; 3 * PAGE];
        let heap = allocated.as_ptr().addr().next_multiple_of(PAGE);
        assert_ne!(is_of_a_file(heap, heap + PAGE), Some(true));
        // Where a part of it is something else.
        assert_ne!(is_of_a_file(code, heap + PAGE), Some(true));
    }
}
