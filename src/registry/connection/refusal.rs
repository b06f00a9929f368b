//! Why TLS failed, in words that name the way out. Pure.

use std::io;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

use crate::escape::Escape;

/// What is known on this side of a handshake that failed.
pub struct Refusal<'a> {
    /// Whether the client has a certificate to show.
    pub has_identity: bool,
    /// Whether the server has asked for one.
    pub was_asked: bool,
    /// Authorities that could not be read.
    pub unread: &'a [String],
}

impl Refusal<'_> {
    pub fn is_tls(error: &io::Error) -> bool {
        cause(error).is_some()
    }

    /// The sentence for an error of a handshake.
    pub fn of(&self, error: &io::Error) -> String {
        let Some(cause) = cause(error) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => {
                    "it closes the connection when TLS begins. Does it speak TLS? Else the URL begins with redis://"
                        .into()
                }
                _ => error.to_string(),
            };
        };
        match cause {
            Error::InvalidCertificate(error) => self.certificate(error),
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => "it speaks no TLS: the URL begins with redis:// then".into(),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => "it speaks neither TLS 1.2 nor 1.3".into(),
            Error::InconsistentKeys(_) => "--redis-key is not the key of --redis-cert".into(),
            Error::General(why) if why.contains("private key") => {
                "--redis-key is no key that is supported here: RSA, Ed25519, or ECDSA on P-256 or P-384".into()
            }
            other => Escape(&other.to_string()).to_string(),
        }
    }

    fn certificate(&self, error: &CertificateError) -> String {
        let sentence = match error {
            CertificateError::UnknownIssuer => {
                "the issuer of its certificate is not known here: give it with --redis-ca FILE, or with NODE_EXTRA_CA_CERTS"
                    .into()
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "its certificate is for {}, and not for {}: --redis-server-name tells another name to look for",
                if presented.is_empty() { "no name".into() } else { names(presented) },
                expected.to_str(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or this machine's clock is wrong".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or this machine's clock is wrong".into()
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                "its certificate is signed in a way that is not supported here".into()
            }
            CertificateError::BadSignature => {
                "its certificate is not signed by the one of this name that is trusted here: give its own authority with --redis-ca FILE"
                    .into()
            }
            CertificateError::Other(OtherError(why)) => match why.to_string().as_str() {
                "CaUsedAsEndEntity" => {
                    "its certificate is self-signed, and not one that is trusted here: give it itself with --redis-ca FILE"
                        .into()
                }
                "UnsupportedCertVersion" => "its certificate is not of X.509 version 3".into(),
                why => format!("its certificate can't be used: {why}"),
            },
            other => format!("its certificate can't be used: {other}"),
        };
        let sentence = Escape(&sentence).to_string();
        if self.unread.is_empty() {
            return sentence;
        }
        let unread = self.unread.join("; ");
        format!("{sentence} ({})", Escape(&unread))
    }

    fn alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        match alert {
            Alert::CertificateRequired | Alert::HandshakeFailure | Alert::BadCertificate
                if self.was_asked && !self.has_identity =>
            {
                "it wants a certificate of the client: give one with --redis-cert and --redis-key"
                    .into()
            }
            Alert::HandshakeFailure => {
                "it and the shim have no cipher, curve or kind of key in common".into()
            }
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::AccessDenied
            | Alert::DecryptError
                if self.has_identity =>
            {
                format!("it does not accept the certificate of --redis-cert ({alert:?})")
            }
            Alert::ProtocolVersion => "it has no version of TLS in common: 1.2 and 1.3 here".into(),
            Alert::UnrecognisedName => {
                "it does not know this name: --redis-server-name tells another".into()
            }
            alert => format!("it breaks off with the alert {alert:?}"),
        }
    }
}

/// Names as they stand in the certificate, without the TLS library's words for their kind.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(bare).collect::<Vec<_>>().join(", ")
}

/// What TLS has to say about an error of a stream.
fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_told_as_they_stand_there() {
        let presented = ["DnsName(\"redis.example\")", "IpAddress(127.0.0.1)", "redis"];
        assert_eq!(names(&presented.map(String::from)), "redis.example, 127.0.0.1, redis");
    }
}
