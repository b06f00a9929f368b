//! Mounts over sealed code: a volume, a bind mount or a tmpfs that hides it; proc_pid_mountinfo(5).

use std::fs;

/// A mount that hides sealed code, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub point: Vec<u8>,
    pub file_system: String,
    /// The folder on that file system, such as a volume's; the device where it is the file system's root.
    pub source: String,
}

/// What engines mount into every container; inside of sealed code it is none.
pub const OF_THE_ENGINE: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/run/secrets",
    "/var/run/secrets",
];

/// The mounts at, above (but for the root) or below one of the sealed paths; none where there is no
/// /proc to tell.
pub fn over(sealed: &[Vec<u8>], except: &[Vec<u8>]) -> Vec<Mount> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    in_text(&text, sealed, except)
}

fn in_text(text: &[u8], sealed: &[Vec<u8>], except: &[Vec<u8>]) -> Vec<Mount> {
    let mounts = text.split(|byte| *byte == b'\n').filter_map(parse);
    mounts.filter(|mount| hides(&mount.point, sealed, except)).collect()
}

fn hides(point: &[u8], sealed: &[Vec<u8>], except: &[Vec<u8>]) -> bool {
    let is_allowed = except.iter().any(|except| is_at_or_below(point, except));
    let is_the_engines =
        OF_THE_ENGINE.iter().any(|engines| is_at_or_below(point, engines.as_bytes()));
    point != b"/"
        && !is_allowed
        && !is_the_engines
        && sealed.iter().any(|path| is_at_or_below(point, path) || is_at_or_below(path, point))
}

/// Whether a path is this folder or in it.
pub fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`
fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let (root, point) = (unescaped(fields.get(3)?), unescaped(fields.get(4)?));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let device = unescaped(fields.get(separator + 2)?);
    Some(Mount {
        point,
        file_system: text(unescaped(fields.get(separator + 1)?)),
        source: text(if root == b"/" { device } else { root }),
    })
}

/// Blanks and the like stand as three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match (first, octal) {
            (b'\\', Some(digits)) => {
                let number =
                    digits.iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
                bytes.extend(u8::try_from(number));
                rest = after.get(3..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Mount, in_text, is_at_or_below};
    use crate::pieces;

    fn points(text: &str, sealed: &[&str], except: &[&str]) -> Vec<String> {
        let paths =
            |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect::<Vec<_>>();
        let mounts = in_text(text.as_bytes(), &paths(sealed), &paths(except));
        mounts
            .into_iter()
            .map(|mount| {
                let point = String::from_utf8(mount.point).unwrap();
                format!("{point} {} {}", mount.file_system, mount.source)
            })
            .collect()
    }

    /// As Docker shows a container's.
    const TEXT: &str = "\
700 600 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a\n\
701 700 0:60 / /proc rw - proc proc rw\n\
702 700 8:1 /var/lib/docker/volumes/x/_data /app/node_modules rw master:1 - ext4 /dev/sda1 rw\n\
703 700 8:1 /var/lib/docker/containers/y/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
704 700 0:70 / /app/tmp rw - tmpfs tmpfs rw\n\
705 700 8:1 /srv/my\\040data /data\\040dir rw - ext4 /dev/sda1 rw\n\
706 700 8:1 / /apple rw - xfs /dev/sdb1 rw\n";

    #[test]
    fn mounts_at_above_and_below_sealed_code_hide_it() {
        let volume = "/app/node_modules ext4 /var/lib/docker/volumes/x/_data".to_owned();
        let tmpfs = "/app/tmp tmpfs tmpfs".to_owned();
        assert_eq!(points(TEXT, &["/app"], &[]), [volume.clone(), tmpfs.clone()]);
        assert_eq!(points(TEXT, &["/app"], &["/app/tmp"]), [&*volume]);
        assert_eq!(points(TEXT, &["/app/node_modules/x"], &[]), [volume]);
        assert_eq!(points(TEXT, &["/data dir/a"], &[]), ["/data dir ext4 /srv/my data"]);
    }

    #[test]
    fn the_root_the_engines_own_mounts_and_others_hide_nothing() {
        assert!(points(TEXT, &["/srv", "/appl", "/etc"], &[]).is_empty());
    }

    #[test]
    fn what_only_begins_alike_is_not_below() {
        assert!(is_at_or_below(b"/app/x", b"/app") && is_at_or_below(b"/app", b"/app"));
        assert!(is_at_or_below(b"/app", b"/") && is_at_or_below(b"/app/x", b"/app/"));
        assert!(!is_at_or_below(b"/apple", b"/app") && !is_at_or_below(b"/ap", b"/app"));
    }

    #[test]
    fn odd_lines_are_no_mounts() {
        assert!(points("\n-\nx - y\n1 2 3 / /app - \\\n1 2 3 / /app\n", &["/app"], &[]).is_empty());
    }

    /// As the kernel shows a name: mangle_path() in seq_file.c.
    fn shown(name: &[u8]) -> Vec<u8> {
        let octal = |byte: u8| format!("\\{byte:03o}").into_bytes();
        let shown = |byte: &u8| if b" \t\n\\#".contains(byte) { octal(*byte) } else { vec![*byte] };
        name.iter().flat_map(shown).collect()
    }

    #[test]
    fn any_mount_below_sealed_code_is_seen_whatever_it_is_called() {
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(name, source)| {
            if name.contains(&0) || source.contains(&0) {
                return;
            }
            let point = [b"/app/", &name[..]].concat();
            let root = [b"/x", &source[..]].concat();
            let (start, end) = (&b"702 700 8:1 "[..], &b" rw master:1 - ext4 /dev/sda1 rw\n"[..]);
            let line = [start, &shown(&root), b" ", &shown(&point), end].concat();
            let source = String::from_utf8_lossy(&root).into_owned();
            let mount = Mount { point, file_system: "ext4".into(), source };
            assert_eq!(in_text(&line, &[b"/app".to_vec()], &[]), [mount]);
        });
    }

    #[test]
    fn any_line_is_a_mount_or_none() {
        let pieces =
            &[" ", "-", " - ", "\n", "\\", "\\040", "\\777", "/", "/app", "1 2 3:4", "ext4", "rw"];
        bolero::check!().with_generator(pieces::bytes(pieces)).for_each(|text: &Vec<u8>| {
            let app = b"/app".to_vec();
            for mount in in_text(text, std::slice::from_ref(&app), &[]) {
                let Mount { point, .. } = mount;
                assert!(is_at_or_below(&point, &app) || is_at_or_below(&app, &point));
                assert!(
                    in_text(text, std::slice::from_ref(&app), &[b"/".to_vec(), Vec::new()])
                        .is_empty()
                );
            }
        });
    }
}
