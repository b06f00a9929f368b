//! ECDSA signatures that ring can't verify: all of P-521, and SHA-512 with the smaller curves.
//!
//! Authorities made by hand have them, as `openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-521`
//! makes one, and as `-sha512` makes a certificate of any curve.

use std::sync::LazyLock;

use p521::ecdsa::Error;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest::{self, digest};
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring::default_provider,
};
use tokio_rustls::rustls::pki_types::alg_id::{
    ECDSA_P256, ECDSA_P384, ECDSA_P521, ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512,
};
use tokio_rustls::rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm,
};

/// ring's provider, and what it can't verify.
pub fn provider() -> CryptoProvider {
    CryptoProvider { signature_verification_algorithms: *ALGORITHMS, ..default_provider() }
}

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let ring = default_provider().signature_verification_algorithms;
    let all =
        [ring.all, &[P521_SHA256, P521_SHA384, P521_SHA512, P384_SHA512, P256_SHA512]].concat();
    let mapping = ring.mapping.iter().map(|(scheme, algorithms)| match *scheme {
        // TLS 1.2 names the digest alone, whatever the curve; TLS 1.3 takes the first, of its own curve.
        SignatureScheme::ECDSA_NISTP256_SHA256 => (*scheme, with(algorithms, P521_SHA256)),
        SignatureScheme::ECDSA_NISTP384_SHA384 => (*scheme, with(algorithms, P521_SHA384)),
        _ => (*scheme, *algorithms),
    });
    let sha512: &[Algorithm] = &[P521_SHA512, P384_SHA512, P256_SHA512];
    let mapping: Vec<_> =
        mapping.chain([(SignatureScheme::ECDSA_NISTP521_SHA512, sha512)]).collect();
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
});

fn with(algorithms: &[Algorithm], another: Algorithm) -> &'static [Algorithm] {
    [algorithms, &[another]].concat().leak()
}

/// Whether a key of this curve has signed a digest.
macro_rules! ecdsa {
    ($curve:ident) => {
        |key, digest, signature| {
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key)?;
            key.verify_prehash(digest, &$curve::ecdsa::Signature::from_der(signature)?)
        }
    };
}

const P521_SHA256: Algorithm = &Ecdsa::new(ECDSA_P521, ECDSA_SHA256, &digest::SHA256, ecdsa!(p521));
const P521_SHA384: Algorithm = &Ecdsa::new(ECDSA_P521, ECDSA_SHA384, &digest::SHA384, ecdsa!(p521));
const P521_SHA512: Algorithm = &Ecdsa::new(ECDSA_P521, ECDSA_SHA512, &digest::SHA512, ecdsa!(p521));
const P384_SHA512: Algorithm = &Ecdsa::new(ECDSA_P384, ECDSA_SHA512, &digest::SHA512, ecdsa!(p384));
const P256_SHA512: Algorithm = &Ecdsa::new(ECDSA_P256, ECDSA_SHA512, &digest::SHA512, ecdsa!(p256));

/// Takes the key, the digest and the signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), Error>;

#[derive(Debug)]
struct Ecdsa {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    digest: &'static digest::Algorithm,
    verify: Verify,
}

impl Ecdsa {
    const fn new(
        key: AlgorithmIdentifier,
        signature: AlgorithmIdentifier,
        digest: &'static digest::Algorithm,
        verify: Verify,
    ) -> Self {
        Self { key, signature, digest, verify }
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let digest = digest(self.digest, message);
        (self.verify)(key, digest.as_ref(), signature).map_err(|_| InvalidSignature)
    }
}
