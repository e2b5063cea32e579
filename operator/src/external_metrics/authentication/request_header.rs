//! What `kube-system/extension-apiserver-authentication` says of the front proxy, and what its headers say of who asks.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, HeaderName};
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::Caller;

/// Keys of the ConfigMap.
const CA: &str = "requestheader-client-ca-file";
const ALLOWED_NAMES: &str = "requestheader-allowed-names";
const USERNAME_HEADERS: &str = "requestheader-username-headers";
const UID_HEADERS: &str = "requestheader-uid-headers";
const GROUP_HEADERS: &str = "requestheader-group-headers";
const EXTRA_PREFIXES: &str = "requestheader-extra-headers-prefix";

/// How the front proxy is known, and which of its headers say what.
#[derive(Debug)]
pub(in super::super) struct RequestHeader {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Common names of the front proxy; empty = every certificate of the CA, as Kubernetes has it.
    allowed_names: Vec<String>,
    username_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    /// In lower case, as hyper gives the names of headers.
    extra_prefixes: Vec<String>,
}

impl RequestHeader {
    /// Reads the ConfigMap; an error in words if it leaves nobody to believe.
    pub(super) fn of(map: &ConfigMap) -> Result<Self, String> {
        let text = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
        let bundle = text(CA).filter(|pem| !pem.trim().is_empty());
        let bundle =
            bundle.ok_or_else(|| format!("it has no {CA}: is API aggregation switched on in the API server?"))?;
        let list = |key: &str| -> Result<Vec<String>, String> {
            let Some(text) = text(key).filter(|text| !text.trim().is_empty()) else { return Ok(Vec::new()) };
            serde_json::from_str(text).map_err(|error| format!("{key} is no list of names: {error}"))
        };
        let headers = |key: &str| -> Result<Vec<HeaderName>, String> {
            let parse = |name: String| {
                name.parse::<HeaderName>().map_err(|_| format!("{key}: {name:?} is no name of a header"))
            };
            list(key)?.into_iter().map(parse).collect()
        };
        let header = Self {
            verifier: verifier(bundle)?,
            allowed_names: list(ALLOWED_NAMES)?,
            username_headers: headers(USERNAME_HEADERS)?,
            uid_headers: headers(UID_HEADERS)?,
            group_headers: headers(GROUP_HEADERS)?,
            extra_prefixes: list(EXTRA_PREFIXES)?.iter().map(|prefix| prefix.to_ascii_lowercase()).collect(),
        };
        // An empty prefix would take every header for the proxy's.
        if header.username_headers.is_empty() || header.extra_prefixes.iter().any(String::is_empty) {
            return Err(format!("{USERNAME_HEADERS} is empty, or a prefix in {EXTRA_PREFIXES} is"));
        }
        Ok(header)
    }

    /// Whether this certificate is the front proxy's, now; else why not. That the sender has its key was seen in the
    /// handshake.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, UnixTime::now());
        verified.map_err(|error| format!("the client certificate is none of the API server's front proxy: {error}"))?;
        if self.allowed_names.is_empty() {
            return Ok(());
        }
        let name = common_name(certificate).unwrap_or_default();
        if self.allowed_names.contains(&name) {
            return Ok(());
        }
        Err(format!("the client certificate's name {name:?} is not among {ALLOWED_NAMES}"))
    }

    /// Whom the headers name; `None` = nobody. Only to be asked after [`RequestHeader::check`].
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Option<Caller>, String> {
        let Some(user) = first(headers, &self.username_headers)? else { return Ok(None) };
        let mut groups = Vec::new();
        for name in &self.group_headers {
            for value in headers.get_all(name) {
                groups.extend(Some(text(name, value.as_bytes())?).filter(|group| !group.is_empty()));
            }
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(prefix.as_str()) {
                    extra.entry(unescaped(key)).or_default().push(text(name, value.as_bytes())?);
                }
            }
        }
        Ok(Some(Caller { user, uid: first(headers, &self.uid_headers)?, groups, extra }))
    }
}

fn verifier(bundle: &str) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("{CA} is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{CA} holds a certificate that cannot be used: {error}"))?;
    }
    WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| format!("{CA}: {error}"))
}

/// The first value that is not empty.
fn first(headers: &HeaderMap, names: &[HeaderName]) -> Result<Option<String>, String> {
    for name in names {
        if let Some(value) = headers.get(name).filter(|value| !value.is_empty()) {
            return text(name, value.as_bytes()).map(Some);
        }
    }
    Ok(None)
}

fn text(name: &HeaderName, bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("the header {name} is not UTF-8"))
}

