//! The environment as the kernel handed it over.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;

/// `NAME=value` entries, byte for byte. Those that the shim was started with are not copied.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<Cow<'static, CStr>>);

impl Environment {
    /// What the shim was started with, entries without `=` included; environ(7).
    pub fn received() -> Self {
        unsafe extern "C" {
            static environ: *const *const c_char;
        }
        let mut entries = Vec::with_capacity(64);
        // SAFETY: a null-terminated array of C strings that nothing in this program changes.
        unsafe {
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                entries.push(Cow::Borrowed(CStr::from_ptr(*entry)));
                entry = entry.add(1);
            }
        }
        Self(entries)
    }

    /// The value of a variable, the first one as getenv(3) has it, or `None` when it is unset.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find_map(|entry| value_of(entry, name)).map(OsStr::from_bytes)
    }

    /// Whether there is an entry that begins so.
    pub fn has_any(&self, beginning: &str) -> bool {
        self.0.iter().any(|entry| entry.to_bytes().starts_with(beginning.as_bytes()))
    }

    /// The variables whose names begin so, each with its value.
    pub fn of(&self, beginning: &str) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().filter_map(move |entry| {
            let entry = entry.to_bytes();
            let end = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (entry.get(..end)?, entry.get(end + 1..)?);
            let is_wanted = name.starts_with(beginning.as_bytes());
            is_wanted.then(|| (OsStr::from_bytes(name), OsStr::from_bytes(value)))
        })
    }

    /// Sets a variable, in the place of all that have this name.
    pub fn set(&mut self, name: &str, value: &str) {
        let mut entry = Vec::with_capacity(name.len() + value.len() + 2);
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'=');
        // A C string holds no NUL byte, and an environment no other strings.
        entry.extend(value.bytes().filter(|byte| *byte != 0));
        self.0.retain(|entry| value_of(entry, name).is_none());
        self.0.extend(CString::new(entry).map(Cow::Owned));
    }

    /// All entries, for execve(2).
    pub fn entries(&self) -> &[Cow<'static, CStr>] {
        &self.0
    }
}

impl FromIterator<CString> for Environment {
    fn from_iter<I: IntoIterator<Item = CString>>(entries: I) -> Self {
        Self(entries.into_iter().map(Cow::Owned).collect())
    }
}

/// The value in an entry, if it is of this variable.
pub(super) fn value_of<'a>(entry: &'a CStr, name: &str) -> Option<&'a [u8]> {
    let entry = entry.to_bytes();
    // Most entries are of another length, which is sooner told than that they are other text.
    let is_of_its_length = entry.get(name.len()) == Some(&b'=');
    let value = is_of_its_length.then(|| entry.strip_prefix(name.as_bytes()))??;
    value.get(1..)
}
