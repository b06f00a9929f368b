//! A certificate's common names, which the TLS library does not read.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::CN;

/// The common names of a certificate's subject.
pub fn common_names(certificate: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let subject = certificate.tbs_certificate().subject();
    let names = subject.iter().filter(|attribute| attribute.oid == CN);
    names.filter_map(|name| String::from_utf8(name.value.value().to_vec()).ok()).collect()
}
