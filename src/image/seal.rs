//! The seal: the file in the image that holds its identity, out of reach of the environment.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use super::code::{MANIFEST, SealedCode, SealingError, seal_code};
use super::ownership::{NotRoots, must_be_roots};
use super::policy::{Enforce, Policy};
use crate::runner::Runners;
use crate::system::descriptors::open;

/// Where the seal is. Fixed: a variable that could point elsewhere would be the hole it closes.
pub const PATH: &str = "/etc/version-guard/image.json";

const FOLDER: &str = "/etc/version-guard";

/// Far more than a seal holds; what is longer is no seal.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The image's identity and policy as they were sealed at build time. Unknown fields are refused:
/// they would be promises that this version does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seal {
    pub git_sha: String,
    #[serde(default)]
    pub build_date: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce: Option<Enforce>,
    #[serde(default, skip_serializing_if = "is_off")]
    pub require_expected: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    pub stop_on_drift: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbid_runners: Option<Runners>,
    /// Arguments of the worker command that are no runner, as they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_arguments: Vec<String>,
    /// Of a size that can be added to any moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_watch_ms: Option<u32>,
    /// What the code was when the image was built; `None` where it was not sealed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub code: Option<SealedCode>,
}

/// Serde takes an array for a struct as well.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SealedCode>, D::Error> {
    let object = serde_json::Map::deserialize(deserializer)?;
    serde_json::from_value(object.into()).map(Some).map_err(de::Error::custom)
}

// Serde hands a reference over.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_off(switch: &bool) -> bool {
    !switch
}

/// A seal that can't be relied on, or can't be written.
#[derive(Debug, Error)]
pub enum SealError {
    #[error("the seal {PATH} can't be read")]
    Read(#[source] io::Error),
    #[error("the seal {PATH} is no regular file")]
    NoFile,
    #[error("the seal {PATH} is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the seal {PATH} doesn't count")]
    NotRoots(#[source] NotRoots),
    #[error("the seal {PATH} is no JSON object")]
    NoObject,
    #[error(
        "the sealed code has more links and executable files than the seal {PATH} can hold, in {MAX_BYTES} bytes"
    )]
    TooMuch,
    #[error(transparent)]
    Code(#[from] SealingError),
    #[error("the seal {PATH} can't be parsed")]
    Parse(#[source] serde_json::Error),
    #[error("the seal can't be written to {}; this step has to run as root", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Seal {
    pub fn policy(&self) -> Policy {
        Policy {
            enforce: self.enforce,
            require_expected: self.require_expected,
            stop_on_drift: self.stop_on_drift,
            forbid_runners: self.forbid_runners,
            runner_watch: self.runner_watch_ms.map(|ms| Duration::from_millis(ms.into())),
        }
    }

    /// The image's seal, or `None` where the image has none.
    ///
    /// # Errors
    /// Whatever stands in the way of reading it: a seal that is there and says nothing counts as an
    /// unknown identity, never as no seal.
    pub fn read() -> Result<Option<Self>, SealError> {
        // Nonblocking, so that a FIFO in its place does not hold up the start for ever.
        let mut file = match open(PATH, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) if !is_behind_a_link(PATH) => return Ok(None),
            Err(errno) => return Err(SealError::Read(errno.into())),
        };
        let metadata = file.metadata().map_err(SealError::Read)?;
        if !metadata.is_file() {
            return Err(SealError::NoFile);
        }
        must_be_roots(PATH, &metadata).map_err(SealError::NotRoots)?;
        let folder = fs::metadata(FOLDER).map_err(SealError::Read)?;
        must_be_roots(FOLDER, &folder).map_err(SealError::NotRoots)?;
        if metadata.len() > MAX_BYTES {
            return Err(SealError::TooLong);
        }
        let mut bytes = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
        file.read_exact(&mut bytes).map_err(SealError::Read)?;
        Self::parse(&bytes).map(Some)
    }

    fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        // Serde takes an array for a struct as well.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(SealError::NoObject);
        }
        serde_json::from_slice(bytes).map_err(SealError::Parse)
    }

    /// Seals these files and folders, less what is excepted, and writes manifest and seal, whole or not at
    /// all, readable by all and writable by none (0444). With nothing to seal there is no manifest.
    ///
    /// # Errors
    /// What can't be sealed, or the path that could not be written, and why.
    pub fn write(&mut self, code: &[PathBuf], except: &[PathBuf]) -> Result<(), SealError> {
        let (seal, manifest) = (Path::new(PATH), Path::new(MANIFEST));
        let (seal_draft, manifest_draft) =
            (seal.with_extension("json.draft"), manifest.with_extension("sha256.draft"));
        let written = make_folder().map_err(unwritable).and_then(|()| {
            if !code.is_empty() {
                self.code = Some(seal_code(code, except, &manifest_draft)?);
            }
            self.write_to(&seal_draft)?;
            match code {
                [] => fs::remove_file(manifest).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }),
                _ => fs::rename(&manifest_draft, manifest),
            }
            .and_then(|()| fs::rename(&seal_draft, seal))
            .map_err(unwritable)
        });
        if written.is_err() {
            let _ = fs::remove_file(&seal_draft);
            let _ = fs::remove_file(&manifest_draft);
        }
        written
    }

    fn write_to(&self, path: &Path) -> Result<(), SealError> {
        let mut json = serde_json::to_vec(self).map_err(SealError::Parse)?;
        json.push(b'\n');
        if json.len() as u64 > MAX_BYTES {
            return Err(SealError::TooMuch);
        }
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(&json)?;
            file.set_permissions(fs::Permissions::from_mode(0o444))?;
            file.sync_all()
        };
        write().map_err(unwritable)
    }
}

