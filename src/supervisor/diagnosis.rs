//! Why a program can't be executed: what execve(2) says, and the usual cause with its remedy.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use elf::ElfBytes;
use elf::abi::{EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, PT_INTERP};
use elf::endian::AnyEndian;
use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::escape::Escape;

/// A program's headers, and far more than a first line, stand within this many bytes.
const BEGINNING: u64 = 64 * 1024;

/// The usual cause of this errno for a file that is there, as the end of a sentence; empty where none
/// shows.
pub fn cause(path: &Path, errno: Errno) -> String {
    match errno {
        Errno::EACCES => forbidden(path),
        Errno::ENOEXEC => {
            let bytes = beginning(path);
            let interpreter = interpreter(&bytes).map(|interpreter| beginning(&interpreter));
            not_for_this_machine(&interpreter.unwrap_or(bytes))
        }
        Errno::ENOENT | Errno::ENOTDIR => missing_interpreter(&beginning(path)),
        _ => String::new(),
    }
}

fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut bytes));
    bytes
}

/// The program that a script's first line names; execve(2).
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Some(PathBuf::from(OsStr::from_bytes(words.next()?)))
}

fn forbidden(path: &Path) -> String {
    let Ok(metadata) = fs::metadata(path) else { return String::new() };
    let mode = metadata.permissions().mode();
    let is_noexec = || statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOEXEC));
    if metadata.is_dir() {
        ". It is a directory".into()
    } else if mode & 0o111 == 0 {
        ". It has no executable bit: COPY --chmod=755, or chmod +x".into()
    } else if is_noexec() {
        ". It lies on a file system that is mounted noexec: put it elsewhere, or mount that with exec"
            .into()
    } else {
        String::new()
    }
}

/// A program for another processor or system. ENOEXEC, where the kernel knows no such format.
fn not_for_this_machine(bytes: &[u8]) -> String {
    let foreign = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => match ElfBytes::<AnyEndian>::minimal_parse(bytes) {
            Ok(program) => format!("{}'s", machine(program.ehdr.e_machine)),
            Err(_) => return ". It is no whole program: its beginning can't be read as one".into(),
        },
        [b'M', b'Z', ..] => "Windows'".into(),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "macOS's".into(),
        _ => return String::new(),
    };
    format!(
        ". It is a program of {foreign}, and this machine is {}: build or pull the image with --platform",
        std::env::consts::ARCH
    )
}

fn machine(number: u16) -> String {
    match number {
        EM_X86_64 => "x86_64",
        EM_386 => "x86",
        EM_AARCH64 => "aarch64",
        EM_ARM => "arm",
        EM_RISCV => "riscv",
        EM_PPC64 => "ppc64",
        EM_S390 => "s390x",
        other => return format!("machine {other}"),
    }
    .into()
}

/// What a script's first line or a program's header asks for, which is not there. ENOENT, though the
/// file itself is.
fn missing_interpreter(bytes: &[u8]) -> String {
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let shown = Escape(&line);
        if line.ends_with('\r') {
            return format!(
                ": its first line is '#!{shown}'. It has the line ends of Windows: convert it (dos2unix), and have git keep LF (.gitattributes: *.sh text eol=lf)"
            );
        }
        return format!(": its first line asks for '{shown}'");
    }
    let Some(loader) = loader(bytes) else { return String::new() };
    let remedy = match loader.as_str() {
        loader if loader.contains("ld-musl") => {
            ", musl's: it was built on Alpine, and this image is not. Build it on this image's base"
        }
        loader if loader.contains("ld-linux") => {
            ", glibc's: this image has another libc (Alpine), or none (scratch). Build it on this image's base, or statically"
        }
        _ => "",
    };
    format!(": it asks for {}{remedy}", Escape(&loader))
}

/// The loader that a program asks for; ld.so(8).
fn loader(bytes: &[u8]) -> Option<String> {
    let program = ElfBytes::<AnyEndian>::minimal_parse(bytes).ok()?;
    let header = program.segments()?.iter().find(|segment| segment.p_type == PT_INTERP)?;
    let path = program.segment_data(&header).ok()?;
    Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{interpreter, missing_interpreter, not_for_this_machine};
    use crate::escape::is_harmless;
    use crate::pieces;

    /// Whatever stands in a file, one line about it.
    fn is_told(bytes: &[u8]) {
        let _ = interpreter(bytes);
        for sentence in [missing_interpreter(bytes), not_for_this_machine(bytes)] {
            assert!(sentence.chars().all(is_harmless), "{sentence:?}");
        }
    }

    /// The header of a program for this machine type.
    fn header(machine: u16) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[16..18].copy_from_slice(&2_u16.to_le_bytes());
        header[18..20].copy_from_slice(&machine.to_le_bytes());
        header[20..24].copy_from_slice(&1_u32.to_le_bytes());
        header[52..54].copy_from_slice(&64_u16.to_le_bytes());
        header
    }

    #[test]
    fn a_foreign_program_is_named_by_its_machine() {
        for (bytes, named) in [
            (header(183), "a program of aarch64's"),
            (header(40), "a program of arm's"),
            (header(9999), "a program of machine 9999's"),
            (b"MZ\x90".to_vec(), "a program of Windows'"),
            (b"\xcf\xfa\xed\xfe\x07".to_vec(), "a program of macOS's"),
            (b"\x7fELF".to_vec(), "no whole program"),
        ] {
            let text = not_for_this_machine(&bytes);
            assert!(text.contains(named), "{text}");
        }
        assert_eq!(not_for_this_machine(b"\0\0"), "");
    }

    #[test]
    fn the_line_ends_of_windows_are_shown() {
        let text = missing_interpreter(b"#!/bin/sh\r\necho\r\n");
        assert!(text.contains(r"'#!/bin/sh\r'") && text.contains("Windows"), "{text}");
        assert!(missing_interpreter(b"#!/nowhere\n").contains("'/nowhere'"));
        assert_eq!(missing_interpreter(b"\x7fELF"), "");
        assert_eq!(missing_interpreter(b""), "");
    }

    #[test]
    fn any_beginning_of_a_file_is_told_in_one_line() {
        let pieces = &["#!", "/bin/sh", " ", "\r", "\n", "\x1b", "MZ", "\x7fELF"];
        bolero::check!()
            .with_generator(pieces::bytes(pieces))
            .for_each(|bytes: &Vec<u8>| is_told(bytes));
    }

    #[test]
    fn any_change_of_a_programs_header_is_told_in_one_line() {
        bolero::check!().with_type::<(Vec<(u8, u8)>, Vec<u8>)>().for_each(|(changes, rest)| {
            let mut bytes = header(62);
            // One program header, for the loader, behind the file's own.
            bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
            bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
            bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
            bytes.extend([3, 0, 0, 0, 4, 0, 0, 0, 120, 0, 0, 0, 0, 0, 0, 0]);
            bytes.resize(120, 0);
            bytes[96..104].copy_from_slice(&(rest.len() as u64).to_le_bytes());
            bytes.extend(rest);
            for (place, byte) in changes {
                let place = usize::from(*place) % bytes.len();
                bytes[place] = *byte;
            }
            is_told(&bytes);
        });
    }
}
