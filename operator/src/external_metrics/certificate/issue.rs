//! A CA and a serving certificate, made here.
//!
//! The CA signs one certificate, and its key is forgotten: whoever reads the Secret can serve under our name until that
//! certificate expires, and make no other. So every renewal is a change of the CA, and takes the same, well-trodden way.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// How far the API server's clock may be behind ours.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate with its key, and the CA that a client must trust; all PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) ca: String,
}

/// A certificate for `names` that is valid for `valid_for` from `now` on; the CA is valid for as long.
pub(super) fn issue(names: &[String], now: SystemTime, valid_for: Duration) -> Result<Issued, rcgen::Error> {
    let (begin, end) = (now - BACKDATED, now + valid_for);
    let mut authority = CertificateParams::default();
    (authority.not_before, authority.not_after) = (begin.into(), end.into());
    // Two CAs of one name would make a client try the wrong one first.
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, format!("mutt-operator external metrics CA {since_epoch}"));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut serving = CertificateParams::new(names)?;
    (serving.not_before, serving.not_after) = (begin.into(), end.into());
    serving.distinguished_name = rcgen::DistinguishedName::new();
    // At most 64 characters fit (RFC 5280), a name of a Service may be longer; clients look at the alternative names.
    serving.distinguished_name.push(DnType::CommonName, "mutt-operator external metrics");
    serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    serving.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = serving.signed_by(&key, &authority)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), ca: authority.pem() })
}
