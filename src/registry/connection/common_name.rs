//! A certificate's common name, which the TLS library does not read.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::CN;

/// The last common name of a certificate's subject, in the order in which it stands there.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let mut names = subject.iter().filter(|attribute| attribute.oid == CN);
    let value = names.next()?.value.value();
    String::from_utf8(value.to_vec()).ok()
}
