//! The Secret of the serving certificate, and whether it can be served with.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

use super::issue::Issued;

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const CA: &str = "ca.crt";
/// What is shown next, as soon as every client trusts its CA.
pub(super) const NEXT_CERTIFICATE: &str = "next-tls.crt";
pub(super) const NEXT_KEY: &str = "next-tls.key";
/// The last line of a certificate in PEM (RFC 7468).
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Why a Secret cannot be served with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Unusable {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is no PEM: {1}")]
    Garbled(&'static str, String),
    #[error("its certificate and key are of no use: {0}")]
    KeyPair(String),
    #[error("its certificate expired at {0}")]
    Expired(Timestamp),
    #[error("its certificate is not valid before {0}")]
    Early(Timestamp),
    #[error("its certificate is not for {0}")]
    Stranger(String),
    #[error("its certificate is not signed by its {CA}: {0}")]
    Unsigned(String),
}

/// A certificate that can be shown.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) shown: Arc<CertifiedKey>,
    pub(super) not_after: Timestamp,
}

/// A Secret that can be served with. It has no `Debug`: a key is in it.
#[derive(Clone)]
pub(super) struct Stored {
    /// As it is stored.
    pub(super) data: BTreeMap<String, ByteString>,
    pub(super) current: Pair,
    /// Prepared, and not yet shown.
    pub(super) next: Option<Pair>,
}

impl Stored {
    /// `name` = whom the certificate must be for; `signed` = its CA must be there, and be its issuer.
    pub(super) fn read(secret: &Secret, name: &str, signed: bool, now: Timestamp) -> Result<Self, Unusable> {
        let data = secret.data.clone().unwrap_or_default();
        let authorities = if signed { Some(text(&data, CA)?) } else { None };
        let current = pair(text(&data, CERTIFICATE)?, text(&data, KEY)?, name, authorities, now)?;
        let next = match (text(&data, NEXT_CERTIFICATE), text(&data, NEXT_KEY)) {
            // One that is of no use is as good as none: another is prepared.
            (Ok(certificate), Ok(key)) => pair(certificate, key, name, authorities, now).ok(),
            _ => None,
        };
        Ok(Self { data, current, next })
    }

    /// What a client must trust, PEM.
    pub(super) fn authorities(&self) -> &[u8] {
        self.data.get(CA).map_or(&[], |value| &value.0)
    }

    /// The same with `next` to come after what is shown. Of the CAs, those that have expired are left out: whatever they
    /// signed has expired with them, and nobody can be shown it any more.
    pub(super) fn prepared(&self, next: Issued, now: Timestamp) -> BTreeMap<String, ByteString> {
        let lasts = |authority: &&str| {
            let read = CertificateDer::from_pem_slice(authority.as_bytes());
            read.is_ok_and(|read| validity(&read).is_ok_and(|(_, end)| end > now))
        };
        let authorities = String::from_utf8_lossy(self.authorities());
        let mut authorities =
            authorities.split_inclusive(PEM_END).filter(lasts).map(str::trim_start).collect::<Vec<_>>().join("\n");
        if !authorities.is_empty() {
            authorities.push('\n');
        }
        authorities += &next.ca;
        let mut data = self.data.clone();
        put(&mut data, [(CA, authorities), (NEXT_CERTIFICATE, next.certificate), (NEXT_KEY, next.key)]);
        data
    }

    /// The same with what was prepared in place of what is shown.
    pub(super) fn switched(&self) -> BTreeMap<String, ByteString> {
        let mut data = self.data.clone();
        for (next, current) in [(NEXT_CERTIFICATE, CERTIFICATE), (NEXT_KEY, KEY)] {
            if let Some(value) = data.remove(next) {
                data.insert(current.to_owned(), value);
            }
        }
        data
    }
}

/// The data of a Secret with nothing but this.
pub(super) fn first(issued: Issued) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::new();
    put(&mut data, [(CERTIFICATE, issued.certificate), (KEY, issued.key), (CA, issued.ca)]);
    data
}

fn put<const N: usize>(data: &mut BTreeMap<String, ByteString>, values: [(&str, String); N]) {
    data.extend(values.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))));
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, key: &'static str) -> Result<&'a [u8], Unusable> {
    data.get(key).map(|value| value.0.as_slice()).filter(|value| !value.is_empty()).ok_or(Unusable::Missing(key))
}

fn pair(
    certificate: &[u8],
    key: &[u8],
    name: &str,
    authorities: Option<&[u8]>,
    now: Timestamp,
) -> Result<Pair, Unusable> {
    let garbled = |key| move |error: rustls::pki_types::pem::Error| Unusable::Garbled(key, error.to_string());
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(garbled(CERTIFICATE))?;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(Unusable::Garbled(CERTIFICATE, "there is no certificate in it".to_owned()));
    };
    let (begin, end) = validity(leaf).map_err(|error| Unusable::Garbled(CERTIFICATE, error))?;
    if end <= now {
        return Err(Unusable::Expired(end));
    }
    if begin > now {
        return Err(Unusable::Early(begin));
    }
    let stranger = |_| Unusable::Stranger(name.to_owned());
    let server = ServerName::try_from(name).map_err(|_| Unusable::Stranger(name.to_owned()))?;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| Unusable::KeyPair(error.to_string()))?;
    verify_server_name(&parsed, &server).map_err(stranger)?;
    if let Some(authorities) = authorities {
        signed_by(leaf, intermediates, &server, authorities, now)?;
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(garbled(KEY))?;
    let shown = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let shown = shown.map_err(|error| Unusable::KeyPair(error.to_string()))?;
    Ok(Pair { shown: Arc::new(shown), not_after: end })
}

/// As a client looks at it that trusts `authorities`.
fn signed_by(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    authorities: &[u8],
    now: Timestamp,
) -> Result<(), Unusable> {
    let unsigned = |error: &dyn std::fmt::Display| Unusable::Unsigned(error.to_string());
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(CertificateDer::pem_slice_iter(authorities).flatten());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), provider).build();
    let verifier = verifier.map_err(|error| unsigned(&error))?;
    let at =
        UnixTime::since_unix_epoch(SystemTime::from(now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    verifier.verify_server_cert(leaf, intermediates, name, &[], at).map_err(|error| unsigned(&error))?;
    Ok(())
}

/// From when until when a certificate is valid.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|e| e.to_string());
    Ok((at(validity.not_before)?, at(validity.not_after)?))
}
