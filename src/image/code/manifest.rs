//! The manifest: SHA-256 and path of each file, in the format of sha256sum(1).

use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};

use ring::digest::{Context, Digest, SHA256, SHA256_OUTPUT_LEN};
use thiserror::Error;

/// Where the manifest is. `sha256sum -c` checks it without this program.
pub const MANIFEST: &str = "/etc/version-guard/code.sha256";

/// A SHA-256.
pub type Sha256 = [u8; SHA256_OUTPUT_LEN];

/// PATH_MAX with each byte escaped, and a digest.
const MAX_LINE: u64 = 2 * 4096 + 80;

/// A file's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub sha256: Sha256,
}

/// Why a manifest is none.
#[derive(Debug, Error)]
pub enum ManifestError {
    #[error("can't be read")]
    Read(#[from] io::Error),
    #[error("line {0} is no line of sha256sum's")]
    Malformed(u64),
    #[error("it is not the manifest that the seal names")]
    Another,
    #[error("line {0} names a path that is not sorted behind the one before, or is not sealed")]
    Misplaced(u64),
}

/// Writes a line, with the escapes of sha256sum's: a backslash in front of the line, and `\\`, `\n`, `\r`
/// in the name.
///
/// # Errors
/// The writer's.
pub fn write_entry(writer: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let is_odd = entry.path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
    let mut line = Vec::with_capacity(entry.path.len() + 80);
    if is_odd {
        line.push(b'\\');
    }
    line.extend(hexadecimal(&entry.sha256).bytes());
    line.extend(b"  ");
    for byte in &entry.path {
        match byte {
            b'\\' => line.extend(br"\\"),
            b'\n' => line.extend(br"\n"),
            b'\r' => line.extend(br"\r"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    writer.write_all(&line)
}

/// Reads entries one after the other, and sums the manifest up while it does.
pub struct Entries<R> {
    reader: R,
    sum: Context,
    line: u64,
    last: Vec<u8>,
}

impl<R: BufRead> Entries<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, sum: Context::new(&SHA256), line: 0, last: Vec::new() }
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// A line that is none, or whose path does not come after the one before.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        let mut line = Vec::new();
        self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.sum.update(&line);
        self.line += 1;
        let entry = parse(&line).ok_or(ManifestError::Malformed(self.line))?;
        let is_plain = entry.path.split(|byte| *byte == b'/').skip(1).all(is_component);
        if entry.path.first() != Some(&b'/') || !is_plain || entry.path <= self.last {
            return Err(ManifestError::Misplaced(self.line));
        }
        entry.path.clone_into(&mut self.last);
        Ok(Some(entry))
    }

    /// The SHA-256 of all that was read.
    pub fn sum(&self) -> Digest {
        self.sum.clone().finish()
    }
}

fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&0)
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (line, is_escaped) = line.strip_prefix(b"\\").map_or((line, false), |line| (line, true));
    let (digest, path) = line.split_at_checked(2 * SHA256_OUTPUT_LEN)?;
    let path = path.strip_prefix(b"  ")?;
    let path = if is_escaped { unescaped(path)? } else { path.to_vec() };
    Some(Entry { path, sha256: from_hexadecimal(digest)? })
}

fn unescaped(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(bytes)
}