/// Percent-encoded, since not every key can be part of a header's name; one that is not stays as it is.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let code = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(code) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return key.to_owned() };
        bytes.push(code);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

/// The last common name of the subject, as Go's `pkix.Name` has it.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.subject().iter_common_name().last()?.as_str().ok().map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use axum::http::HeaderValue;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    fn authority() -> Authority {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn certificate(authority: &Authority, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().der().clone()
    }

    fn map(ca: &str, names: &str) -> ConfigMap {
        let data = [
            (CA, ca),
            (ALLOWED_NAMES, names),
            (USERNAME_HEADERS, r#"["X-Remote-User","X-Other-User"]"#),
            (UID_HEADERS, r#"["X-Remote-Uid"]"#),
            (GROUP_HEADERS, r#"["X-Remote-Group"]"#),
            (EXTRA_PREFIXES, r#"["X-Remote-Extra-"]"#),
        ];
        let data = data.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn only_a_client_certificate_of_that_ca_under_an_allowed_name_is_the_front_proxys() {
        let (ours, theirs) = (authority(), authority());
        let header = RequestHeader::of(&map(&ours.pem, r#"["front-proxy","aggregator"]"#)).unwrap();
        let check =
            |header: &RequestHeader, authority, name, usage| header.check(&certificate(authority, name, usage), &[]);
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        assert_eq!(check(&header, &ours, "aggregator", client.clone()), Ok(()));
        let why = check(&header, &ours, "kubelet", client.clone()).unwrap_err();
        assert!(why.contains("\"kubelet\" is not among"), "{why}");
        assert!(check(&header, &theirs, "front-proxy", client.clone()).is_err(), "another CA");
        assert!(check(&header, &ours, "front-proxy", ExtendedKeyUsagePurpose::ServerAuth).is_err(), "no client's");
        assert!(header.check(&CertificateDer::from(vec![1, 2, 3]), &[]).is_err(), "no certificate at all");
        // During a rotation both are there.
        let both = RequestHeader::of(&map(&(ours.pem.clone() + &theirs.pem), r#"["front-proxy"]"#)).unwrap();
        assert_eq!(check(&both, &theirs, "front-proxy", client.clone()), Ok(()));
        assert_eq!(check(&both, &ours, "front-proxy", client.clone()), Ok(()));
        let any = RequestHeader::of(&map(&ours.pem, "[]")).unwrap();
        assert_eq!(check(&any, &ours, "whoever", client), Ok(()));
    }

    #[test]
    fn a_config_map_that_leaves_nobody_to_believe_is_an_error() {
        let pem = authority().pem;
        for (map, said) in [
            (ConfigMap::default(), "is API aggregation switched on"),
            (map("", "[]"), "is API aggregation switched on"),
            (map("no certificate", "[]"), CA),
            (map(&pem, "front-proxy"), ALLOWED_NAMES),
        ] {
            let why = RequestHeader::of(&map).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        let mut without = map(&pem, "[]");
        without.data.as_mut().unwrap().remove(USERNAME_HEADERS);
        assert!(RequestHeader::of(&without).is_err());
        let mut any_header = map(&pem, "[]");
        any_header.data.as_mut().unwrap().insert(EXTRA_PREFIXES.to_owned(), r#"[""]"#.to_owned());
        assert!(RequestHeader::of(&any_header).is_err());
    }

    #[test]
    fn headers_name_user_uid_groups_and_extra() {
        let header = RequestHeader::of(&map(&authority().pem, "[]")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(header.caller(&headers), Ok(None));
        for (name, value) in [
            ("x-other-user", "second choice"),
            ("x-remote-user", "jürgen"),
            ("x-remote-uid", "42"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-remote-group", "b"),
            ("x-remote-extra-example.com%2fscope%3a1", "read"),
            ("x-remote-extra-example.com%2fscope%3a1", "write"),
            ("x-remote-extra-bad%zz", "kept"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let caller = header.caller(&headers).unwrap().unwrap();
        assert_eq!((caller.user.as_str(), caller.uid.as_deref()), ("jürgen", Some("42")));
        assert_eq!(caller.groups, ["a", "b"]);
        assert_eq!(caller.extra["example.com/scope:1"], ["read", "write"]);
        assert_eq!(caller.extra["bad%zz"], ["kept"]);
        headers.insert("x-remote-user", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(header.caller(&headers).is_err());
        headers.insert("x-remote-user", HeaderValue::from_static(""));
        assert_eq!(header.caller(&headers).unwrap().unwrap().user, "second choice");
    }
}
