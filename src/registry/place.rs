//! Where a worker runs, as its record says it: the host and, in Kubernetes, the pod.

/// A DNS subdomain's length, which a pod's name is; RFC 1123.
const MAX_POD: usize = 253;
/// A DNS label's, which a namespace's is.
const MAX_NAMESPACE: usize = 63;

/// Where a worker runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub hostname: String,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

impl Place {
    /// On this host and, by the words of the downward API, in this pod of this namespace: what can't be
    /// such a name counts as not said.
    pub fn new(hostname: String, pod: Option<&str>, namespace: Option<&str>) -> Self {
        let sane =
            |name: Option<&str>, max| name.filter(|name| is_dns_name(name, max)).map(str::to_owned);
        Self { hostname, pod: sane(pod, MAX_POD), namespace: sane(namespace, MAX_NAMESPACE) }
    }

    /// Field names and values of an instance's hash.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let mut fields = vec![("hostname", self.hostname.as_str())];
        fields.extend(self.pod.as_deref().map(|pod| ("pod", pod)));
        fields.extend(self.namespace.as_deref().map(|namespace| ("namespace", namespace)));
        fields
    }
}

/// Whether Kubernetes would take it for a name.
fn is_dns_name(name: &str, max: usize) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.copied().is_some_and(is_usual);
    let bytes = name.as_bytes();
    name.len() <= max
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| is_usual(*byte) || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn what_is_no_name_of_a_pod_counts_as_not_said() {
        let pod = |name| Place::new("h".into(), Some(name), None).pod;
        let (longest, longer) = ("a".repeat(253), "a".repeat(254));
        for name in ["extractor-7d9f8-x2x4b", "a", "db-0", "a.b", &longest] {
            assert_eq!(pod(name).as_deref(), Some(name));
        }
        for name in ["", "-a", "a-", "A", "a b", "a/b", "$(POD)", "é", "a\n", &longer] {
            assert_eq!(pod(name), None, "{name}");
        }
        assert_eq!(Place::new("h".into(), None, Some(&"a".repeat(64))).namespace, None);
    }

    #[test]
    fn only_what_is_known_is_a_field() {
        assert_eq!(Place::new("h".into(), None, Some("")).fields(), [("hostname", "h")]);
        let fields = Place::new("h".into(), Some("p"), Some("n"));
        assert_eq!(fields.fields(), [("hostname", "h"), ("pod", "p"), ("namespace", "n")]);
    }
}