/// In lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hexadecimal(digits: &[u8]) -> Option<Sha256> {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Entries, Entry, Sha256, write_entry};
    use crate::pieces;

    fn entries(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut entries = Entries::new(text);
        let mut paths = Vec::new();
        while let Some(entry) = entries.next_entry().map_err(|error| error.to_string())? {
            paths.push(entry.path);
        }
        Ok(paths)
    }

    #[test]
    fn odd_names_are_escaped_as_sha256sum_does_and_read_back() {
        for (path, line) in [
            (&b"/app/a b"[..], "  /app/a b\n"),
            (b"/app/a\nb", "  /app/a\\nb\n"),
            (b"/app/a\rb", "  /app/a\\rb\n"),
            (b"/app/a\\b", "  /app/a\\\\b\n"),
        ] {
            let mut text = Vec::new();
            write_entry(&mut text, &Entry { path: path.into(), sha256: [0xab; 32] }).unwrap();
            let start = if line.matches('\\').count() > 0 { "\\" } else { "" };
            assert_eq!(String::from_utf8_lossy(&text), format!("{start}{}{line}", "ab".repeat(32)));
            assert_eq!(entries(&text), Ok(vec![path.to_vec()]));
        }
        let mut text = Vec::new();
        let path = b"/app/\xff\xfe".to_vec();
        write_entry(&mut text, &Entry { path: path.clone(), sha256: [1; 32] }).unwrap();
        assert_eq!(entries(&text), Ok(vec![path]));
    }

    #[test]
    fn what_is_no_manifest_is_refused_by_its_line() {
        let digest = "ab".repeat(32);
        for (text, line) in [
            ("x\n".to_owned(), 1),
            (format!("{digest}  /a"), 1),
            (format!("{digest} */a\n"), 1),
            (format!("{}  /a\n", "+b".repeat(32)), 1),
            (format!("{digest}  a\n"), 1),
            (format!("{digest}  /a/../b\n"), 1),
            (format!("{digest}  /a//b\n"), 1),
            (format!("{digest}  /a\0\n"), 1),
            (format!("{digest}  /b\n{digest}  /a\n"), 2),
            (format!("{digest}  /a\n{digest}  /a\n"), 2),
            (format!("\\{digest}  /a\\x\n"), 1),
            ("x".repeat(100_000), 1),
        ] {
            let refused = entries(text.as_bytes()).unwrap_err();
            assert!(refused.starts_with(&format!("line {line} ")), "{refused}");
        }
        assert_eq!(entries(b""), Ok(vec![]));
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut text = Vec::new();
        for entry in entries {
            write_entry(&mut text, entry).unwrap();
        }
        text
    }

    fn all(text: &[u8]) -> (Vec<Entry>, bool) {
        let mut entries = Entries::new(text);
        let mut read = Vec::new();
        loop {
            match entries.next_entry() {
                Ok(Some(entry)) => read.push(entry),
                end => return (read, end.is_ok()),
            }
        }
    }

    #[test]
    fn any_paths_that_a_kernel_can_have_are_read_back() {
        let files = bolero::generator::produce::<BTreeMap<Vec<Vec<u8>>, Sha256>>();
        bolero::check!().with_generator(files).for_each(
            |files: &BTreeMap<Vec<Vec<u8>>, Sha256>| {
                let path = |names: &Vec<Vec<u8>>| -> Vec<u8> {
                    names.iter().flat_map(|name| [&b"/"[..], name].concat()).collect()
                };
                let is_name = |name: &Vec<u8>| {
                    !matches!(&name[..], b"" | b"." | b"..")
                        && !name.contains(&0)
                        && !name.contains(&b'/')
                };
                let files = files
                    .iter()
                    .filter(|(names, _)| !names.is_empty() && names.iter().all(is_name));
                let mut entries: Vec<Entry> = files
                    .map(|(names, sha256)| Entry { path: path(names), sha256: *sha256 })
                    .collect();
                entries.sort_by(|one, other| one.path.cmp(&other.path));
                assert_eq!(all(&written(&entries)), (entries, true));
            },
        );
    }

    #[test]
    fn any_manifest_is_read_up_to_its_first_odd_line() {
        const DIGEST: &str = "abABabababababababababababababababababababababababababababababab";
        const LINE: &str =
            "0000000000000000000000000000000000000000000000000000000000000000  /app\n";
        let pieces = &[
            LINE, DIGEST, "  ", " *", "/app", "/", "\\", "\\n", "\\\\", "\n", "\r", "\0", ".",
            "..", "b",
        ];
        bolero::check!().with_generator(pieces::bytes(pieces)).for_each(|text: &Vec<u8>| {
            let (entries, _) = all(text);
            assert!(entries.is_sorted_by(|one, other| one.path < other.path));
            assert!(entries.iter().all(|entry| entry.path.starts_with(b"/")));
            assert_eq!(all(&written(&entries)), (entries, true));
        });
    }
}