fn unwritable(source: io::Error) -> SealError {
    SealError::Write { path: PATH.into(), source }
}

fn make_folder() -> io::Result<()> {
    let folder = Path::new(FOLDER);
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        // Whatever the umask says: the worker's user has to reach the seal.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A link that leads nowhere, anywhere on the path, is a broken seal, not a missing one.
fn is_behind_a_link(path: &str) -> bool {
    // Whatever is above the first part that is there has been gone through to find that.
    let mut parts = Path::new(path).ancestors();
    let first = parts.find_map(|part| Some((part, fs::symlink_metadata(part).ok()?)));
    first.is_some_and(|(part, found)| found.is_symlink() && fs::metadata(part).is_err())
}

#[cfg(test)]
mod tests {
    use super::Seal;
    use crate::image::ImageIdentity;
    use crate::pieces;

    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        " ",
        "\"gitSha\":",
        "\"a1b2c3d\"",
        "\"buildDate\":",
        "\"\"",
        "\"enforce\":",
        "\"always\"",
        "\"requireExpected\":",
        "\"stopOnDrift\":",
        "\"forbidRunners\":",
        "[\"tsx\",\"bun\"]",
        "\"allowArguments\":",
        "\"runnerWatchMs\":",
        "true",
        "null",
        "\"code\":{",
        "\"paths\":",
        "[\"/app\"]",
        "\"except\":",
        "\"sha256\":",
        "\"bytes\":",
        "0",
        "1e999",
        "18446744073709551616",
        "\"files\":",
        "\"executables\":",
        "\"links\":",
        "[[\"/a\",\"b\"]]",
        "\"\\\\x41\"",
        "\"\\u0000\"",
    ];

    /// No seal at all, or one that says the same once it is written again.
    fn is_read_or_refused(bytes: &[u8]) {
        let read = Seal::parse(bytes);
        if let Ok(seal) = &read {
            assert!(bytes.trim_ascii_start().starts_with(b"{"));
            let again = Seal::parse(&serde_json::to_vec(seal).unwrap()).unwrap();
            assert_eq!(&again, seal);
        }
        let policy = read.as_ref().ok().map(Seal::policy);
        let identity = ImageIdentity::new(read.map(Some), Some("0f0f0f0".as_ref()), None);
        match policy {
            Some(policy) => assert_eq!(identity.policy, policy),
            None => assert_eq!(identity.git_sha.to_string(), "unknown"),
        }
    }

    #[test]
    fn a_seal_is_the_json_that_the_contract_shows() {
        let seal = Seal {
            git_sha: "a1b2c3d".into(),
            build_date: "2026-01-08T12:00:00Z".into(),
            ..Seal::default()
        };
        assert_eq!(
            serde_json::to_string(&seal).unwrap(),
            r#"{"gitSha":"a1b2c3d","buildDate":"2026-01-08T12:00:00Z"}"#
        );
    }

    #[test]
    fn a_policy_is_part_of_the_json_and_read_back() {
        let text = r#"{"gitSha":"a1b2c3d","buildDate":"","enforce":"always","requireExpected":true,"forbidRunners":["tsx","bun"],"allowArguments":["tsx-previews"],"runnerWatchMs":15000}"#;
        let seal: Seal = serde_json::from_str(text).unwrap();
        assert_eq!(
            seal.policy().to_string(),
            "enforce always, require expected, forbid tsx,bun, runner watch 15s"
        );
        assert_eq!(serde_json::to_string(&seal).unwrap(), text);
    }

    #[test]
    fn a_policy_that_this_version_does_not_keep_is_refused() {
        for field in [
            r#""enforce":"sometimes""#,
            r#""requireExpected":"yes""#,
            r#""forbidRunners":["tsx","nonsense"]"#,
            r#""forbidRunners":[]"#,
            r#""forbidRunners":"tsx""#,
            r#""allowArguments":"tsx""#,
            r#""runnerWatchMs":-1"#,
            r#""runnerWatchMs":4294967296"#,
        ] {
            let text = format!(r#"{{"gitSha":"a1b2c3d",{field}}}"#);
            assert!(serde_json::from_str::<Seal>(&text).is_err(), "{field}");
        }
    }

    #[test]
    fn a_seal_with_an_unknown_field_is_refused() {
        let text = r#"{"gitSha":"a1b2c3d","buildDate":"","enforceMore":true}"#;
        assert!(serde_json::from_str::<Seal>(text).is_err());
    }

    #[test]
    fn a_seal_without_a_sha_is_refused() {
        assert!(serde_json::from_str::<Seal>(r#"{"buildDate":""}"#).is_err());
    }

    #[test]
    fn any_bytes_are_a_seal_or_refused() {
        bolero::check!().for_each(is_read_or_refused);
    }

    #[test]
    fn any_pieces_of_a_seal_are_one_or_refused() {
        bolero::check!()
            .with_generator(pieces::bytes(PIECES))
            .for_each(|bytes: &Vec<u8>| is_read_or_refused(bytes));
    }

    #[test]
    fn any_change_of_a_seal_is_refused_or_kept() {
        /// Where it is changed, how many bytes go there, and which come.
        type Change = (usize, u8, Vec<u8>);
        const SEAL: &[u8] = br#"{"gitSha":"a1b2c3d","buildDate":"2026-01-08","enforce":"always","requireExpected":true,"stopOnDrift":true,"forbidRunners":["tsx"],"allowArguments":["a"],"runnerWatchMs":9,"code":{"paths":["/app"],"except":["/app/tmp"],"sha256":"ab","bytes":9,"files":1,"executables":["/app/\\x0a"],"links":[["/app/b","a"]]}}"#;
        assert!(Seal::parse(SEAL).is_ok());
        bolero::check!().with_type::<Vec<Change>>().for_each(|changes: &Vec<Change>| {
            let mut bytes = SEAL.to_vec();
            for (place, gone, new) in changes {
                let start = place % (bytes.len() + 1);
                let end = bytes.len().min(start + usize::from(*gone % 32));
                bytes.splice(start..end, new.iter().copied().take(32));
            }
            is_read_or_refused(&bytes);
        });
    }
}
